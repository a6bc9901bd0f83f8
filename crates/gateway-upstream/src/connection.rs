//! One connection to an endpoint, and the pool of idle ones.

use crate::settings::UpstreamSettings;
use bytes::BytesMut;
use gateway_core::{Endpoint, FailureKind, UpstreamError};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

/// What a read asks for at least: a head and a small body in one call.
const READ: usize = 4096;

#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// Bytes read and not yet used.
    pub(crate) buffer: BytesMut,
}

impl Connection {
    pub(crate) async fn open(
        endpoint: &Endpoint,
        settings: &UpstreamSettings,
    ) -> Result<Self, UpstreamError> {
        let failed = |message: String| UpstreamError::new(FailureKind::Connect, endpoint, message);
        let connecting = TcpStream::connect((endpoint.host(), endpoint.port()));
        let stream = match tokio::time::timeout(*settings.connect_timeout, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => return Err(failed(describe(&e))),
            Err(_) => return Err(failed(format!("no connection within {}", settings.connect_timeout))),
        };
        // Heads and small bodies are written whole: Nagle's algorithm would only delay them.
        stream.set_nodelay(true).map_err(|e| failed(describe(&e)))?;
        Ok(Self { stream, buffer: BytesMut::new() })
    }

    /// Reads more into the buffer; `Ok(0)` is the end. `want` is what is worth reading at once.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, want: usize) -> Poll<io::Result<usize>> {
        // What is left of the room shrinks with each answer that was cut out of it.
        if self.buffer.capacity() - self.buffer.len() < want.clamp(READ / 4, READ) {
            self.buffer.reserve(want.max(READ));
        }
        // Unlike `try_read`, this learns from a short read that there is no more, and saves the call that would say so.
        poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.buffer)
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.stream.try_write_vectored(slices) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready!(self.stream.poll_write_ready(cx))?,
                result => return Poll::Ready(result),
            }
        }
    }

    /// Says that no more will be sent.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Writes what fits at once, without registering for more.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.try_write(bytes) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
            result => result,
        }
    }

    /// Whether an idle connection is still usable: nothing to read, above all not its end. Costs a system call
    /// only when the poller has seen something.
    fn is_quiet(&mut self) -> bool {
        if !self.buffer.is_empty() {
            return false;
        }
        let mut probe = [0u8; 1];
        matches!(self.stream.try_read(&mut probe), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }
}

/// The operating system's words without its error number.
pub(crate) fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// Idle connections, the youngest on top. The lock is only ever taken by the worker that owns the pool, or by
/// the threads of a multi-threaded runtime: it is held for a push or a pop.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Vec<Idle>>);

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    pub(crate) fn take(&self, settings: &UpstreamSettings) -> Option<Connection> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = if idle.is_empty() { return None } else { Instant::now() };
        while let Some(Idle { mut connection, since }) = idle.pop() {
            if now.duration_since(since) > *settings.idle_timeout {
                // All below are older.
                idle.clear();
                return None;
            }
            if connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    pub(crate) fn give(&self, connection: Connection, settings: &UpstreamSettings) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // The oldest are at the bottom, where light traffic never looks.
        if idle.first().is_some_and(|oldest| now.duration_since(oldest.since) > *settings.idle_timeout) {
            idle.retain(|kept| now.duration_since(kept.since) <= *settings.idle_timeout);
        }
        if idle.len() < settings.max_idle {
            idle.push(Idle { connection, since: now });
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
