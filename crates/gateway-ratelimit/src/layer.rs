use crate::gcra::Decision;
use crate::headers::{Tier, whole_seconds};
use crate::key::KeyHasher;
use crate::settings::{KeyBy, Mode, RateLimitSettings};
use crate::store::Counts;
use bytes::Bytes;
use gateway_core::{AuthMethod, Code, Principal, Problem};
use http::header::RETRY_AFTER;
use http::{Extensions, Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::time::Instant;
use tower::{Layer, Service};

/// Why the settings make no limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateLimitError {
    /// Nothing is limited.
    #[error("it limits nothing: give `limit`, or one of `anonymous`, `authenticated` and `api_key`")]
    Empty,
    /// Both a limit for all and tiers.
    #[error("`limit` is for every caller and leaves no room for `{0}`; give either")]
    Both(&'static str),
    /// The name cannot stand in a header.
    #[error(
        "`{0}` cannot name a limit: it is shown in headers, so only letters, digits, `-`, `_` and `.` are allowed"
    )]
    Name(String),
    /// No room for a single caller.
    #[error("`max_keys` is 0, so that no caller could be remembered; expected at least 1")]
    NoKeys,
}

/// Limits the requests of each caller; see the [crate's page](crate). Clones share their counts.
#[derive(Clone, Debug)]
pub struct RateLimitLayer(Arc<Limiter>);

#[derive(Debug)]
struct Limiter {
    /// By [`tier_of`].
    tiers: [Option<Tier>; 3],
    by: KeyBy,
    hasher: KeyHasher,
    counts: Counts,
    standard: bool,
    legacy: bool,
    mode: Mode,
    start: Instant,
}

impl RateLimitLayer {
    /// A limit; the name is shown to clients.
    ///
    /// # Errors
    /// Settings that limit nothing or contradict each other.
    pub fn new(name: &str, settings: &RateLimitSettings) -> Result<Self, RateLimitError> {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Err(RateLimitError::Name(name.to_owned()));
        }
        if settings.max_keys == 0 {
            return Err(RateLimitError::NoKeys);
        }
        let tiers = [
            ("anonymous", settings.anonymous),
            ("authenticated", settings.authenticated),
            ("api_key", settings.api_key),
        ];
        let tiers = match settings.limit {
            Some(limit) => match tiers.iter().find(|(_, tier)| tier.is_some()) {
                Some((tier, _)) => return Err(RateLimitError::Both(tier)),
                None => [Some(limit); 3],
            },
            None if tiers.iter().all(|(_, tier)| tier.is_none()) => return Err(RateLimitError::Empty),
            None => tiers.map(|(_, tier)| tier),
        }
        .map(|limit| limit.map(|limit| Tier::new(name, limit)));
        Ok(Self(Arc::new(Limiter {
            tiers,
            by: settings.key,
            hasher: KeyHasher::default(),
            counts: Counts::new(settings.max_keys),
            standard: settings.headers,
            legacy: settings.legacy_headers,
            mode: settings.mode,
            start: Instant::now(),
        })))
    }
}

/// The place of the caller's tier among anonymous, authenticated and API key.
fn tier_of(facts: &Extensions) -> usize {
    match facts.get::<Principal>().map(Principal::method) {
        None => 0,
        Some(AuthMethod::ApiKey) => 2,
        Some(_) => 1,
    }
}

impl Limiter {
    /// The tier of the request and what it says; `None` where it has no limit.
    fn decide(&self, facts: &Extensions) -> Option<(usize, &Tier, Decision)> {
        let index = tier_of(facts);
        let tier = self.tiers[index].as_ref()?;
        let key = self.hasher.key(self.by, index, facts);
        // Later than zero, which stands for "never seen".
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
        Some((index, tier, self.counts.decide(key, now, &tier.limit)))
    }

    fn tell(&self, tier: &Tier, decision: Decision, headers: &mut http::HeaderMap) {
        if self.standard {
            tier.standard(decision, headers);
        }
        if self.legacy {
            tier.legacy(decision, headers);
        }
    }

    fn refuse<R: From<Bytes>>(&self, tier: &Tier, decision: Decision) -> Option<Response<R>> {
        let Decision::Refuse { retry_after, .. } = decision else { return None };
        if self.mode == Mode::Report {
            return None;
        }
        let seconds = whole_seconds(retry_after).max(1);
        let detail = format!("more than {}; try again in {seconds} s", tier.limit);
        let problem =
            Problem::new(Code::RateLimited).with_detail(detail).with_header(RETRY_AFTER, seconds.into());
        let mut response = problem.into_response();
        self.tell(tier, decision, response.headers_mut());
        response.extensions_mut().insert(decision);
        Some(response)
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit { inner, limiter: self.0.clone() }
    }
}

/// The service of [`RateLimitLayer`].
#[derive(Clone, Debug)]
pub struct RateLimit<S> {
    inner: S,
    limiter: Arc<Limiter>,
}

impl<S, B, R> Service<Request<B>> for RateLimit<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RateLimitFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some((index, tier, decision)) = self.limiter.decide(request.extensions()) else {
            return RateLimitFuture { kind: Kind::Inner { future: self.inner.call(request), note: None } };
        };
        if let Some(response) = self.limiter.refuse(tier, decision) {
            return RateLimitFuture { kind: Kind::Refused { response: Some(response) } };
        }
        let note = Some((self.limiter.clone(), index, decision));
        RateLimitFuture { kind: Kind::Inner { future: self.inner.call(request), note } }
    }
}

pin_project! {
    /// The future of [`RateLimit`].
    pub struct RateLimitFuture<F, R> {
        #[pin]
        kind: Kind<F, R>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<F, R> {
        Inner { #[pin] future: F, note: Option<(Arc<Limiter>, usize, Decision)> },
        Refused { response: Option<Response<R>> },
    }
}

impl<F, R, E> Future for RateLimitFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: From<Bytes>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project().kind.project() {
            KindProj::Inner { future, note } => {
                let mut response = ready!(future.poll(cx))?;
                if let Some((limiter, index, decision)) = note.take() {
                    if let Some(tier) = &limiter.tiers[index] {
                        limiter.tell(tier, decision, response.headers_mut());
                    }
                    if matches!(decision, Decision::Refuse { .. }) {
                        response.extensions_mut().insert(decision);
                    }
                }
                Poll::Ready(Ok(response))
            }
            KindProj::Refused { response } => {
                let gone = || Problem::new(Code::InternalError).into_response();
                Poll::Ready(Ok(response.take().unwrap_or_else(gone)))
            }
        }
    }
}
