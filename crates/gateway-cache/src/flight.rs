//! What is being fetched: the first who asks leads, others wait for the head of its answer.

use crate::entry::Entry;
use crate::fill::Fill;
use crate::store::purge::Purge;
use crate::wakers::{Seat, Wakers};
use hashbrown::{DefaultHashBuilder, HashMap};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

const SHARDS: usize = 32;
/// How long it is remembered that answers of a key cannot be shared, so that nobody waits in vain.
const PASS: Duration = Duration::from_secs(10);
/// What shares a place with another is at worst not collapsed for that long.
const PASSES: usize = 4096;

/// All that is being fetched.
#[derive(Debug)]
pub(crate) struct Flights {
    hasher: DefaultHashBuilder,
    shards: [Mutex<HashMap<Box<str>, Arc<Flight>>>; SHARDS],
    /// In each place a part of a key's hash, and until when its requests do not wait.
    passes: Box<[AtomicU64]>,
    start: Instant,
}

/// How a flight ended, as far as those who wait are concerned.
#[derive(Clone, Debug)]
pub(crate) enum Landing {
    /// There is a head that may be shared, and its body comes in.
    Fill(Arc<Fill>, Arc<Entry>),
    /// There is a whole answer: the stored one still is right.
    Entry(Arc<Entry>),
    /// There is an answer, but not for others.
    Alone,
    /// The upstream failed.
    Failed,
    /// Who led went away before there was an answer: another has to.
    Cancelled,
}

/// Something that is being fetched.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    landing: Mutex<Option<Landing>>,
    wakers: Wakers,
}

/// One who waits for a flight.
#[derive(Debug)]
pub(crate) struct Waiter {
    flight: Arc<Flight>,
    seat: Seat,
}

impl Waiter {
    pub(crate) fn new(flight: Arc<Flight>) -> Self {
        Self { flight, seat: Seat::default() }
    }

    /// Waits for the head.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Landing> {
        let landing = self.flight.landing.lock().unwrap_or_else(PoisonError::into_inner);
        match &*landing {
            Some(landing) => Poll::Ready(landing.clone()),
            None => {
                self.flight.wakers.register(&mut self.seat, cx.waker());
                Poll::Pending
            }
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.flight.wakers.leave(&mut self.seat);
    }
}

/// Whether one leads or waits.
#[derive(Debug)]
pub(crate) enum Role {
    Lead(Lead),
    Wait(Arc<Flight>),
}

/// Who fetches. Dropped without a landing, another takes its place.
#[derive(Debug)]
pub(crate) struct Lead {
    flight: Arc<Flight>,
    key: Box<str>,
    store: crate::CacheStore,
}

impl Lead {
    /// Tells those who wait. A fill goes on to be found by those who come later, until this is dropped.
    pub(crate) fn land(&self, landing: Landing) {
        let mut place = self.flight.landing.lock().unwrap_or_else(PoisonError::into_inner);
        if place.is_none() {
            *place = Some(landing);
        }
        drop(place);
        self.flight.wakers.wake();
    }

    /// As [`Landing::Alone`], remembered for a while.
    pub(crate) fn land_alone(&self) {
        self.store.flights().pass(&self.key);
        self.land(Landing::Alone);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        {
            let mut flights = self.store.flights().shard(&self.key);
            if flights.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
                flights.remove(&self.key);
            }
        }
        self.land(Landing::Cancelled);
    }
}

impl Default for Flights {
    fn default() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            shards: std::array::from_fn(|_| Mutex::default()),
            passes: (0..PASSES).map(|_| AtomicU64::new(0)).collect(),
            start: Instant::now(),
        }
    }
}

impl Flights {
    /// Leads the flight of this key, or joins it.
    pub(crate) fn join(&self, store: &crate::CacheStore, key: &str) -> Role {
        let mut flights = self.shard(key);
        if let Some(flight) = flights.get(key) {
            return Role::Wait(flight.clone());
        }
        let flight = Arc::<Flight>::default();
        flights.insert(key.into(), flight.clone());
        Role::Lead(Lead { flight, key: key.into(), store: store.clone() })
    }

    /// Whether answers of this key could not be shared a moment ago.
    pub(crate) fn passes(&self, key: &str) -> bool {
        let (place, mark) = self.place(key);
        let found = place.load(Ordering::Relaxed);
        found >> 32 == mark && self.now() < found & u64::from(u32::MAX)
    }

    fn pass(&self, key: &str) {
        let (place, mark) = self.place(key);
        place.store(mark << 32 | (self.now() + PASS.as_secs()), Ordering::Relaxed);
    }

    fn place(&self, key: &str) -> (&AtomicU64, u64) {
        let hash = self.hasher.hash_one(key);
        let place = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or_default() % PASSES;
        (&self.passes[place], hash >> 32)
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_secs()
    }

    /// Lets nobody join what a purge may be for: who comes after it gets what is fetched after it.
    pub(crate) fn detach(&self, what: &Purge) {
        for shard in &self.shards {
            let mut flights = shard.lock().unwrap_or_else(PoisonError::into_inner);
            if !flights.is_empty() {
                flights.retain(|key, _| !what.may_be_for(key));
            }
        }
    }

    fn shard(&self, key: &str) -> std::sync::MutexGuard<'_, HashMap<Box<str>, Arc<Flight>>> {
        let hash = self.hasher.hash_one(key) >> 48;
        let shard = &self.shards[usize::try_from(hash).unwrap_or_default() % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
