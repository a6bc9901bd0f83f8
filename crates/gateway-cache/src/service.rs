use crate::answer::{from_entry, from_fill};
use crate::body::CacheBody;
use crate::engine::Engine;
use crate::entry::Entry;
use crate::executor::{Executor, TokioExecutor};
use crate::fetch::Fetch;
use crate::flight::{Landing, Lead, Role, Waiter};
use crate::future::{CacheFuture, Call, Kind, RefreshFuture};
use crate::invalidation::Invalidation;
use crate::key::Key;
use crate::purging;
use crate::semantics::cache_control::RequestDirectives;
use crate::semantics::reuse::{Reuse, on_error, reuse};
use crate::semantics::status::{Forward, Told};
use crate::semantics::{conditional, invalidate, vary};
use crate::store::shard::Found;
use crate::store::tier::Lookup;
use bytes::Bytes;
use gateway_core::BoxError;
use http::header::{CONTENT_TYPE, HeaderValue, RANGE};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;
use tokio::time::{Instant, Sleep};
use tower::Service;

/// The service of [`CacheLayer`](crate::CacheLayer).
#[derive(Clone, Debug)]
pub struct Cache<S, X = TokioExecutor> {
    pub(crate) inner: S,
    pub(crate) engine: Arc<Engine>,
    pub(crate) executor: X,
}

impl<S, X, B, R> Service<Request<B>> for Cache<S, X>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    X: Executor<RefreshFuture<S::Future, R>> + Clone,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<CacheBody<R>>;
    type Error = S::Error;
    type Future = CacheFuture<S, X, B, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let engine = self.engine.clone();
        if let Some(purgers) = &engine.purgers
            && request.method().as_str() == "PURGE"
        {
            let response = purging::answer(&engine, purgers, &request);
            return Kind::Ready { response: Some(response) }.into();
        }
        if !engine.takes(request.method()) {
            let changes = !invalidate::is_safe(request.method());
            let invalidation = changes.then(|| Box::new(Invalidation::of(&engine, &request)));
            let future = self.inner.call(request);
            return Kind::Pass { future, engine, why: Forward::Method, invalidation }.into();
        }
        let key = if engine.bypasses(&request) { None } else { engine.keys.key(&request) };
        let Some(key) = key else {
            let future = self.inner.call(request);
            return Kind::Pass { future, engine, why: Forward::Bypass, invalidation: None }.into();
        };
        let wants = if engine.client_directives {
            RequestDirectives::of(request.headers())
        } else {
            RequestDirectives::default()
        };
        let asking =
            Asking { engine, key, wants, deadline: None, variant: None, alone: false, tiered: false };
        asking.look(&mut self.inner, &self.executor, request).into()
    }
}

/// A request that may be answered from the store, and how far it has come.
#[derive(Debug)]
pub(crate) struct Asking {
    engine: Arc<Engine>,
    key: Key,
    wants: RequestDirectives,
    /// Until when it waits for others.
    deadline: Option<Instant>,
    /// What tells its flight from others of its key, once it is known what answers vary by.
    variant: Option<Box<str>>,
    /// It waits for nobody any more.
    alone: bool,
    /// The second tier has been asked.
    tiered: bool,
}

/// A request that waits for another's answer.
#[derive(Debug)]
pub(crate) struct Waiting {
    asking: Asking,
    why: Forward,
    stale: Option<Arc<Entry>>,
    flight: Waiter,
    sleep: Pin<Box<Sleep>>,
}

