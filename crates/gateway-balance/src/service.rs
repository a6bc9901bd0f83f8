use crate::client_deadline::tell_budget;
use crate::deadline::Timers;
use crate::entry::Entry;
use crate::failure::Failure;
use crate::hedge::is_hedgeable;
use crate::replay::{Repeat, Replay};
use crate::retry::{Outcome, Repeatable, Verdict, retry_after, wanted};
use crate::route_circuit::RouteCircuit;
use crate::set::{EndpointSet, LastResort, Picked, Unavailable};
use crate::settings::{BalanceSettings, RetrySettings, TimeoutSettings};
use crate::timeout::{Limit, Time};
use bytes::Bytes;
use gateway_core::{
    BoxError, Endpoint, FailureKind, Limited, Splice, Spliced, Upstream, UpstreamError, clock, spare,
};
use http::header::{HeaderName, HeaderValue, SET_COOKIE};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::os::fd::BorrowedFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tower::Service;

mod race;
mod stay;

use race::{Raced, Try};
use stay::Stay;

/// Tells an endpoint that a request is a retry, and the number of it.
const ATTEMPT: HeaderName = HeaderName::from_static("x-retry-attempt");

/// What is not told, such as a place that is free again or a listener that is back, is looked for this often by
/// requests that wait (Caddy's interval).
const INTERVAL: Duration = Duration::from_millis(250);

/// How often a request is sent again because a kept connection turned out closed. That is no failure of the endpoint
/// and no retry: it closes what has been idle for long, or has just been restarted, and its other connections are not
/// used again.
const RESENDS: u32 = 2;

/// Sends each request to one endpoint of a set, and to another when that fails; see the [crate's page](crate).
///
/// Cheap to clone. `U` is what sends requests to one endpoint; there is one of it for each. Its timers belong to the
/// runtime that it is first used in: where there are several, each has a balance of its own over the same
/// [`EndpointSet`].
///
/// Answers carry the [`Endpoint`] they came from in their extensions, for logs and metrics. The gateway's own in its
/// place, such as 502, carry the one that was tried last; none where none was tried.
#[derive(Debug)]
pub struct Balance<U> {
    inner: Arc<Inner<U>>,
    names_endpoints: bool,
    circuit: Option<RouteCircuit>,
    own: Option<Arc<BalanceSettings>>,
}

impl<U> Clone for Balance<U> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            names_endpoints: self.names_endpoints,
            circuit: self.circuit.clone(),
            own: self.own.clone(),
        }
    }
}

/// Which member of the set was tried last, if any was.
type LastTried = Option<usize>;

#[derive(Debug)]
struct Inner<U> {
    set: EndpointSet,
    upstreams: Box<[U]>,
    settings: BalanceSettings,
    timers: Timers,
}

/// What a request is sent with.
struct Sending<'a, U> {
    set: &'a EndpointSet,
    upstreams: &'a [U],
    timers: &'a Timers,
    timeout: &'a TimeoutSettings,
    retry: &'a RetrySettings,
}

impl<U> Balance<U> {
    /// Balances over the set; `connect` makes what sends requests to one endpoint.
    pub fn new(set: EndpointSet, settings: &BalanceSettings, connect: impl Fn(&Endpoint) -> U) -> Self {
        let upstreams = set.members().iter().map(|member| connect(&member.endpoint)).collect();
        let inner = Inner { set, upstreams, settings: settings.clone(), timers: Timers::default() };
        Self { inner: Arc::new(inner), names_endpoints: true, circuit: None, own: None }
    }

    /// Has the requests of this clone pass a circuit of their own first.
    #[must_use]
    pub fn with_circuit(mut self, circuit: RouteCircuit) -> Self {
        self.circuit = Some(circuit);
        self
    }

    /// Has the requests of this clone sent by other settings than those it was made with.
    #[must_use]
    pub fn with_settings(mut self, settings: Arc<BalanceSettings>) -> Self {
        self.own = Some(settings);
        self
    }

    /// Leaves the [`Endpoint`] out of the answers' extensions, which then cost nothing: for where nobody reads it.
    #[must_use]
    pub fn without_endpoint_names(mut self) -> Self {
        self.names_endpoints = false;
        self
    }
}

