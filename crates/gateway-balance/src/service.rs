use crate::entry::Entry;
use crate::replay::Replay;
use crate::retry::{Outcome, Repeatable, Verdict, retry_after, wanted};
use crate::set::{EndpointSet, Picked, Unavailable};
use crate::settings::{BalanceSettings, RetrySettings};
use bytes::Bytes;
use gateway_core::{BoxError, Code, Endpoint, FailureKind, Problem, Upstream, UpstreamError};
use http::header::{HeaderName, HeaderValue, RETRY_AFTER, SET_COOKIE};
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

/// Tells an endpoint that a request is a retry, and the number of it.
const ATTEMPT: HeaderName = HeaderName::from_static("x-retry-attempt");

/// Sends each request to one endpoint of a set, and to another when that fails; see the [crate's page](crate).
///
/// Cheap to clone. `U` is what sends requests to one endpoint; there is one of it for each.
#[derive(Debug)]
pub struct Balance<U>(Arc<Inner<U>>);

impl<U> Clone for Balance<U> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
struct Inner<U> {
    set: EndpointSet,
    upstreams: Box<[U]>,
    total: Duration,
    per_try: Option<Duration>,
    retry: RetrySettings,
    reveal_endpoints: bool,
}

impl<U> Balance<U> {
    /// Balances over the set; `connect` makes what sends requests to one endpoint.
    pub fn new(set: EndpointSet, settings: &BalanceSettings, connect: impl Fn(&Endpoint) -> U) -> Self {
        let upstreams = set.members().iter().map(|member| connect(&member.endpoint)).collect();
        Self(Arc::new(Inner {
            set,
            upstreams,
            total: *settings.timeout.total,
            per_try: settings.timeout.per_try.map(|t| t.0),
            retry: settings.retry.0.clone(),
            reveal_endpoints: settings.reveal_endpoints,
        }))
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
        let inner = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let now = Instant::now();
            let mut entry = match inner.set.enter(now) {
                Ok(entry) => entry,
                Err(why) => return Ok(Failure::Unavailable(why).into_problem(false).into_response()),
            };
            let active = Active::new(&inner.set);
            let answer = inner.send(&head, body, now).await;
            drop(active);
            if let Some(entry) = &mut entry {
                entry.record(verdict(&answer));
            }
            Ok(match answer {
                Ok((mut response, picked)) => {
                    response.extensions_mut().insert(picked.endpoint().clone());
                    if let Some(cookie) = picked.cookie() {
                        response.headers_mut().append(SET_COOKIE, cookie.clone());
                    }
                    response.map(|body| {
                        gateway_core::Body::stream(BalancedBody { body, _picked: picked, _entry: entry })
                    })
                }
                Err(failure) => failure.into_problem(inner.reveal_endpoints).into_response(),
            })
        })
    }
}

/// What the end of a request says about the service.
fn verdict<B>(answer: &Result<(Response<B>, Picked), Failure>) -> Verdict {
    match answer {
        Ok((response, _)) => Outcome::Answered(response.status()).verdict(),
        Err(Failure::Upstream(error)) => Outcome::Failed(error.kind()).verdict(),
        Err(Failure::Timeout(_)) => Verdict::LocalFailure,
        // It was asked for nothing.
        Err(Failure::Unavailable(_)) => Verdict::Unknown,
    }
}

/// A request counted as active while it waits for its answer's head.
struct Active<'a>(&'a EndpointSet);

impl<'a> Active<'a> {
    fn new(set: &'a EndpointSet) -> Self {
        set.budget().begin();
        Self(set)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.budget().end();
    }
}

enum Failure {
    Unavailable(Unavailable),
    Timeout(Duration),
    Upstream(UpstreamError),
}

