mod layer;

use crate::engine::Engine;
use crate::key::origin_of;
use crate::semantics::invalidate::{content_location, is_done, named};
use crate::store::purge::{Purge, PurgeMode};
use http::{Request, Response, StatusCode, Uri};
pub use layer::{Invalidate, InvalidateFuture, InvalidateLayer};

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

    /// Removes what the answer says has changed, and returns how many purges that took.
    pub(crate) fn carry_out<R>(&self, engine: &Engine, response: &Response<R>) -> u64 {
        let urls = self.urls(engine, response).into_iter();
        urls.map(|url| engine.store.purge_noted(&Purge::Url(url), PurgeMode::Remove).1).sum()
    }

    /// What the answer says has changed.
    fn urls<R>(&self, engine: &Engine, response: &Response<R>) -> Vec<String> {
        if !is_done(response.status()) {
            return Vec::new();
        }
        let targets = named(&self.origin, &self.uri, response.headers());
        let named = targets.iter().filter_map(|target| engine.keys.url_at(&self.origin, target));
        std::iter::once(self.url.clone()).chain(named).collect()
    }

    /// Whether the answer is one to a `GET` of the same URL too (RFC 9110 §9.3.3): it has the status of one, and its
    /// `Content-Location` is that URL.
    pub(crate) fn is_of_get<R>(&self, response: &Response<R>) -> bool {
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        response.status() == StatusCode::OK
            && content_location(&self.origin, &self.uri, response.headers()).is_some_and(|at| at == target)
    }
}
