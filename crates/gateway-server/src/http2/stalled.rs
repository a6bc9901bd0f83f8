//! Streams whose client takes nothing of its answer.
//!
//! hyper asks an answer's body for its next piece once there is room for the one before in the client's window. So a
//! piece that was handed out, with none asked for since, is one that the client does not take; meanwhile the stream
//! holds the piece and the upstream's connection. The body and who asks it are one task, so that the body needs to
//! know nothing of its stream.

use crate::http1::{Timer, Wait};
use bytes::Bytes;
use hyper::rt::Executor;
use pin_project_lite::pin_project;
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The largest piece that is handed out at once, as large as HTTP/2's frames are: a client that is merely slow is
/// seen to move.
const PIECE: usize = 16 * 1024;

/// How far a stream's answer has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pieces {
    given: u32,
    /// Whether the last one is still to be taken.
    waiting: bool,
}

thread_local! {
    /// Of the stream that is polled now.
    static PIECES: Cell<Pieces> = const { Cell::new(Pieces { given: 0, waiting: false }) };
}

/// The next piece is asked for: those before have been taken.
pub(super) fn asked() {
    PIECES.with(|pieces| pieces.set(Pieces { waiting: false, ..pieces.get() }));
}

/// What of this data to hand out next.
pub(super) fn give(data: &mut Bytes) -> Bytes {
    PIECES.with(|pieces| {
        let given = pieces.get().given.wrapping_add(1);
        pieces.set(Pieces { given, waiting: true });
    });
    if data.len() > PIECE { data.split_to(PIECE) } else { std::mem::take(data) }
}

/// Runs the streams of a connection as tasks of this thread. One that its client takes nothing of for so long is
/// dropped, which resets it (CANCEL).
#[derive(Clone)]
pub(super) struct Local {
    pub(super) write_timeout: Duration,
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        let limit = self.write_timeout;
        let (pieces, timer) = Default::default();
        tokio::task::spawn_local(Taken { future, pieces, timer, limit });
    }
}

pin_project! {
    struct Taken<F> {
        #[pin]
        future: F,
        pieces: Pieces,
        timer: Timer,
        limit: Duration,
    }
}

impl<F: Future<Output = ()>> Future for Taken<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let before = *this.pieces;
        PIECES.set(before);
        if this.future.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        *this.pieces = PIECES.get();
        if *this.pieces != before {
            this.timer.clear();
        }
        if this.pieces.waiting {
            this.timer.set(Wait::Write, *this.limit);
        }
        this.timer.poll(cx).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Waker;
    use tokio::time::{Instant, advance};

    const LIMIT: Duration = Duration::from_secs(30);

    fn taken<F: Future<Output = ()>>(future: F) -> Taken<F> {
        Taken { future, pieces: Pieces::default(), timer: Timer::default(), limit: LIMIT }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_a_piece_is_not_taken_in_time_and_not_before() {
        let mut left = 3;
        let begun = Instant::now();
        // Takes a piece every 20 s, and then no more.
        let mut sleep = Box::pin(tokio::time::sleep(Duration::ZERO));
        taken(poll_fn(|cx| {
            while left > 0 && sleep.as_mut().poll(cx).is_ready() {
                left -= 1;
                asked();
                give(&mut Bytes::from_static(b"x"));
                sleep.as_mut().reset(Instant::now() + Duration::from_secs(20));
            }
            Poll::Pending
        }))
        .await;
        assert_eq!((left, begun.elapsed()), (0, Duration::from_secs(70)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_upstream_is_silent_is_nobody_elses_to_end() {
        let mut stream = Box::pin(taken(poll_fn(|_| {
            give(&mut Bytes::from_static(b"x"));
            asked();
            Poll::Pending
        })));
        for _ in 0..3 {
            assert!(stream.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            advance(LIMIT).await;
        }
    }

    #[test]
    fn large_pieces_are_handed_out_in_small_ones() {
        let mut data = Bytes::from(vec![b'x'; 2 * PIECE + 1]);
        let sizes = std::iter::from_fn(|| (!data.is_empty()).then(|| give(&mut data).len()));
        assert_eq!(sizes.collect::<Vec<_>>(), [PIECE, PIECE, 1]);
    }
}