impl Failure {
    fn into_problem(self, reveal: bool) -> Problem {
        match self {
            Self::Unavailable(Unavailable::NoEndpoint) => {
                Problem::new(Code::NoEndpoint).with_header(RETRY_AFTER, HeaderValue::from_static("1"))
            }
            Self::Unavailable(Unavailable::Overloaded) => {
                Problem::new(Code::Overloaded).with_header(RETRY_AFTER, HeaderValue::from_static("1"))
            }
            Self::Unavailable(Unavailable::CircuitOpen { wait }) => {
                let seconds = wait.as_millis().div_ceil(1000).max(1) as u64;
                Problem::new(Code::CircuitOpen).with_header(RETRY_AFTER, HeaderValue::from(seconds))
            }
            Self::Timeout(limit) => {
                let limit = gateway_core::units::Timespan(limit);
                Problem::new(Code::UpstreamTimeout).with_detail(format!("no answer within {limit}"))
            }
            Self::Upstream(error) => {
                let code = match error.kind() {
                    FailureKind::Connect => Code::UpstreamConnectFailed,
                    FailureKind::Stale | FailureKind::Reset => Code::UpstreamReset,
                    FailureKind::Protocol => Code::UpstreamProtocolError,
                    FailureKind::Timeout => Code::UpstreamTimeout,
                    FailureKind::RequestBody => Code::BadRequest,
                };
                let detail = if reveal { error.to_string() } else { error.message().to_owned() };
                Problem::new(code).with_detail(detail)
            }
        }
    }
}

impl<U> Inner<U> {
    async fn send<B>(
        &self,
        head: &Parts,
        body: B,
        mut now: Instant,
    ) -> Result<(Response<U::Body>, Picked), Failure>
    where
        U: Upstream<Replay<B>>,
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let deadline = now + self.total;
        let (mut body, repeat) = Replay::prepare(body, &self.retry);
        let request = Repeatable::of(head);
        let mut tried: Vec<usize> = Vec::new();
        // A copy of the head, only if retries are to say that they are.
        let mut renumbered: Option<Parts> = None;
        // Held while a retry is on its way: its share of the budget.
        let mut _budget = None;
        for attempt in 1.. {
            let mut picked = match self.set.pick(Some(head), &tried, now) {
                Ok(picked) => picked,
                Err(why) => {
                    let picked = self.wait_for_endpoint(head, &tried, deadline, why).await;
                    now = Instant::now();
                    picked.map_err(Failure::Unavailable)?
                }
            };
            let (until, limit) = self.limit(deadline);
            let sending = self.upstreams[picked.index].send(renumbered.as_ref().unwrap_or(head), body);
            let result = match tokio::time::timeout_at(until, sending).await {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(error)) => Err(Failure::Upstream(error)),
                Err(_) => Err(Failure::Timeout(limit)),
            };
            let outcome = match &result {
                Ok(response) => Outcome::Answered(response.status()),
                Err(Failure::Upstream(error)) => Outcome::Failed(error.kind()),
                Err(_) => Outcome::Failed(FailureKind::Timeout),
            };
            self.set.record(&mut picked, outcome.verdict(), now);
            if attempt < self.retry.attempts && wanted(outcome, request, &self.retry) {
                let backoff = self.retry.backoff.delay(attempt, fastrand::f64());
                let delay = match &result {
                    Ok(response) if self.retry.retry_after => {
                        retry_after(response.headers()).map_or(backoff, |asked| asked.max(backoff))
                    }
                    _ => backoff,
                };
                _budget = None;
                if deadline.saturating_duration_since(Instant::now()) > delay
                    && let Some(again) = repeat.again()
                    && let Some(share) = self.set.budget().retry()
                {
                    _budget = Some(share);
                    body = again;
                    tried.push(picked.index);
                    // Closes the failed attempt's connection, and gives the endpoint back, before the wait.
                    drop((result, picked));
                    self.set.count_retry();
                    if self.retry.attempt_header {
                        let numbered = renumbered.get_or_insert_with(|| head.clone());
                        numbered.headers.insert(ATTEMPT, HeaderValue::from(attempt));
                    }
                    if !delay.is_zero() {
                        tokio::time::sleep(delay).await;
                    }
                    now = Instant::now();
                    continue;
                }
            }
            return result.map(|response| (response, picked));
        }
        Err(Failure::Unavailable(Unavailable::NoEndpoint))
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

    /// Until when the attempt that begins now may take, and how long that limit is called.
    fn limit(&self, deadline: Instant) -> (Instant, Duration) {
        match self.per_try {
            Some(limit) if Instant::now() + limit < deadline => (Instant::now() + limit, limit),
            _ => (deadline, self.total),
        }
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
