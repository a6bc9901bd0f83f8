//! Where answers are kept: the memory tier, what is under way, and purges.

mod codec;
pub(crate) mod purge;
pub(crate) mod shard;
pub(crate) mod tier;

use crate::clock::Clock;
use crate::entry::Entry;
use crate::flight::Flights;
use gateway_core::units::ByteSize;
use hashbrown::DefaultHashBuilder;
use http::HeaderMap;
use purge::{Purge, PurgeLog, PurgeMode};
use shard::{Found, Shard};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;
use tier::{Tier, TierTask};

/// Enough that workers rarely meet at one of them.
const SHARDS: usize = 32;
/// A store of less than this is not split, so that it forgets in order.
const SPLIT_FROM: usize = 8 << 20;

/// Stored answers, bounded in bytes. Cheap to clone; clones share the answers, and so do all layers that are given
/// one.
///
/// What is used least is forgotten first (SIEVE: an answer that was never asked for again goes before one that was).
#[derive(Clone, Debug)]
pub struct CacheStore(Arc<Inner>, Option<Arc<Tier>>);

#[derive(Debug)]
struct Inner {
    shards: Box<[RwLock<Shard>]>,
    hasher: DefaultHashBuilder,
    memory: usize,
    used: AtomicUsize,
    /// The shard that forgets next.
    next: AtomicUsize,
    purges: Mutex<PurgeLog>,
    /// Some layers learn from answers what of a query counts: then answers to several queries have one URL, without
    /// any.
    learns: AtomicBool,
    flights: Flights,
    clock: Clock,
}

impl CacheStore {
    /// A store in this process that takes at most so much memory for bodies, headers and keys, nearly.
    #[must_use]
    pub fn new(memory: ByteSize) -> Self {
        Self::build(memory, None)
    }

    /// A store whose answers other instances share through a second tier, and the task that keeps both up to date.
    ///
    /// An answer is looked for here, then there; a second tier that fails, or is slower than its own timeout, has
    /// none. A purge reaches all instances; after a connection was lost, everything here is taken to be stale, as a
    /// purge may have been missed. A purge by prefix empties the second tier. The clocks of the instances have to
    /// agree within two seconds. Without the task running nothing is written.
    #[must_use]
    pub fn with_tier(memory: ByteSize, store: gateway_store::Store) -> (Self, TierTask) {
        let (tier, ends) = Tier::new(store);
        let cache = Self::build(memory, Some(tier));
        let task = TierTask::new(cache.clone(), ends);
        (cache, task)
    }

    /// The same store with a connection of its own to the second tier, for a thread with its own runtime.
    #[must_use]
    pub fn per_worker(&self) -> Self {
        Self(self.0.clone(), self.1.as_ref().map(|tier| Arc::new(tier.per_worker())))
    }

    fn build(memory: ByteSize, tier: Option<Tier>) -> Self {
        let memory = usize::try_from(memory.bytes()).unwrap_or(usize::MAX);
        let shards = if memory < SPLIT_FROM { 1 } else { SHARDS };
        let inner = Arc::new(Inner {
            shards: (0..shards).map(|_| RwLock::default()).collect(),
            hasher: DefaultHashBuilder::default(),
            memory,
            used: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            purges: Mutex::default(),
            learns: AtomicBool::new(false),
            flights: Flights::default(),
            clock: Clock::default(),
        });
        Self(inner, tier.map(Arc::new))
    }

    /// Removes answers, or makes them stale; returns how many of this instance. Those that are under way meanwhile
    /// are not stored. Other instances are told.
    ///
    /// Where answers say by `No-Vary-Search` what of the query counts, a URL with a query, or the beginning of one,
    /// takes with it what is stored by such rules for the same path.
    pub fn purge(&self, what: &Purge, mode: PurgeMode) -> usize {
        self.purge_noted(what, mode).0
    }

    /// As [`CacheStore::purge`]; also returns how many purges that was.
    pub(crate) fn purge_noted(&self, what: &Purge, mode: PurgeMode) -> (usize, u64) {
        let of_path = match what {
            Purge::Url(url) | Purge::Prefix(url) if self.0.learns.load(Ordering::Relaxed) => {
                url.split_once('?').map(|(path, _)| Purge::Url(path.to_owned()))
            }
            _ => None,
        };
        std::iter::once(what).chain(&of_path).fold((0, 0), |(purged, notes), what| {
            if let Some(tier) = &self.1 {
                tier.tell(what.clone(), mode);
            }
            (purged + self.purge_here(what, mode), notes + 1)
        })
    }

    /// From now on, answers to several queries of a path may have one URL.
    pub(crate) fn learns(&self) {
        self.0.learns.store(true, Ordering::Relaxed);
    }

    /// Without telling others.
    pub(crate) fn purge_here(&self, what: &Purge, mode: PurgeMode) -> usize {
        self.carry_out(what, mode, Some(self.clock().now()))
    }

