//! A request on its way: to the store, to another's answer, to the second tier, to the upstream.

use super::tiering::Tiering;
use super::waiting::Waiting;
use crate::answer::{from_entry, not_cached};
use crate::body::CacheBody;
use crate::engine::Engine;
use crate::entry::Entry;
use crate::executor::Executor;
use crate::fetch::Fetch;
use crate::flight::{Lead, Role, Waiter};
use crate::future::{Call, Kind, RefreshFuture};
use crate::key::Key;
use crate::semantics::cache_control::RequestDirectives;
use crate::semantics::conditional;
use crate::semantics::reuse::{Reuse, reuse};
use crate::semantics::status::{Forward, Told};
use crate::store::shard::Found;
use bytes::Bytes;
use gateway_core::{BoxError, spare, take_ready};
use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{Method, Request, Response};
use http_body::Body;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use tower::Service;

/// A request that may be answered from the store, and how far it has come.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(super) engine: Arc<Engine>,
    pub(super) key: Key,
    pub(super) wants: RequestDirectives,
    /// Until when it waits for others.
    pub(super) deadline: Option<Instant>,
    /// What tells its flight from others of its key, once it is known what answers vary by.
    pub(super) variant: Option<Box<str>>,
    /// It waits for nobody any more.
    pub(super) alone: bool,
    /// The second tier has been asked.
    pub(super) tiered: bool,
}

impl Asking {
    pub(super) fn new(engine: Arc<Engine>, key: Key, wants: RequestDirectives) -> Self {
        Self { engine, key, wants, deadline: None, variant: None, alone: false, tiered: false }
    }

