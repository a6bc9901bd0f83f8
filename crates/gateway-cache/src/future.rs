use crate::body::CacheBody;
use crate::engine::Engine;
use crate::executor::Executor;
use crate::fetch::Fetch;
use crate::invalidation::Invalidation;
use crate::semantics::status::{Forward, Told};
use crate::service::{Tiering, Waiting};
use bytes::Bytes;
use gateway_core::BoxError;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower::Service;

pin_project! {
    /// The future of [`Cache`](crate::Cache).
    pub struct CacheFuture<S, X, B, R>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        kind: Kind<S, X, B, R>,
    }
}

pin_project! {
    #[project = KindProj]
    pub(crate) enum Kind<S, X, B, R>
    where
        S: Service<Request<B>>,
    {
        // Not for the cache.
        Pass {
            #[pin]
            future: S::Future,
            engine: Arc<Engine>,
            why: Forward,
            invalidation: Option<Box<Invalidation>>,
            // Where the answer may be kept for `GET`.
            fetch: Option<Box<Fetch>>,
        },
        // The upstream is asked.
        Fetch {
            #[pin]
            future: S::Future,
            fetch: Option<Box<Fetch>>,
        },
        // Another asks it.
        Wait {
            waiting: Option<Box<Waiting>>,
            call: Option<Call<S, X, B>>,
        },
        // The second tier is asked.
        Tier {
            tiering: Option<Box<Tiering>>,
            call: Option<Call<S, X, B>>,
        },
        Ready {
            response: Option<Response<CacheBody<R>>>,
        },
    }
}

/// What is needed to ask the upstream later.
pub(crate) struct Call<S, X, B> {
    pub(crate) inner: S,
    pub(crate) executor: X,
    pub(crate) request: Request<B>,
}

impl<S: Service<Request<B>>, X, B, R> From<Kind<S, X, B, R>> for CacheFuture<S, X, B, R> {
    fn from(kind: Kind<S, X, B, R>) -> Self {
        Self { kind }
    }
}

impl<S, X, B, R> Future for CacheFuture<S, X, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    X: Executor<RefreshFuture<S::Future, R>> + Clone,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Output = Result<Response<CacheBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut kind = self.project().kind;
        loop {
            let next = match kind.as_mut().project() {
                KindProj::Pass { future, engine, why, invalidation, fetch } => {
                    let mut response = ready!(future.poll(cx))?;
                    if let Some(invalidation) = invalidation.take() {
                        let purges = invalidation.carry_out(engine, &response);
                        if let Some(fetch) = fetch.take().filter(|_| invalidation.is_of_get(&response)) {
                            return Poll::Ready(Ok(fetch.leave(response, purges)));
                        }
                    }
                    let told = Told::Forwarded { why: *why, upstream: None, stored: false, would_hit: false };
                    engine.tell(&mut response, told);
                    return Poll::Ready(Ok(response.map(CacheBody::pass)));
                }
                KindProj::Fetch { future, fetch } => {
                    let result = ready!(future.poll(cx));
                    return Poll::Ready(match fetch.take() {
                        Some(fetch) => fetch.land(result),
                        None => result.map(|response| response.map(CacheBody::pass)),
                    });
                }
                KindProj::Wait { waiting, call } => {
                    let waited = match (&mut *waiting, &*call) {
                        (Some(waiting), Some(call)) => ready!(waiting.poll(&call.request, cx)),
                        _ => return Poll::Pending,
                    };
                    match (waited, waiting.take(), call.take()) {
                        (None, Some(waiting), Some(Call { mut inner, executor, request })) => {
                            waiting.into_asking().look(&mut inner, &executor, request)
                        }
                        (response, ..) => Kind::Ready { response },
                    }
                }
                KindProj::Tier { tiering, call } => {
                    let is_here = match tiering {
                        Some(tiering) => ready!(tiering.poll(cx)),
                        None => return Poll::Pending,
                    };
                    match (tiering.take(), call.take()) {
                        (Some(tiering), Some(Call { mut inner, executor, request })) => {
                            tiering.go_on(is_here, &mut inner, &executor, request)
                        }
                        _ => return Poll::Pending,
                    }
                }
                KindProj::Ready { response } => match response.take() {
                    Some(response) => return Poll::Ready(Ok(response)),
                    // Polled again after its end.
                    None => return Poll::Pending,
                },
            };
            kind.set(next);
        }
    }
}

pin_project! {
    /// Fetches a new answer for a stale one that was given meanwhile, for an [`Executor`] to run.
    pub struct RefreshFuture<F, R> {
        #[pin]
        kind: RefreshKind<F, R>,
    }
}

pin_project! {
    #[project = RefreshKindProj]
    enum RefreshKind<F, R> {
        Head { #[pin] future: F, fetch: Option<Box<Fetch>> },
        Body { #[pin] body: CacheBody<R> },
    }
}

impl<F, R> RefreshFuture<F, R> {
    pub(crate) fn new(future: F, fetch: Box<Fetch>) -> Self {
        Self { kind: RefreshKind::Head { future, fetch: Some(fetch) } }
    }
}

impl<F, R, E> Future for RefreshFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut kind = self.project().kind;
        loop {
            let body = match kind.as_mut().project() {
                RefreshKindProj::Head { future, fetch } => {
                    let result = ready!(future.poll(cx));
                    match fetch.take().map(|fetch| fetch.land(result)) {
                        Some(Ok(response)) => response.into_body(),
                        Some(Err(_)) | None => return Poll::Ready(()),
                    }
                }
                RefreshKindProj::Body { body } => match ready!(body.poll_frame(cx)) {
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => return Poll::Ready(()),
                },
            };
            // What is not stored need not be read to its end.
            if body.is_pass() {
                return Poll::Ready(());
            }
            kind.set(RefreshKind::Body { body });
        }
    }
}
