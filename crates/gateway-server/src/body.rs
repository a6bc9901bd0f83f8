mod pipe;
mod stream;

use crate::Limits;
use bytes::Bytes;
use gateway_core::{BodyTimedOut, BodyTooLarge, Received};
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
pub(crate) use pipe::{Abandoned, Demand, Piece, Pipe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
pub(crate) use stream::Signals;
use stream::StreamBody;

/// The body of a request, read from the client only as fast as it is taken.
///
/// Of a request that asks to change protocols ([`Upgrade`](gateway_core::Upgrade)) it is what the client sends
/// after the answer `101 Switching Protocols`.
///
/// A pointer, and none where there is no body: every layer moves the request it passes on.
#[derive(Debug, Default)]
pub struct RequestBody(Option<Box<Inner>>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    /// How many more bytes may come; `None` once there were more.
    allowed: Option<u64>,
    /// Counts what has come, where the client has not said how much there is.
    received: Option<Received>,
}

#[derive(Debug)]
enum Kind {
    /// At hand.
    Whole(Bytes),
    /// HTTP/1: the connection puts pieces in, when asked.
    Piped {
        pipe: Arc<Pipe>,
        left: Option<u64>,
        ended: bool,
    },
    Http2(StreamBody),
}

/// Why a request's body broke off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// What the client sent is not a body.
    #[error("{0}")]
    Malformed(&'static str),
    /// The connection ended, or the request was answered, before the body did.
    #[error("the client's connection ended before the request's body did")]
    Gone,
    /// The client sent nothing for [`Limits::body_timeout`](crate::Limits::body_timeout), or too little.
    #[error("{0}")]
    TimedOut(#[source] BodyTimedOut),
    /// It is larger than [`RequestBody::limit`] allows.
    #[error("{0}")]
    TooLarge(#[source] BodyTooLarge),
    /// HTTP/2 says why.
    #[error("{0}")]
    Http2(h2::Error),
}

/// A body that is at hand, such as one that is sent once more.
impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::default() } else { Self::of(Kind::Whole(bytes)) }
    }
}

impl RequestBody {
    fn of(kind: Kind) -> Self {
        Self(Some(Box::new(Inner { kind, allowed: Some(u64::MAX), received: None })))
    }

    /// A body that is announced, of so many bytes if that is known, and never comes: for whoever asks what becomes of a
    /// request of which there is only the head.
    #[must_use]
    pub fn announced(length: Option<u64>) -> Self {
        Self::piped(length).0
    }

    /// From now on at most so many bytes: with one more, reading fails with [`BodyError::TooLarge`].
    pub fn limit(&mut self, bytes: u64) {
        if let Some(inner) = &mut self.0 {
            inner.allowed = Some(bytes);
        }
    }

    /// How much of it is read, if its client has not said how long it is.
    pub(crate) fn received(&mut self) -> Option<Received> {
        let inner = self.0.as_mut()?;
        let is_told = inner.kind.size_hint().exact().is_some();
        (!is_told).then(|| inner.received.get_or_insert_default().clone())
    }

    /// The body, and what its reader has to tell. `headers` are those of its request.
    pub(crate) fn http2(
        stream: RecvStream,
        headers: &HeaderMap,
        limits: &Limits,
    ) -> (Self, Option<Arc<Signals>>) {
        if stream.is_end_stream() {
            return (Self::default(), None);
        }
        let signals = Arc::new(Signals::default());
        let body = StreamBody::new(stream, headers, limits, signals.clone());
        (Self::of(Kind::Http2(body)), Some(signals))
    }

    pub(crate) fn piped(length: Option<u64>) -> (Self, Arc<Pipe>) {
        let pipe = Arc::new(Pipe::default());
        (Self::of(Kind::Piped { pipe: pipe.clone(), left: length, ended: false }), pipe)
    }
}

impl Kind {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Http2(body) => body.poll_frame(cx),
            Self::Piped { ended: true, .. } | Self::Piped { left: Some(0), .. } => Poll::Ready(None),
            Self::Piped { pipe, left, ended } => {
                // One that has failed has not ended: it fails again.
                let piece = match ready!(pipe.poll_take(cx)) {
                    Ok(piece) => piece,
                    Err(error) => return Poll::Ready(Some(Err(error))),
                };
                *ended = !matches!(piece, Piece::Data(_));
                Poll::Ready(match piece {
                    Piece::Data(data) => {
                        *left = left.map(|left| left.saturating_sub(data.len() as u64));
                        Some(Ok(Frame::data(data)))
                    }
                    Piece::End(trailers) if trailers.is_empty() => None,
                    Piece::End(trailers) => Some(Ok(Frame::trailers(trailers))),
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Http2(body) => body.is_end_stream(),
            Self::Piped { left, ended, .. } => *ended || *left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Http2(body) => body.size_hint(),
            Self::Piped { left, .. } => left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl Inner {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(allowed) = self.allowed else {
            return Poll::Ready(Some(Err(BodyError::TooLarge(BodyTooLarge))));
        };
        let frame = ready!(self.kind.poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            if let Some(received) = &self.received {
                received.add(data.len());
            }
            self.allowed = allowed.checked_sub(data.len() as u64);
            if self.allowed.is_none() {
                return Poll::Ready(Some(Err(BodyError::TooLarge(BodyTooLarge))));
            }
        }
        Poll::Ready(frame)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.get_mut().0.as_mut().map_or(Poll::Ready(None), |inner| inner.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|inner| inner.allowed.is_some() && inner.kind.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), |inner| inner.kind.size_hint())
    }
}

impl Drop for Kind {
    fn drop(&mut self) {
        if let Self::Piped { pipe, .. } = self {
            pipe.close();
        }
    }
}
