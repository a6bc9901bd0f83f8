use crate::facts::{Facts, Scope};
use crate::key::readable;
use crate::limiter::{Later, Limiter, Refusal, Verdict};
use crate::settings::Shared;
use bytes::Bytes;
use gateway_core::take_ready;
use gateway_store::Store;
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::time::{Sleep, sleep};
use tower::Service;

/// The service of [`RateLimitLayer`](crate::RateLimitLayer).
#[derive(Clone, Debug)]
pub struct RateLimit<S> {
    pub(crate) inner: S,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) scope: Arc<Scope>,
    pub(crate) store: Option<Store>,
}

pub(crate) type Answer = Pin<Box<dyn Future<Output = Verdict> + Send>>;

impl<S, B, R> Service<Request<B>> for RateLimit<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RateLimitFuture<S, Request<B>, S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let limiter = &self.limiter;
        let facts = Facts::of(&request, &self.scope);
        let Some(case) = limiter.case(&facts) else {
            return RateLimitFuture { kind: Kind::sent(self.inner.call(request), None) };
        };
        let caller = || readable(&limiter.by, &facts);
        let taking = limiter.takes_at_once();
        let here = match &self.store {
            None => Ok(limiter.decide(&case, taking)),
            Some(store) if limiter.shared.mode() == Shared::Leased => {
                limiter.lease(&case, caller, taking).ok_or(store)
            }
            Some(store) => Err(store),
        };
        let standing = match here {
            Ok(standing) => standing,
            Err(store) => {
                let answer: Answer = Box::pin(limiter.clone().ask(
                    store.clone(),
                    case.plan.clone(),
                    (case.key, case.cost),
                    caller(),
                    self.scope.clone(),
                ));
                limiter.wants_plain(request.headers_mut());
                return RateLimitFuture::asking(answer, &mut self.inner, request);
            }
        };
        let verdict = limiter.judge(&case.plan, (case.key, case.cost), standing, caller, &self.scope.tally);
        limiter.wants_plain(request.headers_mut());
        RateLimitFuture::of(verdict, &mut self.inner, request)
    }
}

impl<S, B, R> RateLimitFuture<S, Request<B>, S::Future, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: From<Bytes>,
{
    /// Does with a request as was found.
    pub(crate) fn of(verdict: Verdict, inner: &mut S, request: Request<B>) -> Self {
        let kind = match verdict {
            Verdict::Pass(note) => Kind::sent(inner.call(request), note),
            Verdict::Wait(delay, note) => {
                Kind::Waiting { sleep: Box::pin(sleep(delay)), held: hold(inner, request), note }
            }
            Verdict::Refuse(refusal) => Kind::refused(*refusal),
        };
        Self { kind }
    }

    /// Waits for what is found.
    pub(crate) fn asking(answer: Answer, inner: &mut S, request: Request<B>) -> Self {
        Self { kind: Kind::Asking { answer, held: hold(inner, request) } }
    }
}

/// Keeps the request with the service that was made ready.
fn hold<S: Clone, Q>(inner: &mut S, request: Q) -> Held<S, Q> {
    Some(Box::new((take_ready(inner), request)))
}

/// Boxed, so that requests which need not wait carry no room for it.
type Held<S, Q> = Option<Box<(S, Q)>>;

pin_project! {
    /// The future of [`RateLimit`] and of [`RateLimits`](crate::RateLimits).
    pub struct RateLimitFuture<S, Q, F, R> {
        #[pin]
        kind: Kind<S, Q, F, R>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<S, Q, F, R> {
        Asking { answer: Answer, held: Held<S, Q> },
        Waiting { sleep: Pin<Box<Sleep>>, held: Held<S, Q>, note: Option<Later> },
        Inner { #[pin] future: F, sent: Sent },
        // Boxed for the same reason.
        Refused { response: Option<Box<Response<R>>> },
        Done,
    }
}

/// What is to be done when the answer to a request comes that has been sent; and if nobody waits for it any more.
struct Sent(Option<Later>);

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(later) = self.0.take() {
            later.broke_off();
        }
    }
}

impl<S, Q, F, R> Kind<S, Q, F, R> {
    fn sent(future: F, note: Option<Later>) -> Self {
        Self::Inner { future, sent: Sent(note) }
    }
}

impl<S, Q, F, R: From<Bytes>> Kind<S, Q, F, R> {
    fn refused(refusal: Refusal) -> Self {
        let mut response = refusal.problem.into_response();
        response.headers_mut().extend(refusal.headers);
        response.extensions_mut().insert(refusal.by);
        if let Some(decision) = refusal.decision {
            response.extensions_mut().insert(decision);
        }
        Self::Refused { response: Some(Box::new(response)) }
    }
}

impl<S, B, R> Future for RateLimitFuture<S, Request<B>, S::Future, R>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    type Output = Result<Response<R>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut kind = self.project().kind;
        loop {
            let next = match kind.as_mut().project() {
                KindProj::Asking { answer, held } => match ready!(answer.as_mut().poll(cx)) {
                    Verdict::Pass(note) => go(held, note),
                    Verdict::Wait(delay, note) => {
                        Kind::Waiting { sleep: Box::pin(sleep(delay)), held: held.take(), note }
                    }
                    Verdict::Refuse(refusal) => Kind::refused(*refusal),
                },
                KindProj::Waiting { sleep, held, note } => {
                    ready!(sleep.as_mut().poll(cx));
                    go(held, note.take())
                }
                KindProj::Inner { future, sent } => {
                    let answer = ready!(future.poll(cx));
                    let note = sent.0.take();
                    let mut response = answer?;
                    if let Some(note) = note {
                        note.answered(&mut response);
                    }
                    return Poll::Ready(Ok(response));
                }
                KindProj::Refused { response } => match response.take() {
                    Some(response) => return Poll::Ready(Ok(*response)),
                    None => return Poll::Pending,
                },
                KindProj::Done => return Poll::Pending,
            };
            kind.set(next);
        }
    }
}

fn go<S, B, R>(held: &mut Held<S, Request<B>>, note: Option<Later>) -> Kind<S, Request<B>, S::Future, R>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    match held.take() {
        Some(held) => {
            let (mut inner, request) = *held;
            Kind::sent(inner.call(request), note)
        }
        None => Kind::Done,
    }
}
