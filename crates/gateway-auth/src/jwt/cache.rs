//! What is remembered by token: a bounded map in shards whose entries end with their tokens.

use hashbrown::HashMap;
use std::sync::{Mutex, PoisonError};

const SHARDS: usize = 64;

/// What stands for a token.
pub(crate) type TokenKey = u128;

#[derive(Debug)]
pub(crate) struct Cache<T> {
    shards: Box<[Mutex<Shard<T>>]>,
    max_per_shard: usize,
}

/// By key: what is remembered, and when it ends, in seconds since 1970.
type Shard<T> = HashMap<TokenKey, (T, f64)>;

impl<T: Clone> Cache<T> {
    pub(crate) fn new(max_entries: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, max_per_shard: max_entries.div_ceil(SHARDS) }
    }

    pub(crate) fn get(&self, key: TokenKey, now: f64) -> Option<T> {
        let shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        shard.get(&key).filter(|(_, end)| now < *end).map(|(value, _)| value.clone())
    }

    pub(crate) fn insert(&self, key: TokenKey, value: T, end: f64, now: f64) {
        if self.max_per_shard == 0 {
            return;
        }
        let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= self.max_per_shard && !shard.contains_key(&key) {
            shard.retain(|_, (_, end)| now < *end);
            if shard.len() >= self.max_per_shard {
                // Those that would end first: half of them, so that this is rare.
                let mut ends: Vec<f64> = shard.values().map(|(_, end)| *end).collect();
                let middle = ends.len() / 2;
                let median = *ends.select_nth_unstable_by(middle, f64::total_cmp).1;
                shard.retain(|_, (_, end)| *end > median);
            }
        }
        shard.insert(key, (value, end));
    }

    /// All that have not ended.
    pub(crate) fn entries(&self, now: f64) -> Vec<(TokenKey, T)> {
        let shards = self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner));
        let entries = shards.flat_map(|shard| {
            let live = shard.iter().filter(|(_, (_, end))| now < *end);
            live.map(|(key, (value, _))| (*key, value.clone())).collect::<Vec<_>>()
        });
        entries.collect()
    }

    fn shard(&self, key: TokenKey) -> &Mutex<Shard<T>> {
        &self.shards[(key >> 64) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_end_on_time_and_their_number_is_bounded() {
        let cache = Cache::new(640);
        cache.insert(1, "a", 100.0, 0.0);
        assert_eq!(cache.get(1, 99.999), Some("a"));
        assert_eq!(cache.get(1, 100.0), None);
        for i in 0..100_000u128 {
            cache.insert((i << 64) | i, "b", 1000.0 + i as f64, 0.0);
        }
        let kept: usize = cache.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert!(kept <= 640, "{kept}");
    }
}
