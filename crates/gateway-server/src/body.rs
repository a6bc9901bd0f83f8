use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

/// The body of a request, read from the client only as fast as it is taken.
///
/// Of a request that asks to change protocols ([`Upgrade`](gateway_core::Upgrade)) it is what the client sends
/// after the answer `101 Switching Protocols`.
#[derive(Debug)]
pub struct RequestBody(Kind);

#[derive(Debug)]
enum Kind {
    Empty,
    /// HTTP/1: the connection puts pieces in, when asked.
    Piped {
        pipe: Arc<Pipe>,
        left: Option<u64>,
        ended: bool,
    },
    Http2(Incoming),
}

/// Why a request's body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// What the client sent is not a body.
    #[error("{0}")]
    Malformed(&'static str),
    /// HTTP/2 says why.
    #[error("{0}")]
    Http2(hyper::Error),
}

/// No body.
impl Default for RequestBody {
    fn default() -> Self {
        Self(Kind::Empty)
    }
}

impl RequestBody {
    pub(crate) fn http2(body: Incoming) -> Self {
        Self(if body.is_end_stream() { Kind::Empty } else { Kind::Http2(body) })
    }

    pub(crate) fn piped(length: Option<u64>) -> (Self, Arc<Pipe>) {
        let pipe = Arc::new(Pipe::default());
        (Self(Kind::Piped { pipe: pipe.clone(), left: length, ended: false }), pipe)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.get_mut().0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Http2(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Http2),
            Kind::Piped { ended: true, .. } | Kind::Piped { left: Some(0), .. } => Poll::Ready(None),
            Kind::Piped { pipe, left, ended } => {
                let piece = ready!(pipe.poll_take(cx));
                *ended = !matches!(piece, Piece::Data(_));
                Poll::Ready(match piece {
                    Piece::Data(data) => {
                        *left = left.map(|left| left.saturating_sub(data.len() as u64));
                        Some(Ok(Frame::data(data)))
                    }
                    Piece::End(trailers) if trailers.is_empty() => None,
                    Piece::End(trailers) => Some(Ok(Frame::trailers(trailers))),
                    Piece::Failed(error) => Some(Err(error)),
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Http2(body) => body.is_end_stream(),
            Kind::Piped { left, ended, .. } => *ended || *left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Http2(body) => body.size_hint(),
            Kind::Piped { left, .. } => left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Kind::Piped { pipe, .. } = &self.0 {
            pipe.close();
        }
    }
}

/// One piece of a body on its way from the connection to whoever reads the body.
#[derive(Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    End(HeaderMap),
    Failed(BodyError),
}

/// What a body's reader is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    None,
    Piece,
    /// Nobody will read any more.
    Gone,
}

/// Room for one piece: the next is only read from the client when somebody wants it.
///
/// The two sides are mostly one task, so the lock is free; a body may be read elsewhere, though.
#[derive(Debug, Default)]
pub(crate) struct Pipe(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    piece: Option<Piece>,
    wanted: bool,
    gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Piece> {
        let mut state = self.lock();
        if let Some(piece) = state.piece.take() {
            return Poll::Ready(piece);
        }
        state.wanted = true;
        state.reader = Some(cx.waker().clone());
        wake(state.writer.take(), cx);
        Poll::Pending
    }

    fn close(&self) {
        let mut state = self.lock();
        state.gone = true;
        if let Some(writer) = state.writer.take() {
            writer.wake();
        }
    }

    /// What the reader wants; wakes this task when that changes.
    pub(crate) fn demand(&self, cx: &mut Context<'_>) -> Demand {
        let mut state = self.lock();
        if state.gone {
            return Demand::Gone;
        }
        if state.wanted {
            return Demand::Piece;
        }
        if state.writer.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            state.writer = Some(cx.waker().clone());
        }
        Demand::None
    }

    pub(crate) fn put(&self, piece: Piece, cx: &mut Context<'_>) {
        let mut state = self.lock();
        state.wanted = false;
        state.piece = Some(piece);
        wake(state.reader.take(), cx);
    }
}

/// Wakes another task. This one goes on by itself.
fn wake(waker: Option<Waker>, cx: &mut Context<'_>) {
    if let Some(waker) = waker
        && !waker.will_wake(cx.waker())
    {
        waker.wake();
    }
}
