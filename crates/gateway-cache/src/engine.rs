//! What a cache knows besides the answers: its settings, made ready.

use crate::CacheStore;
use crate::entry::{purgeable, tags};
use crate::key::{KeyRules, cookies, header_names};
use crate::query::{Asks, QueryLayer, is_query};
use crate::semantics::cache_control::RequestDirectives;
use crate::semantics::status::{CACHE_STATUS, Told};
use crate::semantics::terms::{Rules, is_of_request};
use crate::settings::{CacheError, CacheMethod, CacheSettings};
use gateway_core::{CacheResult, Grpc, Mode, Network, Upgrade};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_body::Body;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

#[derive(Clone, Debug)]
pub(crate) struct Engine {
    pub(crate) store: CacheStore,
    pub(crate) keys: KeyRules,
    pub(crate) rules: Rules,
    pub(crate) max_entry: u64,
    client_directives: bool,
    pub(crate) collapse: bool,
    pub(crate) collapse_timeout: Duration,
    pub(crate) is_report: bool,
    pub(crate) purgers: Option<Vec<Network>>,
    /// How often it did what, in the order of the results.
    counts: Arc<[AtomicU64; CacheResult::ALL.len()]>,
    get: bool,
    head: bool,
    /// Whether answers to it are kept for `GET`.
    pub(crate) post: bool,
    /// Where `QUERY` is one of them.
    pub(crate) query: Option<QueryLayer>,
    bypass_headers: Vec<HeaderName>,
    bypass_cookies: Vec<String>,
    tells: bool,
    /// Whether somebody further out reads what happened.
    pub(crate) notes: bool,
}

fn status(key: &'static str, found: &str) -> Result<StatusCode, CacheError> {
    let wrong = || CacheError::Status { key, found: found.to_owned() };
    let status = StatusCode::from_bytes(found.as_bytes()).map_err(|_| wrong())?;
    if (200..600).contains(&status.as_u16()) && !is_of_request(status) { Ok(status) } else { Err(wrong()) }
}

