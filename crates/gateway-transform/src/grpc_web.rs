mod body;
mod head;
mod text;
mod trailers;

pub use body::{GrpcWebBody, GrpcWebRequestBody};
use head::Form;
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
pub use text::GrpcWebError;
use tower::{Layer, Service};

/// Lets browsers call services of gRPC: gRPC-Web on this side, gRPC on the other (`PROTOCOL-WEB.md` of grpc/grpc), as
/// Envoy's `grpc_web` filter, Traefik's `grpcWeb` and tonic-web do.
///
/// | | of clients | of the service |
/// |---|---|---|
/// | content type | `application/grpc-web`, `application/grpc-web-text`, with or without `+proto` and the like | `application/grpc`, with the same |
/// | request | messages, of the text form in base64, which may be several padded texts and is decoded as it comes | the messages, and `te: trailers` |
/// | answer | messages as they come, then the trailers in a frame: `0x80`, their length in four bytes, `name: value` lines | messages, trailers |
/// | outcome in the answer's head | the same, and no body | `grpc-status` in the head, no body |
///
/// An answer has the form that the request's `Accept` names first, else the request's own. In the text form each piece
/// is base64 for itself, padded to its end: to carry one or two bytes over to the next piece would keep the end of a
/// message back until another comes. The protocol has clients expect padding wherever a server flushes, and they do.
///
/// Only `POST` requests with such a content type are changed, and only answers that are gRPC; all others pass untouched.
/// Answers lose their `content-length`, requests of the text form too. Where no trailers come, none are made up.
///
/// What looks at the body as the client signed it belongs outside of this layer; what heeds `grpc-timeout` or retries by
/// `grpc-status`, within. A page of another origin also needs [CORS](crate::CorsLayer), with `grpc-status` and
/// `grpc-message` among the headers that it may read.
///
/// Its cost is one header's look-up per request, and for gRPC-Web no task, no collected body, and a copy only where
/// base64 asks for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcWebLayer;

impl GrpcWebLayer {
    /// Whether the layer would change such a request: a `POST` whose `Content-Type` is one of gRPC-Web.
    #[must_use]
    pub fn takes<B>(request: &Request<B>) -> bool {
        Form::of(request).is_some()
    }
}

impl<S> Layer<S> for GrpcWebLayer {
    type Service = GrpcWeb<S>;

    fn layer(&self, inner: S) -> GrpcWeb<S> {
        GrpcWeb { inner }
    }
}

/// The service of [`GrpcWebLayer`].
#[derive(Clone, Debug)]
pub struct GrpcWeb<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for GrpcWeb<S>
where
    S: Service<Request<GrpcWebRequestBody<B>>, Response = Response<R>>,
{
    type Response = Response<GrpcWebBody<R>>;
    type Error = S::Error;
    type Future = GrpcWebFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let form = Form::of(&request);
        let mut accepted = None;
        if let Some(form) = form {
            accepted = Some(form.accepted(request.headers()));
            head::to_grpc(request.headers_mut(), form);
        }
        let request = request.map(|body| GrpcWebRequestBody::new(body, form));
        GrpcWebFuture { inner: self.inner.call(request), accepted }
    }
}

pin_project! {
    /// The future of [`GrpcWeb`].
    pub struct GrpcWebFuture<F> {
        #[pin]
        inner: F,
        accepted: Option<Form>,
    }
}

impl<F, R, E> Future for GrpcWebFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<GrpcWebBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        let form = this.accepted.filter(|form| head::to_web(response.headers_mut(), *form));
        Poll::Ready(Ok(response.map(|body| GrpcWebBody::new(body, form))))
    }
}

#[cfg(test)]
mod tests;