impl Asking {
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
                match reuse(&entry.terms, entry.age(now), entry.is_marked(), &self.wants) {
                    Reuse::Fresh | Reuse::Stale | Reuse::Refresh if engine.is_report => {
                        return self.forward(inner, executor, request, Forward::Bypass, None, now);
                    }
                    Reuse::Fresh | Reuse::Stale => {
                        return Kind::Ready { response: Some(self.hit(&entry, &request, now)) };
                    }
                    Reuse::Refresh => {
                        let response = self.hit(&entry, &request, now);
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

    fn hit<B, R>(&self, entry: &Entry, request: &Request<B>, now: SystemTime) -> Response<CacheBody<R>> {
        let mut response = from_entry(entry, request.method(), request.headers(), now);
        self.engine.tell(response.headers_mut(), Told::Hit { ttl: entry.ttl(now) });
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
        *request.method_mut() = Method::GET;
        request.headers_mut().remove(RANGE);
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
            && *request.method() == Method::GET
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
                    // The one that was made ready is the one that is called.
                    let clone = inner.clone();
                    let inner = std::mem::replace(inner, clone);
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
            let clone = inner.clone();
            let inner = std::mem::replace(inner, clone);
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
    fn send<S, X, B, R>(
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
        let is_get = *request.method() == Method::GET;
        let validates = is_get
            && !conditional::is_for_origin(&headers)
            && stale.as_ref().is_some_and(|stale| conditional::has_validator(&stale.headers));
        if validates && let Some(stale) = &stale {
            conditional::ask(request.headers_mut(), &stale.headers);
        }
        let would_hit = self.engine.is_report && why == Forward::Bypass;
        let purges = self.engine.store.purges();
        Box::new(Fetch {
            method: request.method().clone(),
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

/// A request for which the second tier is asked.
pub(crate) struct Tiering {
    asking: Asking,
    why: Forward,
    lead: Option<Lead>,
    purges: u64,
    lookup: Lookup,
}

impl Tiering {
    /// Waits for what the second tier has. Returns whether it is here now.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let found = std::task::ready!(self.lookup.as_mut().poll(cx));
        let store = &self.asking.engine.store;
        Poll::Ready(found.is_some_and(|entry| {
            let is_here = store.insert(entry.clone(), self.purges);
            if is_here && let Some(lead) = &self.lead {
                let now = self.asking.engine.now();
                let plain = RequestDirectives::default();
                if reuse(&entry.terms, entry.age(now), entry.is_marked(), &plain) == Reuse::Fresh {
                    lead.land(Landing::Entry(entry));
                }
            }
            is_here
        }))
    }

    /// Goes on: looks again if the answer is here now, or else asks the upstream.
    pub(crate) fn go_on<S, X, B, R>(
        self,
        is_here: bool,
        inner: &mut S,
        executor: &X,
        request: Request<B>,
    ) -> Kind<S, X, B, R>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone,
        X: Executor<RefreshFuture<S::Future, R>> + Clone,
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let Self { asking, why, lead, .. } = self;
        if is_here || asking.wants.only_if_cached {
            drop(lead);
            return asking.look(inner, executor, request);
        }
        let now = asking.engine.now();
        asking.send(inner, request, why, None, now, lead)
    }
}

impl Waiting {
    /// Waits for the head of another's answer, or until it has been long enough.
    pub(crate) fn poll<B, R>(
        &mut self,
        request: &Request<B>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Response<CacheBody<R>>>> {
        let landing = match self.flight.poll(cx) {
            Poll::Ready(landing) => landing,
            Poll::Pending => {
                std::task::ready!(self.sleep.as_mut().poll(cx));
                Landing::Alone
            }
        };
        let (headers, now) = (request.headers(), self.asking.engine.now());
        let mut response = match landing {
            Landing::Fill(fill, head) => {
                let reader = self.may_share(&head, headers, now).then(|| fill.reader()).flatten();
                let Some(reader) = reader else { return Poll::Ready(None) };
                from_fill(&head, reader, headers, now)
            }
            Landing::Entry(entry) if self.may_share(&entry, headers, now) => {
                from_entry(&entry, request.method(), headers, now)
            }
            Landing::Failed => {
                let wants = &self.asking.wants;
                let stale = self.stale.as_ref().filter(|stale| on_error(&stale.terms, stale.age(now), wants));
                let Some(stale) = stale else {
                    self.asking.alone = true;
                    return Poll::Ready(None);
                };
                let mut response = from_entry(stale, request.method(), headers, now);
                let told = Told::StaleOnError { ttl: stale.ttl(now), upstream: None };
                self.asking.engine.tell(response.headers_mut(), told);
                return Poll::Ready(Some(response));
            }
            Landing::Entry(_) | Landing::Alone => {
                self.asking.alone = true;
                return Poll::Ready(None);
            }
            Landing::Cancelled => return Poll::Ready(None),
        };
        self.asking.engine.tell(response.headers_mut(), Told::Collapsed { why: self.why });
        Poll::Ready(Some(response))
    }

    /// Whether another's answer is one for this request. If it is not, this request asks for itself, or waits for
    /// one that says the same in what the answer varies by.
    fn may_share(&mut self, head: &Entry, headers: &http::HeaderMap, now: SystemTime) -> bool {
        if !vary::matches(&head.selected, headers) {
            let names = head.selected.iter().map(|(name, _)| name.clone()).collect();
            let variant = format!("{}\0{:?}", self.asking.key.text, vary::select(names, headers));
            self.asking.alone = self.asking.variant.replace(variant.into()).is_some();
            return false;
        }
        let is_fresh =
            reuse(&head.terms, head.age(now), head.is_marked(), &self.asking.wants) == Reuse::Fresh;
        self.asking.alone = true;
        is_fresh
    }

    /// The request, to look again.
    pub(crate) fn into_asking(self) -> Asking {
        self.asking
    }
}

/// The client wants no answer but a stored one, and there is none (RFC 9111 §5.2.1.7).
fn not_cached<R>(engine: &Engine, why: Forward) -> Response<CacheBody<R>> {
    let mut response =
        Response::new(CacheBody::from(Bytes::from_static(b"nothing stored answers this request\n")));
    *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    let told = Told::Forwarded { why, upstream: None, stored: false, would_hit: false };
    engine.tell(response.headers_mut(), told);
    response
}
