use hashbrown::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// What a key costs beside its own bytes and its value's: the entry, its place in the table, two allocations.
const OVERHEAD: usize = 96;

/// Below this, expired values are not worth looking for.
const SMALL: usize = 64;

/// A part of the keys, which one lock guards.
#[derive(Debug)]
pub(super) struct Shard {
    entries: HashMap<Box<str>, Entry>,
    bytes: usize,
    /// At how many keys the expired are looked for: so that they are found in time, and not at every key.
    sweep_at: usize,
}

#[derive(Debug)]
struct Entry {
    value: Box<[u8]>,
    expires: Instant,
}

/// How much a shard may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) keys: usize,
    pub(super) bytes: usize,
}

impl Default for Shard {
    fn default() -> Self {
        Self { entries: HashMap::new(), bytes: 0, sweep_at: SMALL }
    }
}

impl Shard {
    pub(super) fn get(&self, key: &str, now: Instant) -> Option<&[u8]> {
        self.entries.get(key).filter(|entry| entry.expires > now).map(|entry| &*entry.value)
    }

    /// Returns whether there was room for it at all.
    pub(super) fn set(&mut self, key: &str, value: &[u8], ttl: Duration, now: Instant, room: Room) -> bool {
        // What Redis cannot count either.
        if ttl < Duration::from_millis(1) {
            return false;
        }
        self.delete(key);
        let size = size(key, value);
        if size > room.bytes {
            return false;
        }
        if self.entries.len() >= self.sweep_at {
            self.sweep(now);
        }
        if self.entries.len() >= room.keys || self.bytes + size > room.bytes {
            self.sweep(now);
            self.make_room(size, room);
        }
        self.bytes += size;
        // An expiry beyond what the clock can say is in thirty years.
        let expires = now.checked_add(ttl).unwrap_or_else(|| now + Duration::from_secs(30 * 365 * 86_400));
        self.entries.insert(key.into(), Entry { value: value.into(), expires });
        true
    }

    pub(super) fn delete(&mut self, key: &str) {
        if let Some((key, entry)) = self.entries.remove_entry(key) {
            self.bytes -= size(&key, &entry.value);
        }
    }

    pub(super) fn keys(&self, now: Instant) -> impl Iterator<Item = &str> {
        self.entries.iter().filter(move |(_, entry)| entry.expires > now).map(|(key, _)| &**key)
    }

    fn sweep(&mut self, now: Instant) {
        let bytes = &mut self.bytes;
        self.entries.retain(|key, entry| {
            let alive = entry.expires > now;
            if !alive {
                *bytes -= size(key, &entry.value);
            }
            alive
        });
        self.sweep_at = (self.entries.len() * 2).max(SMALL);
        if self.entries.capacity() > self.sweep_at * 4 {
            self.entries.shrink_to(self.sweep_at);
        }
    }

    /// Where what is to come does not fit: forgets what expires soonest, down to three quarters of the room, so that
    /// it is not done for every key.
    fn make_room(&mut self, coming: usize, room: Room) {
        let fits = |keys: usize, bytes: usize| keys < room.keys && bytes + coming <= room.bytes;
        if fits(self.entries.len(), self.bytes) {
            return;
        }
        let mut by_expiry: Vec<(Instant, Box<str>)> =
            self.entries.iter().map(|(key, entry)| (entry.expires, key.clone())).collect();
        by_expiry.sort_unstable();
        let (few_keys, few_bytes) = (room.keys - room.keys / 4, room.bytes - room.bytes / 4);
        for (_, key) in by_expiry {
            let (keys, bytes) = (self.entries.len(), self.bytes);
            if fits(keys, bytes) && keys <= few_keys && bytes <= few_bytes {
                break;
            }
            self.delete(&key);
        }
    }
}

fn size(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOM: Room = Room { keys: 20, bytes: 20 * OVERHEAD + 300 };

    proptest! {
        #[test]
        fn never_holds_more_than_its_room_and_always_what_came_last(
            steps in proptest::collection::vec((0_u8..40, 0_usize..120, 1_u64..100, 0_u64..5), 1..200),
        ) {
            let (mut shard, mut now) = (Shard::default(), Instant::now());
            for (key, length, ttl, pause) in steps {
                now += Duration::from_secs(pause);
                let key = key.to_string();
                if length % 7 == 0 {
                    shard.delete(&key);
                    prop_assert_eq!(shard.get(&key, now), None);
                } else {
                    prop_assert!(shard.set(&key, &vec![1; length], Duration::from_secs(ttl), now, ROOM));
                    prop_assert_eq!(shard.get(&key, now), Some(&*vec![1; length]));
                }
                prop_assert!(shard.entries.len() <= ROOM.keys && shard.bytes <= ROOM.bytes);
                let counted: usize = shard.entries.iter().map(|(key, entry)| size(key, &entry.value)).sum();
                prop_assert_eq!(counted, shard.bytes);
            }
        }
    }

    #[test]
    fn what_expires_soonest_is_forgotten_first() {
        let (mut shard, now) = (Shard::default(), Instant::now());
        for n in 1..=20 {
            shard.set(&n.to_string(), b"", Duration::from_secs(100 - n), now, ROOM);
        }
        shard.set("one too many", b"", Duration::from_secs(1), now, ROOM);
        let mut kept: Vec<u64> = shard.keys(now).filter_map(|key| key.parse().ok()).collect();
        kept.sort_unstable();
        assert_eq!(kept, (1..=15).collect::<Vec<_>>());
        assert!(shard.get("one too many", now).is_some());
    }

    #[test]
    fn expired_values_do_not_pile_up() {
        let (mut shard, start) = (Shard::default(), Instant::now());
        let room = Room { keys: usize::MAX, bytes: usize::MAX };
        for n in 0..10_000_u64 {
            let now = start + Duration::from_secs(n);
            shard.set(&n.to_string(), b"x", Duration::from_secs(10), now, room);
            assert!(shard.entries.len() <= SMALL, "{} keys after {n}", shard.entries.len());
        }
    }

    #[test]
    fn what_can_never_fit_is_not_kept_and_neither_is_what_it_would_have_replaced() {
        let (mut shard, now) = (Shard::default(), Instant::now());
        assert!(shard.set("a", b"old", Duration::from_secs(9), now, ROOM));
        assert!(!shard.set("a", &[0; 10_000], Duration::from_secs(9), now, ROOM));
        assert_eq!((shard.get("a", now), shard.bytes), (None, 0));
        assert!(shard.set("b", b"", Duration::MAX, now, ROOM), "for ever is a long time");
        assert!(!shard.set("b", b"x", Duration::from_micros(999), now, ROOM));
        assert_eq!(shard.get("b", now), Some(&b""[..]), "as on Redis");
    }
}
