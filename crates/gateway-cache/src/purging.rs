//! `PURGE`, for those who may.

use crate::body::CacheBody;
use crate::engine::Engine;
use crate::entry::{purgeable, tags};
use crate::store::purge::{Purge, PurgeMode};
use bytes::Bytes;
use gateway_core::{ClientAddr, Code, Network, Problem};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, Request, Response};

/// As at other caches: `1` makes stale instead of removing.
static SOFT: HeaderName = HeaderName::from_static("soft-purge");

/// Answers a `PURGE`: of the tags that it names in `Surrogate-Key` or `Cache-Tag`; else of its URL; of all URLs that
/// begin so where it ends in `*`.
pub(crate) fn answer<B, R>(
    engine: &Engine,
    allowed: &[Network],
    request: &Request<B>,
) -> Response<CacheBody<R>> {
    let client = request.extensions().get::<ClientAddr>().map(ClientAddr::ip);
    if !client.is_some_and(|ip| allowed.iter().any(|network| network.contains(ip))) {
        return Problem::new(Code::Forbidden).into_response();
    }
    let is_soft = request.headers().get(&SOFT).is_some_and(|value| value.as_bytes() == b"1");
    let mode = if is_soft { PurgeMode::MarkStale } else { PurgeMode::Remove };
    let tags = tags(request.headers());
    let url = engine.keys.url(request);
    let purged: usize = if tags.is_empty() {
        let what = match url.strip_suffix('*') {
            Some(start) => Purge::Prefix(start.to_owned()),
            None => Purge::Url(url),
        };
        engine.store.purge(&what, mode)
    } else {
        tags.iter().map(|tag| engine.store.purge(&Purge::Tag(purgeable(tag)), mode)).sum()
    };
    let mut response = Response::new(CacheBody::from(Bytes::from(format!("{{\"purged\":{purged}}}\n"))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
