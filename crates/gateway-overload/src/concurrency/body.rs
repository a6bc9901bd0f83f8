use super::gate::Slot;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pin_project! {
    /// The body of an answer that takes up a slot of a [`ConcurrencyLimitLayer`](crate::ConcurrencyLimitLayer)
    /// until it ends, fails, or is dropped.
    #[derive(Debug, Default)]
    pub struct SlotBody<B> {
        #[pin]
        body: B,
        slot: Option<Slot>,
    }
}

impl<B> SlotBody<B> {
    pub(crate) fn new(body: B, slot: Option<Slot>) -> Self {
        Self { body, slot }
    }
}

/// A body without a slot.
impl<B: From<Bytes>> From<Bytes> for SlotBody<B> {
    fn from(bytes: Bytes) -> Self {
        Self::new(bytes.into(), None)
    }
}

impl<B: Body> Body for SlotBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) || this.body.is_end_stream() {
            *this.slot = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
