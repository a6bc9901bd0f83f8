//! One HTTP/1 connection: reads a request, has it answered, writes the answer, and again.
//!
//! Written by hand instead of on hyper's server for what a gateway needs and hyper does not give: a problem body
//! for what cannot be parsed, strict line ends, limits on slow writers, tunnels as bodies, no memory held while
//! idle; and for 3 µs of CPU per request less.

mod answer;
mod exchange;
mod io;
mod recall;
mod timer;
mod upload;
mod websocket;

use crate::together::Together;
use crate::{Handler, Limits};
use bytes::BytesMut;
use exchange::{Exchange, Phase};
use gateway_core::{Code, Problem, Recall};
use gateway_http1::{RequestError, parse_request};
use http::HeaderValue;
use io::{Input, will_reset};
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep};
use upload::Discarded;

pub(crate) use answer::{is_bodiless, is_for_this_connection};
pub(crate) use io::Output;
pub(crate) use timer::{Timer, Wait};
pub(crate) use upload::Upload;

/// How an HTTP/2 connection begins (RFC 9113 §3.4).
pub(crate) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long is read on after an answer that came before the request was read, so that it is not lost to a reset.
const LINGER: Duration = Duration::from_secs(2);
/// How long a WebSocket may take to end once its client was told to go.
const FAREWELL: Duration = Duration::from_secs(5);
/// By how much of their time tunnels end earlier at most, so that not all end together (gRPC's `MAX_CONNECTION_AGE`).
const EARLIER: f64 = 0.1;
/// How long an idle connection is still listened to when it is to end: a request may be on its way, on a new connection
/// above all, and behind an answer that began before and promised as much.
const DRAIN_GRACE: Duration = Duration::from_millis(250);
/// How much is read of what comes behind a request that is being answered: no more than one read brings anyway.
const MAX_AHEAD: usize = 32 * 1024;
/// So much at once does not wait for other connections to be read: it is dealt with where it is.
const LARGE: usize = 4096;
/// How much of an unread request body is read and thrown away to keep the connection.
const MAX_DISCARD: usize = 256 * 1024;

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum Ended<I> {
    Closed,
    /// The client speaks HTTP/2: the connection, and what was read of it.
    Http2(I, BytesMut),
}

/// One connection being served. Resolves when it ends; dropped, it is closed.
pub(crate) struct Connection<I, H: Handler> {
    io: Option<I>,
    handler: H,
    limits: Rc<Limits>,
    input: Input,
    output: Output,
    state: State<H>,
    timer: Timer,
    /// How old a tunnel is, and when it grows older, where that is limited or it is to end.
    age: Option<(Age, Pin<Box<Sleep>>)>,
    /// Whether this is the first request.
    fresh: bool,
    draining: bool,
    /// Not in a tunnel, where what is said is mostly waited for.
    together: Together,
}

/// How long a tunnel has lasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Young,
    /// As long as it may: a WebSocket is told so.
    Old,
    /// Longer, and that it was told so was not heeded.
    Overdue,
}

enum State<H: Handler> {
    /// Waits for a request, or for the rest of its head.
    Head,
    Exchange(Exchange<H>),
    /// Reads what is left of a request that was answered already.
    Discard {
        upload: Upload,
        budget: usize,
    },
    /// Ends in order; `linger` when the client may still be sending.
    Closing {
        shut: bool,
        linger: bool,
    },
}

enum Turn {
    Again,
    /// A request was read, which is to be dealt with.
    Begun,
    Wait,
    Close,
    Http2,
}

impl<I, H> Connection<I, H>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Handler,
{
    /// `read` is what was read of it already.
    pub(crate) fn new(io: I, read: BytesMut, handler: H, limits: Rc<Limits>) -> Self {
        Self {
            io: Some(io),
            handler,
            limits,
            input: Input::of(read),
            output: Output::default(),
            state: State::Head,
            timer: Timer::default(),
            age: None,
            fresh: true,
            draining: false,
            together: Together::default(),
        }
    }

    /// A connection that has left HTTP already: bytes both ways, the client's through `upload`.
    pub(crate) fn tunnel(
        io: I,
        handler: H,
        limits: Rc<Limits>,
        (body, upload): (H::Body, Upload),
        protocol: &HeaderValue,
        recall: Option<Recall>,
    ) -> Self {
        let state = State::Exchange(Exchange::tunnel(body, upload, protocol, recall));
        Self { state, fresh: false, ..Self::new(io, BytesMut::new(), handler, limits) }
    }

