//! Picking an endpoint for a request, and learning from how the request ended.

use super::EndpointSet;
use crate::Strategy;
use crate::circuit::{Admission, Change};
use crate::member::Member;
use crate::outlier::OutlierMode;
use crate::pick::Order;
use crate::plan::{Level, Plan};
use crate::retry::Verdict;
use crate::subset::Choice;
use gateway_core::{Endpoint, Mode, Recall, given_up};
use http::HeaderValue;
use http::request::Parts;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Why no endpoint could be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// None is healthy.
    NoEndpoint,
    /// There is none with the label that is asked for, and none will come by waiting.
    NoneOfSubset,
    /// Too many requests fail; what is refused may be tried again after this time.
    CircuitOpen { wait: Duration },
    /// As many requests are on their way as are allowed.
    Overloaded,
    /// Hardly any request has an answer, and as many wait for one as may.
    Stuck,
}

impl Unavailable {
    /// The policy that refuses, if it is one.
    pub(crate) fn by(self) -> Option<&'static str> {
        match self {
            Self::NoEndpoint | Self::NoneOfSubset => None,
            Self::CircuitOpen { .. } => Some("circuit"),
            Self::Overloaded => Some("limits"),
            Self::Stuck => Some("bulkhead"),
        }
    }
}

/// Who may be asked once all that are available were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastResort {
    /// One of them again.
    Available,
    /// One that was ejected, and may have come back since.
    Ejected,
}

impl EndpointSet {
    /// The next endpoint for a request, another than those already tried if there is one.
    pub(crate) fn pick(
        &self,
        head: Option<&Parts>,
        tried: &[usize],
        last: LastResort,
        now: Instant,
    ) -> Result<Picked, Unavailable> {
        let shared = &*self.0;
        let now = shared.clock.at(now);
        shared.sweep(now);
        shared.refresh(now);
        shared.note_use(now);
        let plans = shared.plans.load();
        let (plan, turns) = match &shared.subsets {
            None => (&plans.all, &shared.turns[0]),
            Some(subsets) => match subsets.choose(head, |subset| plans.subsets[subset].available) {
                Choice::Any => (&plans.all, &shared.turns[0]),
                Choice::Subset(subset) => (&plans.subsets[subset], &shared.turns[1 + subset]),
                Choice::Nobody => return Err(Unavailable::NoneOfSubset),
            },
        };
        if let (Some(sticky), Some(head)) = (&shared.sticky, head)
            && let Some(index) = sticky.endpoint(head)
            && !tried.contains(&index)
            && plan.has(index)
            && let Ok(picked) = self.take(index, Affinity::Kept, now)
        {
            return Ok(self.reporting(picked, plan, now));
        }
        let hash = match head {
            Some(head) if shared.policy.strategy.hashes() => shared.policy.hash_on.hash(head),
            _ => None,
        };
        let turn = if tried.is_empty() { &turns.first } else { &turns.further };
        let order = Order { policy: &shared.policy, members: &shared.members, turn, hash, now };
        let level = plan.level(|| hash.unwrap_or_else(|| fastrand::u64(..)));
        let Some((level, mut first)) = level.and_then(|level| Some((level, order.first(level)?))) else {
            let wait = Duration::from_millis(shared.due.load(Ordering::Relaxed).saturating_sub(now));
            return Err(if plan.broken {
                Unavailable::CircuitOpen { wait }
            } else {
                Unavailable::NoEndpoint
            });
        };
        // If it was that one's turn which was tried, it is the next one's: its neighbour is to have no more than the others.
        if tried.contains(&first)
            && let Some(next) = order.first(level)
        {
            first = next;
        }
        let index = match tried.contains(&first) {
            // Rare. Where all were tried, one is tried again.
            true => {
                let ejected = || plan.ejected.iter().copied().find(|index| !tried.contains(index));
                let other = order.other(plan, level, first, tried);
                let other = if last == LastResort::Ejected { other.or_else(ejected) } else { other };
                other.unwrap_or(first)
            }
            false => first,
        };
        let picked = self.take(index, Affinity::New, now).or_else(|refused| {
            // It is full or being probed: any other will do.
            let mut tried = tried.to_vec();
            tried.push(index);
            while let Some(other) = order.other(plan, level, first, &tried) {
                if let Ok(picked) = self.take(other, Affinity::New, now) {
                    return Ok(picked);
                }
                tried.push(other);
            }
            Err(refused)
        });
        picked.map(|picked| self.reporting(picked, plan, now))
    }

    /// Whether there is an endpoint for a request that has not been tried, nor is this one.
    pub(crate) fn has_another(&self, head: &Parts, tried: &[usize], this: usize, now: Instant) -> bool {
        let tried = [tried, &[this]].concat();
        let next = self.pick(Some(head), &tried, LastResort::Ejected, now);
        next.is_ok_and(|next| !tried.contains(&next.index))
    }

    /// Says whether a request would have been refused that only passes because that is merely reported: where no other
    /// endpoint has room for it.
    fn reporting(&self, mut picked: Picked, plan: &Plan, now: u64) -> Picked {
        let Some(why) = picked.over else { return picked };
        let others = plan.levels.iter().flat_map(Level::indexes).filter(|index| *index != picked.index);
        if others.map(|index| &self.0.members[index]).any(|other| self.has_room(other, now)) {
            picked.over = None;
        } else {
            self.count_endpoint_refusal(why);
        }
        picked
    }

