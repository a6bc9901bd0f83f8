use crate::{Splice, Spliced};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

pin_project! {
    /// A response body without a box: nothing, bytes at hand, or the stream `S` of whoever really answered.
    ///
    /// A layer that refuses makes its answer with `From<Bytes>`; the answer of the upstream passes through as
    /// [`Body::stream`]. Where a policy that few routes have wraps the body, [`Body::boxed`] hides it, so that the
    /// others need not carry its type.
    pub struct Body<S: http_body::Body> {
        #[pin]
        kind: Kind<S>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<S: http_body::Body> {
        Full { bytes: Bytes },
        Stream { #[pin] stream: S },
        Boxed { boxed: Boxed<S> },
    }
}

type Boxed<S> = Pin<Box<dyn http_body::Body<Data = Bytes, Error = <S as http_body::Body>::Error> + Send>>;

impl<S: http_body::Body> Body<S> {
    /// A body that is passed on as it comes.
    pub fn stream(stream: S) -> Self {
        Self { kind: Kind::Stream { stream } }
    }

    /// A body of any type.
    pub fn boxed(body: impl http_body::Body<Data = Bytes, Error = S::Error> + Send + 'static) -> Self {
        Self { kind: Kind::Boxed { boxed: Box::pin(body) } }
    }
}

impl<S: http_body::Body> std::fmt::Debug for Body<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match &self.kind {
            Kind::Full { .. } => "Full",
            Kind::Stream { .. } => "Stream",
            Kind::Boxed { .. } => "Boxed",
        };
        f.debug_tuple("Body").field(&kind).finish()
    }
}

impl<S: http_body::Body> Default for Body<S> {
    fn default() -> Self {
        Self { kind: Kind::Full { bytes: Bytes::new() } }
    }
}

impl<S: http_body::Body> From<Bytes> for Body<S> {
    fn from(bytes: Bytes) -> Self {
        Self { kind: Kind::Full { bytes } }
    }
}

impl<S: http_body::Body<Data = Bytes>> http_body::Body for Body<S> {
    type Data = Bytes;
    type Error = S::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.project().kind.project() {
            KindProj::Full { bytes } if bytes.is_empty() => Poll::Ready(None),
            KindProj::Full { bytes } => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            KindProj::Stream { stream } => stream.poll_frame(cx),
            KindProj::Boxed { boxed } => boxed.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full { bytes } => bytes.is_empty(),
            Kind::Stream { stream } => stream.is_end_stream(),
            Kind::Boxed { boxed } => boxed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full { bytes } => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream { stream } => stream.size_hint(),
            Kind::Boxed { boxed } => boxed.size_hint(),
        }
    }
}

impl<S: Splice<Data = Bytes>> Splice for Body<S> {
    fn poll_splice(self: Pin<&mut Self>, cx: &mut Context<'_>, to: BorrowedFd<'_>) -> Poll<Spliced> {
        match self.project().kind.project() {
            KindProj::Stream { stream } => stream.poll_splice(cx, to),
            KindProj::Full { .. } | KindProj::Boxed { .. } => Poll::Ready(Spliced::default()),
        }
    }
}
