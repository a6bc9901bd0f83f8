//! A layer that only makes out of date, for routes beside the one that has the cache.

use super::Invalidation;
use crate::CacheLayer;
use crate::engine::Engine;
use crate::semantics::invalidate::is_safe;
use crate::store::purge::{Purge, PurgeMode};
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower::{Layer, Service};

/// Makes out of date what caches elsewhere have of a URL, where a request that may change something succeeds
/// (RFC 9111 §4.4). For routes that take the `POST` and `DELETE` of what another route answers the `GET` of: a
/// [`CacheLayer`] does it for all requests that pass it itself. Answers nothing, and adds nothing to answers.
#[derive(Clone, Debug)]
pub struct InvalidateLayer(Arc<[Arc<Engine>]>);

impl InvalidateLayer {
    /// For what these caches have, each by its own rules of what counts of a query.
    pub fn of<'a, X: 'a>(caches: impl IntoIterator<Item = &'a CacheLayer<X>>) -> Self {
        Self(caches.into_iter().map(|cache| cache.engine.clone()).collect())
    }
}

impl<S> Layer<S> for InvalidateLayer {
    type Service = Invalidate<S>;

    fn layer(&self, inner: S) -> Invalidate<S> {
        Invalidate { inner, caches: self.0.clone() }
    }
}

/// The service of [`InvalidateLayer`].
#[derive(Clone, Debug)]
pub struct Invalidate<S> {
    inner: S,
    caches: Arc<[Arc<Engine>]>,
}

impl<S, B, R> Service<Request<B>> for Invalidate<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = InvalidateFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let caches = if is_safe(request.method()) { &[][..] } else { &self.caches };
        let of = |engine: &Arc<Engine>| (engine.clone(), Invalidation::of(engine, &request));
        let invalidations = caches.iter().map(of).collect();
        InvalidateFuture { future: self.inner.call(request), invalidations }
    }
}

pin_project! {
    /// The future of [`Invalidate`].
    pub struct InvalidateFuture<F> {
        #[pin]
        future: F,
        invalidations: Vec<(Arc<Engine>, Invalidation)>,
    }
}

impl<F, R, E> Future for InvalidateFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(cx))?;
        let mut done: Vec<String> = Vec::new();
        for (engine, invalidation) in this.invalidations.drain(..) {
            for url in invalidation.urls(&engine, &response) {
                // Mostly they have the same.
                if !done.contains(&url) {
                    engine.store.purge(&Purge::Url(url.clone()), PurgeMode::Remove);
                    done.push(url);
                }
            }
        }
        Poll::Ready(Ok(response))
    }
}
