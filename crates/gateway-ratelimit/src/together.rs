//! Several limits on one route, all or nothing.

mod parts;

pub(crate) use parts::Parts;

use crate::RateLimitLayer;
use crate::service::RateLimitFuture;
use bytes::Bytes;
use http::{Request, Response};
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Several limits that must all have room: a request that one of them refuses takes from none. Each keeps its own key,
/// store and mode.
///
/// It differs from one layer around another in that a refusal costs nothing elsewhere, that Redis is asked about all of
/// them at once, and in what clients are told: `RateLimit`, `X-RateLimit-*` and `Retry-After` are those of the tightest
/// limit (of refusals the one that lasts longest, else the one with the least left; limits that only report speak if
/// nobody else does), `RateLimit-Policy` lists them all in their order.
///
/// | the limit counts | and another one refuses |
/// |---|---|
/// | in memory, or in shares (`leased`) | it has not been taken from |
/// | on Redis, and the other one does not | it has not been asked |
/// | on Redis, as the other one does | what it gave is given back before the refusal is answered, and if the client has gone; until then it is missing for others |
///
/// Limits with `count = "failures"` stand outside of authentication, in a layer of their own; one such layer around
/// another tells clients of the tightest limit of both.
///
/// ```
/// use axum::{body::Body, extract::Request, routing::get, Router};
/// use gateway_ratelimit::{RateLimitLayer, RateLimitSettings, RateLimitsLayer};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let burst = RateLimitLayer::new("burst", &RateLimitSettings::all("1/s".parse()?))?;
/// let total = RateLimitLayer::new("total", &RateLimitSettings::all("2/h".parse()?))?;
/// let limits = RateLimitsLayer::new([burst, total]);
/// let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(limits);
///
/// app.clone().oneshot(Request::get("/").body(Body::empty())?).await?;
/// let refused = app.oneshot(Request::get("/").body(Body::empty())?).await?;
/// assert_eq!(refused.headers()["ratelimit"], "\"burst\";r=0;t=1");
/// assert_eq!(refused.headers()["ratelimit-policy"], "\"burst\";q=1;w=1, \"total\";q=2;w=3600");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct RateLimitsLayer {
    limits: Arc<[RateLimitLayer]>,
}

impl RateLimitsLayer {
    /// These limits, each with its store, route and service.
    pub fn new(limits: impl IntoIterator<Item = RateLimitLayer>) -> Self {
        Self { limits: limits.into_iter().collect() }
    }
}

impl<S> Layer<S> for RateLimitsLayer {
    type Service = RateLimits<S>;

    fn layer(&self, inner: S) -> RateLimits<S> {
        RateLimits { inner, limits: self.limits.clone() }
    }
}

/// The service of [`RateLimitsLayer`].
#[derive(Clone, Debug)]
pub struct RateLimits<S> {
    inner: S,
    limits: Arc<[RateLimitLayer]>,
}

impl<S, B, R> Service<Request<B>> for RateLimits<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RateLimitFuture<S, Request<B>, S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let mut parts = Parts::of(&self.limits, &request);
        parts.want_plain(request.headers_mut());
        parts.look();
        if !parts.is_refused() && parts.ask_a_server() {
            return RateLimitFuture::asking(Box::pin(parts.asked()), &mut self.inner, request);
        }
        if !parts.is_refused() {
            parts.take_here();
        }
        RateLimitFuture::of(parts.verdict(), &mut self.inner, request)
    }
}
