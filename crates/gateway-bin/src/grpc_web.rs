//! Which requests of a route pass the layer of gRPC-Web, and what becomes of their bodies.

use crate::end::{Answer, AnyBody, End, RequestStream};
use bytes::Bytes;
use gateway_core::BoxError;
use gateway_transform::{GrpcWebLayer, GrpcWebRequestBody};
use http::Request;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt};

/// A service, and the same for browsers that speak gRPC-Web. All other requests take the way that they take on every
/// route.
pub(crate) struct PerRequest<B: RequestStream> {
    plain: End<B>,
    web: BoxCloneSyncService<Request<B>, Answer<B>, Infallible>,
}

impl<B: RequestStream> PerRequest<B> {
    pub(crate) fn new(plain: End<B>, service: End<Decoded>) -> Self {
        let decode = |request: Request<GrpcWebRequestBody<B>>| request.map(Decoded::new);
        let service = ServiceExt::<Request<Decoded>>::map_request(service, decode);
        let web = GrpcWebLayer.layer(service);
        let web = ServiceExt::<Request<B>>::map_response(web, |answer| answer.map(AnyBody::<B>::boxed));
        Self { plain, web: BoxCloneSyncService::new(web) }
    }
}

impl<B: RequestStream> Clone for PerRequest<B> {
    fn clone(&self) -> Self {
        Self { plain: self.plain.clone(), web: self.web.clone() }
    }
}

impl<B: RequestStream> Service<Request<B>> for PerRequest<B> {
    type Response = Answer<B>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer<B>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match self.plain.poll_ready(cx) {
            Poll::Ready(Ok(())) => self.web.poll_ready(cx),
            other => other,
        }
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if GrpcWebLayer::takes(&request) { self.web.call(request) } else { self.plain.call(request) }
    }
}

/// A request's body that is not as the client sent it. In a box, so that services are compiled for one such type.
pub(crate) struct Decoded(Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>);

impl Decoded {
    fn new(body: impl Body<Data = Bytes, Error = BoxError> + Send + 'static) -> Self {
        Self(Box::pin(body))
    }
}

impl From<Bytes> for Decoded {
    fn from(bytes: Bytes) -> Self {
        Self::new(Full::new(bytes).map_err(|never| match never {}))
    }
}

impl Body for Decoded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// Counted further out, as the client sent it.
impl RequestStream for Decoded {
    fn limit(&mut self, _: u64) {}
}
