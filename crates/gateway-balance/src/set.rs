use crate::budget::RetryBudget;
use crate::strategy::{Strategy, schedule};
use arc_swap::ArcSwap;
use gateway_core::Endpoint;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The endpoints of one service with their health and load. Cheap to clone; clones share everything, so that
/// all workers of a process balance as one.
#[derive(Clone, Debug)]
pub struct EndpointSet(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    name: String,
    strategy: Strategy,
    members: Box<[Member]>,
    /// One round over the healthy members: indexes into `members`. Replaced when health changes.
    round: ArcSwap<Vec<u32>>,
    changing: Mutex<()>,
    next: AtomicUsize,
    retries: AtomicU64,
    pub(crate) budget: RetryBudget,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) endpoint: Endpoint,
    healthy: AtomicBool,
    in_flight: AtomicUsize,
}

/// One endpoint and how it is doing.
#[derive(Clone, Debug)]
pub struct EndpointState {
    /// Which.
    pub endpoint: Endpoint,
    /// Whether requests are sent to it.
    pub healthy: bool,
    /// Requests it is working on.
    pub in_flight: usize,
}

impl EndpointSet {
    /// A set whose endpoints are all taken for healthy until a health check says otherwise. `name` is for logs.
    #[must_use]
    pub fn new(name: &str, endpoints: Vec<Endpoint>, strategy: Strategy) -> Self {
        let member =
            |endpoint| Member { endpoint, healthy: AtomicBool::new(true), in_flight: AtomicUsize::new(0) };
        let members: Box<[Member]> = endpoints.into_iter().map(member).collect();
        let set = Self(Arc::new(Shared {
            name: name.to_owned(),
            strategy,
            round: ArcSwap::default(),
            members,
            changing: Mutex::new(()),
            next: AtomicUsize::new(0),
            retries: AtomicU64::new(0),
            budget: RetryBudget::default(),
        }));
        set.0.replan();
        set
    }

    /// What the set is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Every endpoint and how it is doing.
    pub fn states(&self) -> impl Iterator<Item = EndpointState> {
        self.0.members.iter().map(|member| EndpointState {
            endpoint: member.endpoint.clone(),
            healthy: member.healthy.load(Ordering::Relaxed),
            in_flight: member.in_flight.load(Ordering::Relaxed),
        })
    }

    /// Whether any endpoint can take requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.0.round.load().is_empty()
    }

    /// How many attempts beyond the first there were.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.0.retries.load(Ordering::Relaxed)
    }

    /// The endpoint whose turn it is, without sending it anything; `None` if none is healthy.
    #[must_use]
    pub fn pick_endpoint(&self) -> Option<Endpoint> {
        self.pick(&[]).map(|picked| picked.endpoint().clone())
    }

    /// Says whether requests may be sent to the endpoint at this index. Returns whether that is news.
    pub(crate) fn set_healthy(&self, index: usize, healthy: bool) -> bool {
        let news = self.0.members[index].healthy.swap(healthy, Ordering::Relaxed) != healthy;
        if news {
            self.0.replan();
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

    /// The next endpoint, another than those already tried if there is one.
    pub(crate) fn pick(&self, tried: &[usize]) -> Option<Picked> {
        let round = self.0.round.load();
        let first = self.pick_in(&round)?;
        let index = if tried.contains(&first) {
            // Rare: look for another in the order of the round.
            let at = round.iter().position(|i| *i as usize == first).unwrap_or(0);
            let others = round[at..].iter().chain(&round[..at]).map(|i| *i as usize);
            others.into_iter().find(|i| !tried.contains(i)).unwrap_or(first)
        } else {
            first
        };
        Some(Picked::new(self.clone(), index))
    }

    fn pick_in(&self, round: &[u32]) -> Option<usize> {
        let at = match (round.len(), self.0.strategy) {
            (0, _) => return None,
            (1, _) => 0,
            (n, Strategy::RoundRobin) => self.0.next.fetch_add(1, Ordering::Relaxed) % n,
            (n, Strategy::Random) => fastrand::usize(..n),
            (n, Strategy::LeastRequest) => {
                let (a, b) = (fastrand::usize(..n), fastrand::usize(..n));
                if self.load_of(round[a]) <= self.load_of(round[b]) { a } else { b }
            }
        };
        Some(round[at] as usize)
    }

    /// Requests in flight for the share it takes; the round already favours heavy members.
    fn load_of(&self, member: u32) -> usize {
        self.0.members[member as usize].in_flight.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn replan(&self) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let healthy: Vec<_> =
            self.members.iter().enumerate().filter(|(_, m)| m.healthy.load(Ordering::Relaxed)).collect();
        let weights: Vec<_> = healthy.iter().map(|(i, m)| (*i, m.endpoint.weight())).collect();
        self.round.store(Arc::new(schedule(&weights)));
    }
}

/// An endpoint that was picked: counted as busy until dropped.
#[derive(Debug)]
pub(crate) struct Picked {
    set: EndpointSet,
    pub(crate) index: usize,
}

impl Picked {
    fn new(set: EndpointSet, index: usize) -> Self {
        set.0.members[index].in_flight.fetch_add(1, Ordering::Relaxed);
        Self { set, index }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.set.0.members[self.index].endpoint
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.set.0.members[self.index].in_flight.fetch_sub(1, Ordering::Relaxed);
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

    fn picks(set: &EndpointSet, n: usize) -> Vec<usize> {
        (0..n).map(|_| set.pick(&[]).unwrap().index).collect()
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
                        counts[set.pick(&[]).unwrap().index].fetch_add(1, Ordering::Relaxed);
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
        assert!(set.pick(&[]).is_none());
        assert!(!set.is_ready());
        set.set_healthy(1, true);
        assert_eq!(picks(&set, 2), [1, 1]);
    }

    #[test]
    fn a_retry_goes_to_another_endpoint_while_there_is_one() {
        for strategy in [Strategy::RoundRobin, Strategy::Random, Strategy::LeastRequest] {
            let set = set(&[1, 1], strategy);
            for _ in 0..50 {
                assert_eq!(set.pick(&[0]).unwrap().index, 1, "{strategy:?}");
                assert!(set.pick(&[0, 1]).is_some(), "{strategy:?}: all were tried, one is still picked");
            }
        }
    }

    #[test]
    fn least_request_avoids_the_busy_one() {
        let set = set(&[1, 1], Strategy::LeastRequest);
        let busy: Vec<_> = (0..10).map(|_| Picked::new(set.clone(), 0)).collect();
        let on_idle = picks(&set, 400).iter().filter(|i| **i == 1).count();
        // Both choices fall on the busy one in a quarter of the cases.
        assert!((250..350).contains(&on_idle), "{on_idle} of 400 went to the idle endpoint");
        drop(busy);
        assert!(set.states().all(|s| s.in_flight == 0));
    }

    #[test]
    fn weight_zero_takes_no_requests() {
        let set = set(&[1, 0], Strategy::RoundRobin);
        assert_eq!(picks(&set, 3), [0, 0, 0]);
    }
}
