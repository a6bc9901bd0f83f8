//! One of those who read a body that comes in.

use super::{Fill, SharedBodyError};
use crate::wakers::Seat;
use bytes::Bytes;
use gateway_core::BoxError;
use http_body::{Body, Frame};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use tokio::time::{Sleep, sleep_until};

/// How much is taken of what has already come, once nobody reads on.
const LAST_FRAMES: usize = 64;

/// One who reads a body that comes in.
pub(crate) struct FillReader {
    fill: Arc<Fill>,
    next: usize,
    seat: Seat,
    /// How long it waits for the first who asked.
    patience: Option<Pin<Box<Sleep>>>,
    leads: bool,
    gave_way: bool,
    ended: bool,
}

impl FillReader {
    /// From the start; `leads` for the first who asked.
    pub(super) fn new(fill: Arc<Fill>, leads: bool) -> Self {
        Self { fill, next: 0, seat: Seat::default(), patience: None, leads, gave_way: false, ended: false }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { fill, next, seat, patience, .. } = self;
        let mut state = fill.state();
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            let Some(at) = next.checked_sub(state.first) else {
                self.ended = true;
                return Poll::Ready(Some(Err(SharedBodyError::LeftBehind.into())));
            };
            if let Some(chunk) = state.chunks.get(at).cloned() {
                *next += 1;
                if let Some(leader) = state.leader.as_mut().filter(|_| self.leads) {
                    *leader = *next;
                    if state.is_full() {
                        fill.wakers.wake();
                    }
                }
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            match &state.end {
                Some(Ok(trailers)) => {
                    self.ended = true;
                    return Poll::Ready(trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Some(Err(error)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error.clone().into())));
                }
                None => {}
            }
            // Before the source is asked: it may wake at once.
            fill.wakers.register(seat, cx.waker());
            if !self.leads
                && let Some(until) = state.waits_until()
            {
                let timer = patience.get_or_insert_with(|| Box::pin(sleep_until(until)));
                if timer.deadline() != until {
                    timer.as_mut().reset(until);
                }
                ready!(timer.as_mut().poll(cx));
                // Now that it is over nobody waits.
                continue;
            }
            // What comes next drives out what others may be about to read: they go first, once.
            if state.drives_out() && !std::mem::replace(&mut self.gave_way, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let waker = Waker::from(fill.clone());
            let Some(source) = &mut state.source else {
                self.ended = true;
                let gone = SharedBodyError::Source("it was given up".into());
                return Poll::Ready(Some(Err(gone.into())));
            };
            match Pin::new(source).poll_frame(&mut Context::from_waker(&waker)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(frame) => {
                    self.gave_way = false;
                    state.take(frame);
                    fill.wakers.leave(seat);
                    fill.wakers.wake();
                }
            }
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        let state = self.fill.state();
        let read_all = self.next == state.first + state.chunks.len();
        self.ended || (read_all && matches!(state.end, Some(Ok(None))))
    }
}

impl std::fmt::Debug for FillReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FillReader").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Drop for FillReader {
    fn drop(&mut self) {
        self.fill.wakers.leave(&mut self.seat);
        let mut state = self.fill.state();
        state.readers -= 1;
        if self.leads {
            state.leader = None;
        }
        if state.readers > 0 {
            drop(state);
            // One of them asks the source now.
            self.fill.wakers.wake();
            return;
        }
        // Nobody reads on. What has come is taken, the rest given up.
        for _ in 0..LAST_FRAMES {
            if state.keep.is_none() {
                break;
            }
            let Some(source) = &mut state.source else { break };
            match Pin::new(source).poll_frame(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(frame) => state.take(frame),
                Poll::Pending => break,
            }
        }
        let (keep, source) = (state.keep.take(), state.source.take());
        drop(state);
        drop((keep, source));
    }
}
