use crate::client_deadline::tell_budget;
use crate::deadline::Timers;
use crate::entry::Entry;
use crate::failure::Failure;
use crate::hedge::is_hedgeable;
use crate::replay::Replay;
use crate::retry::{Outcome, Repeatable, Verdict, retry_after, wanted};
use crate::set::{EndpointSet, Picked, Unavailable};
use crate::settings::{BalanceSettings, RetrySettings, TimeoutSettings};
use crate::timeout::{Limit, Time};
use bytes::Bytes;
use gateway_core::{BoxError, Endpoint, FailureKind, Upstream, UpstreamError, spare};
use http::header::{HeaderName, HeaderValue, SET_COOKIE};
use http::request::Parts;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tower::Service;

mod race;

use race::{Raced, Try};

/// Tells an endpoint that a request is a retry, and the number of it.
const ATTEMPT: HeaderName = HeaderName::from_static("x-retry-attempt");

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
}

impl<U> Clone for Balance<U> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), names_endpoints: self.names_endpoints }
    }
}

/// Which member of the set was tried last, if any was.
type LastTried = Option<usize>;

#[derive(Debug)]
struct Inner<U> {
    set: EndpointSet,
    upstreams: Box<[U]>,
    timeout: TimeoutSettings,
    retry: RetrySettings,
    reveal_endpoints: bool,
    timers: Timers,
}

impl<U> Balance<U> {
    /// Balances over the set; `connect` makes what sends requests to one endpoint.
    pub fn new(set: EndpointSet, settings: &BalanceSettings, connect: impl Fn(&Endpoint) -> U) -> Self {
        let upstreams = set.members().iter().map(|member| connect(&member.endpoint)).collect();
        let inner = Inner {
            set,
            upstreams,
            timeout: settings.timeout.0.clone(),
            retry: settings.retry.0.clone(),
            reveal_endpoints: settings.reveal_endpoints,
            timers: Timers::default(),
        };
        Self { inner: Arc::new(inner), names_endpoints: true }
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
    U::Body: Body<Data = Bytes> + Send,
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
        let Self { inner, names_endpoints } = self.clone();
        // Out here, so that the future holds the head once.
        let (mut head, body) = request.into_parts();
        Box::pin(async move {
            let now = Instant::now();
            let mut entry = match inner.set.enter(now) {
                Ok(entry) => entry,
                Err(why) => return Ok(Failure::Unavailable(why).into_problem(false).into_response()),
            };
            inner.set.count_request(now);
            let answer = inner.send(&mut head, body, now).await;
            if let Some(entry) = &mut entry {
                entry.record(verdict(&answer));
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
                    response.map(|body| {
                        gateway_core::Body::stream(BalancedBody { body, _picked: picked, _entry: entry })
                    })
                }
                Err((failure, tried)) => {
                    let mut response = failure.into_problem(inner.reveal_endpoints).into_response();
                    if names_endpoints && let Some(tried) = tried {
                        response.extensions_mut().insert(inner.set.members()[tried].endpoint.clone());
                    }
                    response
                }
            })
        })
    }
}

/// Whether a further attempt takes nothing from the budget: where nobody was connected to, nobody had any work, so that
/// it adds none (nginx's and HAProxy's redispatch).
fn is_free(outcome: Outcome<'_>) -> bool {
    outcome == Outcome::Failed(FailureKind::Connect)
}

