use crate::RequestBody;
use bytes::Bytes;
use gateway_core::{BoxError, Problem, Spliced};
use http::{Request, Response};
use http_body::Body;
use std::convert::Infallible;
use std::future::Future;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What answers the requests of one connection.
pub trait Handler: Unpin + 'static {
    /// The body of its answers.
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + 'static;
    /// An answer on its way. Dropped when the client goes.
    type Future: Future<Output = Result<Response<Self::Body>, Infallible>> + Unpin + 'static;

    /// Answers a request.
    fn call(&self, request: Request<RequestBody>) -> Self::Future;

    /// Answers what is no request, for instance because its framing is ambiguous. Over HTTP/1 the connection is closed after
    /// it. Where HTTP/2 has refused it already, the answer is dropped: it is for the log.
    fn refuse(&self, problem: Problem) -> Self::Future;

    /// Moves what comes next of a body to a socket without reading it: [`Splice::poll_splice`](gateway_core::Splice), for
    /// bodies that have it. By default nothing goes that way.
    fn splice(_: Pin<&mut Self::Body>, _: &mut Context<'_>, _: BorrowedFd<'_>) -> Poll<Spliced> {
        Poll::Ready(Spliced::default())
    }
}
