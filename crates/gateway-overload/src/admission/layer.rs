use super::AdmissionSettings;
use super::decide::{Seen, rejection, shed_by_class};
use super::ring::{BUCKETS, Ring};
use crate::adaptive::nanos;
use crate::panicked::or_panicked;
use crate::refusal::{header, is_success, refuse, report, told};
use crate::settings::{OverloadError, header_name, within};
use bytes::Bytes;
use gateway_core::units::Timespan;
use gateway_core::{ClientAddr, Code, Limited, Mode, Network, Priority, Refusals};
use http::{HeaderName, Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use tokio::time::Instant;
use tower::{Layer, Service};

/// The probabilities are worked out anew ten times in each bucket of the window.
const UPDATES_PER_BUCKET: u64 = 10;

/// Sheds a share of the requests while too many of them fail, the least important first; see the
/// [crate's page](crate).
///
/// An answer of 500 or above, an error, or a panic below is a failure. What the client gave up is neither failure nor success.
/// Clones share their window. The class of an admitted request, if it is not `default`, is left in its extensions
/// for the layers below.
#[derive(Clone, Debug)]
pub struct AdmissionLayer(Arc<State>);

#[derive(Debug)]
struct State {
    success_rate: f64,
    aggression: f64,
    max_shed: f64,
    min_requests: u64,
    mode: Mode,
    told: Limited,
    priority: Priority,
    header: Option<HeaderName>,
    trusted: Vec<Network>,
    start: Instant,
    bucket: u64,
    /// When the probabilities are next worked out.
    due: AtomicU64,
    /// By class: the bits of an `f64`.
    shed: [AtomicU64; 3],
    answered: Ring,
    succeeded: Ring,
    arrived: [Ring; 3],
    refused: [Refusals; 3],
}

impl AdmissionLayer {
    /// Admission with a window of its own.
    ///
    /// # Errors
    /// Numbers out of range, a header's name that is none, and a header that anyone could set.
    pub fn new(settings: &AdmissionSettings) -> Result<Self, OverloadError> {
        let header = match &settings.priority_header {
            Some(name) if settings.trusted.is_empty() => return Err(OverloadError::Untrusted(name.clone())),
            Some(name) => Some(header_name("priority_header", name, "x-priority")?),
            None => None,
        };
        let window = within("window", settings.window, Timespan::secs(1)..=Timespan::secs(3600), "1s to 1h")?;
        Ok(Self(Arc::new(State {
            success_rate: within("success_rate", settings.success_rate, 0.01..=1.0, "0.01 to 1")?,
            aggression: within("aggression", settings.aggression, 0.1..=10.0, "0.1 to 10")?,
            max_shed: within("max_shed", settings.max_shed, 0.0..=1.0, "0 to 1")?,
            min_requests: settings.min_requests,
            mode: settings.mode,
            told: told("admission", settings.mode),
            priority: settings.priority,
            header,
            trusted: settings.trusted.clone(),
            start: Instant::now(),
            bucket: nanos(window.0) / u64::from(BUCKETS),
            due: AtomicU64::new(0),
            shed: Default::default(),
            answered: Ring::default(),
            succeeded: Ring::default(),
            arrived: Default::default(),
            refused: Default::default(),
        })))
    }

    /// How many requests of a class were shed since the start; in report mode, how many would have been.
    #[must_use]
    pub fn refused(&self, class: Priority) -> u64 {
        self.0.refused[class.index()].of(self.0.mode)
    }

    /// Whether it refuses or only says whom it would.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// Goes on counting where another has come to, so that what is counted never goes back. What was counted in another
    /// mode counts again once that is back.
    pub fn count_on_from(&self, earlier: &Self) {
        for (refused, earlier) in self.0.refused.iter().zip(&earlier.0.refused) {
            refused.count_on_from(earlier);
        }
    }

    /// The probability with which a request of this class is shed now.
    #[must_use]
    pub fn probability(&self, class: Priority) -> f64 {
        // Requests bring it up to date, and none may have come for long.
        self.0.update(self.0.now());
        self.0.probability(class)
    }
}

impl State {
    /// The class of a request: what a layer further out says, else the header of a trusted peer, else the
    /// route's.
    fn class<B>(&self, request: &Request<B>) -> Priority {
        if let Some(class) = request.extensions().get::<Priority>() {
            return *class;
        }
        let Some(name) = &self.header else { return self.priority };
        let Some(value) = header(request.headers(), name) else { return self.priority };
        let peer = request.extensions().get::<ClientAddr>().map(ClientAddr::ip);
        let is_trusted = peer.is_some_and(|peer| self.trusted.iter().any(|network| network.contains(peer)));
        if is_trusted { Priority::from_name(value).unwrap_or(self.priority) } else { self.priority }
    }

    fn probability(&self, class: Priority) -> f64 {
        f64::from_bits(self.shed[class.index()].load(Relaxed))
    }

    fn tick(&self, now: u64) -> u32 {
        // The first tick is 1: a bucket of 0 was never used.
        u32::try_from(now / self.bucket).unwrap_or(u32::MAX - 1) + 1
    }

    fn now(&self) -> u64 {
        nanos(self.start.elapsed())
    }

    fn seen(&self, tick: u32) -> Seen {
        let arrived = [0, 1, 2].map(|class: usize| self.arrived[class].sum(tick));
        Seen { answered: self.answered.sum(tick), succeeded: self.succeeded.sum(tick), arrived }
    }

    /// Works out the probabilities, if they are due; one worker does.
    fn update(&self, now: u64) {
        let due = self.due.load(Relaxed);
        let next = now + self.bucket / UPDATES_PER_BUCKET;
        if now < due || self.due.compare_exchange(due, next, Relaxed, Relaxed).is_err() {
            return;
        }
        let seen = self.seen(self.tick(now));
        let share = if seen.answered < self.min_requests {
            0.0
        } else {
            rejection(seen, self.success_rate, self.aggression, self.max_shed)
        };
        for (cell, shed) in self.shed.iter().zip(shed_by_class(share, seen.arrived)) {
            cell.store(shed.to_bits(), Relaxed);
        }
    }

    /// Whether a request of this class is shed.
    fn sheds(&self, class: Priority) -> bool {
        let now = self.now();
        self.arrived[class.index()].add(self.tick(now));
        self.update(now);
        let shed = self.probability(class);
        if shed <= 0.0 || fastrand::f64() >= shed {
            return false;
        }
        self.refused[class.index()].count(self.mode);
        true
    }

    fn ends(&self, success: bool) {
        let tick = self.tick(self.now());
        self.answered.add(tick);
        if success {
            self.succeeded.add(tick);
        }
    }
}

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Admission<S> {
        Admission { inner, state: self.0.clone() }
    }
}

