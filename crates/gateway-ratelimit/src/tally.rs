//! How often limits let pass and did not, for metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a limit has made of the requests of one route so far. Requests that it does not limit are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitCounts {
    /// Those that it let pass; of several limits on a route, those that all of them did.
    pub allowed: u64,
    /// Those that it refused.
    pub limited: u64,
    /// Those that it would have refused, were its mode not `report`.
    pub would_limit: u64,
    /// Those of all of them that were decided without the store, because it was away or too slow.
    pub without_store: u64,
}

/// How many events a limit has told of quotas that near their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaCounts {
    /// At 80 per cent.
    pub at_80: u64,
    /// At 100 per cent.
    pub at_100: u64,
}

/// What becomes of a request, for those who count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Allowed,
    Limited,
    WouldLimit,
}

/// The counts of one route, taken hold of when its layer is made.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    allowed: AtomicU64,
    limited: AtomicU64,
    would_limit: AtomicU64,
    without_store: AtomicU64,
    unsettled: AtomicU64,
}

impl Tally {
    pub(crate) fn count(&self, fate: Fate) {
        let counter = match fate {
            Fate::Allowed => &self.allowed,
            Fate::Limited => &self.limited,
            Fate::WouldLimit => &self.would_limit,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_without_store(&self) {
        self.without_store.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_unsettled(&self) {
        self.unsettled.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn unsettled(&self) -> u64 {
        self.unsettled.load(Ordering::Relaxed)
    }

    pub(crate) fn read(&self) -> LimitCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LimitCounts {
            allowed: read(&self.allowed),
            limited: read(&self.limited),
            would_limit: read(&self.would_limit),
            without_store: read(&self.without_store),
        }
    }
}

/// The counts of all routes of a limit. They outlive a change of its settings, so that none ever goes back.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    by_route: Mutex<BTreeMap<String, Arc<Tally>>>,
    at_80: AtomicU64,
    at_100: AtomicU64,
}

impl Tallies {
    /// The counts of a route; without a name, of the layer that stands on none.
    pub(crate) fn of(&self, route: &str) -> Arc<Tally> {
        let mut all = self.by_route.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(route.to_owned()).or_default().clone()
    }

    pub(crate) fn count_quota(&self, percent: u8) {
        let counter = if percent >= 100 { &self.at_100 } else { &self.at_80 };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn quotas(&self) -> QuotaCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        QuotaCounts { at_80: read(&self.at_80), at_100: read(&self.at_100) }
    }
}
