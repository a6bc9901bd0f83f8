//! HTTP/2 connections: frames, windows and header compression are the h2 crate's, what they carry is handled here.

mod ping;
mod sending;
mod stream;
mod tunnel;
mod watch;
mod websocket;
mod wire;

use crate::http1::{Timer, Wait};
use crate::{Drain, Handler, Limits, RequestBody};
use bytes::{Bytes, BytesMut};
use gateway_core::{Code, Problem, spare};
use h2::server::{Builder, Connection, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use http::header::{COOKIE, EXPECT, HeaderValue};
use http::{HeaderMap, Method, Request};
use ping::{Heard, Pings};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use stream::{Stream, Streams, Waiting};
use tokio::io::{AsyncRead, AsyncWrite};
use websocket::as_upgrade;
use wire::Wire;

/// How much of request bodies may be under way: enough for 1 Gbit/s at 10 ms.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The most of an answer that may wait for the connection to be written: as much as over HTTP/1.1 for a client that falls
/// behind. A client decides how many answers wait, and its windows say nothing of what it takes.
const MAX_OUTPUT: usize = 64 * 1024;
/// The most streams that a client may have opened and reset again (CVE-2023-44487) before it is sent away.
const MAX_RESETS: usize = 64;
/// The most streams that were reset for the client's own errors before it is sent away.
const MAX_ERRORS: usize = 64;
/// For how long, and of how many streams, is remembered that they were reset. Those whose upload was refused before it
/// came are: what was on its way then is ignored, and would count as the client's own error once they are forgotten, though
/// that client may be a proxy, and the refused one of its many users. Enough for a thousand refusals a second; some 3 MB.
const LATE: Duration = Duration::from_secs(5);
const MAX_LATE: usize = 5000;
/// How much a head may be over its limit to be answered like any other: larger ones the h2 crate answers by itself, with a
/// bare 431 (see [`watch`]).
const HEAD_ROOM: usize = 16 * 1024;
/// How long a connection without streams may take to end once the client was told (GOAWAY).
const GOODBYE: Duration = Duration::from_secs(2);

/// What the streams of one connection share.
struct Shared<H> {
    handler: H,
    limits: Rc<Limits>,
    drain: Drain,
    streams: Streams,
    heard: Heard,
}

/// Serves a connection whose first bytes were read already. Ends in order (GOAWAY) when it is to drain, or has been
/// idle for too long.
pub(crate) async fn serve<I, H>(io: I, read: BytesMut, handler: H, limits: Rc<Limits>, drain: Drain)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Handler + Clone,
{
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(u32::try_from(limits.max_head.saturating_add(HEAD_ROOM)).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(Some(MAX_ERRORS))
        .max_concurrent_reset_streams(MAX_LATE)
        .reset_stream_duration(LATE)
        .max_send_buffer_size(MAX_OUTPUT)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .enable_connect_protocol();
    let heard = Heard::now();
    let wire = Wire::new(io, read, heard.clone());
    let opening = builder.handshake(wire.clone());
    let shared = Rc::new(Shared { handler, limits, drain, streams: Streams::default(), heard });
    let mut conversation = Conversation { phase: Phase::Opening(opening), leaving: false };
    let mut begins = pin!(shared.drain.begins());
    let (mut listening, mut timer, mut is_late) = (false, Timer::default(), false);
    // How a connection ends is the client's affair: there is nobody to tell.
    poll_fn(|cx| {
        if !listening {
            listening = true;
            let _ = begins.as_mut().poll(cx);
        }
        if shared.drain.has_begun() {
            conversation.leave();
        }
        let ended = loop {
            let ended = conversation.poll(&wire, &shared, cx).is_ready();
            // It is logged and counted like all others; its answer has nowhere to go.
            for problem in wire.refused() {
                tokio::task::spawn_local(shared.handler.refuse(problem));
            }
            if ended {
                break Poll::Ready(());
            }
            let within_head = wire.is_within_head();
            match shared.streams.is_idle(cx) {
                // Nobody will finish it; the client was told.
                true if is_late && within_head => {
                    let problem = Problem::new(Code::RequestTimeout);
                    tokio::task::spawn_local(shared.handler.refuse(problem));
                    break Poll::Ready(());
                }
                true if conversation.leaving => timer.set(Wait::Linger, GOODBYE),
                _ if within_head && !is_late => timer.set(Wait::Head, shared.limits.header_timeout),
                false => timer.clear(),
                true => timer.set(Wait::Idle, shared.limits.idle_timeout),
            }
            match timer.poll(cx) {
                Poll::Pending => break Poll::Pending,
                Poll::Ready(Wait::Head) => {
                    is_late = true;
                    conversation.leave();
                }
                Poll::Ready(_) if conversation.leaving => break Poll::Ready(()),
                Poll::Ready(_) => conversation.leave(),
            }
        };
        match wire.poll_leave(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            _ => ended,
        }
    })
    .await;
}

/// A connection.
struct Conversation<I> {
    phase: Phase<I>,
    /// Whether the client is told that no streams are to follow.
    leaving: bool,
}

enum Phase<I> {
    Opening(Handshake<Wire<I>, Bytes>),
    Open { connection: Connection<Wire<I>, Bytes>, pings: Option<Pings> },
}

impl<I: AsyncRead + AsyncWrite + Unpin + 'static> Conversation<I> {
    /// Says GOAWAY, now or as soon as the connection is open. To be followed by a poll.
    fn leave(&mut self) {
        if !std::mem::replace(&mut self.leaving, true)
            && let Phase::Open { connection, .. } = &mut self.phase
        {
            connection.graceful_shutdown();
        }
    }

    /// Begins to answer what comes in. Resolves when the connection has ended.
    fn poll<H: Handler + Clone>(
        &mut self,
        wire: &Wire<I>,
        shared: &Rc<Shared<H>>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut gone = false;
        loop {
            match &mut self.phase {
                Phase::Opening(opening) => {
                    let Ok(mut connection) = ready!(Pin::new(opening).poll(cx)) else {
                        return Poll::Ready(());
                    };
                    if self.leaving {
                        connection.graceful_shutdown();
                    }
                    let pings = connection.ping_pong().map(|pings| Pings::new(pings, shared.heard.clone()));
                    self.phase = Phase::Open { connection, pings };
                }
                Phase::Open { connection, pings } => {
                    if pings.as_mut().is_some_and(|pings| pings.poll_gone(cx).is_ready()) {
                        // Said once, as far as anybody takes it.
                        connection.abrupt_shutdown(Reason::NO_ERROR);
                        gone = true;
                    } else if shared.streams.are_abused() {
                        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                        gone = true;
                    }
                    match connection.poll_accept(cx) {
                        Poll::Ready(Some(Ok((request, reply)))) => {
                            wire.handed_over(reply.stream_id().as_u32());
                            tokio::task::spawn_local(Stream::new(begin(request, reply, shared), shared));
                        }
                        Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                        Poll::Pending if gone => return Poll::Ready(()),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
        }
    }
}

/// Gives a request to the handler, or has it refused.
fn begin<H: Handler + Clone>(
    mut request: Request<RecvStream>,
    reply: SendResponse<Bytes>,
    shared: &Shared<H>,
) -> Waiting<H> {
    let Shared { handler, limits, heard, .. } = shared;
    let head_only = *request.method() == Method::HEAD;
    let since = heard.last();
    let waiting = |future| Waiting {
        since,
        reply,
        future,
        signals: None,
        expects_continue: false,
        extended: None,
        head_only,
        noticed: None,
    };
    join_cookies(request.headers_mut());
    if let Some(code) = over_limit(&request, limits) {
        return waiting(handler.refuse(Problem::new(code)));
    }
    if *request.method() == Method::CONNECT {
        let Some((request, extended)) = as_upgrade(request) else {
            let problem = Problem::new(Code::BadRequest)
                .with_detail("CONNECT is for forward proxies, and h2c is no tunnel");
            return waiting(handler.refuse(problem));
        };
        return Waiting { extended: Some(extended), ..waiting(handler.call(request)) };
    }
    let (mut head, stream) = request.into_parts();
    let (mut body, signals) = RequestBody::http2(stream, &head.headers, limits);
    if head.extensions.is_empty() {
        head.extensions = spare::extensions();
    }
    if let Some(received) = body.received() {
        head.extensions.insert(received);
    }
    let expects_continue = signals.is_some() && head.headers.get(EXPECT).is_some_and(is_continue);
    Waiting { signals, expects_continue, ..waiting(handler.call(Request::from_parts(head, body))) }
}

/// What is too large of a head, counted as HTTP/1 would write it.
fn over_limit<B>(request: &Request<B>, limits: &Limits) -> Option<Code> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits.max_head / 2 {
        return Some(Code::UriTooLong);
    }
    let headers = request.headers();
    let size =
        headers.iter().fold(target, |size, (name, value)| size + name.as_str().len() + value.len() + 4);
    (size > limits.max_head || headers.len() > limits.max_headers).then_some(Code::HeadersTooLarge)
}

fn is_continue(expectation: &HeaderValue) -> bool {
    expectation.as_bytes().eq_ignore_ascii_case(b"100-continue")
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
