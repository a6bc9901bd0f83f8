use crate::CacheStore;
use crate::engine::Engine;
use crate::executor::TokioExecutor;
use crate::key::SEPARATOR;
use crate::query::QueryLayer;
use crate::semantics::conditional::is_for_origin;
use crate::semantics::reuse::{Reuse, reuse};
use crate::service::Cache;
use crate::settings::{CacheError, CacheSettings};
use crate::store::shard::Found;
use gateway_core::CacheResult;
use http::{HeaderName, Request};
use std::sync::Arc;
use std::time::Duration;
use tower::Layer;

/// Answers requests from stored answers where it may; see the [crate's page](crate). Clones share the answers.
#[derive(Clone, Debug)]
pub struct CacheLayer<X = TokioExecutor> {
    pub(crate) engine: Arc<Engine>,
    executor: X,
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

    /// The cache of requests in which layers further in set these headers, by what the cache does not go by: an answer
    /// that names one of them in `Vary` is not stored, as nobody here could tell for whom else it is.
    #[must_use]
    pub fn with_unseen(mut self, headers: impl IntoIterator<Item = HeaderName>) -> Self {
        Arc::make_mut(&mut self.engine).rules.unseen = headers.into_iter().collect();
        self
    }

    /// Leaves the [`CacheResult`] out of the answers' extensions, which then cost nothing: for
    /// where nobody reads it.
    #[must_use]
    pub fn without_results(mut self) -> Self {
        Arc::make_mut(&mut self.engine).notes = false;
        self
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

    /// For how long an answer that is stored here is still as fresh as this request wants it; `None` where the service
    /// would be asked. To tell before a request is made what it will meet: for who fills a cache in advance, or tests
    /// one. What only the second tier has does not count, and a body of the request only where its head announces one. An answer that was looked for is forgotten later.
    ///
    /// ```
    /// use gateway_cache::{CacheLayer, CacheSettings, CacheStore};
    /// use gateway_core::units::ByteSize;
    ///
    /// let cache = CacheLayer::new("demo", &CacheSettings::default(), &CacheStore::new(ByteSize::kib(64 * 1024)))?;
    /// let request = http::Request::get("http://shop.example/products").body(())?;
    /// assert_eq!(cache.fresh_for(&request), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn fresh_for<B>(&self, request: &Request<B>) -> Option<Duration> {
        let (engine, headers) = (&self.engine, request.headers());
        if engine.is_report
            || !engine.takes(request.method())
            || engine.bypasses_by_head(request)
            || is_for_origin(headers)
        {
            return None;
        }
        let key = engine.keys.key(request)?;
        let Found::Entry(entry) = engine.store.find(key.url(), &key.text, headers) else { return None };
        let age = entry.age(engine.now());
        let is_fresh = reuse(&entry.terms, age, entry.is_marked(), &engine.wants(headers)) == Reuse::Fresh;
        is_fresh.then(|| entry.terms.lifetime.saturating_sub(age))
    }

    /// What an answer to this request is found by: its URL, the cache's name, the headers and cookies that count, and
    /// who asks where answers are kept apart by that; a space between them. `None` where the service is always asked,
    /// and for a `QUERY` whose body was not read. Looks nothing up: for whoever wants to know why two requests do not
    /// share an answer.
    #[must_use]
    pub fn key_of<B>(&self, request: &Request<B>) -> Option<String> {
        let engine = &self.engine;
        if !engine.takes(request.method()) || engine.bypasses_by_head(request) {
            return None;
        }
        engine.keys.key(request).map(|key| key.text.replace(SEPARATOR, " "))
    }

    /// How often it did this with a request since it was made.
    #[must_use]
    pub fn count(&self, result: CacheResult) -> u64 {
        self.engine.count(result)
    }
}

impl<S, X: Clone> Layer<S> for CacheLayer<X> {
    type Service = Cache<S, X>;

    fn layer(&self, inner: S) -> Cache<S, X> {
        Cache { inner, engine: self.engine.clone(), executor: self.executor.clone() }
    }
}
