use crate::engine::Engine;
use crate::key::origin_of;
use crate::semantics::invalidate::{is_done, named};
use crate::store::purge::{Purge, PurgeMode};
use http::{Request, Response, Uri};

/// What a request that changes something makes out of date, once it is done (RFC 9111 §4.4).
#[derive(Debug)]
pub(crate) struct Invalidation {
    url: String,
    origin: String,
    uri: Uri,
}

impl Invalidation {
    pub(crate) fn of<B>(engine: &Engine, request: &Request<B>) -> Self {
        Self { url: engine.keys.url(request), origin: origin_of(request), uri: request.uri().clone() }
    }

    /// Removes what the answer says has changed.
    pub(crate) fn carry_out<R>(self, engine: &Engine, response: &Response<R>) {
        if !is_done(response.status()) {
            return;
        }
        let targets = named(&self.origin, &self.uri, response.headers());
        let named = targets.iter().filter_map(|target| engine.keys.url_at(&self.origin, target));
        for url in std::iter::once(self.url).chain(named) {
            engine.store.purge(&Purge::Url(url), PurgeMode::Remove);
        }
    }
}