impl<U, B> Service<Request<B>> for Balance<U>
where
    U: Upstream<Replay<B>> + Send + Sync + 'static,
    U::Body: Body<Data = Bytes, Error: Send> + Send + Unpin,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<gateway_core::Body<BalancedBody<U::Body>>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self { inner, names_endpoints, circuit, own } = self.clone();
        // Out here, so that the future holds the head once.
        let (mut head, body) = request.into_parts();
        // First, so that the future is made where it stays: it is large, and hardly anything of it is there yet.
        let place = Box::new_uninit();
        let future = async move {
            let now = clock::recent().map_or_else(Instant::now, Instant::from_std);
            let passage = match circuit.map(|circuit| circuit.enter(now)).transpose() {
                Ok(passage) => passage,
                Err(why) => return Ok(refuse(why)),
            };
            let mut entry = match inner.set.enter(now) {
                Ok(entry) => entry,
                Err(why) => {
                    inner.set.count_refusal(why);
                    return Ok(refuse(why));
                }
            };
            let mut waiting = None;
            if !inner.set.is_calm() {
                waiting = match inner.set.wait_for_answer(now, &head.extensions) {
                    Ok(waiting) => waiting,
                    Err(why) => {
                        inner.set.count_refusal(why);
                        return Ok(refuse(why));
                    }
                };
            }
            inner.set.count_request(now);
            let mut since = now;
            let settings = own.as_deref().unwrap_or(&inner.settings);
            let answer = inner.sending(settings).send(&mut head, body, &mut since).await;
            if answer.is_err() || !inner.set.is_calm() {
                inner.set.answered(verdict(&answer));
            }
            let mut reported = waiting.and_then(|waiting| waiting.reported.then_some("bulkhead"));
            if let Some(entry) = &mut entry {
                entry.record(verdict(&answer), since);
                reported = entry.reported().or(reported);
            }
            if let Some(mut passage) = passage {
                passage.record(verdict(&answer), since);
                reported = passage.reported.then_some("circuit").or(reported);
            }
            spare::give_request(&mut head);
            Ok(match answer {
                Ok((mut response, picked)) => {
                    if names_endpoints {
                        response.extensions_mut().insert(picked.endpoint().clone());
                    }
                    if let Some(cookie) = picked.cookie() {
                        response.headers_mut().append(SET_COOKIE, cookie.clone());
                    }
                    if let Some(policy) = reported.or(picked.reported()) {
                        response.extensions_mut().insert(Limited::Would(policy.into()));
                    }
                    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                        response.extensions_mut().insert(picked.recall());
                    }
                    let stay = Stay::of(&response);
                    let (head, mut body) = response.into_parts();
                    let body = match AtHand::of(&mut body).await {
                        AtHand::Whole(bytes) => bytes.into(),
                        AtHand::Part(first) => {
                            let body = Balanced { first, body, stay, picked, _entry: entry };
                            gateway_core::Body::stream(BalancedBody(Box::new(body)))
                        }
                    };
                    Response::from_parts(head, body)
                }
                Err((Failure::Unavailable(why), None)) => {
                    inner.set.count_endpoint_refusal(why);
                    refuse(why)
                }
                Err((failure, tried)) => {
                    let by = failure.is_connection_limit().then(|| inner.set.count_unconnected());
                    let mut response = failure.into_problem(settings.reveal_endpoints).into_response();
                    if let Some(policy) = by {
                        response.extensions_mut().insert(Limited::By(policy.into()));
                    } else if let Some(policy) = reported {
                        response.extensions_mut().insert(Limited::Would(policy.into()));
                    }
                    if names_endpoints && let Some(tried) = tried {
                        response.extensions_mut().insert(inner.set.members()[tried].endpoint.clone());
                    }
                    response
                }
            })
        };
        Box::into_pin(Box::write(place, future) as _)
    }
}

/// Answers a request that is not sent on.
fn refuse<B: From<Bytes>>(why: Unavailable) -> Response<B> {
    let mut response = Failure::Unavailable(why).into_problem(false).into_response();
    if let Some(policy) = why.by() {
        response.extensions_mut().insert(Limited::By(policy.into()));
    }
    response
}

