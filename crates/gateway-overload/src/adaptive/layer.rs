use super::AdaptiveSettings;
use super::window::{Outcome, Window, nanos};
use crate::concurrency::take_one;
use crate::panicked::or_panicked;
use crate::refusal::{is_drop, refuse, report, told};
use crate::settings::OverloadError;
use bytes::Bytes;
use gateway_core::{Code, Limited, Mode, Priority, Refusals};
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use tokio::time::Instant;
use tower::{Layer, Service};

/// Lets so many requests wait for the head of their answer at once as the service can answer without queueing,
/// and finds the number itself; see the [crate's page](crate).
///
/// Latency and concurrency are both measured up to the head of the answer: that is where Little's law relates
/// them, and where a stream does not count as slow. To bound streams, add a
/// [`ConcurrencyLimitLayer`](crate::ConcurrencyLimitLayer). Put it as near as possible to the service it
/// protects, one for each; clones share their limit. Answers 503 and 504, errors, and panics below count as
/// drops. What the client gave up counts as nothing.
///
/// The last tenth of the limit is kept for requests whose extensions hold [`Priority::Critical`], and those with
/// [`Priority::Sheddable`] get no more than three quarters of it.
#[derive(Clone, Debug)]
pub struct AdaptiveLimitLayer(Arc<State>);

#[derive(Debug)]
struct State {
    in_flight: AtomicU32,
    limit: AtomicU32,
    window: Window,
    mode: Mode,
    told: Limited,
    refused: Refusals,
    start: Instant,
}

impl AdaptiveLimitLayer {
    /// A limit with a count of its own.
    ///
    /// # Errors
    /// Numbers out of range, and bounds that cross.
    pub fn new(settings: &AdaptiveSettings) -> Result<Self, OverloadError> {
        let algorithm = settings.algorithm()?;
        Ok(Self(Arc::new(State {
            in_flight: AtomicU32::new(0),
            limit: AtomicU32::new(algorithm.limit()),
            window: Window::new(settings.window.0, algorithm),
            mode: settings.mode,
            told: told("adaptive", settings.mode),
            refused: Refusals::default(),
            start: Instant::now(),
        })))
    }

    /// The limit as it is now.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.0.limit.load(Relaxed)
    }

    /// How many requests wait for the head of their answer now.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.0.in_flight.load(Relaxed)
    }

    /// How many requests were refused since the start; in report mode, how many would have been.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.of(self.0.mode)
    }

    /// Whether it refuses or only says whom it would.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// Goes on counting where another has come to, so that what is counted never goes back. What was counted in another
    /// mode counts again once that is back.
    pub fn count_on_from(&self, earlier: &Self) {
        self.0.refused.count_on_from(&earlier.0.refused);
    }
}

impl<S> Layer<S> for AdaptiveLimitLayer {
    type Service = AdaptiveLimit<S>;

    fn layer(&self, inner: S) -> AdaptiveLimit<S> {
        AdaptiveLimit { inner, state: self.0.clone() }
    }
}

/// The service of [`AdaptiveLimitLayer`].
#[derive(Clone, Debug)]
pub struct AdaptiveLimit<S> {
    inner: S,
    state: Arc<State>,
}

impl State {
    fn enter(self: &Arc<Self>, class: Priority) -> Option<Turn> {
        let over = !take_one(&self.in_flight, class.room(self.limit.load(Relaxed)));
        if over {
            self.refused.count(self.mode);
            if self.mode == Mode::Enforce {
                return None;
            }
            self.in_flight.fetch_add(1, Relaxed);
        }
        Some(Turn { state: self.clone(), since: Instant::now(), over })
    }
}

/// A request in progress; no longer when dropped.
struct Turn {
    state: Arc<State>,
    since: Instant,
    /// Whether it would not be in progress if that were not only reported.
    over: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.state.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Turn {
    fn ends(&self, dropped: bool) {
        let now = Instant::now();
        let outcome = if dropped { Outcome::Dropped } else { Outcome::Answered(now - self.since) };
        let in_flight = self.state.in_flight.load(Relaxed);
        if let Some(limit) = self.state.window.add(outcome, in_flight, nanos(now - self.state.start)) {
            self.state.limit.store(limit, Relaxed);
        }
    }
}

impl<S, B, R> Service<Request<B>> for AdaptiveLimit<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = AdaptiveFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let class = request.extensions().get::<Priority>().copied().unwrap_or_default();
        let kind = match self.state.enter(class) {
            Some(turn) => {
                let future = or_panicked(|| self.inner.call(request), || turn.ends(true));
                Kind::Inner { future, turn: Some(turn) }
            }
            None => Kind::Refused { told: self.state.told.clone() },
        };
        AdaptiveFuture { kind }
    }
}

pin_project! {
    /// The future of [`AdaptiveLimit`].
    pub struct AdaptiveFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<F> {
        Inner { #[pin] future: F, turn: Option<Turn> },
        Refused { told: Limited },
    }
}

impl<F, R, E> Future for AdaptiveFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: From<Bytes>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project().kind.project() {
            KindProj::Inner { future, turn } => {
                let panicked = || turn.iter().for_each(|turn| turn.ends(true));
                let mut outcome = ready!(or_panicked(|| future.poll(cx), panicked));
                if let Some(turn) = turn.take() {
                    turn.ends(outcome.as_ref().map_or(true, |response| is_drop(response.status())));
                    if let (true, Ok(response)) = (turn.over, &mut outcome) {
                        report(response, &turn.state.told);
                    }
                }
                Poll::Ready(outcome)
            }
            KindProj::Refused { told } => {
                let detail = "as much is in progress as the service can bear";
                Poll::Ready(Ok(refuse(Code::Overloaded, detail, told)))
            }
        }
    }
}