    /// No request after the one under way. To be followed by a poll.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    fn is_tunnel(&self) -> bool {
        matches!(self.state, State::Exchange(Exchange { tunnel: true, .. }))
    }

    fn turn(&mut self, io: &mut I, cx: &mut Context<'_>) -> Turn {
        let Ok(flushed) = is_done(self.output.poll_flush(io, &mut self.timer, cx)) else {
            return Turn::Close;
        };
        match &mut self.state {
            State::Exchange(_) => self.exchange(io, flushed, cx),
            _ if !flushed => self.wait(Wait::Write, self.limits.write_timeout),
            State::Head => self.head(io, cx),
            State::Discard { upload, budget } => match upload.discard(&mut self.input, io, budget, cx) {
                Discarded::All => self.become_state(State::Head),
                Discarded::Waiting if self.draining => self.wait(Wait::Linger, DRAIN_GRACE),
                Discarded::Waiting => self.wait(Wait::Body, self.limits.body_timeout),
                Discarded::TooMuch => self.close(true),
            },
            State::Closing { shut, linger } => {
                if !*shut {
                    match Pin::new(&mut *io).poll_shutdown(cx) {
                        Poll::Pending => return self.wait(Wait::Write, self.limits.write_timeout),
                        Poll::Ready(Err(_)) => return Turn::Close,
                        Poll::Ready(Ok(())) => *shut = true,
                    }
                }
                if !*linger {
                    return Turn::Close;
                }
                match self.input.poll_drop(io, cx) {
                    Poll::Ready(()) => Turn::Close,
                    Poll::Pending => self.wait(Wait::Linger, LINGER),
                }
            }
        }
    }

    fn head(&mut self, io: &mut I, cx: &mut Context<'_>) -> Turn {
        self.input.skip_empty_lines();
        if !self.input.is_empty() {
            if self.fresh && self.input.starts_with(&HTTP2_PREFACE[..3]) {
                let seen = self.input.len().min(HTTP2_PREFACE.len());
                if self.input.starts_with(HTTP2_PREFACE) {
                    return Turn::Http2;
                } else if HTTP2_PREFACE.starts_with(&self.input.buffer()[..seen]) {
                    return self.read_head(io, cx);
                }
            }
            match parse_request(self.input.buffer(), self.limits.max_head, self.limits.max_headers) {
                Ok(Some(head)) => {
                    self.fresh = false;
                    io::learn(head.framing);
                    let mut exchange = Exchange::begin(head, &self.handler, &self.limits);
                    // What came of a large body is in the processor's cache now.
                    let turn = if self.input.len() > LARGE { Turn::Again } else { Turn::Begun };
                    if let Some(upload) = &mut exchange.upload {
                        upload.begin(&mut self.input, cx);
                    }
                    self.become_state(State::Exchange(exchange));
                    return turn;
                }
                Ok(None) => {}
                Err(error) => return self.refuse(problem(error)),
            }
        }
        self.read_head(io, cx)
    }

    fn read_head(&mut self, io: &mut I, cx: &mut Context<'_>) -> Turn {
        match self.input.poll_read(io, cx, 0) {
            Poll::Ready(Ok(1..)) => Turn::Again,
            // Between requests, or within a head that nobody will finish.
            Poll::Ready(_) => Turn::Close,
            Poll::Pending if self.input.is_blank() && self.draining => self.wait(Wait::Linger, DRAIN_GRACE),
            Poll::Pending if self.input.is_blank() && !self.fresh => {
                self.wait(Wait::Idle, self.limits.idle_timeout)
            }
            Poll::Pending => self.wait(Wait::Head, self.limits.header_timeout),
        }
    }

    /// How old a tunnel is that is under way; one whose other side is to go is as old as it may be. Wakes the task when
    /// it grows older.
    fn age(&mut self, cx: &mut Context<'_>) -> Age {
        let State::Exchange(exchange @ Exchange { tunnel: true, .. }) = &mut self.state else {
            return Age::Young;
        };
        if exchange.recalling.as_mut().is_some_and(|recall| recall.is_due(cx)) {
            exchange.recalling = None;
            if !matches!(self.age, Some((Age::Old | Age::Overdue, _))) {
                self.age = Some((Age::Old, Box::pin(sleep(FAREWELL))));
            }
        }
        if let (None, Some(most)) = (&self.age, self.limits.tunnel_max_age) {
            let spread = most.mul_f64(1.0 - EARLIER * fastrand::f64());
            self.age = Some((Age::Young, Box::pin(sleep(spread))));
        }
        let Some((age, timer)) = &mut self.age else { return Age::Young };
        while *age != Age::Overdue && pin!(unconstrained(timer.as_mut())).poll(cx).is_ready() {
            *age = if *age == Age::Young { Age::Old } else { Age::Overdue };
            timer.as_mut().reset(Instant::now() + FAREWELL);
        }
        *age
    }

    fn exchange(&mut self, io: &mut I, mut flushed: bool, cx: &mut Context<'_>) -> Turn {
        let age = self.age(cx);
        let old = age != Age::Young;
        let ends = self.draining || old;
        let State::Exchange(exchange) = &mut self.state else { return Turn::Close };
        // What comes through a tunnel is handed over before its answer is asked for, for that is what sends it on.
        let is_open = exchange.tunnel;
        let handed = is_open && exchange.poll_upload(&mut self.input, &mut self.output, io, cx);
        let answered = exchange.poll_answer(&mut self.output, io, ends, cx);
        let waits = is_open && exchange.is_waiting_for_client();
        let more = !waits && exchange.poll_upload(&mut self.input, &mut self.output, io, cx);
        if exchange.broken {
            // Without the words that would make its end an end in order, such as TLS's `close_notify`.
            if exchange.ends_by_close {
                will_reset(io);
            }
            return self.become_state(State::Closing { shut: true, linger: false });
        }
        // However busy it is.
        if exchange.tunnel && old && (age == Age::Overdue || !exchange.has_farewell()) {
            return self.close(false);
        }
        if handed || answered || more {
            if !exchange.is_leaving() && !old {
                self.timer.clear();
            }
            // A tunnel that has nothing more in either direction for now needs only to be written to. One that was only just
            // opened begins to grow old.
            let is_still = is_open && exchange.is_answering() && self.output.has_room();
            if more || ends || !is_still {
                return Turn::Again;
            }
            match is_done(self.output.poll_flush(io, &mut self.timer, cx)) {
                Ok(done) => flushed = done,
                Err(_) => return Turn::Close,
            }
        }
        if !flushed {
            return self.wait(Wait::Write, self.limits.write_timeout);
        }
        if matches!(exchange.phase, Phase::Answered) {
            // As the client was told, were it before draining began: its next request may be on its way.
            let keep_alive = exchange.keep_alive;
            return match exchange.upload.take() {
                None if keep_alive => self.become_state(State::Head),
                None => {
                    // Requests that are not to be served would turn the end of this answer into a reset.
                    let linger = exchange.linger || !self.input.is_empty();
                    self.close(linger)
                }
                Some(upload) if keep_alive && upload.may_be_discarded() => {
                    self.become_state(State::Discard { upload, budget: MAX_DISCARD })
                }
                Some(upload) if exchange.tunnel && upload.has_reader() && !exchange.is_leaving() && !old => {
                    exchange.upload = Some(upload);
                    self.half_tunnel(io, cx)
                }
                Some(_) => {
                    let linger = !exchange.tunnel;
                    self.close(linger)
                }
            };
        }
        if exchange.is_leaving() {
            return match exchange.upload {
                Some(_) => self.wait(Wait::Farewell, FAREWELL),
                None => self.close(false),
            };
        }
        if exchange.tunnel && old {
            // Within a frame: its end may yet come.
            return self.wait(Wait::Farewell, FAREWELL);
        }
        if exchange.tunnel {
            return self.wait(Wait::Tunnel, self.limits.tunnel_timeout);
        }
        if exchange.is_waiting_for_client() {
            let patience = exchange.patience(&self.limits);
            return self.wait(Wait::Body, patience);
        }
        if exchange.reads_nothing() {
            return self.watch(io, cx);
        }
        self.timer.clear();
        Turn::Wait
    }

    /// Nothing is expected of the client but that it stays, or sends its next requests early. That it has gone is only
    /// seen behind all that it has sent: so that is read, as far as there is room for it.
    fn watch(&mut self, io: &mut I, cx: &mut Context<'_>) -> Turn {
        while self.input.len() < MAX_AHEAD {
            match self.input.poll_read(io, cx, 0) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Turn::Close,
                Poll::Pending => {
                    self.timer.clear();
                    return Turn::Wait;
                }
            }
        }
        self.wait(Wait::Answer, self.limits.tunnel_timeout)
    }

    /// The client was sent all there is; what it sends goes on.
    fn half_tunnel(&mut self, io: &mut I, cx: &mut Context<'_>) -> Turn {
        let State::Exchange(exchange) = &mut self.state else { return Turn::Close };
        if !exchange.half_closed {
            match Pin::new(io).poll_shutdown(cx) {
                Poll::Pending => return self.wait(Wait::Write, self.limits.write_timeout),
                Poll::Ready(Err(_)) => return Turn::Close,
                Poll::Ready(Ok(())) => exchange.half_closed = true,
            }
        }
        self.wait(Wait::Tunnel, self.limits.tunnel_timeout)
    }

    /// Answers what is no request, and ends.
    fn refuse(&mut self, problem: Problem) -> Turn {
        let exchange = Exchange::refusal(self.handler.refuse(problem));
        self.become_state(State::Exchange(exchange))
    }

    fn close(&mut self, linger: bool) -> Turn {
        self.become_state(State::Closing { shut: false, linger })
    }

    fn become_state(&mut self, state: State<H>) -> Turn {
        self.timer.clear();
        self.state = state;
        Turn::Again
    }

    fn wait(&mut self, wait: Wait, limit: Duration) -> Turn {
        self.timer.set(wait, limit);
        Turn::Wait
    }

    /// The client, or time, has run out.
    fn expired(&mut self, io: &I, wait: Wait) -> Turn {
        match wait {
            Wait::Write if self.output.press(io) => Turn::Again,
            Wait::Idle | Wait::Tunnel | Wait::Farewell => self.close(false),
            Wait::Linger if matches!(self.state, State::Discard { .. }) => self.close(true),
            Wait::Write => {
                will_reset(io);
                Turn::Close
            }
            Wait::Answer | Wait::Linger | Wait::Pong => Turn::Close,
            Wait::Head if self.input.is_blank() => Turn::Close,
            Wait::Head => self.refuse(Problem::new(Code::RequestTimeout)),
            Wait::Body => match &mut self.state {
                State::Exchange(exchange @ Exchange { phase: Phase::Waiting(_), .. }) => {
                    exchange.give_up_upload();
                    self.timer.clear();
                    Turn::Again
                }
                _ => Turn::Close,
            },
        }
    }
}

