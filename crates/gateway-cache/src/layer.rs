use crate::CacheStore;
use crate::engine::Engine;
use crate::executor::TokioExecutor;
use crate::query::QueryLayer;
use crate::service::Cache;
use crate::settings::{CacheError, CacheSettings};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tower::Layer;

/// Answers requests from stored answers where it may; see the [crate's page](crate). Clones share the answers.
#[derive(Clone, Debug)]
pub struct CacheLayer<X = TokioExecutor> {
    engine: Arc<Engine>,
    executor: X,
}

/// How often a cache did what, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Answered from the store, fresh.
    pub hits: u64,
    /// Answered from the store, stale: while it is refreshed, because the upstream failed, or at the client's wish.
    pub stale: u64,
    /// Answered from the store after the upstream said that it still is right.
    pub revalidated: u64,
    /// Answered with what another request fetched at the same time.
    pub collapsed: u64,
    /// Answered by the upstream.
    pub misses: u64,
    /// Answered by the upstream, as they are not for the cache.
    pub bypassed: u64,
}

impl CacheLayer {
    /// A cache. Its name is part of the key: caches with different names share a store, but no answers; a request
    /// that changes something makes them out of date in all.
    ///
    /// # Errors
    /// Settings that contradict each other or are out of range.
    pub fn new(name: &str, settings: &CacheSettings, store: &CacheStore) -> Result<Self, CacheError> {
        Ok(Self { engine: Arc::new(Engine::new(name, settings, store)?), executor: TokioExecutor })
    }
}

impl<X> CacheLayer<X> {
    /// Refreshes stale answers on another [`Executor`](crate::Executor). Default [`TokioExecutor`].
    #[must_use]
    pub fn with_executor<Y>(self, executor: Y) -> CacheLayer<Y> {
        CacheLayer { engine: self.engine, executor }
    }

    /// The same cache with a connection of its own to the second tier, for a thread with its own runtime.
    #[must_use]
    pub fn per_worker(&self) -> Self
    where
        X: Clone,
    {
        Self { engine: Arc::new(self.engine.per_worker()), executor: self.executor.clone() }
    }

    /// What reads the bodies of `QUERY` requests, to be put right before this; `None` where they are not cached.
    #[must_use]
    pub fn query(&self) -> Option<QueryLayer> {
        self.engine.query
    }

    /// How often it did what.
    #[must_use]
    pub fn counts(&self) -> CacheCounts {
        let counts = &self.engine.counts;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheCounts {
            hits: read(&counts.hits),
            stale: read(&counts.stale),
            revalidated: read(&counts.revalidated),
            collapsed: read(&counts.collapsed),
            misses: read(&counts.misses),
            bypassed: read(&counts.bypassed),
        }
    }
}

impl<S, X: Clone> Layer<S> for CacheLayer<X> {
    type Service = Cache<S, X>;

    fn layer(&self, inner: S) -> Cache<S, X> {
        Cache { inner, engine: self.engine.clone(), executor: self.executor.clone() }
    }
}