    /// Makes all stale that is in memory: a purge may have been missed. What the second tier has is what it says.
    pub(crate) fn distrust(&self) {
        self.carry_out(&Purge::All, PurgeMode::MarkStale, None);
    }

    fn carry_out(&self, what: &Purge, mode: PurgeMode, at: Option<SystemTime>) -> usize {
        self.log().note(what.clone(), mode, at);
        self.0.flights.detach(what);
        let shards: &[_] = match what {
            // A URL is in one of them.
            Purge::Url(url) => std::slice::from_ref(self.shard(url)),
            Purge::Prefix(_) | Purge::Tag(_) | Purge::All => &self.0.shards,
        };
        shards.iter().fold(0, |count, shard| {
            count
                + match mode {
                    PurgeMode::Remove => {
                        let (purged, freed) = write(shard).purge(what);
                        self.0.used.fetch_sub(freed, Ordering::Relaxed);
                        purged
                    }
                    PurgeMode::MarkStale => shard.read().unwrap_or_else(PoisonError::into_inner).mark(what),
                }
        })
    }

    /// How many answers are stored.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How much memory they take, nearly.
    #[must_use]
    pub fn used(&self) -> ByteSize {
        ByteSize(self.0.used.load(Ordering::Relaxed) as u64)
    }

    /// How much they may take.
    #[must_use]
    pub fn memory(&self) -> ByteSize {
        ByteSize(self.0.memory as u64)
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn flights(&self) -> &Flights {
        &self.0.flights
    }

    /// How many purges there were, for [`CacheStore::insert`].
    pub(crate) fn purges(&self) -> u64 {
        self.log().count()
    }

    pub(crate) fn find(&self, url: &str, key: &str, request: &HeaderMap) -> Found {
        self.shard(url).read().unwrap_or_else(PoisonError::into_inner).find(key, request)
    }

    /// As [`CacheStore::insert`], for other instances too.
    pub(crate) fn insert_in_all(&self, entry: Arc<Entry>, purges: u64) -> bool {
        let inserted = self.insert(entry.clone(), purges);
        if inserted && let Some(tier) = &self.1 {
            tier.write(entry);
        }
        inserted
    }

    pub(crate) fn tier(&self) -> Option<&Tier> {
        self.1.as_deref()
    }

    /// Stores an answer to what was asked for after so many purges, unless one since is for it. Returns whether it
    /// is stored.
    pub(crate) fn insert(&self, entry: Arc<Entry>, purges: u64) -> bool {
        self.insert_unless(entry, |log, entry| log.against(purges, entry))
    }

    /// The same of what the second tier had, which may not know yet of a purge that was before.
    pub(crate) fn insert_found(&self, entry: Arc<Entry>, purges: u64) -> bool {
        self.insert_unless(entry, |log, entry| match log.since_it_came(entry) {
            Some(PurgeMode::Remove) => Some(PurgeMode::Remove),
            earlier => log.against(purges, entry).or(earlier),
        })
    }

    fn insert_unless(
        &self,
        entry: Arc<Entry>,
        purged: impl FnOnce(&PurgeLog, &Entry) -> Option<PurgeMode>,
    ) -> bool {
        let size = entry.size();
        if size > self.0.memory {
            return false;
        }
        {
            let mut shard = write(self.shard(entry.url()));
            // With the shard locked: a purge that is not noted yet finds the entry there.
            match purged(&self.log(), &entry) {
                Some(PurgeMode::Remove) => return false,
                Some(PurgeMode::MarkStale) => entry.marked.store(true, Ordering::Relaxed),
                None => {}
            }
            let freed = shard.insert(entry, size);
            self.0.used.fetch_add(size, Ordering::Relaxed);
            self.0.used.fetch_sub(freed, Ordering::Relaxed);
        }
        let mut idle = 0;
        while self.0.used.load(Ordering::Relaxed) > self.0.memory && idle < self.0.shards.len() {
            let next = self.0.next.fetch_add(1, Ordering::Relaxed) % self.0.shards.len();
            let freed = write(&self.0.shards[next]).evict();
            self.0.used.fetch_sub(freed, Ordering::Relaxed);
            idle = if freed == 0 { idle + 1 } else { 0 };
        }
        true
    }

    /// Removes this very entry.
    pub(crate) fn remove(&self, entry: &Arc<Entry>) {
        let freed = write(self.shard(entry.url())).remove_entry(entry);
        self.0.used.fetch_sub(freed, Ordering::Relaxed);
    }

    fn shard(&self, url: &str) -> &RwLock<Shard> {
        let shards = &self.0.shards;
        if let [only] = &**shards {
            return only;
        }
        // The low bits are those that the shard's own tables go by.
        let hash = self.0.hasher.hash_one(url) >> 32;
        &shards[usize::try_from(hash).unwrap_or_default() % shards.len()]
    }

    fn log(&self) -> std::sync::MutexGuard<'_, PurgeLog> {
        self.0.purges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(shard: &RwLock<Shard>) -> std::sync::RwLockWriteGuard<'_, Shard> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