/// The service of [`AdmissionLayer`].
#[derive(Clone, Debug)]
pub struct Admission<S> {
    inner: S,
    state: Arc<State>,
}

impl<S, B, R> Service<Request<B>> for Admission<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = AdmissionFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let class = self.state.class(&request);
        let shed = self.state.sheds(class);
        let kind = if shed && self.state.mode == Mode::Enforce {
            Kind::Refused { told: self.state.told.clone() }
        } else {
            if class != Priority::Default {
                request.extensions_mut().insert(class);
            }
            let future = or_panicked(|| self.inner.call(request), || self.state.ends(false));
            Kind::Inner { future, state: self.state.clone(), shed }
        };
        AdmissionFuture { kind }
    }
}

pin_project! {
    /// The future of [`Admission`].
    pub struct AdmissionFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<F> {
        Inner { #[pin] future: F, state: Arc<State>, shed: bool },
        Refused { told: Limited },
    }
}

impl<F, R, E> Future for AdmissionFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: From<Bytes>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project().kind.project() {
            KindProj::Inner { future, state, shed } => {
                let mut outcome = ready!(or_panicked(|| future.poll(cx), || state.ends(false)));
                state.ends(outcome.as_ref().is_ok_and(|response| is_success(response.status())));
                if let (true, Ok(response)) = (*shed, &mut outcome) {
                    report(response, &state.told);
                }
                Poll::Ready(outcome)
            }
            KindProj::Refused { told } => {
                let detail = "too many requests fail; this one was shed";
                Poll::Ready(Ok(refuse(Code::Overloaded, detail, told)))
            }
        }
    }
}
