use super::sending::poll_room;
use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// An HTTP/2 stream as a connection: what is in its DATA frames, both ways.
pub(super) struct Tunnel {
    receive: RecvStream,
    send: SendStream<Bytes>,
    /// What came and is still to be read.
    rest: Bytes,
}

impl Tunnel {
    pub(super) fn new(receive: RecvStream, send: SendStream<Bytes>) -> Self {
        Self { receive, send, rest: Bytes::new() }
    }
}

/// Ends where the client has ended its side; a stream that was reset is an error.
impl AsyncRead for Tunnel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            let Some(data) = ready!(this.receive.poll_data(cx)) else { return Poll::Ready(Ok(())) };
            this.rest = data.map_err(io::Error::other)?;
        }
        let here = this.rest.len().min(buf.remaining());
        buf.put_slice(&this.rest[..here]);
        this.rest.advance(here);
        // Refused only where the stream has ended already.
        let _ = this.receive.flow_control().release_capacity(here);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let send = &mut self.get_mut().send;
        let Some(room) = ready!(poll_room(send, buf.len(), cx)) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let room = room.map_err(io::Error::other)?;
        let here = room.min(buf.len());
        send.send_data(Bytes::copy_from_slice(&buf[..here]), false).map_err(io::Error::other)?;
        Poll::Ready(Ok(here))
    }

    /// The connection sends by itself what the stream was given.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().send.send_data(Bytes::new(), true).map_err(io::Error::other))
    }
}
