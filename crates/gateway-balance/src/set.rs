use crate::Strategy;
use crate::budget::RetryBudget;
use crate::circuit::{Admission, Breaker, Change, CircuitState, End};
use crate::member::{Clock, Member};
use crate::outlier::{Cause, OutlierMode};
use crate::pick::Order;
use crate::plan::{Plan, View};
use crate::policy::PolicySettings;
use crate::retry::Verdict;
use crate::sticky::Sticky;
use arc_swap::ArcSwap;
use gateway_core::Endpoint;
use gateway_core::units::Timespan;
use http::HeaderValue;
use http::request::Parts;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

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
    plan: ArcSwap<Plan>,
    changing: Mutex<()>,
    /// When the plan changes for no other reason than time: an ejection ends, a share grows.
    due: AtomicU64,
    next: AtomicUsize,
    retries: AtomicU64,
    pub(crate) budget: RetryBudget,
    sticky: Option<Sticky>,
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

/// Why no endpoint could be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// None is healthy.
    NoEndpoint,
    /// Too many requests fail; what is refused may be tried again after this time.
    CircuitOpen { wait: Duration },
    /// As many requests are on their way as are allowed.
    Overloaded,
}

impl EndpointSet {
    /// A set whose endpoints are all taken for healthy until a check or their answers say otherwise. The policy
    /// may be no more than a [`Strategy`](crate::Strategy). `name` is for logs.
    #[must_use]
    pub fn new(name: &str, endpoints: Vec<Endpoint>, policy: impl Into<PolicySettings>) -> Self {
        let policy = policy.into();
        let sticky = policy.sticky.as_deref().map(|settings| Sticky::new(settings, name, endpoints.iter()));
        let set = Self(Arc::new(Shared {
            name: name.to_owned(),
            sticky,
            gate: Gate {
                most: policy.limits.max_requests.map(|most| most.get() as usize),
                breaker: policy.circuit.on().map(Breaker::new),
                inside: AtomicUsize::new(0),
            },
            changed: Notify::new(),
            clock: Clock::starting_now(),
            plan: ArcSwap::default(),
            members: endpoints.into_iter().map(|endpoint| Member::new(endpoint, &policy)).collect(),
            policy,
            changing: Mutex::new(()),
            due: AtomicU64::new(u64::MAX),
            next: AtomicUsize::new(0),
            retries: AtomicU64::new(0),
            budget: RetryBudget::default(),
        }));
        set.0.replan(set.now());
        set
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
        !self.0.plan.load().levels.is_empty()
    }

