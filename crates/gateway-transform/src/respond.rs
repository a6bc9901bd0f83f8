mod answer;
mod settings;

pub use settings::{MaintenanceSettings, RespondSettings};

use crate::answer::OwnOrInner;
use crate::error::TransformError;
pub(crate) use answer::Answer;
use bytes::Bytes;
use gateway_core::{ClientAddr, Grpc, Network};
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Extensions, HeaderMap, Request, Response, StatusCode};
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Answers every request itself, with status, headers and body from the settings: a mock, a `robots.txt`, a
/// route that is gone. The service within is never asked.
#[derive(Clone, Debug)]
pub struct RespondLayer(Arc<Answer>);

impl RespondLayer {
    /// A layer with these settings. Reads the file, if the body is one.
    ///
    /// # Errors
    /// Names the status, header, body or file that makes no answer.
    pub fn new(settings: &RespondSettings) -> Result<Self, TransformError> {
        Answer::new(settings, StatusCode::OK).map(|answer| Self(Arc::new(answer)))
    }

    /// The answer, for places that have no service to put the layer around.
    pub fn answer<R: From<Bytes>>(&self) -> Response<R> {
        self.0.give()
    }
}

impl<S> Layer<S> for RespondLayer {
    type Service = Respond<S>;
    fn layer(&self, inner: S) -> Respond<S> {
        Respond { inner, answer: self.0.clone(), served: Served::Nobody }
    }
}

/// Answers 503 with `Retry-After` to all clients but those of some networks, who are served as ever.
///
/// Unless the settings say otherwise the answer is a [`Problem`](gateway_core::Problem), `maintenance`; to gRPC calls it always is.
///
/// The client is the [`ClientAddr`] extension: behind a proxy, put it inside
/// [`ClientIpLayer`](crate::ClientIpLayer), or the proxy's address decides for everybody. Differs from
/// [`RespondLayer`] in whom it answers.
#[derive(Clone, Debug)]
pub struct MaintenanceLayer {
    answer: Arc<Answer>,
    /// Whether the answer has no words of its own.
    is_problem: bool,
    exempt: Arc<[Network]>,
}

impl MaintenanceLayer {
    /// A layer with these settings. Reads the file, if the body is one.
    ///
    /// # Errors
    /// Names the status, header, body or file that makes no answer.
    pub fn new(settings: &MaintenanceSettings) -> Result<Self, TransformError> {
        let (mut answer, is_problem) = Answer::maintenance(&settings.answer)?;
        // Rounded up: who comes at the time told is not too early.
        let seconds = settings.retry_after.as_secs() + u64::from(settings.retry_after.subsec_nanos() > 0);
        if seconds > 0 {
            answer.headers_mut().entry(RETRY_AFTER).or_insert(HeaderValue::from(seconds));
        }
        Ok(Self { answer: Arc::new(answer), is_problem, exempt: settings.exempt.clone().into() })
    }
}

impl<S> Layer<S> for MaintenanceLayer {
    type Service = Respond<S>;
    fn layer(&self, inner: S) -> Respond<S> {
        let served = Served::Clients { exempt: self.exempt.clone(), is_problem: self.is_problem };
        Respond { inner, answer: self.answer.clone(), served }
    }
}

/// The service of [`RespondLayer`] and [`MaintenanceLayer`].
#[derive(Clone, Debug)]
pub struct Respond<S> {
    inner: S,
    answer: Arc<Answer>,
    served: Served,
}

/// Whose requests go on to the service.
#[derive(Clone, Debug)]
enum Served {
    Nobody,
    /// Those of some networks, during maintenance.
    Clients {
        exempt: Arc<[Network]>,
        is_problem: bool,
    },
}

impl Served {
    fn has(&self, facts: &Extensions) -> bool {
        match self {
            Self::Nobody => false,
            Self::Clients { exempt, .. } => {
                let client = facts.get::<ClientAddr>().map(ClientAddr::ip);
                client.is_some_and(|ip| exempt.iter().any(|network| network.contains(ip)))
            }
        }
    }

    /// Whether the others get the gateway's own words.
    fn is_problem(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Nobody => false,
            Self::Clients { is_problem, .. } => *is_problem || Grpc::of(headers).is_some(),
        }
    }
}

impl<S, B, R> Service<Request<B>> for Respond<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = OwnOrInner<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if self.served.has(request.extensions()) {
            OwnOrInner::inner(self.inner.call(request))
        } else if self.served.is_problem(request.headers()) {
            OwnOrInner::own(self.answer.as_problem().into_response())
        } else {
            OwnOrInner::own(self.answer.give())
        }
    }
}
