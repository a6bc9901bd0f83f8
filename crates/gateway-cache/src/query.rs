mod digest;

use bytes::Bytes;
use gateway_core::{BoxError, Problem, take_ready};
use http::{Method, Request, Response, request};
use http_body::Body;
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower::{Layer, Service};

/// Reads what a `QUERY` (RFC 10008) asks for, so that the [`Cache`](crate::Cache) right behind it can tell its answers
/// apart. [`CacheLayer::query`](crate::CacheLayer::query) makes it where the settings name the method; without it each
/// `QUERY` goes around the cache.
///
/// Bodies longer than `max_query`, or that do not say how long they are, pass as they come. A body that breaks off is
/// answered 400, one that turns out larger than allowed 413, one that comes too slowly 408. Trailers of those
/// that are read are left out.
#[derive(Clone, Copy, Debug)]
pub struct QueryLayer {
    most: u64,
}

impl QueryLayer {
    pub(crate) fn new(most: u64) -> Self {
        Self { most }
    }
}

impl<S> Layer<S> for QueryLayer {
    type Service = Query<S>;

    fn layer(&self, inner: S) -> Query<S> {
        Query { inner, most: self.most }
    }
}

/// The service of [`QueryLayer`].
#[derive(Clone, Debug)]
pub struct Query<S> {
    inner: S,
    most: u64,
}

/// What a `QUERY` asks for: the digest of its body and of what says how to read it. An extension of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asks(pub(crate) [u8; 32]);

/// Whether this is the method.
pub(crate) fn is_query(method: &Method) -> bool {
    method.as_str() == "QUERY"
}

impl<S, B, R> Service<Request<B>> for Query<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    B: Body<Data = Bytes> + From<Bytes>,
    B::Error: Into<BoxError>,
    R: From<Bytes>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = QueryFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let length = request.body().size_hint().exact();
        if !is_query(request.method()) || length.is_none_or(|length| length > self.most) {
            return Kind::Call { future: self.inner.call(request) }.into();
        }
        let inner = take_ready(&mut self.inner);
        let (parts, body) = request.into_parts();
        Kind::Read { waiting: Some(Box::new((inner, parts))), body, read: Vec::new() }.into()
    }
}

pin_project! {
    /// The future of [`Query`].
    pub struct QueryFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        kind: Kind<S, B>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<S, B>
    where
        S: Service<Request<B>>,
    {
        // The body comes in; then the service is called with it.
        Read {
            waiting: Option<Box<(S, request::Parts)>>,
            #[pin]
            body: B,
            read: Vec<u8>,
        },
        Call {
            #[pin]
            future: S::Future,
        },
    }
}

impl<S: Service<Request<B>>, B> From<Kind<S, B>> for QueryFuture<S, B> {
    fn from(kind: Kind<S, B>) -> Self {
        Self { kind }
    }
}

impl<S, B, R> Future for QueryFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Body<Data = Bytes> + From<Bytes>,
    B::Error: Into<BoxError>,
    R: From<Bytes>,
{
    type Output = Result<Response<R>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut kind = self.project().kind;
        loop {
            let future = match kind.as_mut().project() {
                KindProj::Call { future } => return future.poll(cx),
                KindProj::Read { waiting, mut body, read } => {
                    match ready!(body.as_mut().poll_frame(cx)) {
                        Some(Ok(frame)) => {
                            if let Some(data) = frame.data_ref() {
                                read.extend_from_slice(data);
                            }
                            continue;
                        }
                        Some(Err(error)) => {
                            return Poll::Ready(Ok(Problem::of_request_body(&*error.into()).into_response()));
                        }
                        None => {}
                    }
                    // Polled again after its end.
                    let Some(waiting) = waiting.take() else { return Poll::Pending };
                    let (mut inner, mut parts) = *waiting;
                    let read = Bytes::from(std::mem::take(read));
                    parts.extensions.insert(Asks(digest::digest(&parts.headers, &read)));
                    inner.call(Request::from_parts(parts, read.into()))
                }
            };
            kind.set(Kind::Call { future });
        }
    }
}
