//! One HTTP/1.1 connection to an endpoint.

use crate::slots::{Open, Permit};
use crate::socket::Socket;
use crate::tls::describe_tls;
use bytes::BytesMut;
use gateway_core::Spliced;
use gateway_http1::READ;
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

thread_local! {
    /// Memory for large answers.
    static SPARE: Cell<BytesMut> = Cell::default();
}

#[derive(Debug)]
pub(crate) struct Connection {
    socket: Socket,
    /// Bytes read and not yet used.
    pub(crate) buffer: BytesMut,
    /// Whom its PROXY header names: it is for no other.
    pub(crate) client: Option<SocketAddr>,
    pub(crate) opened: Instant,
    /// How many requests it has answered.
    pub(crate) answered: u32,
    /// Counted as long as it is open. What follows is let go after it, so that there is room by then.
    _open: Open,
    /// Its share of `max_connections`, while it is in use.
    pub(crate) permit: Option<Permit>,
}

impl Connection {
    /// Boxed once, so that the futures and bodies it passes through stay small.
    pub(crate) fn new(socket: Socket, client: Option<SocketAddr>, open: Open) -> Box<Self> {
        let (buffer, opened) = (BytesMut::new(), Instant::now());
        Box::new(Self { socket, buffer, client, opened, answered: 0, _open: open, permit: None })
    }

    /// Reads more into the buffer; `Ok(0)` is the end. `want` is what is worth reading at once.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, want: usize) -> Poll<io::Result<usize>> {
        // What is left of the room shrinks with each answer that was cut out of it.
        if self.buffer.capacity() - self.buffer.len() < want.clamp(READ / 4, READ) {
            self.buffer.reserve(want.max(READ));
        }
        // Unlike `try_read`, this learns from a short read that there is no more, and saves the call that would say so.
        poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.buffer)
    }

    /// Reads the beginning of an answer, which is expected to be `hint` bytes long in all.
    pub(crate) fn poll_read_answer(&mut self, cx: &mut Context<'_>, hint: usize) -> Poll<io::Result<usize>> {
        if hint > READ && self.buffer.is_empty() && self.buffer.capacity() < hint {
            self.buffer = SPARE.take();
            self.buffer.reserve(hint);
        }
        self.poll_read(cx, 0)
    }

    /// Gives back the memory that an answer was read into: the next of its like, over whichever connection, finds it in the
    /// processor's cache, once its body has passed on.
    pub(crate) fn rest(&mut self) {
        SPARE.set(std::mem::take(&mut self.buffer));
    }

    /// Moves what has come to another socket, if it can be done without reading it, up to `most` bytes. Where something was
    /// read before, that comes first.
    pub(crate) fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        to: BorrowedFd<'_>,
        most: u64,
    ) -> Poll<io::Result<Spliced>> {
        if !self.buffer.is_empty() {
            return Poll::Ready(Ok(Spliced::default()));
        }
        if self.buffer.capacity() > 0 {
            self.rest();
        }
        self.socket.poll_splice(cx, to, most)
    }

    /// Writes what fits of the one and, behind it, of the other; not both are empty.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        first: &[u8],
        second: &[u8],
    ) -> Poll<io::Result<usize>> {
        let socket = Pin::new(&mut self.socket);
        // To write one piece costs the system less than to write a list of one.
        let written = match (first, second) {
            (one, []) | ([], one) => socket.poll_write(cx, one),
            _ => socket.poll_write_vectored(cx, &[IoSlice::new(first), IoSlice::new(second)]),
        };
        match ready!(written) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            result => Poll::Ready(result),
        }
    }

    /// Sends what TLS holds back.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    /// Says that no more will be sent.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    /// Writes what fits at once, without registering for more.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.try_write(bytes)
    }

    /// Whether an idle connection is still usable: nothing to read, above all not its end.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.buffer.is_empty() && self.socket.is_quiet()
    }
}

/// The operating system's words without its error number, or what failed in TLS.
pub(crate) fn describe(error: &io::Error) -> String {
    if let Some(text) = describe_tls(error) {
        return text;
    }
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    #[tokio::test]
    async fn an_answer_of_the_expected_length_takes_one_read_and_reuses_its_room() {
        let (mut far, near) = UnixStream::pair().unwrap();
        let mut connection = Connection::new(Socket::Unix(near), None, Open::default());
        for (hint, length, read) in [
            (READ, 100, 100),
            (READ, 16_500, 4096),
            (17_408, 16_500, 16_500),
            (17_408, 100, 100),
            (17_408, 16_500, 16_500),
        ] {
            far.write_all(&vec![b'x'; length]).await.unwrap();
            let first = poll_fn(|cx| connection.poll_read_answer(cx, hint)).await.unwrap();
            // What was left of an earlier, larger buffer may be used as well.
            assert!((read.min(READ / 4)..=length).contains(&first), "{first} of {length} with {hint}");
            if hint > READ {
                assert_eq!(first, read);
            }
            while connection.buffer.len() < length {
                poll_fn(|cx| connection.poll_read(cx, 65_536)).await.unwrap();
            }
            assert_eq!(connection.buffer.split_to(length).freeze().len(), length);
        }
    }

    #[tokio::test]
    async fn large_answers_are_read_into_the_memory_of_those_before_that_have_passed_on() {
        let mut places = Vec::new();
        let mut held = Vec::new();
        for holds in [false, false, true, false] {
            let (mut far, near) = UnixStream::pair().unwrap();
            let mut connection = Connection::new(Socket::Unix(near), None, Open::default());
            far.write_all(&[b'x'; 16_500]).await.unwrap();
            poll_fn(|cx| connection.poll_read_answer(cx, 17_408)).await.unwrap();
            let body = connection.buffer.split().freeze();
            places.push(body.as_ptr());
            connection.rest();
            assert_eq!(connection.buffer.capacity(), 0, "an idle connection holds memory");
            held.extend(holds.then_some(body));
        }
        assert!(places[..3].iter().all(|place| *place == places[0]) && places[3] != places[0], "{places:?}");
        assert!(held[0].iter().all(|byte| *byte == b'x'));
    }
}
