use crate::budget::{RetryBudget, RetryBudgetSettings};
use crate::bulkhead::Bulkhead;
use crate::circuit::{Breaker, CircuitSettings, CircuitState};
use crate::departures::Departures;
use crate::hedge::{HedgeSettings, Latencies};
use crate::hold::HoldSettings;
use crate::member::{Clock, Member};
use crate::outlier::Sweep;
use crate::pick::Turns;
use crate::plan::Plans;
use crate::policy::PolicySettings;
use crate::sticky::Sticky;
use crate::subset::Subsets;
use arc_swap::ArcSwap;
use gateway_core::units::Switch;
use gateway_core::{Endpoint, Mode, Refusals, Slot};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

mod change;
mod picked;

pub(crate) use picked::{LastResort, Picked, Unavailable};

/// The endpoints of one service with their health and load. Cheap to clone; clones share everything, so that
/// all workers of a process balance as one.
#[derive(Clone, Debug)]
pub struct EndpointSet(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    name: String,
    policy: PolicySettings,
    clock: Clock,
    members: Box<[Arc<Member>]>,
    /// Replaced when it changes who may be picked, under the lock; read without one.
    plans: ArcSwap<Plans>,
    changing: Mutex<()>,
    /// When the plan changes for no other reason than time: an ejection ends, a share grows.
    due: AtomicU64,
    /// Whose turn it is: among all, and within each subset.
    turns: Box<[Turns]>,
    /// When the service was last used, to about a second.
    used: AtomicU64,
    totals: Arc<Totals>,
    departures: Departures,
    /// How long answers take, where hedging asks for that.
    latencies: OnceLock<Latencies>,
    sticky: Option<Sticky>,
    subsets: Option<Subsets>,
    sweep: Option<Sweep>,
    gate: Gate,
    /// How many requests wait for an endpoint.
    waiting: AtomicUsize,
    /// For them: told when the plan changes.
    changed: Notify,
}

/// What is counted of the service for as long as it is there.
#[derive(Debug, Default)]
struct Totals {
    retries: AtomicU64,
    hedges: AtomicU64,
    hedges_won: AtomicU64,
    /// Requests refused for want of room.
    overloaded: Refusals,
    /// Requests refused because too many wait for no answer.
    stuck: Refusals,
    /// Requests refused by the circuit of the service.
    broken: Refusals,
    /// Requests refused by those of its endpoints.
    endpoints_broken: Refusals,
    /// Requests refused because no connection became free.
    unconnected: AtomicU64,
    budget: RetryBudget,
}

/// Enforced, where there is none.
fn mode_of(circuit: &Switch<CircuitSettings>) -> Mode {
    circuit.on().map(|circuit| circuit.mode).unwrap_or_default()
}

