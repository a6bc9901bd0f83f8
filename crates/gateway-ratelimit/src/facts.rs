//! What a request says of itself and of its caller.

use crate::tally::Tally;
use gateway_core::{Captures, ClientAddr, Principal, cookie, percent};
use http::{Extensions, HeaderMap, Method, Request, Uri};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;

/// Where a layer stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) route: Option<Arc<str>>,
    pub(crate) service: Option<Arc<str>>,
    /// Where its requests are counted for metrics.
    pub(crate) tally: Arc<Tally>,
}

/// What limits look at.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) uri: &'a Uri,
    pub(crate) extensions: &'a Extensions,
    pub(crate) scope: &'a Scope,
}

impl<'a> Facts<'a> {
    pub(crate) fn of<B>(request: &'a Request<B>, scope: &'a Scope) -> Self {
        let (headers, uri, extensions) = (request.headers(), request.uri(), request.extensions());
        Self { method: request.method(), headers, uri, extensions, scope }
    }

    pub(crate) fn principal(&self) -> Option<&'a Principal> {
        self.extensions.get()
    }

    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.extensions.get::<ClientAddr>().map(ClientAddr::ip)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.get(name).map(http::HeaderValue::as_bytes)
    }

    /// A claim by its name or, where there is none, by its path.
    pub(crate) fn claim(&self, path: &str) -> Option<&'a Value> {
        let principal = self.principal()?;
        principal.claim(path).or_else(|| {
            let mut steps = path.split('.');
            let first = principal.claim(steps.next()?)?;
            steps.try_fold(first, |value, step| value.get(step))
        })
    }

    /// A cookie of the request (RFC 6265 §5.4).
    pub(crate) fn cookie(&self, name: &str) -> Option<&'a [u8]> {
        cookie::values(self.headers, name).next()
    }

    /// What the route has captured under this name.
    pub(crate) fn capture(&self, name: &str) -> Option<&'a str> {
        self.extensions.get::<Captures>()?.get(name)
    }

    /// A parameter of the query as it is written.
    pub(crate) fn query(&self, name: &str) -> Option<&'a str> {
        // No other spelling of the name escapes the count.
        let is_name = |key: &str| {
            key == name || (key.contains(['%', '+']) && *percent::form_decoded(key) == *name.as_bytes())
        };
        let mut pairs = self.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(key, value)| is_name(key).then_some(value))
    }
}
