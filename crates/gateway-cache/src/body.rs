use crate::fill::FillReader;
use bytes::Bytes;
use gateway_core::BoxError;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

pin_project! {
    /// The body of an answer that came through a [`CacheLayer`](crate::CacheLayer): the upstream's own, untouched; or
    /// from the store; or one that comes in and is read by several.
    ///
    /// Its error is that of the upstream's body, or a [`SharedBodyError`](crate::SharedBodyError).
    #[derive(Debug)]
    pub struct CacheBody<R> {
        #[pin]
        kind: Kind<R>,
    }
}

pin_project! {
    #[project = KindProj]
    #[derive(Debug)]
    enum Kind<R> {
        Pass { #[pin] body: R },
        Full { bytes: Bytes },
        Stored { chunks: Arc<[Bytes]>, next: usize, skip: u64, left: u64 },
        Fill { reader: FillReader, length: Option<u64> },
    }
}

impl<R> CacheBody<R> {
    pub(crate) fn pass(body: R) -> Self {
        Self { kind: Kind::Pass { body } }
    }

    /// Whether it is the upstream's own.
    pub(crate) fn is_pass(&self) -> bool {
        matches!(self.kind, Kind::Pass { .. })
    }

    /// These bytes of a stored body.
    pub(crate) fn stored(chunks: Arc<[Bytes]>, range: Range<u64>) -> Self {
        Self { kind: Kind::Stored { chunks, next: 0, skip: range.start, left: range.end - range.start } }
    }

    pub(crate) fn fill(reader: FillReader, length: Option<u64>) -> Self {
        Self { kind: Kind::Fill { reader, length } }
    }
}

/// A body of the cache's own.
impl<R> From<Bytes> for CacheBody<R> {
    fn from(bytes: Bytes) -> Self {
        Self { kind: Kind::Full { bytes } }
    }
}

impl<R> Default for CacheBody<R> {
    fn default() -> Self {
        Bytes::new().into()
    }
}

impl<R> Body for CacheBody<R>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().kind.project() {
            KindProj::Pass { body } => body.poll_frame(cx).map_err(Into::into),
            KindProj::Full { bytes } if bytes.is_empty() => Poll::Ready(None),
            KindProj::Full { bytes } => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            KindProj::Stored { chunks, next, skip, left } => {
                while *left > 0
                    && let Some(chunk) = chunks.get(*next)
                {
                    *next += 1;
                    let length = chunk.len() as u64;
                    if *skip >= length {
                        *skip -= length;
                        continue;
                    }
                    let from = std::mem::take(skip);
                    let to = length.min(from.saturating_add(*left));
                    *left -= to - from;
                    // Both are within the chunk, whose length is a usize.
                    let chunk = chunk.slice(from as usize..to as usize);
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                Poll::Ready(None)
            }
            KindProj::Fill { reader, length } => {
                let frame = reader.poll_frame(cx);
                if let (Poll::Ready(Some(Ok(frame))), Some(length)) = (&frame, length)
                    && let Some(data) = frame.data_ref()
                {
                    *length = length.saturating_sub(data.len() as u64);
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Pass { body } => body.is_end_stream(),
            Kind::Full { bytes } => bytes.is_empty(),
            Kind::Stored { left, .. } => *left == 0,
            Kind::Fill { reader, .. } => reader.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Pass { body } => body.size_hint(),
            Kind::Full { bytes } => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stored { left, .. } => SizeHint::with_exact(*left),
            Kind::Fill { length, .. } => length.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
