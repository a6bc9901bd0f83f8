//! What becomes of an answer of the upstream.

use crate::answer::{content_length, from_entry};
use crate::body::CacheBody;
use crate::engine::Engine;
use crate::entry::{Entry, owned};
use crate::fill::{Fill, Keep};
use crate::flight::{Landing, Lead};
use crate::key::{Key, learned};
use crate::semantics::cache_control::RequestDirectives;
use crate::semantics::reuse::{Reuse, on_error, reuse};
use crate::semantics::status::{Forward, Told};
use crate::semantics::terms::{Asked, Terms, is_of_request, terms};
use crate::semantics::{fields, freshness, vary};
use bytes::Bytes;
use gateway_core::{BoxError, Grpc, Problem, is_event_stream};
use http::header::DATE;
use http::{Extensions, HeaderMap, Method, Request, Response, StatusCode, Uri, response};
use http_body::Body;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

/// A request that is under way to the upstream.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) engine: Arc<Engine>,
    pub(crate) key: Key,
    /// Where answers say what of its query counts.
    pub(crate) uri: Option<Uri>,
    pub(crate) method: Method,
    /// As the client sent them.
    pub(crate) headers: HeaderMap,
    pub(crate) wants: RequestDirectives,
    pub(crate) why: Forward,
    /// What there is already.
    pub(crate) stale: Option<Arc<Entry>>,
    /// The upstream was asked if that still is right.
    pub(crate) validates: bool,
    pub(crate) sent: SystemTime,
    /// How many purges there were then.
    pub(crate) purges: u64,
    pub(crate) lead: Option<Lead>,
    pub(crate) would_hit: bool,
}

/// What the upstream failing looks like from here (RFC 5861 §4).
fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// What the upstream answered with (RFC 9211 §2.3); `None` where it did not, and the gateway says so in its place.
fn status_of_upstream(status: StatusCode, facts: &Extensions) -> Option<StatusCode> {
    facts.get::<Problem>().is_none().then_some(status)
}

impl Fetch {
    /// What is remembered of a `POST` whose answer may be kept for `GET`.
    pub(crate) fn for_get<B>(engine: &Arc<Engine>, request: &Request<B>) -> Option<Box<Self>> {
        let may_be = engine.post && *request.method() == Method::POST && !engine.is_report;
        if !may_be || engine.goes_around(request) {
            return None;
        }
        Some(Box::new(Self {
            key: engine.keys.key(request)?,
            uri: engine.keys.learns().then(|| request.uri().clone()),
            method: Method::POST,
            headers: request.headers().clone(),
            wants: engine.wants(request.headers()),
            why: Forward::Method,
            stale: None,
            validates: false,
            sent: engine.now(),
            purges: engine.store.purges(),
            lead: None,
            would_hit: false,
            engine: engine.clone(),
        }))
    }

