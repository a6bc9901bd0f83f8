//! What the cases are made of: services that answer at once, and someone who asks them.

use bytes::Bytes;
use gateway_core::{ClientAddr, Upstream, UpstreamError};
use gateway_server::{Handler, RequestBody};
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{Empty, Full};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use tower::Service;

/// What requests of the cases have for a body.
pub(crate) type Nothing = Empty<Bytes>;

/// A service that answers at once with so many bytes, so that only the layer is measured.
#[derive(Clone, Debug)]
pub(crate) struct Answer(pub(crate) Bytes);

impl Answer {
    pub(crate) fn of(length: usize) -> Self {
        Self(vec![b'a'; length].into())
    }
}

impl<B> Service<Request<B>> for Answer {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Ok(Response::new(Full::new(self.0.clone()))))
    }
}

impl<B: Send> Upstream<B> for Answer {
    type Body = Full<Bytes>;

    async fn send(&self, _: &Parts, _: B) -> Result<Response<Full<Bytes>>, UpstreamError> {
        Ok(Response::new(Full::new(self.0.clone())))
    }
}

impl Handler for Answer {
    type Body = Full<Bytes>;
    type Future = Ready<Result<Response<Full<Bytes>>, Infallible>>;

    fn call(&self, _: Request<RequestBody>) -> Self::Future {
        ready(Ok(Response::new(Full::new(self.0.clone()))))
    }

    fn refuse(&self, problem: gateway_core::Problem) -> Self::Future {
        panic!("the benches' own request is refused: {problem:?}")
    }
}

/// Polls what never waits.
pub(crate) fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits, though nothing is there to wait for"),
    }
}

/// Asks a service and takes all of its answer.
pub(crate) fn ask<S, Q, R>(service: &mut S, request: Request<Q>)
where
    S: Service<Request<Q>, Response = Response<R>, Error = Infallible>,
    R: Body<Data = Bytes>,
{
    let Ok(response) = now(service.call(request));
    assert!(response.status().is_success(), "it answered {}", response.status());
    let mut body = pin!(response.into_body());
    while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())) {
        assert!(frame.is_ok(), "the body broke off");
    }
}

/// A request as a browser's client code sends it, from one of many addresses.
pub(crate) fn request(client: u32) -> Request<Nothing> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = http::Uri::from_static("/api/items/42?page=2");
    let headers = request.headers_mut();
    headers.reserve(8);
    for (name, value) in [
        (http::header::HOST, "shop.example"),
        (http::header::ORIGIN, "https://shop.example"),
        (http::header::USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        (http::header::ACCEPT, "application/json"),
    ] {
        headers.insert(name, http::HeaderValue::from_static(value));
    }
    request.extensions_mut().insert(ClientAddr((std::net::Ipv4Addr::from(client), 1).into()));
    request
}
