//! What layers have in common that pass a request on or answer it themselves, at once or after a question.

use bytes::Bytes;
use gateway_core::{Code, Problem};
use http::{Extensions, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What is done to the answer of the service below, on its way out.
pub trait Leave {
    /// Does it: called once.
    fn leave<R>(&mut self, response: &mut Response<R>);
}

/// Is left in the answer's extensions.
impl Leave for Option<Box<Extensions>> {
    fn leave<R>(&mut self, response: &mut Response<R>) {
        if let Some(note) = self.take() {
            response.extensions_mut().extend(*note);
        }
    }
}

pin_project! {
    /// The future of a service that may refuse: the answer of the service below, or the refusal.
    pub struct GateFuture<F, R, N = Option<Box<Extensions>>> {
        #[pin]
        kind: Kind<F, R, N>,
    }
}

type Waiting<F, R, N> = Pin<Box<dyn Future<Output = GateFuture<F, R, N>> + Send>>;

pin_project! {
    #[project = KindProj]
    enum Kind<F, R, N> {
        // Boxed, so that requests which pass carry no room for it.
        Refused { response: Option<Box<Response<R>>> },
        Passed { #[pin] future: F, note: N },
        // What it yields is polled in its place, so that all of the request takes one box.
        Waiting { future: Waiting<F, R, N> },
    }
}

impl<F, R, N> GateFuture<F, R, N> {
    pub(crate) fn refused(response: Response<R>) -> Self {
        Self { kind: Kind::Refused { response: Some(Box::new(response)) } }
    }

    pub(crate) fn passed(future: F, note: N) -> Self {
        Self { kind: Kind::Passed { future, note } }
    }

    /// Has to ask before it knows which of the two.
    pub(crate) fn waiting(future: impl Future<Output = Self> + Send + 'static) -> Self {
        Self { kind: Kind::Waiting { future: Box::pin(future) } }
    }
}

impl<F, R, N, E> Future for GateFuture<F, R, N>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: From<Bytes>,
    N: Leave,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        loop {
            match self.as_mut().project().kind.project() {
                KindProj::Refused { response } => {
                    let gone = || Problem::new(Code::InternalError).into_response();
                    return Poll::Ready(Ok(response.take().map_or_else(gone, |response| *response)));
                }
                KindProj::Passed { future, note } => {
                    let mut response = ready!(future.poll(cx))?;
                    note.leave(&mut response);
                    return Poll::Ready(Ok(response));
                }
                KindProj::Waiting { future } => {
                    let decided = ready!(future.as_mut().poll(cx));
                    self.set(decided);
                }
            }
        }
    }
}
