//! What was read and not yet used, and what is to be written.

use super::timer::Timer;
use bytes::{Buf, Bytes, BytesMut};
use gateway_http1::{Framing, READ, ReadSize};
use socket2::SockRef;
use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::io::poll_read_buf;

/// What the shared buffers are made for: many heads, one after the other.
const SHARED: usize = 32 * 1024;
/// A piece of a body up to this size is copied next to what is before it; a larger one is written from where it is.
const COPY: usize = 4096;
/// How much may wait to be written before more of an answer is taken.
const MAX_OUTPUT: usize = 16 * 1024;

/// How many buffers to write with are kept: as many as connections may be answered before the first of them is written to.
const MAX_SPARE: usize = 64;

thread_local! {
    /// Memory to read and to write with, lent to a connection that has something to do: ten thousand idle ones need none.
    static SPARE: RefCell<(BytesMut, Vec<BytesMut>)> = RefCell::default();
    /// How much the first read of a request asks for.
    static READ_SIZE: ReadSize = ReadSize::default();
}

/// Takes note of how long the body of a request is, so that those like it take one read.
pub(super) fn learn(framing: Framing) {
    let length = if let Framing::Length(length) = framing { length } else { 0 };
    READ_SIZE.with(|size| size.learn(length));
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

    /// Whether there is nothing that a request may begin with, or half of an empty line. Who sends those is as idle as who
    /// sends nothing.
    pub(crate) fn is_blank(&self) -> bool {
        matches!(&self.buffer[..], [] | [b'\r'])
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
            let size = READ_SIZE.with(ReadSize::get).min(SHARED);
            if size > READ && self.buffer.capacity() < size {
                self.buffer.reserve(SHARED);
            }
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

/// How many pieces may wait besides: as many as are written in one call.
const MAX_PIECES: usize = 16;
/// How many bytes may wait in pieces, to begin with and where the client falls behind …
const LITTLE: usize = 64 * 1024;
/// … and where it takes all that it is given: few large writes cost the system much less than many.
const MUCH: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) struct Output {
    lead: BytesMut,
    /// Follow `lead`, from where they are.
    pieces: VecDeque<Bytes>,
    /// Follows `pieces`.
    tail: BytesMut,
    /// How many bytes there may be in `pieces` before no more is taken.
    room: usize,
    /// Whether the client has yet to take what it was given.
    behind: bool,
    /// Whether all was written, but may not have left yet.
    unflushed: bool,
    /// Whether the system is offered more until it takes none, though it does not ask.
    pressing: bool,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            lead: BytesMut::new(),
            pieces: VecDeque::new(),
            tail: BytesMut::new(),
            room: LITTLE,
            behind: false,
            unflushed: false,
            pressing: false,
        }
    }
}

impl Output {
    /// Where to write heads and the like: behind what is there.
    pub(crate) fn end(&mut self) -> &mut BytesMut {
        if !self.pieces.is_empty() {
            return &mut self.tail;
        }
        if self.lead.capacity() == 0 {
            self.lead = SPARE.with_borrow_mut(|(_, spare)| spare.pop()).unwrap_or_default();
        }
        &mut self.lead
    }

    /// Whether another piece may be put in.
    pub(crate) fn has_room(&self) -> bool {
        self.tail.is_empty()
            && self.lead.len() < MAX_OUTPUT
            && (self.pieces.is_empty() || self.pieces.len() < MAX_PIECES && self.waiting() < self.room)
    }

    /// Whether nothing waits to be written, and the client has taken all at once that it was given before.
    pub(crate) fn keeps_up(&self) -> bool {
        self.is_empty() && !self.unflushed && self.room > LITTLE
    }

    /// The bytes in pieces.
    fn waiting(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Puts a piece of a body behind what is there, and `tail` behind that. Only while there is room.
    pub(crate) fn put(&mut self, piece: Bytes, tail: &[u8]) {
        if piece.len() <= COPY && self.pieces.is_empty() {
            self.end().extend_from_slice(&piece);
        } else {
            self.pieces.push_back(piece);
        }
        if !tail.is_empty() {
            self.end().extend_from_slice(tail);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lead.is_empty() && self.pieces.is_empty() && self.tail.is_empty()
    }

    /// Whether there is something, and little of it: what is large is written while it is in the processor's cache.
    pub(crate) fn is_small(&self) -> bool {
        self.pieces.is_empty() && !self.lead.is_empty()
    }

    pub(crate) fn poll_flush<I: AsyncWrite + Unpin + 'static>(
        &mut self,
        io: &mut I,
        timer: &mut Timer,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_empty() && !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        self.unflushed = true;
        let was_full = self.waiting() >= self.room;
        while !self.is_empty() {
            let written = match self.poll_write(io, cx)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(written) => written,
                Poll::Pending => {
                    let pushed = if self.pressing { self.push(io) } else { 0 };
                    if pushed == 0 {
                        (self.room, self.behind, self.pressing) = (LITTLE, true, false);
                        return Poll::Pending;
                    }
                    pushed
                }
            };
            timer.clear();
            self.advance(written);
        }
        if was_full && !std::mem::take(&mut self.behind) {
            self.room = MUCH.min(self.room * 2);
        }
        if self.pieces.capacity() > 0 {
            // An idle connection holds no memory.
            (self.pieces, self.tail) = Default::default();
        }
        let lead = std::mem::take(&mut self.lead);
        SPARE.with_borrow_mut(|(_, spare)| {
            if (1..=SHARED).contains(&lead.capacity()) && spare.len() < MAX_SPARE {
                spare.push(lead);
            }
        });
        self.poll_leave(io, timer, cx)
    }