impl Engine {
    pub(crate) fn new(name: &str, settings: &CacheSettings, store: &CacheStore) -> Result<Self, CacheError> {
        if settings.methods.is_empty() {
            return Err(CacheError::NoMethods);
        }
        let has = |method| settings.methods.contains(&method);
        let found = [(CacheMethod::Post, "POST"), (CacheMethod::Head, "HEAD")]
            .into_iter()
            .find(|(method, _)| has(*method));
        if let Some((_, found)) = found.filter(|_| !has(CacheMethod::Get)) {
            return Err(CacheError::NoGet { found });
        }
        if settings.max_entry.bytes() == 0 {
            return Err(CacheError::NoRoom);
        }
        if settings.max_entry > store.memory() {
            return Err(CacheError::TooLarge { max_entry: settings.max_entry, memory: store.memory() });
        }
        if settings.r#override && settings.ttl.is_none() && settings.negative.is_empty() {
            return Err(CacheError::OverrideOfNothing);
        }
        if settings.purge.as_ref().is_some_and(|purge| purge.networks.is_empty()) {
            return Err(CacheError::NoNetworks);
        }
        let statuses = settings.statuses.iter().map(|found| status("statuses", &found.to_string()));
        let negative = settings
            .negative
            .iter()
            .map(|(found, ttl)| status("negative", found).map(|status| (status, **ttl)));
        if settings.key.learn_no_vary_search {
            store.learns();
        }
        Ok(Self {
            store: store.clone(),
            keys: KeyRules::new(name, settings)?,
            rules: Rules {
                ttl: settings.ttl.map(|ttl| *ttl),
                overrides: settings.r#override,
                statuses: statuses.collect::<Result<_, _>>()?,
                negative: negative.collect::<Result<_, _>>()?,
                heuristic: settings.heuristic,
                set_cookie: settings.set_cookie,
                stale_while_revalidate: *settings.stale_while_revalidate,
                stale_if_error: *settings.stale_if_error,
                unseen: Vec::new(),
            },
            max_entry: settings.max_entry.bytes(),
            client_directives: settings.client_directives,
            collapse: settings.collapse,
            collapse_timeout: *settings.collapse_timeout,
            is_report: settings.mode == Mode::Report,
            purgers: settings.purge.as_ref().map(|purge| purge.networks.clone()),
            counts: Arc::default(),
            get: has(CacheMethod::Get),
            head: has(CacheMethod::Head),
            post: has(CacheMethod::Post),
            query: has(CacheMethod::Query).then(|| QueryLayer::new(settings.max_query.bytes())),
            bypass_headers: header_names("bypass.headers", &settings.bypass.headers)?,
            bypass_cookies: settings.bypass.cookies.clone(),
            tells: settings.status_header,
            notes: true,
        })
    }

    /// The same with a connection of its own to the second tier.
    pub(crate) fn per_worker(&self) -> Self {
        Self { store: self.store.per_worker(), ..self.clone() }
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.store.clock().now()
    }

    /// Whether requests with this method are answered from the store.
    pub(crate) fn takes(&self, method: &Method) -> bool {
        match *method {
            Method::GET => self.get,
            Method::HEAD => self.head,
            _ => self.query.is_some() && is_query(method),
        }
    }

    /// Whether a request goes around the cache: it wants more than an answer, has a body, or the operator says so.
    pub(crate) fn bypasses<B: Body>(&self, request: &Request<B>) -> bool {
        // HTTP/2 need not announce a body (RFC 9113 §8.1.1): what comes counts, not only what is said of it.
        let comes = !request.body().is_end_stream() && request.extensions().get::<Asks>().is_none();
        comes || self.bypasses_by_head(request)
    }

    /// The same, as far as the head tells.
    pub(crate) fn bypasses_by_head<B>(&self, request: &Request<B>) -> bool {
        let headers = request.headers();
        let has_body = headers.contains_key(TRANSFER_ENCODING)
            || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
        // What has been read of a `QUERY` is part of its key.
        let is_read = || request.extensions().get::<Asks>().is_some();
        (has_body && !is_read()) || self.goes_around(request)
    }

    /// The same, whether it has a body or not.
    pub(crate) fn goes_around<B>(&self, request: &Request<B>) -> bool {
        let headers = request.headers();
        headers.contains_key(UPGRADE)
            || request.extensions().get::<Upgrade>().is_some()
            || Grpc::of(headers).is_some()
            || self.bypass_headers.iter().any(|name| headers.contains_key(name))
            || (!self.bypass_cookies.is_empty()
                && cookies(headers).any(|(name, _)| self.bypass_cookies.iter().any(|n| n.as_bytes() == name)))
    }

    /// What of a client's wishes is followed.
    pub(crate) fn wants(&self, headers: &HeaderMap) -> RequestDirectives {
        if self.client_directives { RequestDirectives::of(headers) } else { RequestDirectives::default() }
    }

    /// The tags of an answer; where clients may purge, each also as `PURGE` means it, so that theirs reach nothing else.
    pub(crate) fn tags(&self, headers: &HeaderMap) -> Vec<Box<str>> {
        let mut tags = tags(headers);
        if self.purgers.is_some() {
            let more: Vec<_> = tags.iter().map(|tag| purgeable(tag).into()).collect();
            tags.extend(more);
        }
        tags
    }

    pub(crate) fn count(&self, result: CacheResult) -> u64 {
        self.counts[result as usize].load(Ordering::Relaxed)
    }

    /// Says in the answer what happened, and counts it.
    pub(crate) fn tell<R>(&self, response: &mut Response<R>, told: Told) {
        let result = told.result();
        self.counts[result as usize].fetch_add(1, Ordering::Relaxed);
        if self.notes {
            response.extensions_mut().insert(result);
        }
        if self.tells {
            response.headers_mut().append(&CACHE_STATUS, told.value());
        }
    }
}
