//! Counts over a sliding window: a ring of atomics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// So many buckets make up a window.
pub(crate) const BUCKETS: u32 = 30;

/// A count over the last [`BUCKETS`] ticks. A bucket is its tick and its count in one word, so that no count is
/// lost or taken for another's when the ring turns, however many workers add.
#[derive(Debug)]
pub(crate) struct Ring([AtomicU64; BUCKETS as usize]);

impl Default for Ring {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS as usize])
    }
}

impl Ring {
    /// Adds one at a tick.
    pub(crate) fn add(&self, tick: u32) {
        let bucket = &self.0[(tick % BUCKETS) as usize];
        let fresh = u64::from(tick) << 32;
        // The closure always gives a value.
        let _ = bucket.fetch_update(Relaxed, Relaxed, |value| {
            let seen = (value >> 32) as u32;
            // Who comes late with an old tick counts in the bucket as it is.
            let value = if seen < tick { fresh } else { value };
            Some(if value as u32 == u32::MAX { value } else { value + 1 })
        });
    }

    /// The count of the ticks from `tick - BUCKETS + 1` to `tick`.
    pub(crate) fn sum(&self, tick: u32) -> u64 {
        let oldest = (tick + 1).saturating_sub(BUCKETS);
        let within = |value: &u64| (oldest..=tick).contains(&((value >> 32) as u32));
        self.0.iter().map(|bucket| bucket.load(Relaxed)).filter(within).map(|value| value & 0xffff_ffff).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_sums_what_was_added_within_the_window(steps in proptest::collection::vec((0u32..10, 0u32..5), 0..100)) {
            let (ring, mut all, mut tick) = (Ring::default(), Vec::new(), 0);
            for (later, times) in steps {
                tick += later;
                for _ in 0..times {
                    ring.add(tick);
                    all.push(tick);
                }
                let expected = all.iter().filter(|added| **added + BUCKETS > tick).count() as u64;
                prop_assert_eq!(ring.sum(tick), expected);
            }
            prop_assert_eq!(ring.sum(tick + BUCKETS), 0);
        }
    }

    #[test]
    fn nothing_is_lost_when_many_add_while_the_ring_turns() {
        let ring = Ring::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20_000).for_each(|step| ring.add(step / 1000)));
            }
        });
        assert_eq!(ring.sum(19), 80_000);
    }
}
