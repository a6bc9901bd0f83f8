//! HTTP/2 connections, by hyper.

mod stalled;
mod stream;
mod websocket;

use crate::http1::{Timer, Wait};
use crate::{Drain, Handler, Limits, RequestBody};
use bytes::BytesMut;
use gateway_core::{Code, Problem};
use http::header::{COOKIE, HeaderValue};
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use stalled::Local;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use stream::{AnswerBody, Answering, Counted, Streams};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use websocket::as_upgrade;

/// How often a silent connection is asked whether it is still there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How much of request bodies may be under way: enough for 1 Gbit/s at 10 ms.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The most streams that a client may have opened and reset again (CVE-2023-44487) before it is sent away.
const MAX_RESETS: usize = 64;
/// The most streams that were reset for the client's own errors before it is sent away.
const MAX_ERRORS: usize = 64;
/// How long a connection without streams may take to end once the client was told (GOAWAY).
const GOODBYE: Duration = Duration::from_secs(2);

/// What the streams of one connection share.
struct Shared<H> {
    handler: H,
    limits: Rc<Limits>,
    drain: Drain,
    streams: Streams,
}

/// Serves a connection whose first bytes were read already. Ends in order (GOAWAY) when it is to drain, or has been
/// idle for too long.
pub(crate) async fn serve<I, H>(io: I, read: BytesMut, handler: H, limits: Rc<Limits>, drain: Drain)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Handler + Clone,
{
    let mut builder = http2::Builder::new(Local { write_timeout: limits.write_timeout });
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(u32::try_from(limits.max_head).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_ERRORS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .enable_connect_protocol();
    let io = TokioIo::new(Rewound { io, read });
    let shared = Rc::new(Shared { handler, limits, drain, streams: Streams::default() });
    let mut connection = pin!(builder.serve_connection(io, ToHandler(shared.clone())));
    let mut begins = pin!(shared.drain.begins());
    let (mut listening, mut told, mut timer) = (false, false, Timer::default());
    // How a connection ends is the client's affair: there is nobody to tell.
    poll_fn(|cx| {
        if !listening {
            listening = true;
            let _ = begins.as_mut().poll(cx);
        }
        if !told && shared.drain.has_begun() {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        loop {
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            match shared.streams.is_idle(cx) {
                false => timer.clear(),
                true if told => timer.set(Wait::Linger, GOODBYE),
                true => timer.set(Wait::Idle, shared.limits.idle_timeout),
            }
            match timer.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(_) if told => return Poll::Ready(()),
                Poll::Ready(_) => {
                    told = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    })
    .await;
}

struct ToHandler<H>(Rc<Shared<H>>);

impl<H: Handler + Clone> Service<Request<Incoming>> for ToHandler<H> {
    type Response = Response<AnswerBody<H>>;
    type Error = Infallible;
    type Future = Answering<H>;

    fn call(&self, request: Request<Incoming>) -> Answering<H> {
        let Shared { handler, limits, .. } = &*self.0;
        let counted = Some(Counted::new(&self.0));
        let answering = |future| Answering { future, late: None, extended: None, counted };
        if request.headers().len() > limits.max_headers {
            return answering(handler.refuse(Problem::new(Code::HeadersTooLarge)));
        }
        if *request.method() == Method::CONNECT {
            let Some((mut request, extended)) = as_upgrade(request) else {
                let problem = Problem::new(Code::BadRequest).with_detail("CONNECT is for forward proxies");
                return answering(handler.refuse(problem));
            };
            join_cookies(request.headers_mut());
            return Answering { extended: Some(extended), ..answering(handler.call(request)) };
        }
        let mut late = None;
        let mut request = request.map(|body| {
            let (body, signal) = RequestBody::http2(body, limits.body_timeout);
            late = signal;
            body
        });
        join_cookies(request.headers_mut());
        Answering { late, ..answering(handler.call(request)) }
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
