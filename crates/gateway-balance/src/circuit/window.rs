use super::End;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) total: u32,
    pub(crate) failed: u32,
}

const BUCKETS: u64 = 10;
/// The bits of each count in a bucket; those above are the number of the bucket's turn.
const BITS: u32 = 20;
const MOST: u64 = (1 << BITS) - 1;

/// Counts over a time that moves on, in tenths of it. Each is one atomic, so that old counts are never mixed with
/// new ones.
#[derive(Debug)]
pub(crate) struct Window {
    width: u64,
    buckets: [AtomicU64; BUCKETS as usize],
}

impl Window {
    pub(crate) fn new(length: u64) -> Self {
        Self { width: (length / BUCKETS).max(1), buckets: Default::default() }
    }

    pub(crate) fn clear(&self) {
        for bucket in &self.buckets {
            bucket.store(0, Relaxed);
        }
    }

    fn turn(&self, now: u64) -> u64 {
        now / self.width
    }

    /// Counts one request and returns the sums if it failed: nobody asks after those that did not.
    pub(crate) fn add(&self, now: u64, end: End) -> Sum {
        let turn = self.turn(now);
        let mark = (turn << (2 * BITS)) >> (2 * BITS);
        let count = |old: u64| {
            let (total, failed) =
                if old >> (2 * BITS) == mark { (old >> BITS & MOST, old & MOST) } else { (0, 0) };
            let failed = (failed + u64::from(end == End::Failed)).min(MOST);
            Some(mark << (2 * BITS) | (total + 1).min(MOST) << BITS | failed)
        };
        let _ = self.buckets[(turn % BUCKETS) as usize].fetch_update(Relaxed, Relaxed, count);
        if end == End::Failed { self.sum(now) } else { Sum::default() }
    }

    pub(crate) fn sum(&self, now: u64) -> Sum {
        let turn = self.turn(now);
        let mut sum = Sum::default();
        for turn in turn.saturating_sub(BUCKETS - 1)..=turn {
            let bucket = self.buckets[(turn % BUCKETS) as usize].load(Relaxed);
            if bucket >> (2 * BITS) == (turn << (2 * BITS)) >> (2 * BITS) {
                sum.total += (bucket >> BITS & MOST) as u32;
                sum.failed += (bucket & MOST) as u32;
            }
        }
        sum
    }
}
