mod channels;

pub(crate) use channels::MemorySubscription;

use channels::Channels;
use hashbrown::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// More is surely an attack or a mistake, and would only cost memory.
const MAX_KEYS: usize = 1_000_000;

/// Values by key with an expiry, in this process. Cheap to clone; clones share the values.
///
/// Holds at most a million keys; beyond that, those that expire soonest are forgotten first.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    entries: Arc<Mutex<HashMap<Box<str>, Entry>>>,
    channels: Arc<Channels>,
}

#[derive(Debug)]
struct Entry {
    value: Vec<u8>,
    expires: Instant,
}

impl MemoryStore {
    /// The value of a key, if it has not expired.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(key).filter(|entry| entry.expires > Instant::now()).map(|entry| entry.value.clone())
    }

    /// Sets a value for a time.
    pub fn set(&self, key: &str, value: &[u8], ttl: Duration) {
        let now = Instant::now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        insert(&mut entries, key, value, now, ttl);
    }

    /// Sets a value for a time unless the key has one; returns whether it did.
    #[must_use]
    pub fn set_new(&self, key: &str, value: &[u8], ttl: Duration) -> bool {
        let now = Instant::now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let new = entries.get(key).is_none_or(|entry| entry.expires <= now);
        if new {
            insert(&mut entries, key, value, now, ttl);
        }
        new
    }

    /// Forgets a key.
    pub fn delete(&self, key: &str) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// The keys that begin so, sorted. Looks at every key: for administration.
    #[must_use]
    pub fn scan(&self, prefix: &str) -> Vec<String> {
        let now = Instant::now();
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = entries.iter().filter(|(key, entry)| key.starts_with(prefix) && entry.expires > now);
        let mut keys: Vec<String> = alive.map(|(key, _)| key.to_string()).collect();
        keys.sort_unstable();
        keys
    }

    pub(crate) fn publish(&self, channel: &str, message: &[u8]) {
        self.channels.publish(channel, message);
    }

    pub(crate) fn subscribe(&self, channel: &str) -> MemorySubscription {
        self.channels.subscribe(channel)
    }
}

fn insert(entries: &mut HashMap<Box<str>, Entry>, key: &str, value: &[u8], now: Instant, ttl: Duration) {
    if entries.len() >= MAX_KEYS {
        make_room(entries, now);
    }
    entries.insert(key.into(), Entry { value: value.to_vec(), expires: now + ttl });
}

fn make_room(entries: &mut HashMap<Box<str>, Entry>, now: Instant) {
    entries.retain(|_, entry| entry.expires > now);
    if entries.len() > MAX_KEYS / 2 {
        let mut expiries: Vec<Instant> = entries.values().map(|entry| entry.expires).collect();
        let middle = expiries.len() / 2;
        let median = *expiries.select_nth_unstable(middle).1;
        entries.retain(|_, entry| entry.expires > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn values_expire() {
        let store = MemoryStore::default();
        store.set("a", b"1", Duration::from_secs(10));
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert_eq!(store.clone().get("a"), Some(b"1".to_vec()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(store.get("a"), None);
    }
}
