use bytes::Bytes;
use http::{HeaderMap, Response, Version};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Changes the headers of an answer, once.
pub(crate) trait Edit {
    /// The version is that in which the answer came.
    fn edit(&mut self, version: Version, headers: &mut HeaderMap);
}

pin_project! {
    /// The future of the layers that only change an answer's headers.
    pub struct AnswerFuture<F, E> {
        #[pin]
        pub(crate) inner: F,
        pub(crate) edit: E,
    }
}

impl<F, E, R, Err> Future for AnswerFuture<F, E>
where
    F: Future<Output = Result<Response<R>, Err>>,
    E: Edit,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        this.edit.edit(response.version(), response.headers_mut());
        Poll::Ready(Ok(response))
    }
}

pin_project! {
    /// The future of the layers that answer some requests themselves.
    pub struct OwnOrInner<F, R> {
        #[pin]
        kind: Kind<F, R>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<F, R> {
        Inner { #[pin] future: F },
        // Boxed, so that requests which pass carry no room for it.
        Own { response: Option<Box<Response<R>>> },
    }
}

impl<F, R> OwnOrInner<F, R> {
    pub(crate) fn inner(future: F) -> Self {
        Self { kind: Kind::Inner { future } }
    }

    pub(crate) fn own(response: Response<R>) -> Self {
        Self { kind: Kind::Own { response: Some(Box::new(response)) } }
    }
}

impl<F, R, E> Future for OwnOrInner<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: From<Bytes>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project().kind.project() {
            KindProj::Inner { future } => future.poll(cx),
            // Only a future that is polled after its end has nothing left to give.
            KindProj::Own { response } => {
                let empty = || Response::new(R::from(Bytes::new()));
                Poll::Ready(Ok(response.take().map_or_else(empty, |response| *response)))
            }
        }
    }
}