    /// Whether limits and circuit would let a request pass.
    fn has_room(&self, member: &Member, now: u64) -> bool {
        let most = self.0.policy.limits.max_requests_per_endpoint;
        let busy = || member.in_flight.load(Ordering::Relaxed);
        most.is_none_or(|most| busy() < most.get() as usize) && !member.is_cut_off(now)
    }

    /// Takes a place at an endpoint, unless it is full or its circuit lets no more requests pass.
    pub(super) fn take(&self, index: usize, affinity: Affinity, now: u64) -> Result<Picked, Unavailable> {
        let member = &self.0.members[index];
        let before = member.in_flight.fetch_add(1, Ordering::Relaxed);
        // Gives the place back if it is refused.
        let mut picked =
            Picked { set: self.clone(), index, affinity, admission: Admission::Free, over: None };
        let most = self.0.policy.limits.max_requests_per_endpoint;
        if most.is_some_and(|most| before >= most.get() as usize) {
            if self.0.policy.limits.mode == Mode::Enforce {
                return Err(Unavailable::Overloaded);
            }
            picked.over = Some(Unavailable::Overloaded);
        }
        if let Some(breaker) = &member.breaker {
            match breaker.admit(now) {
                Ok(admission) => picked.admission = admission,
                Err(wait) if breaker.only_reports() => picked.over = Some(Unavailable::CircuitOpen { wait }),
                Err(wait) => return Err(Unavailable::CircuitOpen { wait }),
            }
        }
        Ok(picked)
    }

    /// Learns from how a request to this endpoint ended, which was waited for since then. A success costs no more than a
    /// look at three counters, an addition where there are enough endpoints to compare, and a look at the clock for
    /// the strategy that wants to know the time it took.
    pub(crate) fn record(&self, picked: &mut Picked, verdict: Verdict, since: Instant) {
        let (member, policy) = (&self.0.members[picked.index], &self.0.policy);
        if policy.strategy == Strategy::PeakEwma && verdict != Verdict::Unknown {
            let now = Instant::now();
            let floor = if verdict.is_failure() { *policy.ewma.penalty } else { Duration::ZERO };
            let took = now.saturating_duration_since(since).max(floor);
            member.ewma.observe(took, self.0.clock.at(now), &policy.ewma);
        }
        if let Some(breaker) = &member.breaker {
            let change = breaker.learn(&mut picked.admission, verdict, since, self.0.clock);
            change.log(format_args!("{}: the circuit of {}", self.name(), member.endpoint));
            if matches!(change, Change::Opened(_)) {
                self.0.replan(self.now());
            }
        }
        if policy.outlier.mode != OutlierMode::Off
            && let Some(cause) = member.streaks.record(verdict, &policy.outlier)
        {
            self.0.eject(picked.index, cause, self.now());
        }
        if verdict == Verdict::Good && member.set_failing(false) {
            tracing::info!("{}: {} does not fail any more", self.name(), member.endpoint);
        }
        if let Some(sweep) = &self.0.sweep {
            sweep.record(picked.index, verdict);
        }
    }
}

impl EndpointSet {
    /// Learns that a request to this endpoint that began at `started` was cancelled because another answered first: it
    /// is at least this slow.
    pub(crate) fn record_overtaken(&self, picked: &Picked, started: Instant) {
        let policy = &self.0.policy;
        if policy.strategy == Strategy::PeakEwma {
            let now = Instant::now();
            let took = now.saturating_duration_since(started);
            self.0.members[picked.index].ewma.observe(took, self.0.clock.at(now), &policy.ewma);
        }
    }
}

/// An endpoint that was picked: counted as busy until dropped.
#[derive(Debug)]
pub(crate) struct Picked {
    set: EndpointSet,
    pub(crate) index: usize,
    affinity: Affinity,
    admission: Admission,
    /// What would have refused it, if that were not only reported.
    over: Option<Unavailable>,
}

/// Whether the client came back to the endpoint by its cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Affinity {
    Kept,
    New,
}

impl Picked {
    /// The cookie that is to be set, so that the client comes back.
    pub(crate) fn cookie(&self) -> Option<&HeaderValue> {
        match self.affinity {
            Affinity::Kept => None,
            Affinity::New => self.set.0.sticky.as_ref()?.cookie(self.index),
        }
    }

    /// What would have refused it, if that were not only reported.
    pub(crate) fn reported(&self) -> Option<&'static str> {
        self.over?.by()
    }

    /// Whether the client's cookie named it.
    pub(crate) fn is_kept(&self) -> bool {
        self.affinity == Affinity::Kept
    }

    /// Ready when what is under way with it is to end, because it is gone; mostly never.
    pub(crate) fn departure(&self) -> impl Future<Output = ()> + Send + use<> {
        self.set.departure(self.endpoint())
    }

    /// When a tunnel with it is to end.
    pub(crate) fn recall(&self) -> Recall {
        let (set, endpoint) = (self.set.clone(), self.endpoint().clone());
        Recall::new(move || set.departure(&endpoint))
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.set.0.members[self.index].endpoint
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        let member = &self.set.0.members[self.index];
        given_up::say(&member.endpoint);
        member.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let (Admission::Probe, Some(breaker)) = (self.admission, &member.breaker) {
            breaker.release();
        }
    }
}