impl<I, H> Future for Connection<I, H>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Handler,
{
    type Output = Ended<I>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended<I>> {
        let this = self.get_mut();
        let waited = ready!(this.together.poll(cx));
        let Some(mut io) = this.io.take() else { return Poll::Ready(Ended::Closed) };
        let mut begun = false;
        loop {
            if !waited && (begun || this.output.is_small() && !this.is_tunnel()) {
                this.together.wait(cx);
                this.input.rest();
                this.io = Some(io);
                return Poll::Pending;
            }
            let mut turn = this.turn(&mut io, cx);
            if matches!(turn, Turn::Wait) {
                match this.timer.poll(cx) {
                    Poll::Pending => {
                        this.input.rest();
                        this.io = Some(io);
                        return Poll::Pending;
                    }
                    Poll::Ready(wait) => turn = this.expired(&io, wait),
                }
            }
            match turn {
                Turn::Again | Turn::Wait => {}
                Turn::Begun => begun = true,
                Turn::Close => return Poll::Ready(Ended::Closed),
                Turn::Http2 => return Poll::Ready(Ended::Http2(io, std::mem::take(this.input.buffer()))),
            }
        }
    }
}

/// Whether that is all, or more has to be waited for.
fn is_done(polled: Poll<std::io::Result<()>>) -> std::io::Result<bool> {
    Ok(polled?.is_ready())
}

fn problem(error: RequestError) -> Problem {
    match error {
        RequestError::Malformed(detail) => Problem::new(Code::BadRequest).with_detail(detail),
        RequestError::TargetTooLong => Problem::new(Code::UriTooLong),
        RequestError::HeadTooLarge => Problem::new(Code::HeadersTooLarge),
    }
}
