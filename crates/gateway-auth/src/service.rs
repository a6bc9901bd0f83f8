use crate::jwt::check::Step;
use crate::jwt::verify::Verified;
use crate::layer::JwtLayer;
use crate::refusal::Refusal;
use bytes::Bytes;
use gateway_core::Principal;
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower::Service;

/// The service of [`JwtLayer`].
#[derive(Clone, Debug)]
pub struct Jwt<S> {
    pub(crate) inner: S,
    pub(crate) layer: JwtLayer,
}

impl<S, B, R> Service<Request<B>> for Jwt<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: 'static,
    B: Send + 'static,
    R: From<Bytes> + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = JwtFuture<S::Future, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let layer = &self.layer;
        let checking = match layer.shared.start(&layer.store, request.headers(), request.uri()) {
            Step::Done(Ok(verified)) => return pass(&mut self.inner, request, &verified),
            Step::Done(Err(refusal)) => return self.refuse(refusal),
            Step::Wait(checking) => checking,
        };
        // The clone is what stays: the one that was made ready is the one that is called.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let shared = layer.shared.clone();
        let checking = Box::pin(async move {
            match checking.await {
                Ok(verified) => Ok(pass(&mut inner, request, &verified)),
                Err(refusal) => Err(shared.challenges.answer(refusal)),
            }
        });
        JwtFuture { kind: Kind::Checking { future: checking } }
    }
}

impl<S> Jwt<S> {
    fn refuse<F, R: From<Bytes>, E>(&self, refusal: Refusal) -> JwtFuture<F, R, E> {
        JwtFuture { kind: Kind::Refused { response: Some(self.layer.shared.challenges.answer(refusal)) } }
    }
}

fn pass<S, B, R>(
    inner: &mut S,
    mut request: Request<B>,
    verified: &Verified,
) -> JwtFuture<S::Future, R, S::Error>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    request.extensions_mut().insert(verified.principal.clone());
    JwtFuture {
        kind: Kind::Inner { future: inner.call(request), principal: Some(verified.principal.clone()) },
    }
}

type Checking<F, R, E> = Pin<Box<dyn Future<Output = Result<JwtFuture<F, R, E>, Response<R>>> + Send>>;

pin_project! {
    /// The future of [`Jwt`].
    pub struct JwtFuture<F, R, E> {
        #[pin]
        kind: Kind<F, R, E>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<F, R, E> {
        Refused { response: Option<Response<R>> },
        Inner { #[pin] future: F, principal: Option<Principal> },
        Checking { future: Checking<F, R, E> },
    }
}

impl<F, R, E> Future for JwtFuture<F, R, E>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: From<Bytes>,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        loop {
            match self.as_mut().project().kind.project() {
                KindProj::Refused { response } => {
                    let gone = || Response::new(R::from(Bytes::new()));
                    return Poll::Ready(Ok(response.take().unwrap_or_else(gone)));
                }
                KindProj::Inner { future, principal } => {
                    let mut response = ready!(future.poll(cx))?;
                    if let Some(principal) = principal.take() {
                        response.extensions_mut().insert(principal);
                    }
                    return Poll::Ready(Ok(response));
                }
                KindProj::Checking { future } => match ready!(future.as_mut().poll(cx)) {
                    Ok(passed) => self.set(passed),
                    Err(response) => return Poll::Ready(Ok(response)),
                },
            }
        }
    }
}
