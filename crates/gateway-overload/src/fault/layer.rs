use super::FaultSettings;
use super::body::{Pace, PacedBody};
use super::choose::{Faults, Mix};
use crate::concurrency::take_one;
use crate::settings::{OverloadError, header_name};
use bytes::Bytes;
use gateway_core::{Code, Problem, take_ready};
use http::{HeaderName, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use tokio::time::{Sleep, sleep};
use tower::{Layer, Service};

/// Injects faults on purpose: delays, errors, slow answers (Envoy: fault filter). See the [crate's page](crate).
///
/// An answer with a fault carries its [`Faults`] in its extensions. Clones share what is counted.
#[derive(Clone, Debug, Default)]
pub struct FaultLayer(Option<Arc<State>>);

#[derive(Debug)]
struct State {
    mix: Mix,
    header: Option<HeaderName>,
    max_active: u32,
    active: AtomicU32,
    injected: AtomicU64,
}

impl FaultLayer {
    /// Injects these faults.
    ///
    /// # Errors
    /// Settings without a fault, numbers out of range, and a header's name that is none.
    pub fn new(settings: &FaultSettings) -> Result<Self, OverloadError> {
        let header = match &settings.header {
            Some(name) => Some(header_name("header", name, "x-fault")?),
            None => None,
        };
        Ok(Self(Some(Arc::new(State {
            mix: Mix::new(settings)?,
            header,
            max_active: settings.max_active,
            active: AtomicU32::new(0),
            injected: AtomicU64::new(0),
        }))))
    }

    /// Injects nothing: for stacks whose type has a place for faults that are not configured.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// How many requests are delayed or slowed down now.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.0.as_ref().map_or(0, |state| state.active.load(Relaxed))
    }

    /// How many requests had a fault since the start.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.0.as_ref().map_or(0, |state| state.injected.load(Relaxed))
    }
}

impl State {
    /// The faults of a request, and its place among those that are delayed or slowed down.
    fn choose<B>(self: &Arc<Self>, request: &Request<B>) -> Option<(Faults, Active)> {
        if self.header.as_ref().is_some_and(|name| !request.headers().contains_key(name)) {
            return None;
        }
        let faults = self.mix.choose(fastrand::f64);
        if faults.is_empty() || !take_one(&self.active, self.max_active) {
            return None;
        }
        self.injected.fetch_add(1, Relaxed);
        Some((faults, Active(self.clone())))
    }
}

/// A place among the active, given back when dropped.
#[derive(Debug)]
pub(crate) struct Active(Arc<State>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
    }
}

impl<S> Layer<S> for FaultLayer {
    type Service = Fault<S>;

    fn layer(&self, inner: S) -> Fault<S> {
        Fault { inner, state: self.0.clone() }
    }
}

/// The service of [`FaultLayer`].
#[derive(Clone, Debug)]
pub struct Fault<S> {
    inner: S,
    state: Option<Arc<State>>,
}

impl<S, B, R> Service<Request<B>> for Fault<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: From<Bytes>,
{
    type Response = Response<PacedBody<R>>;
    type Error = S::Error;
    type Future = FaultFuture<S, Request<B>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some((faults, active)) = self.state.as_ref().and_then(|state| state.choose(&request)) else {
            return FaultFuture { kind: Kind::Inner { future: self.inner.call(request), after: None } };
        };
        let kind = match (faults.delay, faults.abort) {
            (Some(delay), _) => {
                let call = Some((take_ready(&mut self.inner), request, active));
                Kind::Delayed { wait: Box::pin(sleep(delay)), call, faults }
            }
            (None, Some(status)) => Kind::Aborted { status, faults },
            (None, None) => {
                Kind::Inner { future: self.inner.call(request), after: Some(after(faults, active)) }
            }
        };
        FaultFuture { kind }
    }
}

pin_project! {
    /// The future of [`Fault`].
    pub struct FaultFuture<S, Q>
    where
        S: Service<Q>,
    {
        #[pin]
        kind: Kind<S, Q>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<S, Q>
    where
        S: Service<Q>,
    {
        Delayed { wait: Pin<Box<Sleep>>, call: Option<(S, Q, Active)>, faults: Faults },
        Inner { #[pin] future: S::Future, after: Option<(Faults, Option<Active>)> },
        Aborted { status: StatusCode, faults: Faults },
    }
}

impl<S, Q, R> Future for FaultFuture<S, Q>
where
    S: Service<Q, Response = Response<R>>,
    R: From<Bytes>,
{
    type Output = Result<Response<PacedBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut kind = self.project().kind;
        loop {
            let next = match kind.as_mut().project() {
                KindProj::Delayed { wait, call, faults } => {
                    ready!(wait.as_mut().poll(cx));
                    match (faults.abort, call.take()) {
                        (None, Some((mut inner, request, active))) => {
                            Kind::Inner { future: inner.call(request), after: Some(after(*faults, active)) }
                        }
                        (status, _) => {
                            let status = status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                            Kind::Aborted { status, faults: *faults }
                        }
                    }
                }
                KindProj::Inner { future, after } => {
                    let mut response = ready!(future.poll(cx))?;
                    let Some((faults, active)) = after.take() else {
                        return Poll::Ready(Ok(response.map(|body| PacedBody::new(body, None))));
                    };
                    response.extensions_mut().insert(faults);
                    let pace = faults.rate.zip(active).map(|(rate, active)| Pace::new(rate, active));
                    return Poll::Ready(Ok(response.map(|body| PacedBody::new(body, pace))));
                }
                KindProj::Aborted { status, faults } => return Poll::Ready(Ok(abort(*status, *faults))),
            };
            kind.set(next);
        }
    }
}

/// Once the delay is over, only who is slowed down as well stays active.
fn after(faults: Faults, active: Active) -> (Faults, Option<Active>) {
    (faults, faults.rate.map(|_| active))
}

fn abort<R: From<Bytes>>(status: StatusCode, faults: Faults) -> Response<PacedBody<R>> {
    let mut response = Problem::new(Code::FaultInjected).with_status(status).into_response();
    response.extensions_mut().insert(faults);
    response
}
