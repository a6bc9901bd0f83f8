use crate::budget::RetryBudget;
use crate::circuit::{Breaker, CircuitState};
use crate::hedge::{HedgeSettings, Latencies};
use crate::member::{Clock, Member};
use crate::outlier::{Cause, OutlierMode, Sweep};
use crate::plan::{Plan, Plans, View};
use crate::policy::PolicySettings;
use crate::sticky::Sticky;
use crate::subset::Subsets;
use arc_swap::ArcSwap;
use gateway_core::Endpoint;
use gateway_core::units::Timespan;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

mod picked;

pub(crate) use picked::{Picked, Unavailable};

/// The endpoints of one service with their health and load. Cheap to clone; clones share everything, so that
/// all workers of a process balance as one.
#[derive(Clone, Debug)]
pub struct EndpointSet(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    name: String,
    policy: PolicySettings,
    clock: Clock,
    members: Box<[Member]>,
    /// Replaced when it changes who may be picked, under the lock; read without one.
    plans: ArcSwap<Plans>,
    changing: Mutex<()>,
    /// When the plan changes for no other reason than time: an ejection ends, a share grows.
    due: AtomicU64,
    next: AtomicUsize,
    /// When the service was last used, to about a second.
    used: AtomicU64,
    retries: AtomicU64,
    hedges: AtomicU64,
    hedges_won: AtomicU64,
    /// How long answers take, where hedging asks for that.
    latencies: OnceLock<Latencies>,
    pub(crate) budget: RetryBudget,
    sticky: Option<Sticky>,
    subsets: Option<Subsets>,
    sweep: Option<Sweep>,
    gate: Gate,
    /// For requests that wait for an endpoint: told when the plan changes.
    changed: Notify,
}

/// What limits the service as a whole.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) most: Option<usize>,
    pub(crate) breaker: Option<Breaker>,
    pub(crate) inside: AtomicUsize,
}

/// One endpoint and how it is doing.
#[derive(Clone, Debug)]
pub struct EndpointState {
    /// Which.
    pub endpoint: Endpoint,
    /// Whether requests are sent to it: it passes its checks, is not ejected, and its circuit is not
    /// open.
    pub healthy: bool,
    /// Whether it is ejected: it failed too often in a row and is left alone for a while.
    pub ejected: bool,
    /// How often it was ejected, or would have been in the mode `report`.
    pub ejections: u64,
    /// Whether its circuit lets requests pass; always closed without `endpoint_circuit`.
    pub circuit: CircuitState,
    /// Requests it is working on.
    pub in_flight: usize,
}

impl EndpointSet {
    /// A set whose endpoints are all taken for healthy until a check or their answers say otherwise. The policy
    /// may be no more than a [`Strategy`](crate::Strategy). `name` is for logs.
    #[must_use]
    pub fn new(name: &str, endpoints: Vec<Endpoint>, policy: impl Into<PolicySettings>) -> Self {
        let policy = policy.into();
        let sticky = policy.sticky.as_deref().map(|settings| Sticky::new(settings, name, endpoints.iter()));
        let clock = Clock::starting_now();
        let set = Self(Arc::new(Shared {
            name: name.to_owned(),
            sticky,
            subsets: policy.subset.as_ref().map(|settings| Subsets::new(settings, endpoints.iter())),
            sweep: Sweep::new(&policy.outlier, endpoints.len(), clock.at(Instant::now())),
            gate: Gate {
                most: policy.limits.max_requests.map(|most| most.get() as usize),
                breaker: policy.circuit.on().map(Breaker::new),
                inside: AtomicUsize::new(0),
            },
            changed: Notify::new(),
            clock,
            plans: ArcSwap::default(),
            members: endpoints.into_iter().map(|endpoint| Member::new(endpoint, &policy)).collect(),
            policy,
            changing: Mutex::new(()),
            due: AtomicU64::new(u64::MAX),
            next: AtomicUsize::new(0),
            used: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            hedges: AtomicU64::new(0),
            hedges_won: AtomicU64::new(0),
            latencies: OnceLock::new(),
            budget: RetryBudget::default(),
        }));
        set.0.replan(set.now());
        set
    }

    /// Whether both are the same set, and not only alike.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Takes over what an earlier set knows of the endpoints that both have: whether they pass their checks, and
    /// whether they are ejected. For a service whose settings have changed while it runs.
    pub fn learn_from(&self, earlier: &Self) {
        let (now, then) = (self.now(), earlier.now());
        for member in &self.0.members {
            let known = earlier.0.members.iter().find(|known| known.endpoint.is_at(&member.endpoint));
            if let Some(known) = known {
                member.learn_from(known, now, then);
            }
        }
        self.0.replan(now);
    }

    /// What the set is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Every endpoint and how it is doing.
    pub fn states(&self) -> impl Iterator<Item = EndpointState> {
        let now = self.now();
        self.0.members.iter().map(move |member| {
            let ejected = member.is_ejected(now);
            EndpointState {
                endpoint: member.endpoint.clone(),
                healthy: member.passes() && !ejected && member.circuit(now) != CircuitState::Open,
                circuit: member.circuit(now),
                ejected,
                ejections: member.ejections(),
                in_flight: member.in_flight.load(Ordering::Relaxed),
            }
        })
    }