    /// Whether so few endpoints are left that [`PanicSettings`](crate::PanicSettings) has their health ignored.
    #[must_use]
    pub fn is_panicking(&self) -> bool {
        self.0.refresh(self.now());
        self.0.plan.load().panics
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

    pub(crate) fn members(&self) -> &[Member] {
        &self.0.members
    }

    pub(crate) fn count_retry(&self) {
        self.0.retries.fetch_add(1, Ordering::Relaxed);
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

    /// The next endpoint for a request, another than those already tried if there is one.
    pub(crate) fn pick(
        &self,
        head: Option<&Parts>,
        tried: &[usize],
        now: Instant,
    ) -> Result<Picked, Unavailable> {
        let shared = &*self.0;
        let now = shared.clock.at(now);
        shared.refresh(now);
        let plan = shared.plan.load();
        if let (Some(sticky), Some(head)) = (&shared.sticky, head)
            && let Some(index) = sticky.endpoint(head)
            && !tried.contains(&index)
            && plan.has(index)
            && let Ok(picked) = self.take(index, Affinity::Kept, now)
        {
            return Ok(picked);
        }
        let hash = match head {
            Some(head) if shared.policy.strategy.hashes() => shared.policy.hash_on.hash(head),
            _ => None,
        };
        let order = Order { policy: &shared.policy, members: &shared.members, next: &shared.next, hash, now };
        let level = plan.level(|| hash.unwrap_or_else(|| fastrand::u64(..)));
        let Some((level, first)) = level.and_then(|level| Some((level, order.first(level)?))) else {
            let wait = Duration::from_millis(shared.due.load(Ordering::Relaxed).saturating_sub(now));
            return Err(if plan.broken {
                Unavailable::CircuitOpen { wait }
            } else {
                Unavailable::NoEndpoint
            });
        };
        let index = match tried.contains(&first) {
            // Rare. Where all were tried, one is tried again.
            true => order.other(&plan, level, first, tried).unwrap_or(first),
            false => first,
        };
        self.take(index, Affinity::New, now).or_else(|refused| {
            // It is full or being probed: any other will do.
            let mut tried = tried.to_vec();
            tried.push(index);
            while let Some(other) = order.other(&plan, level, first, &tried) {
                if let Ok(picked) = self.take(other, Affinity::New, now) {
                    return Ok(picked);
                }
                tried.push(other);
            }
            Err(refused)
        })
    }

    /// Takes a place at an endpoint, unless it is full or its circuit lets no more requests pass.
    fn take(&self, index: usize, affinity: Affinity, now: u64) -> Result<Picked, Unavailable> {
        let member = &self.0.members[index];
        let before = member.in_flight.fetch_add(1, Ordering::Relaxed);
        // Gives the place back if it is refused.
        let mut picked = Picked { set: self.clone(), index, affinity, admission: Admission::Free };
        let most = self.0.policy.limits.max_requests_per_endpoint;
        if most.is_some_and(|most| before >= most.get() as usize) {
            return Err(Unavailable::Overloaded);
        }
        if let Some(breaker) = &member.breaker {
            picked.admission = breaker.admit(now).map_err(|wait| Unavailable::CircuitOpen { wait })?;
        }
        Ok(picked)
    }

    /// Learns from how a request to this endpoint ended that began at `started`. A success costs no more than a
    /// look at three counters, and at the clock for the strategy that wants to know the time it took.
    pub(crate) fn record(&self, picked: &mut Picked, verdict: Verdict, started: Instant) {
        let (member, policy) = (&self.0.members[picked.index], &self.0.policy);
        if policy.strategy == Strategy::PeakEwma && verdict != Verdict::Unknown {
            let now = Instant::now();
            let floor = if verdict.is_failure() { *policy.ewma.penalty } else { Duration::ZERO };
            let took = now.saturating_duration_since(started).max(floor);
            member.ewma.observe(took, self.0.clock.at(now), &policy.ewma);
        }
        if let (Some(breaker), Some(end)) = (&member.breaker, End::of(verdict)) {
            let now = self.now();
            let admission = std::mem::replace(&mut picked.admission, Admission::Free);
            let (name, endpoint) = (self.name(), &member.endpoint);
            match breaker.record(admission, end, now) {
                Change::Nothing => {}
                Change::Opened(time) => {
                    tracing::warn!(
                        "{name}: the circuit of {endpoint} is open for {time:?}: too many requests fail"
                    );
                    self.0.replan(now);
                }
                Change::Closed => tracing::info!("{name}: the circuit of {endpoint} is closed again"),
            }
        }
        if policy.outlier.mode != OutlierMode::Off
            && let Some(cause) = member.streaks.record(verdict, &policy.outlier)
        {
            self.0.eject(picked.index, cause, self.now());
        }
    }
}

impl Shared {
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
        let plan = Plan::new(&views, self.policy.strategy, self.policy.panic.0);
        if plan.panics && !self.plan.load().panics {
            tracing::warn!("{}: too few endpoints are available: their health is ignored", self.name);
        }
        self.plan.store(Arc::new(plan));
        self.due.store(due, Ordering::Relaxed);
        self.changed.notify_waiters();
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
            tracing::debug!(
                "{name}: {} has too many {cause} in a row, but none more may be ejected",
                member.endpoint
            );
            return;
        }
        if outlier.mode == OutlierMode::Report {
            member.count_ejection();
            tracing::warn!("{name}: {} would be ejected for {cause} in a row", member.endpoint);
            return;
        }
        let time = member.eject(now, |times, well_for| outlier.ejection(times, well_for, fastrand::f64()));
        let shown = Timespan(Duration::from_secs(time.as_secs()));
        tracing::warn!("{name}: {} is ejected for {shown}: {cause} in a row", member.endpoint);
        self.replan_locked(now);
    }
}

/// An endpoint that was picked: counted as busy until dropped.
#[derive(Debug)]
pub(crate) struct Picked {
    set: EndpointSet,
    pub(crate) index: usize,
    affinity: Affinity,
    admission: Admission,
}

