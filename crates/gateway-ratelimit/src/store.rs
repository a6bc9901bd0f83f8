//! Where the counts live: a bounded map in shards.

use crate::Limit;
use crate::gcra::{Decision, decide};
use crate::key::Key;
use hashbrown::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};

/// Enough that workers rarely meet.
const SHARDS: usize = 64;

/// State by key. Holds at most about `max_keys`; a shard that is full forgets those whose limit is whole again,
/// and if there are none, the half with the most left.
#[derive(Debug)]
pub(crate) struct Counts {
    shards: Box<[Mutex<Shard>]>,
    max_per_shard: usize,
}

type Shard = HashMap<Key, u64, BuildHasherDefault<Low64>>;

/// Keys are keyed hashes already: half of one is as good as another hash of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Low64(u64);

impl Hasher for Low64 {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

impl Counts {
    pub(crate) fn new(max_keys: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, max_per_shard: max_keys.div_ceil(SHARDS).max(1) }
    }

    /// Decides about one request and keeps the outcome. The lock is held for some 50 ns.
    pub(crate) fn decide(&self, key: Key, now: u64, limit: &Limit) -> Decision {
        let mut shard =
            self.shards[(key >> 64) as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = shard.get_mut(&key) {
            let (decision, next) = decide(*state, now, limit);
            *state = next;
            return decision;
        }
        if shard.len() >= self.max_per_shard {
            make_room(&mut shard, now);
        }
        let (decision, state) = decide(0, now, limit);
        shard.insert(key, state);
        decision
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }
}

/// Amortised: what is thrown out is at least as much as has come in since the last time, or half.
fn make_room(shard: &mut Shard, now: u64) {
    let before = shard.len();
    shard.retain(|_, state| *state > now);
    if shard.len() > before / 2 {
        let mut states: Vec<u64> = shard.values().copied().collect();
        let middle = states.len() / 2;
        let (_, median, _) = states.select_nth_unstable(middle);
        let median = *median;
        shard.retain(|_, state| *state > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_keys_is_bounded_and_the_busiest_are_kept() {
        let (counts, limit) = (Counts::new(1000), "10/min".parse().unwrap());
        let busy: Key = 7 << 64;
        for _ in 0..10 {
            counts.decide(busy, 1, &limit);
        }
        for i in 0..100_000u128 {
            counts.decide((i << 64) | (i + 1), 1, &limit);
        }
        assert!(counts.len() <= 1000 + SHARDS, "{} keys", counts.len());
        assert!(
            matches!(counts.decide(busy, 1, &limit), Decision::Refuse { .. }),
            "the busiest was forgotten"
        );
    }

    #[test]
    fn exactly_the_limit_passes_under_concurrency() {
        let (counts, limit) = (Counts::new(1000), "500/h".parse().unwrap());
        let passed: usize = std::thread::scope(|scope| {
            let count =
                || (0..200).filter(|_| matches!(counts.decide(1, 1, &limit), Decision::Allow { .. })).count();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 500);
    }
}
