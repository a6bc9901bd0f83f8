use crate::body::ObservedBody;
use crate::line::Record;
use crate::log::Lines;
use crate::metrics::{Metrics, RouteLabels, RouteMetrics};
use crate::time::Utc;
use gateway_core::{
    AuthRefused, Break, CacheResult, ClientAddr, Endpoint, Limited, PolicyDecision, Principal, Problem,
    Received, RequestId, Scheme, Unenforced, clock, given_up,
};
use http::header::{CONTENT_LENGTH, HOST, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tower::{Layer, Service};

/// What a request is counted as whose client left before its answer (nginx's 499).
const CLIENT_GONE: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

/// Counts and logs the requests of one route; see the [crate's page](crate).
#[derive(Clone, Debug)]
pub struct ObserveLayer {
    route: Arc<Route>,
}

#[derive(Clone)]
struct Route {
    labels: RouteLabels,
    metrics: Option<RouteMetrics>,
    lines: Option<Lines>,
    has_cache: bool,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route").field("labels", &self.labels).finish_non_exhaustive()
    }
}

impl ObserveLayer {
    /// Observes a route; what is `None` is left out.
    #[must_use]
    pub fn new(labels: RouteLabels, metrics: Option<Metrics>, lines: Option<Lines>) -> Self {
        let metrics = metrics.map(|metrics| RouteMetrics::new(metrics, labels.clone()));
        Self { route: Arc::new(Route { labels, metrics, lines, has_cache: false }) }
    }

    /// Logs what the cache did, on routes that have one: nobody else pays for a look at it.
    #[must_use]
    pub fn with_cache(mut self) -> Self {
        Arc::make_mut(&mut self.route).has_cache = true;
        self
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;
    fn layer(&self, inner: S) -> Observe<S> {
        let observes = self.route.metrics.is_some() || self.route.lines.is_some();
        Observe { inner, route: observes.then(|| self.route.clone()) }
    }
}

/// The service of [`ObserveLayer`].
#[derive(Clone, Debug)]
pub struct Observe<S> {
    inner: S,
    /// `None` where nothing is counted or written.
    route: Option<Arc<Route>>,
}

/// A request under way. Dropping it means that it is over, and writes it down.
#[derive(Debug)]
pub(crate) struct Observation {
    route: Arc<Route>,
    start: Instant,
    method: Method,
    /// Only what a line needs.
    request: Option<Asked>,
    status: Option<StatusCode>,
    /// Why, if the gateway itself answered, or refused in another's words.
    reason: Option<&'static str>,
    pub(crate) progress: Progress,
    /// Why the answer broke off.
    broke_for: Option<String>,
    problem: Option<Problem>,
    principal: Option<Principal>,
    /// Who answered, or was tried last.
    endpoint: Option<Endpoint>,
    limited: Option<Limited>,
    unenforced: Option<Unenforced>,
    cached: Option<CacheResult>,
    /// Boxed: few routes have written policies.
    decision: Option<Box<PolicyDecision>>,
    pub(crate) bytes_out: u64,
}

/// How far an answer has come. What is dropped on its way was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    UnderWay,
    Whole,
    /// Its body failed.
    CutOff,
}

#[derive(Debug)]
struct Asked {
    id: Option<RequestId>,
    client: Option<ClientAddr>,
    scheme: Scheme,
    host: Option<HeaderValue>,
    uri: Uri,
    user_agent: Option<HeaderValue>,
    bytes_in: BytesIn,
}

/// How long a request's body is.
#[derive(Debug)]
enum BytesIn {
    /// As its client says.
    Told(u64),
    /// As far as it is read.
    Counted(Received),
}

impl BytesIn {
    fn of<B>(request: &Request<B>) -> Self {
        let told = || request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
        match told() {
            Some(bytes) => Self::Told(bytes),
            None => request.extensions().get().cloned().map_or(Self::Told(0), Self::Counted),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Told(bytes) => *bytes,
            Self::Counted(received) => received.bytes(),
        }
    }
}

impl Observation {
    fn begin<B>(route: &Arc<Route>, request: &Request<B>) -> Self {
        let headers = request.headers();
        let asked = || Asked {
            id: request.extensions().get().cloned(),
            client: request.extensions().get().copied(),
            scheme: request.extensions().get().copied().unwrap_or_default(),
            host: headers.get(HOST).cloned(),
            uri: request.uri().clone(),
            user_agent: headers.get(USER_AGENT).cloned(),
            bytes_in: BytesIn::of(request),
        };
        Self {
            route: route.clone(),
            start: clock::recent().unwrap_or_else(Instant::now),
            method: request.method().clone(),
            request: route.lines.is_some().then(asked),
            status: None,
            reason: None,
            progress: Progress::UnderWay,
            broke_for: None,
            problem: None,
            principal: None,
            endpoint: None,
            limited: None,
            unenforced: None,
            cached: None,
            decision: None,
            bytes_out: 0,
        }
    }

