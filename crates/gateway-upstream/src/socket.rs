//! The byte stream under a connection: TCP, a Unix socket, or TLS.

use crate::splice::pass;
use crate::tls::in_words;
use gateway_core::Spliced;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::coop::poll_proceed;
use tokio_rustls::client::TlsStream;

/// How much of a long body one read brings at most, or so.
const READ_AT_ONCE: u64 = 64 * 1024;

#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Boxed, for its state is a hundred times that of the others.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Writes what fits at once, without registering for more. TLS takes nothing this way.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
            Self::Tls(_) => Ok(0),
        };
        match written {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
            result => result,
        }
    }

    /// Moves what has come, up to `most` bytes, to `to`, if it can be done without reading it. Where nothing is moved it has
    /// to be read, which also says whether something has come.
    pub(crate) fn poll_splice(
        &self,
        cx: &mut Context<'_>,
        to: BorrowedFd<'_>,
        most: u64,
    ) -> Poll<io::Result<Spliced>> {
        let spliced = match self {
            Self::Tcp(stream) => {
                ready!(stream.poll_read_ready(cx))?;
                pass(stream.as_fd(), to, most)?
            }
            Self::Unix(stream) => {
                ready!(stream.poll_read_ready(cx))?;
                pass(stream.as_fd(), to, most)?
            }
            Self::Tls(_) => Spliced::default(),
        };
        // It takes as much of the task's turn as to read it would, lest others wait for one that is fast and long.
        for _ in 0..spliced.total() / READ_AT_ONCE {
            if let Poll::Ready(step) = poll_proceed(cx) {
                step.made_progress();
            }
        }
        Poll::Ready(Ok(spliced))
    }

    /// Whether there is nothing to read, above all not the end. Costs a system call only when the poller has
    /// seen something.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut probe = [0u8; 1];
        let read = match self {
            Self::Tcp(stream) => stream.try_read(&mut probe),
            Self::Unix(stream) => stream.try_read(&mut probe),
            // What came may be for TLS itself, such as session tickets.
            Self::Tls(stream) => {
                let mut probe = ReadBuf::new(&mut probe);
                let mut cx = Context::from_waker(Waker::noop());
                return Pin::new(stream).poll_read(&mut cx, &mut probe).is_pending();
            }
        };
        matches!(read, Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer).map_err(in_words),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // Nothing is held back.
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
