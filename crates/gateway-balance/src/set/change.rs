//! What changes who may be picked: time, health, ejections.

use super::Shared;
use crate::member::Member;
use crate::outlier::{Cause, OutlierMode};
use crate::plan::{Plan, Plans, View};
use crate::subset::Subsets;
use gateway_core::units::Timespan;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

impl Shared {
    /// Notes that the service is used. Mostly it only reads.
    pub(super) fn note_use(&self, now: u64) {
        const PRECISION: u64 = 1000;
        if now.saturating_sub(self.used.load(Ordering::Relaxed)) >= PRECISION {
            self.used.store(now, Ordering::Relaxed);
        }
    }

    /// Makes the plan anew if it is time to: no task watches the clock.
    pub(super) fn refresh(&self, now: u64) {
        let due = self.due.load(Ordering::Relaxed);
        // Of many who notice at once, one does it.
        if now >= due
            && self.due.compare_exchange(due, u64::MAX, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.replan(now);
        }
    }

    pub(super) fn replan(&self, now: u64) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.replan_locked(now);
    }

    fn replan_locked(&self, now: u64) {
        let mut due = u64::MAX;
        let slow_start = self.policy.slow_start.as_deref().filter(|_| !self.policy.strategy.hashes());
        let views: Vec<View<'_>> = self
            .members
            .iter()
            .map(|member| {
                if member.returns(now) {
                    tracing::info!("{}: {} is no longer ejected", self.name, member.endpoint);
                }
                let (view, changes) = member.view(now, slow_start);
                due = due.min(changes);
                view
            })
            .collect();
        let plan = |views: &[View<'_>]| Plan::new(views, self.policy.strategy, self.policy.panic.0);
        let subset = |subsets: &Subsets, index| {
            let mut views = views.clone();
            let others = views.iter_mut().zip(&self.members);
            // Who is not of it is as if drained.
            others
                .filter(|(_, member)| !subsets.holds(index, &member.endpoint))
                .for_each(|(view, _)| view.weight = 0);
            plan(&views)
        };
        let subsets = self.subsets.iter().flat_map(|all| (0..all.len()).map(move |index| subset(all, index)));
        let plans = Plans { all: plan(&views), subsets: subsets.collect() };
        if plans.all.panics && !self.plans.load().all.panics {
            tracing::warn!("{}: too few endpoints are available: their health is ignored", self.name);
        }
        self.plans.store(Arc::new(plans));
        self.due.store(due, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Compares the endpoints once an interval has passed since that was last done.
    pub(super) fn sweep(&self, now: u64) {
        let Some(counted) = self.sweep.as_ref().and_then(|sweep| sweep.take(now)) else { return };
        let out = |(counted, member): (_, &Arc<Member>)| (!member.is_ejected(now)).then_some(counted);
        let counted: Vec<_> = counted.into_iter().zip(&self.members).map(out).collect();
        for (index, cause) in self.policy.outlier.condemned(&counted) {
            self.eject(index, cause, now);
        }
    }

    /// Off the path of requests that succeed: an endpoint failed too often in a row.
    #[cold]
    pub(super) fn eject(&self, index: usize, cause: Cause, now: u64) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (member, outlier) = (&self.members[index], &self.policy.outlier.0);
        member.streaks.clear();
        if member.is_ejected(now) {
            // Where two sets share it while one takes the place of the other, only the plan may be behind.
            let plan = &self.plans.load().all;
            if !plan.panics && plan.has(index) {
                self.replan_locked(now);
            }
            return;
        }
        let name = &self.name;
        let all = self.members.iter().filter(|member| member.endpoint.weight() > 0);
        let ejected = all.clone().filter(|member| member.is_ejected(now)).count();
        let others =
            self.members.iter().enumerate().filter(|(i, member)| *i != index && member.is_available(now));
        if others.count() == 0 || !outlier.has_room(ejected, all.count()) {
            if cause.is_in_a_row() && member.set_failing(true) {
                tracing::warn!(
                    "{name}: {} keeps failing and is asked all the same, as none more may be ejected: {cause}",
                    member.endpoint
                );
            }
            return;
        }
        if outlier.mode == OutlierMode::Report {
            member.count_ejection();
            tracing::warn!("{name}: {} would be ejected for {cause}", member.endpoint);
            return;
        }
        let time = member.eject(now, |times, well_for| outlier.ejection(times, well_for, fastrand::f64()));
        let shown = Timespan(Duration::from_secs(time.as_secs()));
        tracing::warn!("{name}: {} is ejected for {shown}: {cause}", member.endpoint);
        self.replan_locked(now);
    }
}
