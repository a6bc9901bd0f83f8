use crate::layer::{Observation, Progress};
use bytes::{Buf, Bytes};
use gateway_core::{Splice, Spliced};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

pin_project! {
    /// A body whose bytes are counted. The request is over when it ends, fails, or is dropped: before its end only if
    /// it was given up.
    #[derive(Debug)]
    pub struct ObservedBody<B> {
        #[pin]
        inner: B,
        // What was said of its length: who has that much need not ask whether there is more.
        length: Option<u64>,
        observation: Option<Box<Observation>>,
    }
}

impl<B: Body> ObservedBody<B> {
    pub(crate) fn new(inner: B, observation: Option<Box<Observation>>) -> Self {
        Self { length: inner.size_hint().exact(), inner, observation }
    }
}

/// For layers further out, such as one that renders problems: a body that nobody observes.
impl<B: From<Bytes>> From<Bytes> for ObservedBody<B> {
    fn from(bytes: Bytes) -> Self {
        Self { inner: bytes.into(), length: None, observation: None }
    }
}

impl<B> Body for ObservedBody<B>
where
    B: Body<Error: std::fmt::Display>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let polled = Observation::asking(this.observation, || this.inner.as_mut().poll_frame(cx));
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(observation) = this.observation {
                    observation.bytes_out += frame.data_ref().map_or(0, |data| data.remaining() as u64);
                    // Nothing follows trailers; and after its last byte, a body may be dropped unasked for more.
                    if frame.is_trailers()
                        || *this.length == Some(observation.bytes_out)
                        || this.inner.is_end_stream()
                    {
                        observation.progress = Progress::Whole;
                    }
                }
            }
            // Dropping it writes it down.
            Poll::Ready(end) => {
                if let Some(mut observation) = this.observation.take() {
                    match end {
                        Some(Err(why)) => observation.cut_off(why),
                        _ => observation.progress = Progress::Whole,
                    }
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

impl<B: Splice<Error: std::fmt::Display>> Splice for ObservedBody<B> {
    fn poll_splice(self: Pin<&mut Self>, cx: &mut Context<'_>, to: BorrowedFd<'_>) -> Poll<Spliced> {
        let mut this = self.project();
        let polled = Observation::asking(this.observation, || this.inner.as_mut().poll_splice(cx, to));
        if let (Poll::Ready(spliced), Some(observation)) = (&polled, this.observation) {
            observation.bytes_out += spliced.total();
            if *this.length == Some(observation.bytes_out) {
                observation.progress = Progress::Whole;
            }
        }
        polled
    }
}
