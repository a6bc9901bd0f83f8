//! How a body gets from the HTTP/1 connection to whoever reads it.

use super::BodyError;
use bytes::Bytes;
use gateway_core::BodyTimedOut;
use http::HeaderMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// One piece of a body on its way from the connection to whoever reads the body.
#[derive(Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    End(HeaderMap),
}

/// What a body's reader is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    None,
    Piece,
    /// Nobody will read any more.
    Gone,
}

/// Why no more pieces come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abandoned {
    /// The client, or the connection, is gone.
    Broken,
    /// What came is no body.
    Malformed(&'static str),
    /// The client was too slow.
    Late,
    /// The tunnel whose bytes they would have been was not granted.
    Refused,
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
    /// How the body ends for who reads on after the last piece: nothing more will be put.
    abandoned: Option<Abandoned>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Result<Piece, BodyError>> {
        let mut state = self.lock();
        if let Some(piece) = state.piece.take() {
            return Poll::Ready(Ok(piece));
        }
        match state.abandoned {
            Some(Abandoned::Broken) => return Poll::Ready(Err(BodyError::Gone)),
            Some(Abandoned::Malformed(why)) => return Poll::Ready(Err(BodyError::Malformed(why))),
            Some(Abandoned::Late) => return Poll::Ready(Err(BodyError::TimedOut(BodyTimedOut))),
            Some(Abandoned::Refused) => return Poll::Ready(Ok(Piece::End(HeaderMap::new()))),
            None => {}
        }
        state.wanted = true;
        if state.reader.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            state.reader = Some(cx.waker().clone());
        }
        if let Some(writer) = &state.writer
            && !writer.will_wake(cx.waker())
        {
            writer.wake_by_ref();
        }
        Poll::Pending
    }

    /// Nothing more will be put: whoever reads elsewhere must not wait for ever.
    pub(crate) fn abandon(&self, how: Abandoned) {
        let mut state = self.lock();
        if state.abandoned.is_none() {
            state.abandoned = Some(how);
            if let Some(reader) = state.reader.take() {
                reader.wake();
            }
        }
    }

    /// Whether anybody may still read.
    pub(crate) fn has_reader(&self) -> bool {
        !self.lock().gone
    }

    /// Nobody will read any more.
    pub(super) fn close(&self) {
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
        if state.writer.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            state.writer = Some(cx.waker().clone());
        }
        if state.wanted { Demand::Piece } else { Demand::None }
    }

    pub(crate) fn put(&self, piece: Piece, cx: &mut Context<'_>) {
        let mut state = self.lock();
        state.wanted = false;
        state.piece = Some(piece);
        // This task goes on by itself.
        if let Some(reader) = &state.reader
            && !reader.will_wake(cx.waker())
        {
            reader.wake_by_ref();
        }
    }
}
