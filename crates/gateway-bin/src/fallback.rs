//! The end of the stack for requests that no route takes.

use bytes::Bytes;
use gateway_core::{Code, Problem};
use http::{Request, Response};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::task::{Context, Poll};
use tower::Service;

/// Request extension: why the edge refused the request.
#[derive(Clone)]
pub(crate) struct Refusal(pub(crate) Problem);

/// Answers with the problem that the edge found.
pub(crate) struct Refuse<R>(PhantomData<fn() -> R>);

impl<R> Refuse<R> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<R> Clone for Refuse<R> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<B, R: From<Bytes>> Service<Request<B>> for Refuse<R> {
    type Response = Response<R>;
    type Error = Infallible;
    type Future = Ready<Result<Response<R>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let refusal = request.extensions_mut().remove::<Refusal>();
        let problem = refusal.map_or_else(|| Problem::new(Code::NoRoute), |Refusal(problem)| problem);
        ready(Ok(problem.into_response()))
    }
}
