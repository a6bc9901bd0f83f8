//! What was read and not yet used, and what is to be written.

use super::timer::Timer;
use bytes::{Buf, Bytes, BytesMut};
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

/// What a read asks for at least: nearly every head in one call.
const READ: usize = 4096;
/// What the shared buffers are made for: many heads, one after the other.
const SHARED: usize = 16 * 1024;
/// A piece of a body up to this size is copied next to what is before it; a larger one is written from where it is.
const COPY: usize = 4096;
/// How much may wait to be written before more of an answer is taken.
const MAX_OUTPUT: usize = 16 * 1024;

thread_local! {
    /// Memory to read and write with, lent to a connection that has something to do: ten thousand idle ones need none.
    static SPARE: RefCell<(BytesMut, BytesMut)> = RefCell::default();
}

#[derive(Debug, Default)]
pub(crate) struct Input {
    buffer: BytesMut,
}

impl Input {
    pub(crate) fn of(buffer: BytesMut) -> Self {
        Self { buffer }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    pub(crate) fn starts_with(&self, bytes: &[u8]) -> bool {
        self.buffer.starts_with(bytes)
    }

    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Reads more; `Ok(0)` is the end. `want` is what is worth reading at once.
    pub(crate) fn poll_read<I: AsyncRead + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
        want: usize,
    ) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() == 0 {
            self.buffer = SPARE.with_borrow_mut(|(spare, _)| std::mem::take(spare));
        }
        if self.buffer.capacity() - self.buffer.len() < want.clamp(READ / 4, READ) {
            self.buffer.reserve(want.max(SHARED));
        }
        poll_read_buf(Pin::new(io), cx, &mut self.buffer)
    }

    /// Gives the memory back, if nothing is in it.
    pub(crate) fn rest(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > 0 {
            let buffer = std::mem::take(&mut self.buffer);
            SPARE.with_borrow_mut(|(spare, _)| {
                if spare.capacity() < buffer.capacity() && buffer.capacity() <= 4 * SHARED {
                    *spare = buffer;
                }
            });
        }
    }

    /// Reads and throws away, until the end.
    pub(crate) fn poll_drop<I: AsyncRead + Unpin>(&mut self, io: &mut I, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.buffer.clear();
            if !matches!(ready!(self.poll_read(io, cx, 0)), Ok(1..)) {
                return Poll::Ready(());
            }
        }
    }

    /// Drops the empty lines that may stand before a request (RFC 9112 §2.2).
    pub(crate) fn skip_empty_lines(&mut self) {
        while self.buffer.starts_with(b"\r\n") {
            self.buffer.advance(2);
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Output {
    lead: BytesMut,
    /// Follows `lead`, from where it is.
    piece: Bytes,
    /// Follows `piece`.
    tail: &'static [u8],
    /// Whether all was written, but may not have left yet.
    unflushed: bool,
}

impl Output {
    /// Where to write heads and the like.
    pub(crate) fn lead(&mut self) -> &mut BytesMut {
        if self.lead.capacity() == 0 {
            self.lead = SPARE.with_borrow_mut(|(_, spare)| std::mem::take(spare));
        }
        &mut self.lead
    }

    /// Whether another piece may be put in.
    pub(crate) fn has_room(&self) -> bool {
        self.piece.is_empty() && self.lead.len() < MAX_OUTPUT
    }

    /// Puts a piece of a body behind what is there, and `tail` behind that. Only while there is room.
    pub(crate) fn put(&mut self, piece: Bytes, tail: &'static [u8]) {
        if piece.len() <= COPY {
            let lead = self.lead();
            lead.extend_from_slice(&piece);
            lead.extend_from_slice(tail);
        } else {
            self.piece = piece;
            self.tail = tail;
        }
    }

    fn is_empty(&self) -> bool {
        self.lead.is_empty() && self.piece.is_empty() && self.tail.is_empty()
    }

    pub(crate) fn poll_flush<I: AsyncWrite + Unpin>(
        &mut self,
        io: &mut I,
        timer: &mut Timer,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_empty() {
            return if self.unflushed { self.poll_leave(io, timer, cx) } else { Poll::Ready(Ok(())) };
        }
        self.unflushed = true;
        loop {
            // To write one piece costs the system less than to write a list of one.
            let io_now = Pin::new(&mut *io);
            let mut written = match (self.lead.is_empty(), self.piece.is_empty() && self.tail.is_empty()) {
                (_, true) => ready!(io_now.poll_write(cx, &self.lead))?,
                (true, false) if self.tail.is_empty() => ready!(io_now.poll_write(cx, &self.piece))?,
                _ => {
                    let slices =
                        [IoSlice::new(&self.lead), IoSlice::new(&self.piece), IoSlice::new(self.tail)];
                    ready!(io_now.poll_write_vectored(cx, &slices))?
                }
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            timer.clear();
            for part in [self.lead.len(), self.piece.len(), self.tail.len()].into_iter().enumerate() {
                let of_part = written.min(part.1);
                match part.0 {
                    0 if of_part == self.lead.len() => self.lead.clear(),
                    0 => self.lead.advance(of_part),
                    1 => self.piece.advance(of_part),
                    _ => self.tail = &self.tail[of_part..],
                }
                written -= of_part;
            }
            if self.is_empty() {
                break;
            }
        }
        self.piece = Bytes::new();
        let lead = std::mem::take(&mut self.lead);
        SPARE.with_borrow_mut(|(_, spare)| {
            if spare.capacity() < lead.capacity() && lead.capacity() <= 4 * SHARED {
                *spare = lead;
            }
        });
        self.poll_leave(io, timer, cx)
    }

    /// TLS holds back what it was given until it is told.
    fn poll_leave<I: AsyncWrite + Unpin>(
        &mut self,
        io: &mut I,
        timer: &mut Timer,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(io).poll_flush(cx))?;
        self.unflushed = false;
        timer.clear();
        Poll::Ready(Ok(()))
    }
}
