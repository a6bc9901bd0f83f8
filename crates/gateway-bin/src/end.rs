//! The innermost service of a route.

use bytes::Bytes;
use gateway_balance::{Balance, BalancedBody, Replay};
use gateway_cache::CacheBody;
use gateway_core::{BoxError, FailureKind, UpstreamError};
use gateway_server::RequestBody;
use gateway_upstream::{HttpUpstream, UpstreamBody};
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tower::Service;
use tower::util::BoxCloneSyncService;

/// A request body that the stacks take.
pub trait RequestStream:
    Body<Data = Bytes, Error: Into<BoxError>> + From<Bytes> + Send + Unpin + 'static
{
    /// From now on at most so many bytes; then it fails with [`BodyTooLarge`](gateway_core::BodyTooLarge).
    fn limit(&mut self, bytes: u64);
}

impl RequestStream for RequestBody {
    fn limit(&mut self, bytes: u64) {
        Self::limit(self, bytes);
    }
}

/// Bytes at hand, which no limit forbids: for measurements.
impl RequestStream for Full<Bytes> {
    fn limit(&mut self, _: u64) {}
}

/// The body of an answer before it is observed: the gateway's own, an upstream's, or any other in a box.
pub(crate) type AnyBody<B> = gateway_core::Body<BalancedBody<UpstreamBody<Replay<B>>>>;

pub(crate) type Answer<B> = Response<AnyBody<B>>;

/// What the cache made of a body. What fails in it failed in the upstream, whoever of those who share it asked first.
pub(crate) fn from_cache<B: RequestStream>(body: CacheBody<AnyBody<B>>) -> AnyBody<B> {
    AnyBody::boxed(body.map_err(|error| match error.downcast::<UpstreamError>() {
        Ok(error) => *error,
        Err(error) => UpstreamError::elsewhere(FailureKind::Reset, error.to_string()),
    }))
}

/// Who answers the requests of a route: its service, or that behind policies that few routes have.
///
/// Those are boxed, so that all other routes need not pay for them.
pub(crate) enum End<B: RequestStream> {
    Balance(Balance<HttpUpstream>),
    Guarded(BoxCloneSyncService<Request<B>, Answer<B>, Infallible>),
}

impl<B: RequestStream> End<B> {
    pub(crate) fn guarded<S>(service: S) -> Self
    where
        S: Service<Request<B>, Response = Answer<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self::Guarded(BoxCloneSyncService::new(service))
    }
}

impl<B: RequestStream> Clone for End<B> {
    fn clone(&self) -> Self {
        match self {
            Self::Balance(service) => Self::Balance(service.clone()),
            Self::Guarded(service) => Self::Guarded(service.clone()),
        }
    }
}

impl<B> Service<Request<B>> for End<B>
where
    B: RequestStream,
{
    type Response = Answer<B>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer<B>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match self {
            Self::Balance(service) => Service::<Request<B>>::poll_ready(service, cx),
            Self::Guarded(service) => service.poll_ready(cx),
        }
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self {
            Self::Balance(service) => service.call(request),
            Self::Guarded(service) => service.call(request),
        }
    }
}