    /// Writes what is there, as much of it as is taken at once.
    fn poll_write<I: AsyncWrite + Unpin>(&self, io: &mut I, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let io = Pin::new(io);
        // To write one piece costs the system less than to write a list of one.
        match (self.lead.is_empty(), self.pieces.len(), self.tail.is_empty()) {
            (false, 0, true) => return io.poll_write(cx, &self.lead),
            (true, 1, true) => return io.poll_write(cx, &self.pieces[0]),
            _ => {}
        }
        let mut slices = [IoSlice::new(&[]); MAX_PIECES + 2];
        let parts = std::iter::once(&self.lead[..])
            .chain(self.pieces.iter().map(|piece| &piece[..]))
            .chain(std::iter::once(&self.tail[..]));
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(parts.filter(|part| !part.is_empty())) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        io.poll_write_vectored(cx, &slices[..count])
    }

    /// Takes what others hold: copies what is little, and writes what is more than that from where it is, in one call with
    /// what was taken before. How much was taken. Not to be mixed with [`put`](Self::put).
    pub(crate) fn poll_take<I: AsyncWrite + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length <= COPY && self.has_room() {
            let end = self.end();
            parts.iter().for_each(|part| end.extend_from_slice(part));
            return Poll::Ready(Ok(length));
        }
        self.unflushed = true;
        loop {
            let mut slices = [IoSlice::new(&[]); MAX_PIECES];
            slices[0] = IoSlice::new(&self.lead);
            let count = parts.len().min(MAX_PIECES - 1);
            slices[1..=count].copy_from_slice(&parts[..count]);
            let written = ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices[..=count]))?;
            let of_lead = written.min(self.lead.len());
            self.advance(of_lead);
            if written == 0 || written > of_lead {
                return Poll::Ready(Ok(written - of_lead));
            }
        }
    }

    /// Offers the system what there is until it takes no more, though it does not say that it takes any: that it says only
    /// once a third of its buffer is free, which may be megabytes. Says whether it took something: where it was offered
    /// more than it took before, so did the client.
    #[cold]
    pub(crate) fn press<I: 'static>(&mut self, io: &I) -> bool {
        let written = self.push(io);
        self.pressing = written > 0;
        self.advance(written);
        self.pressing
    }

    /// Writes as much of the first part as the system takes, whatever it has said.
    #[cold]
    fn push<I: 'static>(&self, io: &I) -> usize {
        let parts = std::iter::once(&self.lead[..]).chain(self.pieces.iter().map(|piece| &piece[..]));
        let first = parts.chain(std::iter::once(&self.tail[..])).find(|part| !part.is_empty());
        let (Some(socket), Some(first)) = (stream_socket(io), first) else { return 0 };
        SockRef::from(&socket).send(first).unwrap_or(0)
    }

    /// Drops so many bytes, which were written.
    fn advance(&mut self, written: usize) {
        let mut left = written;
        let of_lead = left.min(self.lead.len());
        if of_lead == self.lead.len() {
            self.lead.clear();
        } else {
            self.lead.advance(of_lead);
        }
        left -= of_lead;
        while let Some(piece) = self.pieces.front_mut()
            && left >= piece.len()
        {
            left -= piece.len();
            self.pieces.pop_front();
        }
        match self.pieces.front_mut() {
            Some(piece) => piece.advance(left),
            None => self.tail.advance(left),
        }
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

/// The client's socket, if bytes go over it as they are.
pub(super) fn stream_socket<I: 'static>(io: &I) -> Option<BorrowedFd<'_>> {
    let io: &dyn Any = io;
    let tcp = || io.downcast_ref::<TcpStream>().map(AsFd::as_fd);
    tcp().or_else(|| io.downcast_ref::<UnixStream>().map(AsFd::as_fd))
}

/// Lets the end of the connection be a reset, and what the client has not taken yet be forgotten.
#[cold]
pub(super) fn will_reset<I: 'static>(io: &I) {
    if let Some(socket) = stream_socket(io) {
        // Refused for a connection that has ended already.
        let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::task::Waker;

    /// Takes so many bytes at each call, in turn; with 0 it is not ready.
    struct Client {
        takes: Vec<usize>,
        turn: usize,
        taken: Vec<u8>,
    }

    impl AsyncWrite for Client {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
            let takes = self.takes[self.turn % self.takes.len()];
            self.turn += 1;
            if takes == 0 {
                return Poll::Pending;
            }
            let count = takes.min(data.len());
            self.taken.extend_from_slice(&data[..count]);
            Poll::Ready(Ok(count))
        }
        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            self.poll_write(cx, &all)
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn flush(output: &mut Output, client: &mut Client) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        output.poll_flush(client, &mut Timer::default(), &mut cx).is_ready()
    }

    proptest! {
        #[test]
        fn all_is_written_in_order_however_little_is_taken_at_a_time(
            parts in prop::collection::vec((0usize..3, 1usize..9_000), 1..60),
            mut takes in prop::collection::vec(0usize..20_000, 1..8),
        ) {
            takes.push(7_000);
            let (mut output, mut expected) = (Output::default(), Vec::new());
            let mut client = Client { takes, turn: 0, taken: Vec::new() };
            for (number, (kind, length)) in parts.into_iter().enumerate() {
                while !output.has_room() {
                    flush(&mut output, &mut client);
                }
                let bytes = vec![number as u8; length];
                let tail: &[u8] = if kind == 1 { b"\r\n" } else { b"" };
                match kind {
                    0 => output.end().extend_from_slice(&bytes),
                    _ => output.put(bytes.clone().into(), tail),
                }
                expected.extend([&bytes, tail].concat());
            }
            while !flush(&mut output, &mut client) {}
            prop_assert!(output.is_empty());
            prop_assert_eq!(client.taken, expected);
        }

        #[test]
        fn what_others_hold_is_written_in_order_too(
            parts in prop::collection::vec((0usize..100, 1usize..9_000), 1..60),
            mut takes in prop::collection::vec(0usize..20_000, 1..8),
        ) {
            takes.push(7_000);
            let (mut output, mut expected) = (Output::default(), Vec::new());
            let mut client = Client { takes, turn: 0, taken: Vec::new() };
            let mut cx = Context::from_waker(Waker::noop());
            for (number, (head, body)) in parts.into_iter().enumerate() {
                let bytes = vec![number as u8; head + body];
                let mut left = &bytes[..];
                while !left.is_empty() {
                    let (head, body) = left.split_at(head.min(left.len()));
                    let parts = [IoSlice::new(head), IoSlice::new(body)];
                    if let Poll::Ready(taken) = output.poll_take(&mut client, &mut cx, &parts) {
                        left = &left[taken.unwrap()..];
                    }
                }
                expected.extend(bytes);
            }
            while !flush(&mut output, &mut client) {}
            prop_assert_eq!(client.taken, expected);
            prop_assert_eq!(output.lead.capacity(), 0, "its memory is lent to the next");
        }
    }

    #[test]
    fn requests_like_those_before_take_one_read_each() {
        let (mut cx, message) = (Context::from_waker(Waker::noop()), [b'x'; 16_600]);
        let mut read = || {
            let (mut input, mut from) = (Input::default(), &message[..]);
            let Poll::Ready(Ok(count)) = input.poll_read(&mut from, &mut cx, 0) else {
                panic!("it is there")
            };
            drop(input.buffer.split());
            input.rest();
            count
        };
        // What is left of the memory that is lent is smaller with each.
        let without = [read(), read(), read()];
        assert!(without.iter().any(|count| *count < message.len()), "{without:?}");
        learn(Framing::Length(16 * 1024));
        assert_eq!([read(), read(), read()], [message.len(); 3]);
        assert!(SPARE.with_borrow(|(spare, _)| spare.capacity() <= SHARED));
    }

    #[test]
    fn a_client_that_takes_all_is_given_more_at_a_time_and_one_that_falls_behind_less() {
        let piece = || Bytes::from(vec![b'x'; 16 * 1024]);
        let mut output = Output::default();
        let fill = |output: &mut Output| {
            let mut count = 0;
            while output.has_room() {
                output.put(piece(), b"");
                count += 1;
            }
            count
        };
        let mut fast = Client { takes: vec![usize::MAX], turn: 0, taken: Vec::new() };
        for expected in [4, 8, 16, 16] {
            assert_eq!(fill(&mut output), expected);
            assert!(flush(&mut output, &mut fast));
        }
        let mut slow = Client { takes: vec![1000, 0], turn: 0, taken: Vec::new() };
        fill(&mut output);
        assert!(!flush(&mut output, &mut slow));
        assert!(flush(&mut output, &mut fast));
        assert_eq!(fill(&mut output), 4);
    }
}
