//! What layers have in common that either pass a request on or answer it themselves, at once.

use bytes::Bytes;
use gateway_core::{Code, Problem};
use http::{Extensions, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pin_project! {
    /// The future of a service that may refuse: the answer of the service below, or the refusal.
    #[derive(Debug)]
    pub struct GateFuture<F, R> {
        #[pin]
        kind: Kind<F, R>,
    }
}

pin_project! {
    #[project = KindProj]
    #[derive(Debug)]
    enum Kind<F, R> {
        Refused { response: Option<Response<R>> },
        Inner { #[pin] future: F, note: Option<Box<Extensions>> },
    }
}

impl<F, R: From<Bytes>> GateFuture<F, R> {
    pub(crate) fn refused(problem: Problem, note: Option<Box<Extensions>>) -> Self {
        let mut response = problem.into_response();
        if let Some(note) = note {
            response.extensions_mut().extend(*note);
        }
        Self { kind: Kind::Refused { response: Some(response) } }
    }
}

impl<F, R> GateFuture<F, R> {
    /// Passes on. The note is left in the answer's extensions.
    pub(crate) fn passed(future: F, note: Option<Box<Extensions>>) -> Self {
        Self { kind: Kind::Inner { future, note } }
    }
}

impl<F, R, E> Future for GateFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: From<Bytes>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project().kind.project() {
            KindProj::Refused { response } => {
                let gone = || Problem::new(Code::InternalError).into_response();
                Poll::Ready(Ok(response.take().unwrap_or_else(gone)))
            }
            KindProj::Inner { future, note } => {
                let mut response = ready!(future.poll(cx))?;
                if let Some(note) = note.take() {
                    response.extensions_mut().extend(*note);
                }
                Poll::Ready(Ok(response))
            }
        }
    }
}