/// What came of one try; nothing if its time was over.
fn hear<B>(sent: Option<Result<Response<B>, UpstreamError>>, limit: Limit) -> Result<Response<B>, Failure> {
    match sent {
        Some(sent) => sent.map_err(Failure::Upstream),
        None => Err(limit.into()),
    }
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
    async fn send<B>(
        &self,
        head: &mut Parts,
        body: B,
        mut now: Instant,
    ) -> Result<(Response<U::Body>, Picked), (Failure, LastTried)>
    where
        U: Upstream<Replay<B>>,
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let start = now;
        let time = Time::of(head, &self.timeout, start);
        time.client.clean(head);
        let (mut body, repeat) = Replay::prepare(body, &self.retry);
        let request = Repeatable::of(head);
        let mut tried: Vec<usize> = Vec::new();
        let mut last: LastTried = None;
        let (mut attempt, mut resent) = (1, 0);
        loop {
            if time.client.end().is_some_and(|end| end <= now) {
                return Err((Failure::ClientDeadline, last));
            }
            let mut picked = match self.set.pick(Some(head), &tried, now) {
                Ok(picked) => picked,
                Err(why) => {
                    // Boxed, as it is rare: its timer would make every request's future larger.
                    let picked = Box::pin(self.wait_for_endpoint(head, &tried, time.end(), why)).await;
                    now = Instant::now();
                    picked.map_err(|why| (Failure::Unavailable(why), last))?
                }
            };
            let (until, limit) = time.limit(now);
            if now > start {
                time.client.tell(&mut head.headers, &self.timeout, now);
            }
            if let Some(header) = &self.timeout.budget_header {
                tell_budget(&mut head.headers, header, until.saturating_duration_since(now));
            }
            let result = match &self.retry.hedge {
                Some(hedge) if attempt == 1 && is_hedgeable(head) && !picked.is_kept() => {
                    let latencies = self.set.latencies(hedge);
                    let first = Try { picked, started: now, until, limit };
                    // Boxed, so that other requests need not pay for it.
                    let race = Box::pin(self.race(head, body, &repeat, first, &time, latencies));
                    let Raced { result, by, failed } = race.await;
                    tried.extend(failed);
                    (picked, now) = (by.picked, by.started);
                    result
                }
                _ => {
                    let sending = self.upstreams[picked.index].send(head, body);
                    hear(self.timers.limit(until, sending).await, limit)
                }
            };
            last = Some(picked.index);
            let (outcome, verdict) = outcome(&result);
            self.set.record(&mut picked, verdict, now);
            if outcome == Outcome::Failed(FailureKind::Stale)
                && resent < RESENDS
                && wanted(outcome, request, &self.retry)
                && let Some(again) = repeat.again()
            {
                resent += 1;
                body = again;
                now = Instant::now();
                continue;
            }
            if attempt < self.retry.attempts && wanted(outcome, request, &self.retry) {
                let backoff = self.retry.backoff.delay(attempt, fastrand::f64());
                let delay = match &result {
                    Ok(response) if self.retry.retry_after => {
                        retry_after(response.headers()).map_or(backoff, |asked| asked.max(backoff))
                    }
                    _ => backoff,
                };
                now = Instant::now();
                if time.end().saturating_duration_since(now) > delay
                    && let Some(again) = repeat.again()
                    && (is_free(outcome) || self.set.may_try_again(now))
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
            return match result {
                Ok(response) => Ok((response, picked)),
                Err(failure) => Err((failure, last)),
            };
        }
    }

    /// Waits for an endpoint as long as the policy and the deadline allow; `why` says what is missing.
    async fn wait_for_endpoint(
        &self,
        head: &Parts,
        tried: &[usize],
        deadline: Instant,
        mut why: Unavailable,
    ) -> Result<Picked, Unavailable> {
        /// What is not told, such as a place that is free again, is looked for this often (Caddy's interval).
        const INTERVAL: Duration = Duration::from_millis(250);
        let Some(hold) = self.set.hold() else { return Err(why) };
        let until = deadline.min(Instant::now() + hold);
        while Instant::now() < until {
            let changed = self.set.changed().notified();
            let _ = tokio::time::timeout_at(until.min(Instant::now() + INTERVAL), changed).await;
            match self.set.pick(Some(head), tried, Instant::now()) {
                Ok(picked) => return Ok(picked),
                Err(still) => why = still,
            }
        }
        Err(why)
    }
}

pin_project! {
    /// The body of an endpoint's answer; the endpoint counts as busy until it ends or is dropped.
    #[derive(Debug)]
    pub struct BalancedBody<B> {
        #[pin]
        body: B,
        _picked: Picked,
        _entry: Option<Entry>,
    }
}

impl<B: Body> Body for BalancedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