    /// The answer to a `POST` to the client; stores it for `GET` if it says that it may be. So many purges are its own:
    /// it has made out of date what was there before.
    pub(crate) fn leave<R>(mut self: Box<Self>, response: Response<R>, own: u64) -> Response<CacheBody<R>>
    where
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let now = self.engine.now();
        let purges = self.engine.store.purges();
        // With others, one of them may be for it: then the log still counts from when it was sent, its own included.
        if purges == self.purges + own {
            self.purges = purges;
        }
        let (parts, body) = response.into_parts();
        if freshness::is_explicit(&parts.headers, now) {
            return self.keep(parts, body, now);
        }
        let told = Told::Forwarded { why: self.why, upstream: None, stored: false, would_hit: false };
        let mut response = Response::from_parts(parts, CacheBody::pass(body));
        self.engine.tell(&mut response, told);
        response
    }

    /// The answer to the client; stores what may be, and tells those who wait.
    pub(crate) fn land<R, E>(
        self: Box<Self>,
        result: Result<Response<R>, E>,
    ) -> Result<Response<CacheBody<R>>, E>
    where
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let now = self.engine.now();
        let failed = match &result {
            Ok(response) if is_failure(response.status()) => {
                Some(status_of_upstream(response.status(), response.extensions()))
            }
            Ok(_) => None,
            Err(_) => Some(None),
        };
        if let Some(upstream) = failed
            && let Some(stale) =
                self.stale.as_ref().filter(|entry| on_error(&entry.terms, entry.age(now), &self.wants))
            && !self.engine.is_report
        {
            if let Some(lead) = &self.lead {
                lead.land(Landing::Failed);
            }
            let age = stale.age(now);
            let mut response = from_entry(stale, &self.method, &self.headers, age);
            self.engine.tell(&mut response, Told::StaleOnError { ttl: stale.ttl(age), upstream });
            return Ok(response);
        }
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                if let Some(lead) = &self.lead {
                    lead.land(Landing::Failed);
                }
                return Err(error);
            }
        };
        if response.status() == StatusCode::NOT_MODIFIED
            && self.validates
            && let Some(stale) = self.stale.clone()
        {
            return Ok(self.freshen(&stale, response.headers(), now));
        }
        let (parts, body) = response.into_parts();
        Ok(self.keep(parts, body, now))
    }

    /// The stored answer still is right (RFC 9111 §4.3.3).
    fn freshen<R>(
        &self,
        stale: &Arc<Entry>,
        not_modified: &HeaderMap,
        now: SystemTime,
    ) -> Response<CacheBody<R>> {
        let engine = &self.engine;
        let mut headers = owned(&fields::updated(&stale.headers, not_modified, engine.rules.set_cookie));
        if !not_modified.contains_key(DATE) {
            fields::date(&mut headers, now);
        }
        // How old it is now is what the 304 says: what it does not repeat is of the old answer.
        let mut said = headers.clone();
        for name in [http::header::AGE, DATE] {
            said.remove(&name);
            if let Some(value) = not_modified.get(&name) {
                said.insert(name, value.clone());
            }
        }
        said.remove(http::header::SET_COOKIE);
        let terms = self.terms(stale.status, &said, now);
        let fresh = Arc::new(Entry {
            key: stale.key.clone(),
            url: stale.url,
            status: stale.status,
            tags: self.engine.tags(&headers),
            body: stale.body.clone(),
            length: stale.length,
            terms: terms.unwrap_or_default(),
            received: now,
            // A 304 may say that it depends on more than before.
            selected: vary::select(vary::names(&headers), &self.headers),
            headers,
            marked: AtomicBool::new(false),
        });
        // What counts of its query now is not what it is stored by.
        let moved = self.uri.as_ref().filter(|_| learned::is_told(not_modified));
        let moved = moved.and_then(|uri| engine.keys.learn(&self.key, uri, not_modified)).is_some();
        let stored = !moved && terms.is_ok() && engine.store.insert_in_all(fresh.clone(), self.purges);
        // Otherwise the new one has taken its place.
        if !stored || fresh.selected != stale.selected {
            engine.store.remove(stale);
        }
        if let Some(lead) = &self.lead {
            lead.land(if stored { Landing::Entry(fresh.clone()) } else { Landing::Alone });
        }
        let mut response = from_entry(&fresh, &self.method, &self.headers, fresh.age(now));
        let upstream = Some(StatusCode::NOT_MODIFIED);
        let told = Told::Forwarded { why: self.why, upstream, stored, would_hit: self.would_hit };
        engine.tell(&mut response, told);
        response
    }

    /// A new answer: to the client, and to the store if it may be kept.
    fn keep<R>(self: Box<Self>, parts: response::Parts, body: R, now: SystemTime) -> Response<CacheBody<R>>
    where
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let told =
            |stored, upstream| Told::Forwarded { why: self.why, upstream, stored, would_hit: self.would_hit };
        let upstream = self.stale.as_ref().and_then(|_| status_of_upstream(parts.status, &parts.extensions));
        let announced = content_length(&parts.headers).or_else(|| body.size_hint().exact());
        let terms = self.terms(parts.status, &parts.headers, now).ok().filter(|_| {
            self.method != Method::HEAD
                && !is_stream(&parts.headers)
                // What the gateway itself says is shown to each client in its own way, and is of this one request.
                && parts.extensions.get::<Problem>().is_none()
                && announced.is_none_or(|length| length <= self.engine.max_entry)
        });
        let Some(terms) = terms else {
            if let Some(lead) = &self.lead {
                if is_failure(parts.status) { lead.land(Landing::Failed) } else { lead.land_alone() }
            }
            if let Some(stale) = self.stale.as_ref().filter(|stale| self.is_outdated(stale, &parts)) {
                self.engine.store.remove(stale);
            }
            let mut response = Response::from_parts(parts, CacheBody::pass(body));
            self.engine.tell(&mut response, told(false, upstream));
            return response;
        };
        let learned =
            self.uri.as_ref().and_then(|uri| self.engine.keys.learn(&self.key, uri, &parts.headers));
        if let (Some(_), Some(stale)) = (&learned, &self.stale) {
            self.engine.store.remove(stale);
        }
        // Those who wait asked with queries that were equal by another rule; without one, with this very query.
        let is_for_others = learned.is_none() || !self.key.is_by_rule();
        let key = learned.as_ref().unwrap_or(&self.key);
        let mut headers = fields::stored(&parts.headers);
        if !headers.contains_key(DATE) {
            fields::date(&mut headers, now);
        }
        let head = Arc::new(Entry {
            url: key.url,
            status: parts.status,
            body: Arc::new([]),
            length: 0,
            terms,
            received: now,
            selected: vary::select(vary::names(&headers), &self.headers),
            tags: self.engine.tags(&headers),
            headers,
            marked: AtomicBool::new(false),
            key: key.text.as_str().into(),
        });
        let can_share = is_for_others
            && reuse(&head.terms, head.age(now), false, &RequestDirectives::default()) == Reuse::Fresh;
        let told = told(true, upstream);
        let Self { engine, lead, purges, .. } = *self;
        let lead = lead.filter(|lead| {
            if !can_share {
                lead.land_alone();
            }
            can_share
        });
        let store = engine.store.clone();
        let shared = lead.is_some();
        let keep = Keep { store, head: head.clone(), length: announced, purges, lead };
        let (fill, reader) = Fill::start(body, keep, engine.max_entry);
        if shared {
            fill.share(&head);
        }
        let mut response = Response::from_parts(parts, CacheBody::fill(reader, announced));
        engine.tell(&mut response, told);
        response
    }

    fn terms(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Terms, crate::semantics::terms::Unstorable> {
        let asked = Asked {
            no_store: self.wants.no_store,
            identified: self.key.identified,
            isolated: self.key.isolated,
            cookies: self.key.cookies,
        };
        terms(asked, status, headers, (self.sent, now), &self.engine.rules)
    }

    /// Whether an answer that is not stored says that the stored one is of the past. (Of `HEAD`: RFC 9111 §4.3.5.)
    fn is_outdated(&self, stale: &Entry, parts: &response::Parts) -> bool {
        if self.method == Method::HEAD {
            let differs = |name: http::HeaderName| {
                parts.headers.get(&name).is_some_and(|value| stale.headers.get(&name) != Some(value))
            };
            return parts.status == StatusCode::OK
                && (differs(http::header::ETAG)
                    || differs(http::header::LAST_MODIFIED)
                    || content_length(&parts.headers).is_some_and(|length| length != stale.length));
        }
        !parts.status.is_server_error()
            && !is_of_request(parts.status)
            && parts.status != StatusCode::TOO_MANY_REQUESTS
    }
}

/// What is never held: events that go on for ever, and calls that end with trailers.
fn is_stream(headers: &HeaderMap) -> bool {
    is_event_stream(headers) || Grpc::of(headers).is_some()
}
