//! Panic isolation: a panic below is answered with 500, and the process lives (S3-23).

use bytes::Bytes;
use gateway_core::{Code, Problem};
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Turns panics of the service below into answers.
///
/// tower-http's `CatchPanic` does the same but boxes every response body, also those of requests that go well.
#[derive(Clone, Copy)]
pub(crate) struct CatchPanicLayer;

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> CatchPanic<S> {
        CatchPanic(inner)
    }
}

#[derive(Clone)]
pub(crate) struct CatchPanic<S>(S);

impl<S, B, R> Service<Request<B>> for CatchPanic<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = CatchPanicFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // Unwind safe: what panicked is dropped, and shared state sits behind atomics and locks that recover.
        let called = catch_unwind(AssertUnwindSafe(|| self.0.call(request)));
        let inner = called.map_err(|panic| report(&*panic)).ok();
        CatchPanicFuture { inner }
    }
}

pin_project! {
    pub(crate) struct CatchPanicFuture<F> {
        #[pin]
        inner: Option<F>,
    }
}

impl<F, R, E> Future for CatchPanicFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: From<Bytes>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(inner) = self.project().inner.as_pin_mut() else {
            return Poll::Ready(Ok(Problem::new(Code::InternalError).into_response()));
        };
        // Not what the closure returns, which would be moved through `catch_unwind` whether it is there or not.
        let mut answer = None;
        let polled = catch_unwind(AssertUnwindSafe(|| {
            if let Poll::Ready(ready) = inner.poll(cx) {
                answer = Some(ready);
            }
        }));
        if let Err(panic) = polled {
            report(&*panic);
            return Poll::Ready(Ok(Problem::new(Code::InternalError).into_response()));
        }
        answer.map_or(Poll::Pending, Poll::Ready)
    }
}

fn report(panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(
        "a request's handler panicked and was answered with 500: {}",
        text.unwrap_or("no message")
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use std::convert::Infallible;
    use tower::{ServiceExt, service_fn};

    #[tokio::test]
    async fn s3_23_a_panic_is_answered_with_500_and_the_service_goes_on() {
        let mut service = CatchPanicLayer.layer(service_fn(|request: Request<()>| async move {
            assert_ne!(request.uri().path(), "/panic", "on purpose");
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        }));
        for (path, status) in [("/panic", 500), ("/", 200), ("/panic", 500)] {
            let request = Request::get(path).body(()).unwrap();
            let response = service.ready().await.unwrap().call(request).await.unwrap();
            assert_eq!(response.status(), status, "{path}");
        }
    }
}