    /// Whether any endpoint can take requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.refresh(self.now());
        !self.0.plans.load().all.levels.is_empty()
    }

    /// Whether so few endpoints are left that [`PanicSettings`](crate::PanicSettings) has their health ignored.
    #[must_use]
    pub fn is_panicking(&self) -> bool {
        self.0.refresh(self.now());
        self.0.plans.load().all.panics
    }

    /// Whether the circuit of the service as a whole lets requests pass; always closed without `circuit`.
    #[must_use]
    pub fn circuit(&self) -> CircuitState {
        let breaker = self.0.gate.breaker.as_ref();
        breaker.map_or(CircuitState::Closed, |breaker| breaker.state(self.now()))
    }

    /// How many attempts beyond the first there were.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.0.retries.load(Ordering::Relaxed)
    }

    /// How many requests were sent to a second endpoint because the first was slow; see [`HedgeSettings`].
    #[must_use]
    pub fn hedges(&self) -> u64 {
        self.0.hedges.load(Ordering::Relaxed)
    }

    /// Of how many of those the second endpoint's answer was taken.
    #[must_use]
    pub fn hedges_won(&self) -> u64 {
        self.0.hedges_won.load(Ordering::Relaxed)
    }

    /// The endpoint whose turn it is, without sending it anything; `None` if none is available.
    #[must_use]
    pub fn pick_endpoint(&self) -> Option<Endpoint> {
        self.pick(None, &[], Instant::now()).ok().map(|picked| picked.endpoint().clone())
    }

    /// Says whether the endpoint at this index passes its checks. Returns whether that is news.
    pub(crate) fn set_healthy(&self, index: usize, healthy: bool) -> bool {
        let now = self.now();
        let news = self.0.members[index].set_passing(healthy, now);
        if news {
            self.0.replan(now);
        }
        news
    }

    /// How long nobody has used the service, to about a second; for a service that nobody has used yet, since it was
    /// made.
    pub(crate) fn unused_for(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.0.used.load(Ordering::Relaxed)))
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.0.members
    }

    pub(crate) fn count_retry(&self) {
        self.0.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_hedge(&self) {
        self.0.hedges.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_hedge_won(&self) {
        self.0.hedges_won.fetch_add(1, Ordering::Relaxed);
    }

    /// How long answers take; the same for all that balance over the set, by the settings of the first.
    pub(crate) fn latencies(&self, settings: &HedgeSettings) -> &Latencies {
        self.0.latencies.get_or_init(|| Latencies::new(settings))
    }

    pub(crate) fn budget(&self) -> &RetryBudget {
        &self.0.budget
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    pub(crate) fn clock(&self) -> Clock {
        self.0.clock
    }

    /// How long a request may wait for an endpoint.
    pub(crate) fn hold(&self) -> Option<Duration> {
        self.0.policy.hold.map(|hold| hold.0)
    }

    pub(crate) fn changed(&self) -> &Notify {
        &self.0.changed
    }

    fn now(&self) -> u64 {
        self.0.clock.at(Instant::now())
    }
}

impl Shared {
    /// Notes that the service is used. Mostly it only reads.
    fn note_use(&self, now: u64) {
        const PRECISION: u64 = 1000;
        if now.saturating_sub(self.used.load(Ordering::Relaxed)) >= PRECISION {
            self.used.store(now, Ordering::Relaxed);
        }
    }

    /// Makes the plan anew if it is time to: no task watches the clock.
    fn refresh(&self, now: u64) {
        let due = self.due.load(Ordering::Relaxed);
        // Of many who notice at once, one does it.
        if now >= due
            && self.due.compare_exchange(due, u64::MAX, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.replan(now);
        }
    }

    fn replan(&self, now: u64) {
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
    fn sweep(&self, now: u64) {
        let Some(counted) = self.sweep.as_ref().and_then(|sweep| sweep.take(now)) else { return };
        let out = |(counted, member): (_, &Member)| (!member.is_ejected(now)).then_some(counted);
        let counted: Vec<_> = counted.into_iter().zip(&self.members).map(out).collect();
        for (index, cause) in self.policy.outlier.condemned(&counted) {
            self.eject(index, cause, now);
        }
    }

    /// Off the path of requests that succeed: an endpoint failed too often in a row.
    #[cold]
    fn eject(&self, index: usize, cause: Cause, now: u64) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (member, outlier) = (&self.members[index], &self.policy.outlier.0);
        if member.is_ejected(now) {
            return;
        }
        member.streaks.clear();
        let name = &self.name;
        let all = self.members.iter().filter(|member| member.endpoint.weight() > 0);
        let ejected = all.clone().filter(|member| member.is_ejected(now)).count();
        let others =
            self.members.iter().enumerate().filter(|(i, member)| *i != index && member.is_available(now));
        if others.count() == 0 || !outlier.has_room(ejected, all.count()) {
            tracing::debug!("{name}: {} is not ejected for {cause}, as none more may be", member.endpoint);
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

#[cfg(test)]
mod tests;
