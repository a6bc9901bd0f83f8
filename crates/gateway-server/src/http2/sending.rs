//! An answer's body on its way to a client, no faster than it is taken.

use crate::http1::{Timer, Wait};
use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::{Body, Frame};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How much of the client's window is asked for at once, as large as HTTP/2's frames are; and how much a client must
/// take within its time. One that is merely slow is seen to move, one that takes byte by byte is not.
const PIECE: usize = 16 * 1024;

/// Nothing is given to the connection that there is no room for in the client's window. So what waits, waits here:
/// when the client takes nothing for too long, the stream's end lets go of all that it holds, the upstream's side of it
/// above all.
pub(super) struct Sending<B> {
    stream: SendStream<Bytes>,
    body: B,
    /// What of it is to be sent next.
    data: Bytes,
    /// Whether nothing follows `data`.
    last: bool,
    /// How much was sent since the timer ran last.
    sent: usize,
    timer: Timer,
}

impl<B: Body<Data = Bytes> + Unpin> Sending<B> {
    pub(super) fn new(stream: SendStream<Bytes>, body: B) -> Self {
        Self { stream, body, data: Bytes::new(), last: false, sent: 0, timer: Timer::default() }
    }

    /// Resolves when all was sent, or nothing can be. Dropped before the end, it resets the stream (CANCEL).
    pub(super) fn poll(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if !self.data.is_empty() {
                if ready!(self.poll_data(limit, cx)).is_err() || (self.last && self.data.is_empty()) {
                    return Poll::Ready(());
                }
                continue;
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                // The client may lose interest meanwhile.
                return self.stream.poll_reset(cx).map(|_| ());
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    (self.data, self.last) = (data, self.body.is_end_stream());
                    if self.data.is_empty() && self.last {
                        return self.end();
                    }
                }
                Some(Ok(Err(frame))) => {
                    // Refused only where the stream has ended already, as the data after them would be.
                    let _ = self.stream.send_trailers(frame.into_trailers().unwrap_or_default());
                    return Poll::Ready(());
                }
                Some(Err(_)) => {
                    self.stream.send_reset(Reason::INTERNAL_ERROR);
                    return Poll::Ready(());
                }
                None => return self.end(),
            }
        }
    }

    fn end(&mut self) -> Poll<()> {
        // Refused only where the stream has ended already.
        let _ = self.stream.send_data(Bytes::new(), true);
        Poll::Ready(())
    }

    /// Sends what there is room for.
    fn poll_data(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<Result<(), Stuck>> {
        let room = match poll_room(&mut self.stream, self.data.len(), cx) {
            Poll::Ready(Some(Ok(room))) => room,
            Poll::Ready(None | Some(Err(_))) => return Poll::Ready(Err(Stuck)),
            Poll::Pending => {
                self.timer.set(Wait::Write, limit);
                return self.timer.poll(cx).map(|_| Err(Stuck));
            }
        };
        let piece = self.data.split_to(room.min(self.data.len()));
        self.sent += piece.len();
        if self.sent >= PIECE || self.data.is_empty() {
            self.sent = 0;
            self.timer.clear();
        }
        let end = self.last && self.data.is_empty();
        Poll::Ready(self.stream.send_data(piece, end).map_err(|_| Stuck))
    }
}

/// How many of so many bytes the client's window has room for, one at least; nothing where the stream has ended.
pub(super) fn poll_room(
    stream: &mut SendStream<Bytes>,
    bytes: usize,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<usize, h2::Error>>> {
    stream.reserve_capacity(bytes.min(PIECE));
    let mut room = stream.capacity();
    while room == 0 {
        room = match ready!(stream.poll_capacity(cx)) {
            Some(Ok(room)) => room,
            ended => return Poll::Ready(ended),
        };
    }
    Poll::Ready(Some(Ok(room)))
}

/// The client takes no more, or is gone.
struct Stuck;