/// What limits the service as a whole.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) most: Option<usize>,
    pub(crate) breaker: Option<Arc<Breaker>>,
    pub(crate) bulkhead: Option<Bulkhead>,
    pub(crate) inside: Arc<AtomicUsize>,
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
    /// Whether it failed often enough in a row to be ejected, and is asked all the same because none more may be; until a
    /// request succeeds.
    pub failing: bool,
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
        Self::build(name, endpoints, policy.into(), None)
    }

    /// The set that takes the place of this one, for a service whose settings have changed while it runs.
    ///
    /// Endpoints that both have are the same in both: their health, ejections, circuit and speed, and the requests on
    /// their way to them. Those that are new begin slowly, where the policy says so. What was counted goes on.
    #[must_use]
    pub fn renewed(&self, endpoints: Vec<Endpoint>, policy: impl Into<PolicySettings>) -> Self {
        Self::build(&self.0.name, endpoints, policy.into(), Some(&self.0))
    }

    fn build(name: &str, endpoints: Vec<Endpoint>, policy: PolicySettings, earlier: Option<&Shared>) -> Self {
        let sticky = policy.sticky.as_deref().map(|settings| Sticky::new(settings, name, endpoints.iter()));
        // Times are compared with those that the earlier set has noted.
        let clock = earlier.map_or_else(Clock::starting_now, |earlier| earlier.clock);
        let now = clock.at(Instant::now());
        let subsets = policy.subset.as_ref().map(|settings| Subsets::new(settings, endpoints.iter()));
        let known = earlier.map(|earlier| &earlier.gate);
        let member = |endpoint: Endpoint| {
            let Some(earlier) = earlier else { return Arc::new(Member::new(endpoint, &policy)) };
            match earlier.members.iter().find(|known| known.endpoint.is_at(&endpoint)) {
                Some(known) => Member::renewed(known, endpoint, &policy),
                None => Arc::new(Member::joining(endpoint, &policy, now)),
            }
        };
        let set = Self(Arc::new(Shared {
            name: name.to_owned(),
            sticky,
            turns: (0..=subsets.as_ref().map_or(0, Subsets::len)).map(|_| Turns::default()).collect(),
            subsets,
            sweep: Sweep::new(&policy.outlier, endpoints.len(), now),
            gate: Gate {
                most: policy.limits.max_requests.map(|most| most.get() as usize),
                breaker: Breaker::renewed(known.and_then(|gate| gate.breaker.as_ref()), policy.circuit.on()),
                bulkhead: Bulkhead::renewed(known.and_then(|gate| gate.bulkhead.as_ref()), *policy.bulkhead),
                inside: known.map(|gate| gate.inside.clone()).unwrap_or_default(),
            },
            waiting: AtomicUsize::new(0),
            changed: Notify::new(),
            clock,
            plans: ArcSwap::default(),
            members: endpoints.into_iter().map(member).collect(),
            policy,
            changing: Mutex::new(()),
            due: AtomicU64::new(u64::MAX),
            used: AtomicU64::new(earlier.map_or(0, |earlier| earlier.used.load(Ordering::Relaxed))),
            totals: earlier.map(|earlier| earlier.totals.clone()).unwrap_or_default(),
            departures: earlier.map(|earlier| earlier.departures.clone()).unwrap_or_default(),
            latencies: OnceLock::new(),
        }));
        set.0.replan(now);
        set
    }

    /// Says that another set is in force in the place of this one, or none where the service is gone. What has no end of
    /// its own and is under way with endpoints that are gone is ended in order after that time: an event stream by its
    /// end, a gRPC call by status 14, a tunnel by its server, which is told by a [`Recall`](gateway_core::Recall).
    pub fn replaced_by(&self, next: Option<&Self>, after: Duration) {
        if next.is_some_and(|next| self.is(next)) {
            return;
        }
        let stays = |endpoint: &Endpoint| {
            next.is_some_and(|next| next.members().iter().any(|member| member.endpoint.is_at(endpoint)))
        };
        let gone = self.members().iter().filter(|member| !stays(&member.endpoint));
        let gone = gone.inspect(|member| {
            let busy = member.in_flight.load(Ordering::Relaxed);
            if busy > 0 {
                tracing::info!(
                    "{}: {} is gone, with {busy} requests under way; streams among them may go on for {after:?}",
                    self.name(),
                    member.endpoint
                );
            }
        });
        let due = Instant::now() + after;
        self.0.departures.note(gone.map(|member| member.endpoint.clone()), stays, due);
    }

    /// Ready when what is under way with this endpoint is to end; mostly never.
    pub(crate) fn departure(&self, endpoint: &Endpoint) -> impl Future<Output = ()> + Send + use<> {
        self.0.departures.due(endpoint)
    }

    /// Whether both are the same set, and not only alike.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Forgets what active checks found out, for a service that has none any more: all endpoints may be asked.
    pub fn end_checks(&self) {
        let failed = self.0.members.iter().filter(|member| member.end_checks()).count();
        if failed > 0 {
            self.0.replan(self.now());
        }
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
                healthy: member.passes() && !ejected && !member.is_cut_off(now),
                circuit: member.circuit(now),
                ejected,
                failing: member.is_failing(),
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

    /// How many requests were refused because as many were on their way as `limits` allow; in report mode, how many
    /// would have been.
    #[must_use]
    pub fn refused_by_limits(&self) -> u64 {
        self.0.totals.overloaded.of(self.policy().limits.mode)
    }

    /// How many requests were refused because too many waited for a service that answers hardly any; in report mode, how
    /// many would have been.
    #[must_use]
    pub fn refused_by_bulkhead(&self) -> u64 {
        self.0.totals.stuck.of(self.policy().bulkhead.mode)
    }

    /// Whether the service has answered so few requests of late that those above
    /// [`max_waiting`](crate::BulkheadSettings::max_waiting) are refused, or would be.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.gate().bulkhead.as_ref().is_some_and(|bulkhead| bulkhead.is_stuck(self.now()))
    }

    /// How many requests were refused because the service's circuit was open; in report mode, how many would have been.
    #[must_use]
    pub fn refused_by_circuit(&self) -> u64 {
        self.0.totals.broken.of(mode_of(&self.policy().circuit))
    }

    /// The same for the circuits of its endpoints.
    #[must_use]
    pub fn refused_by_endpoint_circuits(&self) -> u64 {
        let mode = mode_of(&self.policy().endpoint_circuit);
        self.0.totals.endpoints_broken.of(mode)
    }

    /// How many requests were refused because as many connections as there may be were in use.
    #[must_use]
    pub fn refused_by_connections(&self) -> u64 {
        self.0.totals.unconnected.load(Ordering::Relaxed)
    }

    /// How its requests are sent.
    #[must_use]
    pub fn policy(&self) -> &PolicySettings {
        &self.0.policy
    }

    /// How many attempts beyond the first there were.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.0.totals.retries.load(Ordering::Relaxed)
    }

    /// How many requests were sent to a second endpoint because the first was slow; see [`HedgeSettings`].
    #[must_use]
    pub fn hedges(&self) -> u64 {
        self.0.totals.hedges.load(Ordering::Relaxed)
    }

    /// Of how many of those the second endpoint's answer was taken.
    #[must_use]
    pub fn hedges_won(&self) -> u64 {
        self.0.totals.hedges_won.load(Ordering::Relaxed)
    }

    /// The endpoint whose turn it is, without sending it anything; `None` if none is available.
    #[must_use]
    pub fn pick_endpoint(&self) -> Option<Endpoint> {
        self.pick(None, &[], LastResort::Available, Instant::now())
            .ok()
            .map(|picked| picked.endpoint().clone())
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

    pub(crate) fn members(&self) -> &[Arc<Member>] {
        &self.0.members
    }

    /// Counts a request that the service's own limit or circuit refuses, or would refuse.
    pub(crate) fn count_refusal(&self, why: Unavailable) {
        self.count(why, &self.0.totals.broken, &self.policy().circuit);
    }

    /// Counts a request that those of its endpoints do.
    pub(crate) fn count_endpoint_refusal(&self, why: Unavailable) {
        self.count(why, &self.0.totals.endpoints_broken, &self.policy().endpoint_circuit);
    }

    fn count(&self, why: Unavailable, broken: &Refusals, circuit: &Switch<CircuitSettings>) {
        match why {
            Unavailable::Overloaded => self.0.totals.overloaded.count(self.policy().limits.mode),
            Unavailable::Stuck => self.0.totals.stuck.count(self.policy().bulkhead.mode),
            Unavailable::CircuitOpen { .. } => broken.count(mode_of(circuit)),
            Unavailable::NoEndpoint | Unavailable::NoneOfSubset => {}
        }
    }

    /// Counts a request that the limit on connections refuses; returns what that is called.
    pub(crate) fn count_unconnected(&self) -> &'static str {
        self.0.totals.unconnected.fetch_add(1, Ordering::Relaxed);
        "connections"
    }

    pub(crate) fn count_retry(&self) {
        self.0.totals.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_hedge(&self) {
        self.0.totals.hedges.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_hedge_won(&self) {
        self.0.totals.hedges_won.fetch_add(1, Ordering::Relaxed);
    }

    /// How long answers take; the same for all that balance over the set, by the settings of the first.
    pub(crate) fn latencies(&self, settings: &HedgeSettings) -> &Latencies {
        self.0.latencies.get_or_init(|| Latencies::new(settings))
    }

    /// Counts a request towards the budget of further attempts.
    pub(crate) fn count_request(&self, now: Instant) {
        self.0.totals.budget.begin(self.0.clock.at(now));
    }

    /// Whether the budget allows a further attempt, which is then counted.
    pub(crate) fn may_try_again(&self, now: Instant, settings: &RetryBudgetSettings) -> bool {
        self.0.totals.budget.take(self.0.clock.at(now), settings)
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    pub(crate) fn clock(&self) -> Clock {
        self.0.clock
    }

    /// How long a request may wait for an endpoint, if it may.
    pub(crate) fn hold(&self) -> Option<&HoldSettings> {
        self.0.policy.hold.as_deref()
    }

    /// A place among the requests that wait, if there is one.
    pub(crate) fn wait(&self) -> Option<Slot<'_>> {
        Slot::take(&self.0.waiting, self.hold()?.max_waiting)
    }

    pub(crate) fn changed(&self) -> &Notify {
        &self.0.changed
    }

    fn now(&self) -> u64 {
        self.0.clock.at(Instant::now())
    }
}

#[cfg(test)]
mod tests;
