use super::ping::Heard;
use super::watch::Watch;
use crate::http1::{Output, Timer};
use bytes::BytesMut;
use gateway_core::Problem;
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection of which the first bytes were read already. Notes when it is heard.
///
/// Gathers what little is written until [`poll_leave`](Self::poll_leave): the h2 crate writes every piece of a body of 256
/// bytes or more by itself, and would take a system call for each of the answers that are ready at the same time.
pub(super) struct Wire<I>(Rc<RefCell<Line<I>>>);

struct Line<I> {
    io: I,
    read: BytesMut,
    heard: Heard,
    output: Output,
    watch: Watch,
}

impl<I> Wire<I> {
    pub(super) fn new(io: I, read: BytesMut, heard: Heard) -> Self {
        Self(Rc::new(RefCell::new(Line { io, read, heard, output: Output::default(), watch: Watch::new() })))
    }

    /// The request of this stream was handed over.
    pub(super) fn handed_over(&self, stream: u32) {
        self.0.borrow_mut().watch.handed_over(stream);
    }

    /// See [`Watch::is_within_head`].
    pub(super) fn is_within_head(&self) -> bool {
        self.0.borrow().watch.is_within_head()
    }

    /// What the h2 crate has refused by itself since this was last asked; see [`Watch::refused`].
    pub(super) fn refused(&self) -> Vec<Problem> {
        self.0.borrow_mut().watch.refused()
    }
}

impl<I> Clone for Wire<I> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<I: AsyncWrite + Unpin + 'static> Wire<I> {
    /// Sends what was gathered.
    pub(super) fn poll_leave(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_leave(cx)
    }
}

impl<I: AsyncWrite + Unpin + 'static> Line<I> {
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // How long a client may take is its streams' affair.
        self.output.poll_flush(&mut self.io, &mut Timer::default(), cx)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Wire<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let line = &mut *self.0.borrow_mut();
        if line.read.is_empty() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut line.io).poll_read(cx, buf))?;
            line.watch.read(&buf.filled()[before..]);
            line.heard.note();
            return Poll::Ready(Ok(()));
        }
        let here = line.read.len().min(buf.remaining());
        let here = line.read.split_to(here);
        line.watch.read(&here);
        buf.put_slice(&here);
        if line.read.is_empty() {
            line.read = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin + 'static> AsyncWrite for Wire<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Line { io, output, watch, .. } = &mut *self.0.borrow_mut();
        let taken = ready!(output.poll_take(io, cx, bufs))?;
        let mut left = taken;
        for part in bufs {
            let here = left.min(part.len());
            watch.written(&part[..here]);
            left -= here;
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Whatever is written now leaves together.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let line = &mut *self.0.borrow_mut();
        ready!(line.poll_leave(cx))?;
        Pin::new(&mut line.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// Keeps what it takes, a write each; none while it is `full`.
    #[derive(Default)]
    struct Client {
        writes: Vec<Vec<u8>>,
        full: bool,
    }

    impl AsyncWrite for Client {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            if self.full {
                return Poll::Pending;
            }
            self.writes.push(buf.to_vec());
            Poll::Ready(Ok(buf.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn write(wire: &mut Wire<Client>, head: &[u8], body: &[u8]) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let written =
            Pin::new(&mut *wire).poll_write_vectored(&mut cx, &[IoSlice::new(head), IoSlice::new(body)]);
        assert!(Pin::new(wire).poll_flush(&mut cx).is_ready());
        written.is_ready()
    }

    #[test]
    fn answers_of_one_moment_leave_in_one_write() {
        let mut wire = Wire::new(Client::default(), BytesMut::new(), Heard::now());
        assert!(write(&mut wire, b"one ", &[b'1'; 1024]) && write(&mut wire, b"two ", &[b'2'; 1024]));
        assert!(wire.0.borrow().io.writes.is_empty());
        assert!(wire.poll_leave(&mut Context::from_waker(Waker::noop())).is_ready());
        let all = [b"one ", &[b'1'; 1024][..], b"two ", &[b'2'; 1024]].concat();
        assert_eq!(wire.0.borrow().io.writes, [all]);
    }

    #[test]
    fn a_client_that_takes_nothing_holds_the_connection_up_and_not_its_memory() {
        let mut wire = Wire::new(Client { full: true, ..Client::default() }, BytesMut::new(), Heard::now());
        let taken = (0..100).take_while(|_| write(&mut wire, b"", &[0; 1024])).count();
        assert_eq!(taken, 16, "KiB are gathered");
        wire.0.borrow_mut().io.full = false;
        assert!(write(&mut wire, b"", &[1; 1024]), "there is room again");
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut wire).poll_shutdown(&mut cx).is_ready());
        assert_eq!(wire.0.borrow().io.writes.concat().len(), 17 * 1024, "the rest leaves before the end");
    }
}