    /// Answers from the store, or goes on to the upstream.
    pub(crate) fn look<S, X, B, R>(self, inner: &mut S, executor: &X, request: Request<B>) -> Kind<S, X, B, R>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone,
        X: Executor<RefreshFuture<S::Future, R>> + Clone,
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let engine = &self.engine;
        let now = engine.now();
        let headers = request.headers();
        let (why, stale) = match engine.store.find(self.key.url(), &self.key.text, headers) {
            Found::Entry(_) if conditional::is_for_origin(headers) => (Forward::Request, None),
            Found::Entry(entry) => {
                let age = entry.age(now);
                match reuse(&entry.terms, age, entry.is_marked(), &self.wants) {
                    Reuse::Fresh | Reuse::Stale | Reuse::Refresh if engine.is_report => {
                        return self.forward(inner, executor, request, Forward::Bypass, None, now);
                    }
                    Reuse::Fresh | Reuse::Stale => {
                        let response = self.hit(&entry, &request, age);
                        // It is not sent on: its head's memory is that of the next.
                        spare::give_request(&mut request.into_parts().0);
                        return Kind::Ready { response: Some(response) };
                    }
                    Reuse::Refresh => {
                        let response = self.hit(&entry, &request, age);
                        self.refresh(inner, executor, request, entry, now);
                        return Kind::Ready { response: Some(response) };
                    }
                    Reuse::AskedFor => (Forward::Request, Some(entry)),
                    Reuse::TooOld => (Forward::Stale, Some(entry)),
                }
            }
            Found::OtherVariants => (Forward::VaryMiss, None),
            Found::Nothing => (Forward::UriMiss, None),
        };
        if self.wants.only_if_cached && !engine.is_report && (self.tiered || engine.store.tier().is_none()) {
            return Kind::Ready { response: Some(not_cached(engine, why)) };
        }
        self.forward(inner, executor, request, why, stale, now)
    }

    fn hit<B, R>(&self, entry: &Entry, request: &Request<B>, age: Duration) -> Response<CacheBody<R>> {
        let mut response = from_entry(entry, request.method(), request.headers(), age);
        self.engine.tell(&mut response, Told::Hit { ttl: entry.ttl(age) });
        response
    }

    /// Fetches a new answer in the background, unless somebody does already.
    fn refresh<S, X, B, R>(
        self,
        inner: &mut S,
        executor: &X,
        mut request: Request<B>,
        stale: Arc<Entry>,
        now: SystemTime,
    ) where
        S: Service<Request<B>, Response = Response<R>> + Clone,
        X: Executor<RefreshFuture<S::Future, R>>,
    {
        let store = &self.engine.store;
        let Role::Lead(lead) = store.flights().join(store, self.flight_key()) else { return };
        // All of it, whatever part of it this client asked for.
        if *request.method() == Method::HEAD {
            *request.method_mut() = Method::GET;
        }
        // Nor is it for what this client has that the upstream is asked.
        for name in [RANGE, IF_RANGE, IF_NONE_MATCH, IF_MODIFIED_SINCE] {
            request.headers_mut().remove(name);
        }
        let fetch = self.fetch(&mut request, Forward::Stale, Some(stale), now, Some(lead));
        executor.execute(RefreshFuture::new(inner.call(request), fetch));
    }

    /// Asks the upstream, or waits for who already does.
    fn forward<S, X, B, R>(
        self,
        inner: &mut S,
        executor: &X,
        request: Request<B>,
        why: Forward,
        stale: Option<Arc<Entry>>,
        now: SystemTime,
    ) -> Kind<S, X, B, R>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone,
        X: Clone,
    {
        let store = &self.engine.store;
        let headers = request.headers();
        let validates = stale.as_ref().is_some_and(|stale| conditional::has_validator(&stale.headers));
        let can_share = self.engine.collapse
            && !self.engine.is_report
            && !self.alone
            && *request.method() != Method::HEAD
            && why != Forward::Request
            && !self.wants.no_store
            && !headers.contains_key(RANGE)
            && !conditional::is_for_origin(headers)
            && (validates || !conditional::is_conditional(headers))
            && !store.flights().passes(self.flight_key());
        let lead = if can_share {
            match store.flights().join(store, self.flight_key()) {
                Role::Lead(lead) => Some(lead),
                Role::Wait(flight) => {
                    let timeout = self.engine.collapse_timeout;
                    let deadline = self.deadline.unwrap_or_else(|| Instant::now() + timeout);
                    let inner = take_ready(inner);
                    let waiting = Waiting {
                        asking: Self { deadline: Some(deadline), ..self },
                        why,
                        stale,
                        flight: Waiter::new(flight),
                        sleep: Box::pin(tokio::time::sleep_until(deadline)),
                    };
                    let call = Some(Call { inner, request, executor: executor.clone() });
                    return Kind::Wait { waiting: Some(Box::new(waiting)), call };
                }
            }
        } else {
            None
        };
        if let Some(tier) = store.tier().filter(|_| self.asks_tier(why)) {
            let lookup = tier.find(&self.key.text, self.key.url, request.headers());
            let purges = store.purges();
            let inner = take_ready(inner);
            let asking = Self { tiered: true, ..self };
            let tiering = Some(Box::new(Tiering { asking, why, lead, purges, lookup }));
            return Kind::Tier { tiering, call: Some(Call { inner, request, executor: executor.clone() }) };
        }
        self.send(inner, request, why, stale, now, lead)
    }

    /// Whether the second tier may have what there is not here.
    fn asks_tier(&self, why: Forward) -> bool {
        !self.tiered && !self.engine.is_report && matches!(why, Forward::UriMiss | Forward::VaryMiss)
    }

    /// Asks the upstream.
    pub(super) fn send<S, X, B, R>(
        self,
        inner: &mut S,
        mut request: Request<B>,
        why: Forward,
        stale: Option<Arc<Entry>>,
        now: SystemTime,
        lead: Option<Lead>,
    ) -> Kind<S, X, B, R>
    where
        S: Service<Request<B>>,
    {
        let fetch = self.fetch(&mut request, why, stale, now, lead);
        Kind::Fetch { future: inner.call(request), fetch: Some(fetch) }
    }

    /// What is remembered of a request that is sent to the upstream, which is asked if the stored answer is right.
    fn fetch<B>(
        self,
        request: &mut Request<B>,
        why: Forward,
        stale: Option<Arc<Entry>>,
        now: SystemTime,
        lead: Option<Lead>,
    ) -> Box<Fetch> {
        let headers = request.headers().clone();
        let validates = *request.method() != Method::HEAD
            && !conditional::is_for_origin(&headers)
            && stale.as_ref().is_some_and(|stale| conditional::has_validator(&stale.headers));
        if validates && let Some(stale) = &stale {
            conditional::ask(request.headers_mut(), &stale.headers);
        }
        let would_hit = self.engine.is_report && why == Forward::Bypass;
        let purges = self.engine.store.purges();
        Box::new(Fetch {
            method: request.method().clone(),
            uri: self.engine.keys.learns().then(|| request.uri().clone()),
            engine: self.engine,
            key: self.key,
            wants: self.wants,
            sent: now,
            headers,
            why,
            stale,
            validates,
            purges,
            lead,
            would_hit,
        })
    }

    fn flight_key(&self) -> &str {
        self.variant.as_deref().unwrap_or(&self.key.text)
    }
}
