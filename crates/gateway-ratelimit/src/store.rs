//! Where the counts of this process live: a bounded map in shards.

mod table;

use crate::algorithm::{Rule, State, reset, used};
use crate::key::Key;
use crate::plan::{Outcome, decide_all, take_all};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use table::Table;

/// Enough that workers rarely meet.
const SHARDS: usize = 64;

/// State by key. Holds at most about `max_keys`; a shard that is full forgets those whose limit is whole again,
/// and if there are not enough, the half with the most left.
#[derive(Debug)]
pub(crate) struct Counts {
    shards: Box<[Mutex<Shard>]>,
    max_per_shard: AtomicUsize,
}

type Shard = Table<Entry>;

#[derive(Debug)]
struct Entry {
    states: States,
    warmth: Warmth,
}

/// For how long states are worth keeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Warmth {
    /// When the limit is whole again: from then on they say nothing.
    pub(crate) whole_at: u64,
    /// That, sooner by as much as there is left: who is forgotten first, where there is no room.
    pub(crate) rank: u64,
}

/// What is remembered of one key.
pub(crate) type Kept = (Key, Warmth, Vec<State>);

// A larger one would take two cache lines.
const _: () = assert!(size_of::<(Key, Entry)>() <= 64);

/// Most callers have one limit, which needs no allocation.
#[derive(Debug)]
enum States {
    One(State),
    Several(Box<[State]>),
}

impl States {
    fn new(count: usize) -> Self {
        if count == 1 {
            Self::One(State::default())
        } else {
            Self::Several(vec![State::default(); count].into())
        }
    }

    fn as_mut(&mut self) -> &mut [State] {
        match self {
            Self::One(state) => std::slice::from_mut(state),
            Self::Several(states) => states,
        }
    }

    fn as_ref(&self) -> &[State] {
        match self {
            Self::One(state) => std::slice::from_ref(state),
            Self::Several(states) => states,
        }
    }
}

impl Counts {
    pub(crate) fn new(max_keys: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let counts = Self { shards, max_per_shard: AtomicUsize::new(0) };
        counts.resize(max_keys);
        counts
    }

    /// Holds as many from now on.
    pub(crate) fn resize(&self, max_keys: usize) {
        self.max_per_shard.store(max_keys.div_ceil(SHARDS).max(1), Ordering::Relaxed);
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        self.shards[(key >> 64) as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the states of a key and keeps them. The lock is held for some 50 ns.
    fn with<T>(&self, key: Key, now: u64, rules: &[Rule], act: impl FnOnce(&mut [State]) -> T) -> T {
        let mut shard = self.shard(key);
        if let Some(entry) = shard.get_mut(key) {
            if entry.states.as_ref().len() != rules.len() {
                entry.states = States::new(rules.len());
            }
            let result = act(entry.states.as_mut());
            entry.warmth = warmth(entry.states.as_ref(), now, rules);
            return result;
        }
        if shard.len() >= self.max_per_shard.load(Ordering::Relaxed) {
            make_room(&mut shard, now);
        }
        let mut states = States::new(rules.len());
        let result = act(states.as_mut());
        let warmth = warmth(states.as_ref(), now, rules);
        shard.insert(key, Entry { states, warmth });
        result
    }

    /// Decides about one request, and takes what it costs if it may pass.
    pub(crate) fn decide(&self, key: Key, now: u64, cost: u32, rules: &[Rule], taking: bool) -> Outcome {
        self.with(key, now, rules, |states| decide_all(states, now, cost, rules, taking))
    }

    /// Takes, whether there is room or not; returns how much each rule had used before.
    pub(crate) fn take(&self, key: Key, now: u64, cost: i64, rules: &[Rule]) {
        self.with(key, now, rules, |states| take_all(states, now, cost, rules));
    }

    /// How much of each rule is used up.
    pub(crate) fn used(&self, key: Key, now: u64, rules: &[Rule]) -> Option<Vec<u64>> {
        let shard = self.shard(key);
        let states = shard.get(key)?.states.as_ref();
        Some(states.iter().zip(rules).map(|(state, rule)| used(state, now, rule)).collect())
    }

    /// How much there is left by the tightest rule.
    pub(crate) fn left(&self, key: Key, now: u64, rules: &[Rule]) -> u32 {
        let known = self.shard(key).get(key).map(|entry| entry.states.as_ref().to_vec());
        let known = known.filter(|states| states.len() == rules.len());
        let mut states = known.unwrap_or_else(|| vec![State::default(); rules.len()]);
        decide_all(&mut states, now, 0, rules, false).decision.remaining()
    }

    /// Whether anything is counted under a key.
    pub(crate) fn knows(&self, key: Key) -> bool {
        self.shard(key).get(key).is_some()
    }

    /// Goes on under a key, and its rules, with what was counted under an earlier one: for each rule which of the earlier
    /// states is its own. Says whether there was anything.
    pub(crate) fn carry_on(
        &self,
        earlier: Key,
        key: Key,
        now: u64,
        rules: &[Rule],
        from: &[Option<usize>],
    ) -> bool {
        let known = self.shard(earlier).get(earlier).map(|entry| entry.states.as_ref().to_vec());
        let Some(known) = known else { return false };
        self.forget(earlier);
        self.with(key, now, rules, |states| {
            for (state, from) in states.iter_mut().zip(from) {
                *state = from.and_then(|i| known.get(i)).copied().unwrap_or_default();
            }
        });
        true
    }

    /// Forgets a key.
    pub(crate) fn forget(&self, key: Key) {
        self.shard(key).remove(key);
    }

    /// All whose limit is not whole.
    pub(crate) fn dump(&self, now: u64) -> Vec<Kept> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let used = shard.iter().filter(|(_, entry)| entry.warmth.whole_at > now);
            all.extend(used.map(|(key, entry)| (key, entry.warmth, entry.states.as_ref().to_vec())));
        }
        all
    }

