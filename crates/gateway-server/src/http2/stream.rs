//! One HTTP/2 stream: a request and its answer, and its count among the streams of its connection.

use super::Shared;
use super::sending::Sending;
use super::websocket::{Extended, grant};
use crate::body::Signals;
use crate::http1::{is_bodiless, is_for_this_connection};
use crate::together::Together;
use crate::{Handler, date};
use bytes::Bytes;
use gateway_core::{Recall, Upgrade, interim};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue, TE};
use http::response::Parts;
use http::{HeaderMap, Response, StatusCode};
use http_body::Body;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// So many requests that their client gave up at once, and more than half of all, and it is sent away (Envoy's
/// `premature_reset_total_stream_count` and `…_min_stream_lifetime_seconds`): each costs it two small frames, and a
/// service that speaks HTTP/1.1 a connection.
const MAX_GIVEN_UP: u64 = 500;
const AT_ONCE: Duration = Duration::from_secs(1);
/// How long a service may take to find that the body it was to read is none.
const NOTICE: Duration = Duration::from_secs(1);

/// How many streams of a connection are under way, and what became of the others.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: Cell<usize>,
    begun: Cell<u64>,
    /// Reset by the client soon after they began, and before the answer did.
    given_up: Cell<u64>,
    connection: RefCell<Option<Waker>>,
}

impl Streams {
    /// Whether the client opens streams to give them up (CVE-2023-44487, frame by frame).
    pub(super) fn are_abused(&self) -> bool {
        let given_up = self.given_up.get();
        given_up >= MAX_GIVEN_UP && given_up * 2 > self.begun.get()
    }

    /// Whether there are none; wakes this task when that becomes so.
    pub(super) fn is_idle(&self, cx: &mut Context<'_>) -> bool {
        let mut waker = self.connection.borrow_mut();
        if waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.open.get() == 0
    }
}

/// Counts one stream for as long as it lives.
struct Counted<H>(Rc<Shared<H>>);

impl<H> Counted<H> {
    fn new(shared: &Rc<Shared<H>>) -> Self {
        shared.streams.open.set(shared.streams.open.get() + 1);
        shared.streams.begun.set(shared.streams.begun.get() + 1);
        Self(shared.clone())
    }
}

impl<H> Drop for Counted<H> {
    fn drop(&mut self) {
        let streams = &self.0.streams;
        streams.open.set(streams.open.get() - 1);
        if streams.open.get() == 0
            && let Some(waker) = &*streams.connection.borrow()
        {
            waker.wake_by_ref();
        }
    }
}

/// One request being answered. Resolves when the answer was given; dropped before, the stream is reset (CANCEL).
pub(super) struct Stream<H: Handler> {
    phase: Phase<H>,
    /// Its request is sent on together with those of other connections.
    together: Together,
    counted: Counted<H>,
}

enum Phase<H: Handler> {
    Waiting(Waiting<H>),
    Sending(Sending<H::Body>),
    Tunnel(Pin<Box<dyn Future<Output = ()>>>),
}

/// A request whose answer is still to come.
pub(super) struct Waiting<H: Handler> {
    /// When it came.
    pub(super) since: Instant,
    pub(super) reply: SendResponse<Bytes>,
    pub(super) future: H::Future,
    /// What is told by who reads the request's body.
    pub(super) signals: Option<Arc<Signals>>,
    /// Whether the client waits to be asked for its body (RFC 9110 §10.1.1).
    pub(super) expects_continue: bool,
    /// What the stream becomes when the answer is 101.
    pub(super) extended: Option<Extended>,
    /// Whether the answer has no body, whatever it says.
    pub(super) head_only: bool,
    /// Set once the stream has ended for what its client did wrong.
    pub(super) noticed: Option<Pin<Box<Sleep>>>,
}

impl<H: Handler + Clone> Stream<H> {
    pub(super) fn new(waiting: Waiting<H>, shared: &Rc<Shared<H>>) -> Self {
        Self { phase: Phase::Waiting(waiting), together: Together::begin(), counted: Counted::new(shared) }
    }
}

impl<H: Handler + Clone> Future for Stream<H> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { phase, together, counted: Counted(shared) } = self.get_mut();
        ready!(together.poll(cx));
        loop {
            match phase {
                Phase::Waiting(waiting) => match ready!(waiting.poll(shared, cx)) {
                    Some(next) => *phase = next,
                    None => return Poll::Ready(()),
                },
                Phase::Sending(sending) => return sending.poll(shared.limits.write_timeout, cx),
                Phase::Tunnel(tunnel) => return tunnel.as_mut().poll(cx),
            }
        }
    }
}

