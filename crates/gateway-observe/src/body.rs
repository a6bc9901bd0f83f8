use crate::layer::Observation;
use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};

pin_project! {
    /// A body whose bytes are counted. The request is over when it ends, fails, or is dropped.
    #[derive(Debug)]
    pub struct ObservedBody<B> {
        #[pin]
        inner: B,
        observation: Option<Box<Observation>>,
    }
}

impl<B> ObservedBody<B> {
    pub(crate) fn new(inner: B, observation: Option<Box<Observation>>) -> Self {
        Self { inner, observation }
    }
}

/// For layers further out, such as one that renders problems: a body that nobody observes.
impl<B: From<Bytes>> From<Bytes> for ObservedBody<B> {
    fn from(bytes: Bytes) -> Self {
        Self::new(bytes.into(), None)
    }
}

impl<B: Body> Body for ObservedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let polled = this.inner.poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(data), Some(observation)) = (frame.data_ref(), this.observation.as_mut()) {
                    observation.bytes_out += data.remaining() as u64;
                }
            }
            // Dropping it writes it down.
            Poll::Ready(None) => *this.observation = None,
            Poll::Ready(Some(Err(_))) => {
                if let Some(mut observation) = this.observation.take() {
                    observation.cut_off = true;
                }
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