    /// Puts back what was dumped.
    pub(crate) fn load(&self, all: Vec<Kept>) {
        for (key, warmth, states) in all {
            let mut shard = self.shard(key);
            if shard.len() < self.max_per_shard.load(Ordering::Relaxed) {
                let states = match states.as_slice() {
                    [one] => States::One(*one),
                    _ => States::Several(states.into()),
                };
                shard.insert(key, Entry { states, warmth });
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }
}

/// A bucket is whole when it has drained. A window is whole at its end, but of two with the same end the one with
/// less in it is sooner dispensable.
fn warmth(states: &[State], now: u64, rules: &[Rule]) -> Warmth {
    let mut most = Warmth { whole_at: now, rank: now };
    for (state, rule) in states.iter().zip(rules) {
        let reset = reset(state, now, rule);
        let warm = if rule.is_window() {
            let part = u128::from(reset) * u128::from(used(state, now, rule).min(rule.count));
            u64::try_from(part / u128::from(rule.count)).unwrap_or(reset)
        } else {
            reset
        };
        most.whole_at = most.whole_at.max(now.saturating_add(reset));
        most.rank = most.rank.max(now.saturating_add(warm));
    }
    most
}

/// Amortised: what is thrown out is at least as much as has come in since the last time, or half.
fn make_room(shard: &mut Shard, now: u64) {
    let before = shard.len();
    shard.retain(|entry| entry.warmth.whole_at > now);
    if shard.len() > before / 2 {
        let mut warm: Vec<u64> = shard.iter().map(|(_, entry)| entry.warmth.rank).collect();
        let middle = warm.len() / 2;
        let (_, median, _) = warm.select_nth_unstable(middle);
        let median = *median;
        shard.retain(|entry| entry.warmth.rank > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, Decision};
    use std::time::Duration;

    const NOW: u64 = 1_700_000_000_000_000;

    fn rules(limit: &str, algorithm: Algorithm) -> [Rule; 1] {
        [Rule::new(&limit.parse().unwrap(), algorithm, Duration::ZERO)]
    }

    /// In a release build, ten times as many.
    const STRANGERS: u128 = if cfg!(debug_assertions) { 1_000_000 } else { 10_000_000 };

    #[test]
    fn the_number_of_keys_is_bounded_and_the_busiest_are_kept() {
        for algorithm in [Algorithm::Gcra, Algorithm::FixedWindow, Algorithm::SlidingWindow] {
            let (counts, rules) = (Counts::new(10_000), rules("10/h", algorithm));
            let busy: Key = 7 << 64;
            for _ in 0..10 {
                counts.decide(busy, NOW, 1, &rules, true);
            }
            let strangers = if algorithm == Algorithm::Gcra { STRANGERS } else { STRANGERS / 10 };
            for i in 0..strangers {
                counts.decide((i << 64) | (i + 1), NOW + i as u64, 1, &rules, true);
            }
            assert!(counts.len() <= 10_000 + SHARDS, "{} keys", counts.len());
            assert!(
                counts.decide(busy, NOW + strangers as u64, 1, &rules, true).decision.is_refusal(),
                "the busiest was forgotten by {algorithm:?}"
            );
        }
    }

    #[test]
    fn who_has_used_something_of_a_window_is_kept_until_it_ends_unless_there_is_no_room() {
        for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
            let (counts, rules) = (Counts::new(SHARDS * 4), rules("1000/h", algorithm));
            let later = NOW + 60_000_000;
            counts.decide(1, NOW, 1, &rules, true);
            assert_eq!(counts.dump(later).len(), 1, "{algorithm:?}");
            let end = NOW + 3 * 3_600_000_000;
            assert_eq!(counts.dump(end).len(), 0, "{algorithm:?}");
            // Of five where there is room for four, those two go whose window has ended.
            counts.take(6, NOW, 1, &rules);
            counts.decide(2, end, 1, &rules, true);
            for key in 3..5 {
                counts.decide(key, end + 60_000_000, 1, &rules, true);
            }
            assert_eq!(counts.used(1, end, &rules), None, "{algorithm:?}");
            assert_eq!(counts.used(2, end, &rules), Some(vec![1]), "{algorithm:?}");
        }
    }

    #[test]
    fn exactly_the_limit_passes_under_concurrency() {
        let (counts, rules) = (Counts::new(1000), rules("500/h", Algorithm::Gcra));
        let pass = || matches!(counts.decide(1, NOW, 1, &rules, true).decision, Decision::Allow { .. });
        let count = || (0..200).filter(|_| pass()).count();
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 500);
    }

    #[test]
    fn several_limits_take_all_or_nothing_and_the_tightest_speaks() {
        let counts = Counts::new(1000);
        let rules = [rules("3/s", Algorithm::Gcra), rules("4/h", Algorithm::Gcra)].concat();
        let ask = |at: u64| counts.decide(1, NOW + at * 1_000_000, 1, &rules, true);
        for left in [2, 1, 0] {
            let outcome = ask(0);
            assert_eq!((outcome.decision.remaining(), outcome.tightest), (left, 0));
        }
        // The second has one left, and keeps it.
        let refused = ask(0);
        assert!(refused.decision.is_refusal() && refused.tightest == 0);
        assert_eq!(refused.told[1].remaining, 1);
        let last = ask(2);
        assert_eq!((last.decision.remaining(), last.tightest), (0, 1));
        let refused = ask(4);
        assert!(refused.decision.is_refusal() && refused.tightest == 1, "{refused:?}");
        assert_eq!(refused.told[0].remaining, 3, "the first was not asked in vain");
    }
}