/// Whether a further attempt takes nothing from the budget: where nobody was connected to, nobody had any work, so that
/// it adds none (nginx's and HAProxy's redispatch).
fn is_free(outcome: Outcome<'_>) -> bool {
    matches!(outcome, Outcome::Failed(FailureKind::Connect | FailureKind::Exhausted))
}

/// How a try ended, and what that says about who was asked.
fn outcome<B>(result: &Result<Response<B>, Failure>) -> (Outcome<'_>, Verdict) {
    match result {
        Ok(response) => {
            let outcome = Outcome::of(response);
            (outcome, outcome.verdict())
        }
        Err(failure) => (failure.outcome(), failure.verdict()),
    }
}

/// What the end of a request says about the service.
fn verdict<B>(answer: &Result<(Response<B>, Picked), (Failure, LastTried)>) -> Verdict {
    match answer {
        Ok((response, _)) => Outcome::of(response).verdict(),
        Err((failure, _)) => failure.verdict(),
    }
}

impl<U> Inner<U> {
    fn sending<'a>(&'a self, settings: &'a BalanceSettings) -> Sending<'a, U> {
        Sending {
            set: &self.set,
            upstreams: &self.upstreams,
            timers: &self.timers,
            timeout: &settings.timeout,
            retry: &settings.retry,
        }
    }
}