impl<H: Handler + Clone> Waiting<H> {
    /// What follows; nothing, where the answer was its head alone, or the client has gone.
    fn poll(&mut self, shared: &Shared<H>, cx: &mut Context<'_>) -> Poll<Option<Phase<H>>> {
        loop {
            // The client has left within its request's body: whoever reads that would only find that it broke off.
            if self.signals.is_some()
                && let Poll::Ready(reset) = self.reply.poll_reset(cx)
                && !self.is_to_be_noticed(shared, &reset)
            {
                return Poll::Ready(None);
            }
            let listening = interim::listen();
            let polled = Pin::new(&mut self.future).poll(cx);
            for early in listening.heard() {
                self.say(early, cx);
            }
            let Poll::Ready(Ok(response)) = polled else {
                if self.expects_continue && self.signals.as_ref().is_some_and(|signals| signals.is_wanted()) {
                    self.expects_continue = false;
                    let mut ask = Response::new(());
                    *ask.status_mut() = StatusCode::CONTINUE;
                    self.say(ask, cx);
                }
                // The client may lose interest meanwhile.
                let reset = ready!(self.reply.poll_reset(cx));
                if self.is_to_be_noticed(shared, &reset)
                    && let Some(noticed) = &mut self.noticed
                {
                    ready!(noticed.as_mut().poll(cx));
                }
                return Poll::Ready(None);
            };
            let (mut head, body) = response.into_parts();
            let Some(extended) = self.extended.take() else {
                return Poll::Ready(self.begin_answer(head, body));
            };
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                grant(&mut head);
                let recall = head.extensions.remove::<Recall>();
                let stream = self.send_head(head, false);
                return Poll::Ready(
                    stream.map(|stream| Phase::Tunnel(Box::pin(extended.open(stream, body, recall, shared)))),
                );
            }
            extended.refuse();
            match Upgrade::not_granted(head.status) {
                Some(problem) => self.future = shared.handler.refuse(problem),
                None => return Poll::Ready(self.begin_answer(head, body)),
            }
        }
    }

    /// Whether the stream was reset by the h2 crate rather than by the client, for a body that is none: then whoever reads it
    /// is given a moment to find that out, and to say so.
    fn is_to_be_noticed(&mut self, shared: &Shared<H>, reset: &Result<Reason, h2::Error>) -> bool {
        if self.noticed.is_some() {
            return true;
        }
        let lived = shared.heard.last().saturating_duration_since(self.since);
        if reset.is_ok() && lived < AT_ONCE {
            shared.streams.given_up.set(shared.streams.given_up.get() + 1);
        }
        let for_a_mistake = self.signals.is_some()
            && matches!(
                reset,
                Ok(Reason::PROTOCOL_ERROR | Reason::FLOW_CONTROL_ERROR | Reason::STREAM_CLOSED)
            );
        if for_a_mistake {
            self.noticed = Some(Box::pin(sleep(NOTICE)));
        }
        for_a_mistake
    }

    /// Sends an interim answer (RFC 9110 §15.2): it has no body, and says nothing of the connection.
    fn say(&mut self, mut early: Response<()>, cx: &mut Context<'_>) {
        // A frame would be sent on a stream that has ended, too.
        if self.reply.poll_reset(cx).is_ready() {
            return;
        }
        clean(early.headers_mut());
        early.headers_mut().remove(CONTENT_LENGTH);
        // Refused for nothing that is left in it.
        let _ = self.reply.send_informational(early);
    }

    fn begin_answer(&mut self, mut head: Parts, body: H::Body) -> Option<Phase<H>> {
        if let Some(signals) = &self.signals {
            signals.answer_begins();
        }
        // Only a service that does not know what it does answers so.
        if head.status.is_informational() {
            head.status = StatusCode::BAD_GATEWAY;
        }
        if head.status == StatusCode::NO_CONTENT {
            head.headers.remove(CONTENT_LENGTH);
        }
        let bodiless = is_bodiless(head.status);
        let ended = body.is_end_stream();
        if !ended
            && !bodiless
            && let Some(length) = body.size_hint().exact()
        {
            head.headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
        }
        let end = ended || bodiless || self.head_only;
        let stream = self.send_head(head, end)?;
        (!end).then(|| Phase::Sending(Sending::new(stream, body)))
    }

    fn send_head(&mut self, mut head: Parts, end: bool) -> Option<SendStream<Bytes>> {
        clean(&mut head.headers);
        // Upstreams date theirs (RFC 9110 §6.6.1).
        if !head.headers.contains_key(DATE) {
            date::now(|date| head.headers.insert(DATE, date.clone()));
        }
        let sent = self.reply.send_response(Response::from_parts(head, ()), end);
        if sent.is_err() {
            self.reply.send_reset(Reason::INTERNAL_ERROR);
        }
        sent.ok()
    }
}

/// Removes what HTTP/2 has no place for (RFC 9113 §8.2.2).
fn clean(headers: &mut HeaderMap) {
    let alien = |name: &HeaderName| is_for_this_connection(name) || *name == TE;
    if !headers.keys().any(alien) {
        return;
    }
    let named: Vec<_> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|names| names.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .chain(headers.keys().filter(|name| alien(name)).cloned())
        .collect();
    for name in named {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_a_connection_is_removed_and_what_it_names() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "x-hop, Close"),
            ("connection", " x-other ,,("),
            ("keep-alive", "5"),
            ("x-hop", "1"),
            ("x-other", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-connection", "close"),
            ("content-type", "a/b"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        clean(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["content-type"]);
    }
}
