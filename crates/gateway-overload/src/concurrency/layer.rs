use super::body::SlotBody;
use super::gate::{Entry, Gate, Refusal, Slot, Wait};
use super::{ConcurrencyKey, ConcurrencySettings};
use crate::refusal::{refuse, report, told};
use crate::settings::OverloadError;
use bytes::Bytes;
use gateway_core::{Code, Limited, Mode, Refusals, take_ready};
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::hash::RandomState;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower::{Layer, Service};

/// Lets at most so many requests be in progress at once; see the [crate's page](crate).
///
/// A request is in progress until its answer's body ends or is dropped, so that streams count for as long as they
/// last. (An upgraded connection counts until its 101.) Clones share their count. It differs from tower's
/// `ConcurrencyLimit` in that it refuses instead of waiting in `poll_ready`, where nothing bounds the line, and
/// in that tower's gives the slot back at the head of the answer.
#[derive(Clone, Debug, Default)]
pub struct ConcurrencyLimitLayer(Option<Arc<Limit>>);

#[derive(Debug)]
struct Limit {
    key: ConcurrencyKey,
    hasher: RandomState,
    gate: Arc<Gate>,
    mode: Mode,
    told: Limited,
    refused: Refusals,
}

impl ConcurrencyLimitLayer {
    /// A limit with a count of its own.
    ///
    /// # Errors
    /// Settings that let nothing pass, or are out of range.
    pub fn new(settings: &ConcurrencySettings) -> Result<Self, OverloadError> {
        let gate = Arc::new(Gate::new(settings)?);
        Ok(Self(Some(Arc::new(Limit {
            key: settings.key.clone(),
            hasher: RandomState::new(),
            gate,
            mode: settings.mode,
            told: told("concurrency", settings.mode),
            refused: Refusals::default(),
        }))))
    }

    /// Limits nothing: for stacks whose type has a place for a limit that is not configured.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// How many requests are in progress now. Walks the table of keys: for metrics and tests.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.0.as_ref().map_or(0, |limit| limit.gate.sums().0)
    }

    /// How many requests wait for their turn now.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.0.as_ref().map_or(0, |limit| limit.gate.sums().1)
    }

    /// How many requests were refused since the start; in report mode, how many would have been.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.as_ref().map_or(0, |limit| limit.refused.of(limit.mode))
    }

    /// Whether it refuses or only says whom it would.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.0.as_ref().map_or(Mode::Enforce, |limit| limit.mode)
    }

    /// Goes on counting where another has come to, so that what is counted never goes back. What was counted in another
    /// mode counts again once that is back.
    pub fn count_on_from(&self, earlier: &Self) {
        if let (Some(limit), Some(earlier)) = (&self.0, &earlier.0) {
            limit.refused.count_on_from(&earlier.refused);
        }
    }
}

impl Limit {
    fn refuse<R: From<Bytes>>(&self, why: Refusal) -> Response<R> {
        self.refused.count(self.mode);
        let (max, keyed) = (self.gate.max(), self.key != ConcurrencyKey::All);
        let told = &self.told;
        match why {
            Refusal::NoRoom => refuse(Code::Overloaded, "too many callers have requests in progress", told),
            Refusal::Full if keyed => {
                refuse(Code::RateLimited, format!("more than {max} requests of one caller at once"), told)
            }
            Refusal::Full => refuse(Code::Overloaded, format!("more than {max} requests at once"), told),
            Refusal::TooLate => {
                let code = if keyed { Code::RateLimited } else { Code::Overloaded };
                refuse(code, "its turn did not come in time", told)
            }
        }
    }
}

impl<S> Layer<S> for ConcurrencyLimitLayer {
    type Service = ConcurrencyLimit<S>;

    fn layer(&self, inner: S) -> ConcurrencyLimit<S> {
        ConcurrencyLimit { inner, limit: self.0.clone() }
    }
}

/// The service of [`ConcurrencyLimitLayer`].
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit<S> {
    inner: S,
    limit: Option<Arc<Limit>>,
}

impl<S, B, R> Service<Request<B>> for ConcurrencyLimit<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: From<Bytes>,
{
    type Response = Response<SlotBody<R>>;
    type Error = S::Error;
    type Future = ConcurrencyFuture<S, Request<B>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(limit) = &self.limit else {
            return Kind::Inner { future: self.inner.call(request), slot: None, over: None }.into();
        };
        match limit.gate.enter(limit.key.hash(&limit.hasher, &request)) {
            Entry::In(slot) => {
                Kind::Inner { future: self.inner.call(request), slot: Some(slot), over: None }.into()
            }
            // Whoever would be refused takes no place from others, as if it had been.
            Entry::Refused(_) if limit.mode == Mode::Report => {
                limit.refused.count(limit.mode);
                let over = Some(limit.clone());
                Kind::Inner { future: self.inner.call(request), slot: None, over }.into()
            }
            Entry::Wait(wait) => {
                let call = Some((take_ready(&mut self.inner), request));
                Kind::Waits { wait, call, limit: limit.clone() }.into()
            }
            Entry::Refused(why) => Kind::Refused { why, limit: limit.clone() }.into(),
        }
    }
}

pin_project! {
    /// The future of [`ConcurrencyLimit`].
    pub struct ConcurrencyFuture<S, Q>
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
        Inner { #[pin] future: S::Future, slot: Option<Slot>, over: Option<Arc<Limit>> },
        Waits { wait: Pin<Box<Wait>>, call: Option<(S, Q)>, limit: Arc<Limit> },
        Refused { why: Refusal, limit: Arc<Limit> },
    }
}

impl<S: Service<Q>, Q> From<Kind<S, Q>> for ConcurrencyFuture<S, Q> {
    fn from(kind: Kind<S, Q>) -> Self {
        Self { kind }
    }
}

impl<S, Q, R> Future for ConcurrencyFuture<S, Q>
where
    S: Service<Q, Response = Response<R>>,
    R: From<Bytes>,
{
    type Output = Result<Response<SlotBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut kind = self.project().kind;
        loop {
            let next = match kind.as_mut().project() {
                KindProj::Inner { future, slot, over } => {
                    let mut response = ready!(future.poll(cx))?;
                    if let Some(limit) = over {
                        report(&mut response, &limit.told);
                    }
                    return Poll::Ready(Ok(response.map(|body| SlotBody::new(body, slot.take()))));
                }
                KindProj::Waits { wait, call, limit } => {
                    match (ready!(wait.as_mut().poll(cx)), call.take()) {
                        (Some(slot), Some((mut inner, request))) => {
                            Kind::Inner { future: inner.call(request), slot: Some(slot), over: None }
                        }
                        _ => Kind::Refused { why: Refusal::TooLate, limit: limit.clone() },
                    }
                }
                KindProj::Refused { why, limit } => return Poll::Ready(Ok(limit.refuse(*why))),
            };
            kind.set(next);
        }
    }
}