impl<U> Sending<'_, U> {
    /// What comes of one try that began at `started`, within its time. What the client takes to send its body is not
    /// part of that: the time runs from the last piece that it has sent (Envoy's `timeout`, from the end of the
    /// request).
    async fn hear<A, B>(
        &self,
        mut sending: Pin<&mut impl Future<Output = Result<Response<A>, UpstreamError>>>,
        started: Instant,
        (mut until, mut limit): (Instant, Limit),
        time: &Time,
        repeat: &Repeat<B>,
    ) -> Result<Response<A>, Failure>
    where
        B: Body<Data = Bytes>,
    {
        loop {
            if let Some(sent) = self.timers.limit(until, sending.as_mut()).await {
                return sent.map_err(Failure::Upstream);
            }
            let now = Instant::now();
            let Some(moved) = repeat.client_moved(now) else { return Err(limit.into()) };
            (until, limit) = time.since(Some(moved)).limit(moved.max(started));
            if until <= now {
                return Err(limit.into());
            }
        }
    }

    /// Sends a request that began at `since`; once it is over, that is since when the service alone was waited for.
    async fn send<B>(
        &self,
        head: &mut Parts,
        body: B,
        since: &mut Instant,
    ) -> Result<(Response<U::Body>, Picked), (Failure, LastTried)>
    where
        U: Upstream<Replay<B>>,
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let start = *since;
        let mut now = start;
        let time = Time::of(head, self.timeout, start);
        time.client.clean(head);
        let (mut body, repeat) = Replay::prepare(body, self.retry, self.set.hold());
        let time_at = |now| time.since(repeat.client_moved(now));
        let request = Repeatable::of(head);
        let mut tried: Vec<usize> = Vec::new();
        let mut last: LastTried = None;
        let mut last_resort = LastResort::Available;
        let (mut attempt, mut resent) = (1, 0);
        // Until when it may wait for an endpoint, once it does.
        let mut held: Option<Instant> = None;
        loop {
            if time.client.end().is_some_and(|end| end <= now) {
                return Err((Failure::ClientDeadline, last));
            }
            let mut picked = match self.set.pick(Some(head), &tried, last_resort, now) {
                Ok(picked) => picked,
                Err(why) => {
                    let end = time_at(now).end();
                    // Boxed, as it is rare: its timer would make every request's future larger.
                    let until = self.held_until(&mut held, now, end);
                    let picked = Box::pin(self.wait_for_endpoint(head, &tried, until, why)).await;
                    now = Instant::now();
                    picked.map_err(|why| (Failure::Unavailable(why), last))?
                }
            };
            let limit = time_at(now).limit(now);
            repeat.keep(request == Repeatable::Always || self.upstreams[picked.index].may_give_back());
            if now > start {
                time.client.tell(&mut head.headers, self.timeout, now);
            }
            if let Some(header) = &self.timeout.budget_header {
                tell_budget(&mut head.headers, header, limit.0.saturating_duration_since(now));
            }
            let result = match &self.retry.hedge {
                Some(hedge) if attempt == 1 && is_hedgeable(head) && !picked.is_kept() => {
                    let latencies = self.set.latencies(hedge);
                    let first = Try { picked, started: now, limit };
                    // Boxed, so that other requests need not pay for it.
                    let race = Box::pin(self.race(head, body, &repeat, first, &time, latencies));
                    let Raced { result, by, failed } = race.await;
                    tried.extend(failed);
                    (picked, now) = (by.picked, by.started);
                    result
                }
                _ => {
                    let sending = pin!(self.upstreams[picked.index].send(head, body));
                    self.hear(sending, now, limit, &time, &repeat).await
                }
            };
            last = Some(picked.index);
            let (outcome, verdict) = outcome(&result);
            // A service that restarts one endpoint after the other is back where it was ejected when the next one goes. An
            // answer, whatever it says, is no worse than what those that are ejected have given.
            last_resort = match outcome {
                Outcome::Failed(_) => LastResort::Ejected,
                Outcome::Answered(..) => LastResort::Available,
            };
            self.set.record(&mut picked, verdict, repeat.waited_since(now));
            if outcome == Outcome::Failed(FailureKind::Stale)
                && resent < RESENDS
                && wanted(outcome, request, self.retry)
                && let Some(again) = repeat.again()
            {
                resent += 1;
                body = again;
                now = Instant::now();
                continue;
            }
            if attempt < self.retry.attempts && wanted(outcome, request, self.retry) {
                let backoff = self.retry.backoff.delay(attempt, fastrand::f64());
                let delay = match &result {
                    Ok(response) if self.retry.retry_after => {
                        retry_after(response.headers()).map_or(backoff, |asked| asked.max(backoff))
                    }
                    _ => backoff,
                };
                now = Instant::now();
                let end = time_at(now).end();
                if end.saturating_duration_since(now) > delay
                    && (outcome != Outcome::Failed(FailureKind::Exhausted)
                        || self.set.has_another(head, &tried, picked.index, now))
                    && let Some(again) = repeat.again()
                    && (is_free(outcome) || self.set.may_try_again(now, &self.retry.budget))
                {
                    body = again;
                    tried.push(picked.index);
                    // Closes the failed attempt's connection, and gives the endpoint back, before the wait.
                    drop((result, picked));
                    self.set.count_retry();
                    if self.retry.attempt_header {
                        head.headers.insert(ATTEMPT, HeaderValue::from(attempt));
                    }
                    if !delay.is_zero() {
                        self.timers.until(now + delay).await;
                        now = Instant::now();
                    }
                    attempt += 1;
                    continue;
                }
            }
            if is_free(outcome) && self.set.hold().is_some() {
                now = Instant::now();
                let end = time_at(now).end();
                if now + INTERVAL < self.held_until(&mut held, now, end)
                    && let Some(again) = repeat.again()
                    && let Some(_waiting) = self.set.wait()
                {
                    body = again;
                    // Any may be back by then.
                    tried.clear();
                    drop((result, picked));
                    self.set.count_retry();
                    self.timers.until(now + INTERVAL).await;
                    now = Instant::now();
                    continue;
                }
            }
            *since = repeat.waited_since(start);
            return match result {
                Ok(response) => Ok((response, picked)),
                Err(failure) => Err((failure, last)),
            };
        }
    }

    /// Until when a request may wait that has to since `held`, or since now.
    fn held_until(&self, held: &mut Option<Instant>, now: Instant, deadline: Instant) -> Instant {
        let time = self.set.hold().map_or(Duration::ZERO, |hold| *hold.time);
        deadline.min(*held.get_or_insert(now + time))
    }

    /// Waits for an endpoint until then at most; `why` says what is missing.
    async fn wait_for_endpoint(
        &self,
        head: &Parts,
        tried: &[usize],
        until: Instant,
        mut why: Unavailable,
    ) -> Result<Picked, Unavailable> {
        // Who asks for what is not there takes no place from those who wait.
        let waits = if why == Unavailable::NoneOfSubset { None } else { self.set.wait() };
        let Some(_waiting) = waits else { return Err(why) };
        while Instant::now() < until {
            let changed = self.set.changed().notified();
            let _ = tokio::time::timeout_at(until.min(Instant::now() + INTERVAL), changed).await;
            match self.set.pick(Some(head), tried, LastResort::Available, Instant::now()) {
                Ok(picked) => return Ok(picked),
                Err(still) => why = still,
            }
        }
        Err(why)
    }
}

