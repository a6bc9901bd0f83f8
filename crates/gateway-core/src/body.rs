use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};

pin_project! {
    /// A response body without a box: nothing, bytes at hand, or the stream `S` of whoever really answered.
    ///
    /// A layer that refuses makes its answer with `From<Bytes>`; the answer of the upstream passes through as
    /// [`Body::stream`].
    #[derive(Debug)]
    pub struct Body<S> {
        #[pin]
        kind: Kind<S>,
    }
}

pin_project! {
    #[project = KindProj]
    #[derive(Debug)]
    enum Kind<S> {
        Full { bytes: Bytes },
        Stream { #[pin] stream: S },
    }
}

impl<S> Body<S> {
    /// A body that is passed on as it comes.
    pub fn stream(stream: S) -> Self {
        Self { kind: Kind::Stream { stream } }
    }
}

impl<S> Default for Body<S> {
    fn default() -> Self {
        Self { kind: Kind::Full { bytes: Bytes::new() } }
    }
}

impl<S> From<Bytes> for Body<S> {
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
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full { bytes } => bytes.is_empty(),
            Kind::Stream { stream } => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full { bytes } => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream { stream } => stream.size_hint(),
        }
    }
}
