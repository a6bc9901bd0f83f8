//! The end of the stack for requests that no route takes.

use bytes::Bytes;
use gateway_core::{Code, Problem};
use http::header::{ALLOW, HeaderValue, LOCATION};
use http::{Request, Response, StatusCode};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::task::{Context, Poll};
use tower::Service;

/// Request extension: why no route has the request.
#[derive(Clone)]
pub(crate) enum Refusal {
    /// It is refused.
    Problem(Problem),
    /// It only asks which methods there are: these, or whether anybody is there.
    Options(Option<HeaderValue>),
    /// It is to be made elsewhere, here.
    Moved(HeaderValue),
}

/// Answers with what the edge found.
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
        let answer = match request.extensions_mut().remove::<Refusal>() {
            None => Problem::new(Code::NoRoute).into_response(),
            Some(Refusal::Problem(problem)) => problem.into_response(),
            Some(Refusal::Options(allow)) => {
                let mut answer = Response::new(R::from(Bytes::new()));
                *answer.status_mut() = StatusCode::NO_CONTENT;
                answer.headers_mut().extend(allow.map(|allow| (ALLOW, allow)));
                answer
            }
            Some(Refusal::Moved(location)) => {
                let mut answer = Response::new(R::from(Bytes::new()));
                *answer.status_mut() = StatusCode::PERMANENT_REDIRECT;
                answer.headers_mut().insert(LOCATION, location);
                answer
            }
        };
        ready(Ok(answer))
    }
}