/// Whether the client came back to the endpoint by its cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Affinity {
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

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.set.0.members[self.index].endpoint
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        let member = &self.set.0.members[self.index];
        member.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let (Admission::Probe, Some(breaker)) = (self.admission, &member.breaker) {
            breaker.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(weights: &[u32], strategy: Strategy) -> EndpointSet {
        let endpoints = weights.iter().enumerate().map(|(i, w)| {
            Endpoint::parse(&format!("http://127.0.0.1:{}", 3000 + i)).unwrap().with_weight(*w)
        });
        EndpointSet::new("test", endpoints.collect(), strategy)
    }

    const ALL: [Strategy; 6] = [
        Strategy::RoundRobin,
        Strategy::Random,
        Strategy::LeastRequest,
        Strategy::PeakEwma,
        Strategy::RingHash,
        Strategy::Maglev,
    ];

    fn at(set: &EndpointSet, index: usize) -> Picked {
        set.take(index, Affinity::New, set.now()).unwrap()
    }

    fn picks(set: &EndpointSet, n: usize) -> Vec<usize> {
        (0..n).map(|_| set.pick(None, &[], Instant::now()).unwrap().index).collect()
    }

    #[test]
    fn s3_08_round_robin_starts_at_the_first_and_goes_on_in_turn() {
        let (a, b) = (set(&[1, 1, 1], Strategy::RoundRobin), set(&[1, 1, 1], Strategy::RoundRobin));
        assert_eq!(picks(&a, 5), [0, 1, 2, 0, 1]);
        assert_eq!(picks(&b, 2), [0, 1], "each service has its own counter");
    }

    #[test]
    fn s3_08_round_robin_is_exact_under_concurrency() {
        let set = set(&[1, 1], Strategy::RoundRobin);
        let counts = [AtomicUsize::new(0), AtomicUsize::new(0)];
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counts[set.pick(None, &[], Instant::now()).unwrap().index]
                            .fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let counts = counts.map(AtomicUsize::into_inner);
        assert_eq!(counts, [4000, 4000]);
    }

    #[test]
    fn s4_30_only_healthy_endpoints_are_picked_and_a_shrinking_set_keeps_the_index_in_bounds() {
        let set = set(&[1, 1, 1], Strategy::RoundRobin);
        picks(&set, 2);
        assert!(set.set_healthy(2, false));
        assert!(!set.set_healthy(2, false), "it is news only once");
        let mut seen = picks(&set, 4);
        seen.sort_unstable();
        assert_eq!(seen, [0, 0, 1, 1]);
        set.set_healthy(0, false);
        set.set_healthy(1, false);
        assert!(set.pick(None, &[], Instant::now()).is_err());
        assert!(!set.is_ready());
        set.set_healthy(1, true);
        assert_eq!(picks(&set, 2), [1, 1]);
    }

    #[test]
    fn a_retry_goes_to_another_endpoint_while_there_is_one() {
        for strategy in ALL {
            let set = set(&[1, 1], strategy);
            for _ in 0..50 {
                assert_eq!(set.pick(None, &[0], Instant::now()).unwrap().index, 1, "{strategy:?}");
                assert!(
                    set.pick(None, &[0, 1], Instant::now()).is_ok(),
                    "{strategy:?}: all were tried, one is still picked"
                );
            }
        }
    }

    #[test]
    fn least_request_avoids_the_busy_one() {
        let set = set(&[1, 1], Strategy::LeastRequest);
        let busy: Vec<_> = (0..10).map(|_| at(&set, 0)).collect();
        let on_idle = picks(&set, 400).iter().filter(|i| **i == 1).count();
        assert_eq!(on_idle, 400, "of two, the idle one is always found");
        drop(busy);
        assert!(set.states().all(|s| s.in_flight == 0));
    }

    #[test]
    fn weight_zero_takes_no_requests() {
        let set = set(&[1, 0], Strategy::RoundRobin);
        assert_eq!(picks(&set, 3), [0, 0, 0]);
    }

    fn fail(set: &EndpointSet, index: usize, times: usize) {
        for _ in 0..times {
            set.record(&mut at(set, index), Verdict::LocalFailure, Instant::now());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_fails_five_times_is_left_alone_for_half_a_minute() {
        let set = set(&[1, 1, 1], Strategy::RoundRobin);
        fail(&set, 1, 4);
        assert!(set.states().all(|state| state.healthy));
        fail(&set, 1, 1);
        let states: Vec<_> =
            set.states().map(|state| (state.healthy, state.ejected, state.ejections)).collect();
        assert_eq!(states, [(true, false, 0), (false, true, 1), (true, false, 0)]);
        assert!(!picks(&set, 10).contains(&1));
        tokio::time::advance(Duration::from_millis(29_900)).await;
        assert!(!picks(&set, 10).contains(&1));
        tokio::time::advance(Duration::from_millis(1_200)).await;
        assert!(picks(&set, 3).contains(&1), "it returns without anyone's doing");
        fail(&set, 1, 5);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(!picks(&set, 10).contains(&1), "the second time lasts twice as long");
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(picks(&set, 3).contains(&1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_endpoint_is_not_ejected_where_a_tenth_is_less_than_two() {
        let set = set(&[1; 10], Strategy::RoundRobin);
        fail(&set, 1, 5);
        fail(&set, 2, 50);
        assert_eq!(set.states().filter(|state| state.ejected).count(), 1);
        assert!(picks(&set, 9).contains(&2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_endpoint_is_never_ejected() {
        let set = set(&[1], Strategy::RoundRobin);
        fail(&set, 0, 50);
        assert_eq!(picks(&set, 1), [0]);
        assert!(set.states().all(|state| state.healthy && state.ejections == 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_counts_and_changes_nothing() {
        let mut policy = PolicySettings::default();
        policy.outlier.0.mode = OutlierMode::Report;
        let endpoints = ["http://a", "http://b"].map(|url| Endpoint::parse(url).unwrap()).to_vec();
        let set = EndpointSet::new("test", endpoints, policy);
        fail(&set, 1, 10);
        let states: Vec<_> = set.states().map(|state| (state.healthy, state.ejections)).collect();
        assert_eq!(states, [(true, 0), (true, 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_ejection_is_ignored_once_the_checks_take_the_others_out() {
        let set = set(&[1, 1], Strategy::RoundRobin);
        fail(&set, 1, 5);
        set.set_healthy(0, false);
        assert_eq!(picks(&set, 2), [1, 1], "it may fail, and there is no other");
        assert!(set.is_panicking());
        set.set_healthy(1, false);
        assert!(!set.is_ready(), "without any endpoint that passes its checks there is none");
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_comes_back_gets_its_share_bit_by_bit() {
        let policy = PolicySettings { slow_start: Some(Default::default()), ..PolicySettings::default() };
        let endpoints = ["http://a", "http://b"].map(|url| Endpoint::parse(url).unwrap()).to_vec();
        let set = EndpointSet::new("test", endpoints, policy);
        let share = |set: &EndpointSet| picks(set, 1000).into_iter().filter(|i| *i == 1).count();
        assert_eq!(share(&set), 500, "at the start of the process nobody starts slowly");
        set.set_healthy(1, false);
        set.set_healthy(1, true);
        let mut shares = Vec::new();
        for _ in 0..4 {
            shares.push(share(&set));
            tokio::time::advance(Duration::from_millis(10_100)).await;
        }
        // 2, 6, 13 and 20 parts for 20 of the other.
        let expected = [1000 * 2 / 22, 1000 * 6 / 26, 1000 * 13 / 33, 500];
        assert!(shares.iter().zip(expected).all(|(seen, wanted)| seen.abs_diff(wanted) <= 2), "{shares:?}");
    }

    #[test]
    fn the_next_priority_takes_over_what_the_first_cannot() {
        let endpoints = [("http://a", 0), ("http://b", 0), ("http://c", 1)];
        let endpoints = endpoints.map(|(url, p)| Endpoint::parse(url).unwrap().with_priority(p)).to_vec();
        let set = EndpointSet::new("test", endpoints, Strategy::RoundRobin);
        assert!(!picks(&set, 100).contains(&2));
        assert_eq!(set.pick(None, &[0, 1], Instant::now()).unwrap().index, 2, "a retry may go there as well");
        set.set_healthy(0, false);
        let spilled = picks(&set, 1000).iter().filter(|i| **i == 2).count();
        assert!((230..370).contains(&spilled), "{spilled} of 1000 went to the second priority");
        set.set_healthy(1, false);
        assert_eq!(picks(&set, 3), [2, 2, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn peak_ewma_prefers_the_faster_and_remembers_failures() {
        let set = set(&[1, 1, 1], Strategy::PeakEwma);
        tokio::time::advance(Duration::from_secs(60)).await;
        for (index, took) in [(0, 5), (1, 500), (2, 5)] {
            let started = Instant::now() - Duration::from_millis(took);
            set.record(&mut at(&set, index), Verdict::Good, started);
        }
        assert!(!picks(&set, 300).contains(&1), "of two, the slow one is never the better");
        set.record(&mut at(&set, 0), Verdict::ServerError, Instant::now());
        let first = picks(&set, 300).iter().filter(|i| **i == 0).count();
        assert_eq!(first, 0, "one that fails at once is not fast");
    }

    #[test]
    fn a_key_stays_with_its_endpoint_and_only_its_endpoints_keys_move() {
        for strategy in [Strategy::RingHash, Strategy::Maglev] {
            let mut policy = PolicySettings::from(strategy);
            policy.hash_on = crate::HashKey::Path.into();
            let endpoints =
                (1..=4).map(|i| Endpoint::parse(&format!("http://10.0.0.{i}")).unwrap()).collect();
            let set = EndpointSet::new("test", endpoints, policy);
            let heads: Vec<_> = (0..200)
                .map(|i| http::Request::get(format!("/{i}")).body(()).unwrap().into_parts().0)
                .collect();
            let owners = |set: &EndpointSet| -> Vec<usize> {
                heads.iter().map(|head| set.pick(Some(head), &[], Instant::now()).unwrap().index).collect()
            };
            let before = owners(&set);
            assert_eq!(before, owners(&set), "{strategy:?}");
            assert!((0..4).all(|i| before.contains(&i)), "{strategy:?}: {before:?}");
            for (head, owner) in heads.iter().zip(&before) {
                assert_ne!(set.pick(Some(head), &[*owner], Instant::now()).unwrap().index, *owner);
            }
            set.set_healthy(2, false);
            let after = owners(&set);
            let moved = before.iter().zip(&after).filter(|(was, is)| **was != 2 && was != is).count();
            assert!(moved <= 24 && !after.contains(&2), "{strategy:?}: {moved} of 200 moved without need");
        }
    }

    #[test]
    fn a_hot_key_spills_over_when_loads_are_bounded() {
        let mut policy = PolicySettings::from(Strategy::RingHash);
        policy.hash_on = crate::HashKey::Path.into();
        policy.bounded_load = Some(crate::LoadFactor::new(125));
        let endpoints = (1..=4).map(|i| Endpoint::parse(&format!("http://10.0.0.{i}")).unwrap()).collect();
        let set = EndpointSet::new("test", endpoints, policy);
        let head = http::Request::get("/hot").body(()).unwrap().into_parts().0;
        let held: Vec<_> = (0..100).map(|_| set.pick(Some(&head), &[], Instant::now()).unwrap()).collect();
        let most = set.states().map(|state| state.in_flight).max().unwrap();
        assert!(most <= 32, "{most} of 100 on one of four endpoints");
        drop(held);
    }

    #[test]
    fn a_client_comes_back_by_its_cookie_until_its_endpoint_is_gone() {
        let sticky = crate::StickySettings { name: "sid".into(), ..Default::default() };
        let policy =
            PolicySettings { sticky: Some(gateway_core::units::Short(sticky)), ..Default::default() };
        let endpoints = (1..=3).map(|i| Endpoint::parse(&format!("http://10.0.0.{i}")).unwrap()).collect();
        let set = EndpointSet::new("test", endpoints, policy);
        let new = http::Request::get("/").header("cookie", "sid=stale").body(()).unwrap().into_parts().0;
        let picked = set.pick(Some(&new), &[], Instant::now()).unwrap();
        let cookie = picked.cookie().unwrap().to_str().unwrap().split(';').next().unwrap().to_owned();
        let back = http::Request::get("/").header("cookie", cookie).body(()).unwrap().into_parts().0;
        for _ in 0..5 {
            let again = set.pick(Some(&back), &[], Instant::now()).unwrap();
            assert_eq!((again.index, again.cookie()), (picked.index, None));
        }
        let retried = set.pick(Some(&back), &[picked.index], Instant::now()).unwrap();
        assert!(retried.index != picked.index && retried.cookie().is_some());
        set.set_healthy(picked.index, false);
        let moved = set.pick(Some(&back), &[], Instant::now()).unwrap();
        assert!(moved.index != picked.index && moved.cookie().is_some());
    }
}