    /// Asks the service for its answer, or for a piece of it. A panic on the way is no client that left: whoever catches
    /// it makes some answer of it, or breaks off the one that has begun.
    pub(crate) fn asking<T>(observation: &mut Option<Box<Self>>, ask: impl FnOnce() -> T) -> T {
        struct Panicked<'a>(&'a mut Option<Box<Observation>>);
        impl Drop for Panicked<'_> {
            fn drop(&mut self) {
                if let Some(observation) = self.0 {
                    match observation.status {
                        None => observation.failed(),
                        Some(_) => observation.cut_off("the service panicked"),
                    }
                }
            }
        }
        let panicked = Panicked(observation);
        let asked = ask();
        std::mem::forget(panicked);
        asked
    }

    /// There is no answer of the service, and the client is still there.
    #[cold]
    fn failed(&mut self) {
        self.status = Some(StatusCode::INTERNAL_SERVER_ERROR);
        self.progress = Progress::Whole;
    }

    /// Its body failed.
    #[cold]
    pub(crate) fn cut_off(&mut self, why: impl std::fmt::Display) {
        self.progress = Progress::CutOff;
        self.broke_for = self.request.is_some().then(|| why.to_string());
    }

    fn answered<B: Body>(&mut self, response: &Response<B>) {
        let status = response.status();
        self.status = Some(status);
        if self.method == Method::HEAD || has_no_body(status) || response.body().is_end_stream() {
            self.progress = Progress::Whole;
        }
        let facts = response.extensions();
        let problem = facts.get::<Problem>();
        self.reason = match problem {
            Some(problem) => Some(problem.code().name()),
            // Nobody is refused with success, which most answers are.
            None if status.is_success() => None,
            None => facts.get::<AuthRefused>().map(|_| AuthRefused::NAME),
        };
        self.unenforced = facts.get().copied();
        if let (Some(unenforced), Some(metrics)) = (&self.unenforced, &self.route.metrics) {
            metrics.count_unenforced(unenforced);
        }
        if self.request.is_some() {
            self.problem = problem.cloned();
            self.principal = facts.get().cloned();
            self.endpoint = facts.get().cloned();
            self.limited = facts.get().cloned();
            self.decision = facts.get().cloned().map(Box::new);
            if self.route.has_cache {
                self.cached = facts.get().copied();
            }
        }
    }
}

/// Answers that end with their head. The bytes of a tunnel, which follow 101, have no end that one of its sides could
/// miss.
fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

impl Drop for Observation {
    fn drop(&mut self) {
        let now = clock::now();
        let took = now.duration_since(self.start);
        let broke = match self.progress {
            Progress::Whole => None,
            Progress::UnderWay if !given_up::is_cut_off() => Some(Break::ClientGone),
            Progress::UnderWay | Progress::CutOff => Some(Break::AnswerCutOff),
        };
        let status = self.status.unwrap_or(match broke {
            Some(Break::AnswerCutOff) => StatusCode::SERVICE_UNAVAILABLE,
            _ => CLIENT_GONE,
        });
        let reason = self.reason.or(broke.map(Break::name));
        if let Some(metrics) = &self.route.metrics {
            metrics.count(&self.method, status, reason, took);
        }
        if let (Some(lines), Some(asked)) = (&self.route.lines, &self.request)
            && (lines.wants(status.as_u16()) || broke == Some(Break::AnswerCutOff))
        {
            lines.write(&Record {
                time: Utc::at(now),
                id: asked.id.as_ref(),
                client: asked.client.map(|client| client.ip()),
                scheme: asked.scheme,
                host: asked.host.as_ref(),
                method: &self.method,
                uri: &asked.uri,
                user_agent: asked.user_agent.as_ref(),
                route: &self.route.labels,
                status: status.as_u16(),
                reason,
                problem: self.problem.as_ref(),
                broke_for: self.broke_for.as_deref(),
                principal: self.principal.as_ref(),
                endpoint: self.endpoint.as_ref(),
                limited: self.limited.as_ref(),
                unenforced: self.unenforced.as_ref(),
                cached: self.cached,
                decision: self.decision.as_deref(),
                took,
                bytes_in: asked.bytes_in.bytes(),
                bytes_out: self.bytes_out,
            });
        }
    }
}

impl<S, B, R> Service<Request<B>> for Observe<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Response = Response<ObservedBody<R>>;
    type Error = S::Error;
    type Future = ObserveFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let observe = |route| Box::new(Observation::begin(route, &request));
        let mut observation = self.route.as_ref().map(observe);
        let inner = Observation::asking(&mut observation, || self.inner.call(request));
        ObserveFuture { inner: Some(inner), observation }
    }
}

pin_project! {
    /// The future of [`Observe`].
    pub struct ObserveFuture<F> {
        // `None` once it is given up.
        #[pin]
        inner: Option<F>,
        observation: Option<Box<Observation>>,
    }

    impl<F> PinnedDrop for ObserveFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if let Some(observation) = this.observation {
                observation.endpoint = given_up::listen(|| this.inner.set(None));
            }
        }
    }
}

impl<F, R, E> Future for ObserveFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
{
    type Output = Result<Response<ObservedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Pending };
        let result = ready!(Observation::asking(this.observation, || inner.poll(cx)));
        let mut observation = this.observation.take();
        if let Some(observation) = &mut observation {
            match &result {
                Ok(response) => observation.answered(response),
                // Whoever gets the error makes some answer of it.
                Err(_) => observation.failed(),
            }
        }
        Poll::Ready(result.map(|response| response.map(|body| ObservedBody::new(body, observation))))
    }
}
