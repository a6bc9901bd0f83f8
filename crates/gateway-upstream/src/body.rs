use crate::http1::Http1Body;
use crate::http2::Http2Body;
use bytes::Bytes;
use gateway_core::{BoxError, Splice, Spliced, UpstreamError};
use http_body::{Body, Frame, SizeHint};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The body of an upstream's answer, read from its connection as the client takes it.
///
/// Dropped before its end, it ends the request: over HTTP/1.1 the connection is closed, over HTTP/2 the stream is
/// cancelled. What is left of the request body `B` is still sent meanwhile.
#[derive(Debug)]
pub struct UpstreamBody<B>(Kind<B>);

#[derive(Debug)]
enum Kind<B> {
    Http1(Http1Body<B>),
    /// Boxed, so that the plain case carries no more than it needs through the layers.
    Http2(Box<Http2Body<B>>),
}

impl<B> From<Http1Body<B>> for UpstreamBody<B> {
    fn from(body: Http1Body<B>) -> Self {
        Self(Kind::Http1(body))
    }
}

impl<B> From<Http2Body<B>> for UpstreamBody<B> {
    fn from(body: Http2Body<B>) -> Self {
        Self(Kind::Http2(Box::new(body)))
    }
}

impl<B> Body for UpstreamBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match &mut self.get_mut().0 {
            Kind::Http1(body) => Pin::new(body).poll_frame(cx),
            Kind::Http2(body) => Pin::new(&mut **body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Http1(body) => body.is_end_stream(),
            Kind::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Http1(body) => body.size_hint(),
            Kind::Http2(body) => body.size_hint(),
        }
    }
}

impl<B> Splice for UpstreamBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll_splice(self: Pin<&mut Self>, cx: &mut Context<'_>, to: BorrowedFd<'_>) -> Poll<Spliced> {
        match &mut self.get_mut().0 {
            Kind::Http1(body) => Pin::new(body).poll_splice(cx, to),
            Kind::Http2(_) => Poll::Ready(Spliced::default()),
        }
    }
}