/// An answer up to this length is taken at once, where all of it has come with its head; one that is longer may have a
/// shorter way to its client ([`Splice`]).
const SHORT: u64 = 64 * 1024;

/// What of an answer's body came with its head.
enum AtHand<E> {
    /// All of it: its endpoint is done.
    Whole(Bytes),
    Part(Option<First<E>>),
}

/// What was read of an answer before its head was passed on.
struct First<E> {
    /// As [`Body::poll_frame`] has it.
    frame: Option<Result<Frame<Bytes>, E>>,
    /// How long the body was said to be: one that has broken off says that nothing is to come.
    length: u64,
}

impl<E> AtHand<E> {
    async fn of<B: Body<Data = Bytes, Error = E> + Unpin>(body: &mut B) -> Self {
        if body.is_end_stream() {
            return Self::Whole(Bytes::new());
        }
        let Some(length @ ..=SHORT) = body.size_hint().exact() else { return Self::Part(None) };
        let frame = match poll_fn(|cx| Poll::Ready(Pin::new(&mut *body).poll_frame(cx))).await {
            Poll::Pending => return Self::Part(None),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                // Trailers may follow, over HTTP/2 also what has a length.
                Ok(data) if body.is_end_stream() => return Self::Whole(data),
                Ok(data) => Some(Ok(Frame::data(data))),
                Err(frame) => Some(Ok(frame)),
            },
            Poll::Ready(broken) => broken,
        };
        Self::Part(Some(First { frame, length }))
    }
}

/// The body of an endpoint's answer; the endpoint counts as busy until it ends or is dropped.
///
/// A pointer: every layer moves the answer it passes on.
pub struct BalancedBody<B: Body>(Box<Balanced<B>>);

struct Balanced<B: Body> {
    /// To come before what follows.
    first: Option<First<B::Error>>,
    body: B,
    stay: Stay,
    picked: Picked,
    _entry: Option<Entry>,
}

impl<B: Body> fmt::Debug for BalancedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Balanced { stay, picked, .. } = &*self.0;
        f.debug_struct("BalancedBody").field("stay", stay).field("picked", picked).finish_non_exhaustive()
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for BalancedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Balanced { first, body, stay, picked, .. } = &mut *self.get_mut().0;
        if let Some(first) = first.take() {
            return Poll::Ready(first.frame);
        }
        let mut body = Pin::new(body);
        match stay {
            Stay::Unlimited => return body.poll_frame(cx),
            Stay::Over => return Poll::Ready(None),
            Stay::Waiting(..) | Stay::Watched(..) => {}
        }
        if !stay.is_over(cx) {
            let polled = body.as_mut().poll_frame(cx);
            if polled.is_ready() || !stay.begin_to_watch(picked) || !stay.is_over(cx) {
                return polled;
            }
        }
        Poll::Ready(stay.end().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.first.is_none() && (self.0.stay.has_ended() || self.0.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0.first {
            Some(first) => SizeHint::with_exact(first.length),
            None => self.0.body.size_hint(),
        }
    }
}

/// Only of a body that has an end of its own: the others are watched between their pieces.
impl<B: Splice<Data = Bytes> + Unpin> Splice for BalancedBody<B> {
    fn poll_splice(self: Pin<&mut Self>, cx: &mut Context<'_>, to: BorrowedFd<'_>) -> Poll<Spliced> {
        let Balanced { first, body, stay, .. } = &mut *self.get_mut().0;
        match stay {
            Stay::Unlimited if first.is_none() => Pin::new(body).poll_splice(cx, to),
            _ => Poll::Ready(Spliced::default()),
        }
    }
}
