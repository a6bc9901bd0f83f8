//! How large a request's body may be.

use crate::end::{Answer, RequestStream};
use futures_util::future::Either;
use gateway_core::{Code, Problem};
use http::Request;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Answers 413 to a body that is larger: at once where its length is told, else as soon as it turns out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimitLayer(pub(crate) u64);

impl<S> Layer<S> for BodyLimitLayer {
    type Service = BodyLimit<S>;

    fn layer(&self, inner: S) -> BodyLimit<S> {
        BodyLimit { inner, most: self.0 }
    }
}

#[derive(Clone)]
pub(crate) struct BodyLimit<S> {
    inner: S,
    most: u64,
}

impl<S, B> Service<Request<B>> for BodyLimit<S>
where
    S: Service<Request<B>, Response = Answer<B>, Error = Infallible>,
    B: RequestStream,
{
    type Response = Answer<B>;
    type Error = Infallible;
    type Future = Either<Ready<Result<Answer<B>, Infallible>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if request.body().size_hint().lower() > self.most {
            let detail = format!("the request body is larger than {} bytes", self.most);
            let problem = Problem::new(Code::BodyTooLarge).with_detail(detail);
            return Either::Left(ready(Ok(problem.into_response())));
        }
        request.body_mut().limit(self.most);
        Either::Right(self.inner.call(request))
    }
}
