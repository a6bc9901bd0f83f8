//! HTTP/2 connections, by hyper.

use crate::{Drain, Handler, Limits, RequestBody};
use bytes::BytesMut;
use gateway_core::{Code, Problem};
use http::header::{COOKIE, HeaderValue};
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How often a silent connection is asked whether it is still there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How much of request bodies may be under way: enough for 1 Gbit/s at 10 ms.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The most streams that a client may have opened and reset again (CVE-2023-44487) before it is sent away.
const MAX_RESETS: usize = 64;

/// Serves a connection whose first bytes were read already. Ends in order (GOAWAY) when it is to drain.
pub(crate) async fn serve<I, H>(io: I, read: BytesMut, handler: H, limits: &Limits, drain: &Drain)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Handler,
{
    let mut builder = http2::Builder::new(Local);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(u32::try_from(limits.max_head).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_RESETS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let io = TokioIo::new(Rewound { io, read });
    let mut connection = pin!(builder.serve_connection(io, ToHandler(handler)));
    let mut begins = pin!(drain.begins());
    let (mut listening, mut told) = (false, false);
    // How a connection ends is the client's affair: there is nobody to tell.
    let _ = poll_fn(|cx| {
        if !listening {
            listening = true;
            let _ = begins.as_mut().poll(cx);
        }
        if !told && drain.has_begun() {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    })
    .await;
}

#[derive(Clone)]
struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

struct ToHandler<H>(H);

impl<H: Handler> Service<Request<Incoming>> for ToHandler<H> {
    type Response = Response<H::Body>;
    type Error = Infallible;
    type Future = H::Future;

    fn call(&self, request: Request<Incoming>) -> H::Future {
        let mut request = request.map(RequestBody::http2);
        if *request.method() == Method::CONNECT {
            return self
                .0
                .refuse(Problem::new(Code::BadRequest).with_detail("CONNECT is for forward proxies"));
        }
        join_cookies(request.headers_mut());
        self.0.call(request)
    }
}

/// HTTP/2 may send cookies one by one; nobody else expects more than one field (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if let (Some(first), Some(second)) = (cookies.next(), cookies.next()) {
        let all = [first, second].into_iter().chain(cookies).map(HeaderValue::as_bytes).collect::<Vec<_>>();
        // What was joined of valid values is one.
        if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
            headers.insert(COOKIE, joined);
        }
    }
}

/// A connection of which the first bytes were read already.
struct Rewound<I> {
    io: I,
    read: BytesMut,
}

impl<I: AsyncRead + Unpin> AsyncRead for Rewound<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let here = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read.split_to(here));
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Rewound<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_become_one_field() {
        let mut headers = HeaderMap::new();
        for cookie in ["a=1", "b=2", "c=3"] {
            headers.append(COOKIE, HeaderValue::from_static(cookie));
        }
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
    }
}
