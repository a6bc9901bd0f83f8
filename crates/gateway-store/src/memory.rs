mod channels;
mod shard;

pub(crate) use channels::MemorySubscription;

use crate::MemorySettings;
use channels::Channels;
use hashbrown::DefaultHashBuilder;
use shard::{Room, Shard};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Enough that the threads of one machine seldom meet at one lock.
const SHARDS: usize = 64;
/// Fewer where there is less to share: a shard may hold at least so many keys and bytes.
const LEAST_KEYS: usize = 256;
const LEAST_BYTES: usize = 1 << 20;

/// Values by key with an expiry, in this process. Cheap to clone; clones share the values.
///
/// Holds at most what its [settings](MemorySettings) say, a part in each of up to 64 shards by the key's hash; beyond
/// that, those of the shard that expire soonest are forgotten first. A value larger than a shard is not kept.
#[derive(Clone, Debug)]
pub struct MemoryStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shards: Box<[Mutex<Shard>]>,
    room: Room,
    hasher: DefaultHashBuilder,
    channels: Arc<Channels>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(&MemorySettings::default())
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(settings: &MemorySettings) -> Self {
        let keys = usize::try_from(settings.max_keys.get()).unwrap_or(usize::MAX);
        let bytes = usize::try_from(settings.max_bytes.bytes()).unwrap_or(usize::MAX);
        let shards = SHARDS.min(keys / LEAST_KEYS).min(bytes / LEAST_BYTES).max(1);
        Self(Arc::new(Inner {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            room: Room { keys: keys / shards, bytes: bytes / shards },
            hasher: DefaultHashBuilder::default(),
            channels: Arc::default(),
        }))
    }

    /// The value of a key, if it has not expired.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        let now = Instant::now();
        self.shard(key).get(key, now).map(<[u8]>::to_vec)
    }

    /// Sets a value for a time.
    pub fn set(&self, key: &str, value: &[u8], ttl: Duration) {
        let now = Instant::now();
        self.shard(key).set(key, value, ttl, now, self.0.room);
    }

    /// Sets a value for a time unless the key has one; returns whether it did.
    #[must_use]
    pub fn set_new(&self, key: &str, value: &[u8], ttl: Duration) -> bool {
        let now = Instant::now();
        let mut shard = self.shard(key);
        shard.get(key, now).is_none() && shard.set(key, value, ttl, now, self.0.room)
    }

    /// Forgets a key.
    pub fn delete(&self, key: &str) {
        self.shard(key).delete(key);
    }

    /// The keys that begin so, sorted. Looks at every key: for administration.
    #[must_use]
    pub fn scan(&self, prefix: &str) -> Vec<String> {
        let now = Instant::now();
        let mut keys = Vec::new();
        for shard in &self.0.shards {
            let shard = lock(shard);
            keys.extend(shard.keys(now).filter(|key| key.starts_with(prefix)).map(str::to_owned));
        }
        keys.sort_unstable();
        keys
    }

    pub(crate) fn publish(&self, channel: &str, message: &[u8]) {
        self.0.channels.publish(channel, message);
    }

    pub(crate) fn subscribe(&self, channel: &str) -> MemorySubscription {
        self.0.channels.subscribe(channel)
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard> {
        // Any part of the hash is as good as any other; there are at most 64 shards.
        let index = self.0.hasher.hash_one(key) % self.0.shards.len() as u64;
        lock(&self.0.shards[index as usize])
    }
}

/// What panicked while it held the lock cannot have left a shard half-changed: nothing in there panics.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::units::ByteSize;
    use std::num::NonZeroU64;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn values_expire() {
        let store = MemoryStore::default();
        store.set("a", b"1", Duration::from_secs(10));
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert_eq!(store.clone().get("a"), Some(b"1".to_vec()));
        assert!(!store.set_new("a", b"2", Duration::from_secs(10)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!((store.get("a"), store.scan("")), (None, vec![]));
        assert!(store.set_new("a", b"2", Duration::from_secs(10)));
    }

    #[test]
    fn keys_and_bytes_are_bounded() {
        let (keys, bytes) = (5_000, 4 << 20);
        let settings =
            MemorySettings { max_keys: NonZeroU64::new(keys).unwrap(), max_bytes: ByteSize(bytes) };
        let store = MemoryStore::new(&settings);
        for n in 0..20_000 {
            store.set(&n.to_string(), b"", MINUTE);
        }
        let kept = store.scan("").len() as u64;
        assert!((keys / 2..=keys).contains(&kept), "{kept} small values");
        for n in 0..20_000 {
            store.set(&n.to_string(), &[0; 10_000], MINUTE);
        }
        let kept =
            store.scan("").into_iter().filter_map(|key| store.get(&key)).map(|value| value.len() as u64);
        let kept: u64 = kept.sum();
        assert!((bytes / 2..=bytes).contains(&kept), "{kept} bytes of large values");
    }

    #[test]
    fn of_many_threads_one_sets_a_new_value() {
        const THREADS: usize = 8;
        let (store, barrier) = (MemoryStore::default(), Barrier::new(THREADS));
        let winners: Vec<AtomicUsize> = (0..1_000).map(|_| AtomicUsize::new(0)).collect();
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    barrier.wait();
                    for (n, winner) in winners.iter().enumerate() {
                        winner.fetch_add(
                            usize::from(store.set_new(&n.to_string(), b"", MINUTE)),
                            Ordering::Relaxed,
                        );
                    }
                });
            }
        });
        assert!(winners.iter().all(|winner| winner.load(Ordering::Relaxed) == 1), "{winners:?}");
    }
}
