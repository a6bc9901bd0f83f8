use http::{HeaderMap, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Changes the headers of an answer, once.
pub(crate) trait Edit {
    fn edit(&self, headers: &mut HeaderMap);
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
        this.edit.edit(response.headers_mut());
        Poll::Ready(Ok(response))
    }
}
