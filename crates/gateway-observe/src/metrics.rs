use arc_swap::ArcSwap;
use gateway_core::Unenforced;
use http::{Method, StatusCode};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use std::sync::Arc;
use std::time::Duration;

const REQUESTS: &str = "http_requests_total";
const DURATION: &str = "http_request_duration_seconds";
const CONNECTIONS: &str = "http_active_connections";
const WOULD_REFUSE: &str = "gateway_would_refuse_total";
/// From a cached answer to one that is about to time out.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
static METADATA: Metadata<'static> = Metadata::new(module_path!(), metrics::Level::INFO, None);

/// A recorder whose metrics are read as Prometheus text, with buckets that suit requests.
///
/// Call the handle's `run_upkeep` every few seconds.
///
/// # Errors
/// Never with these buckets; the exporter's builder may fail with none.
pub fn prometheus() -> Result<(PrometheusRecorder, PrometheusHandle), BuildError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(DURATION.to_owned()), &BUCKETS)?
        .build_recorder();
    let handle = recorder.handle();
    Ok((recorder, handle))
}

/// What is told, as Prometheus text: of what there was before, nothing is left.
#[must_use]
pub fn snapshot(tell: impl FnOnce(&Metrics)) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    tell(&Metrics(Arc::new(Owned(recorder))));
    handle.render()
}

/// Where request metrics go: a recorder that is given, never the global one.
#[derive(Clone)]
pub struct Metrics(Arc<dyn Register>);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// A recorder, as far as it is needed here.
trait Register: Send + Sync {
    fn counter(&self, key: &Key) -> Counter;
    fn gauge(&self, key: &Key) -> Gauge;
    fn histogram(&self, key: &Key) -> Histogram;
}

struct Owned<R>(R);

impl<R: Recorder + Send + Sync> Register for Owned<R> {
    fn counter(&self, key: &Key) -> Counter {
        self.0.register_counter(key, &METADATA)
    }
    fn gauge(&self, key: &Key) -> Gauge {
        self.0.register_gauge(key, &METADATA)
    }
    fn histogram(&self, key: &Key) -> Histogram {
        self.0.register_histogram(key, &METADATA)
    }
}

impl Metrics {
    /// Metrics in this recorder. Cheap to clone.
    #[must_use]
    pub fn new(recorder: impl Recorder + Send + Sync + 'static) -> Self {
        let name = KeyName::from_const_str;
        recorder.describe_counter(name(REQUESTS), None, "Total number of HTTP requests".into());
        recorder.describe_histogram(
            name(DURATION),
            Some(Unit::Seconds),
            "HTTP request duration in seconds".into(),
        );
        recorder.describe_gauge(name(CONNECTIONS), None, "Number of active HTTP connections".into());
        Self(Arc::new(Owned(recorder)))
    }

    /// A gauge of the caller's own.
    pub fn gauge(&self, name: &'static str, labels: Vec<(&'static str, String)>) -> Gauge {
        self.0.gauge(&key(name, labels))
    }

    /// A counter of the caller's own.
    pub fn counter(&self, name: &'static str, labels: Vec<(&'static str, String)>) -> Counter {
        self.0.counter(&key(name, labels))
    }

    /// The gauge of open client connections.
    #[must_use]
    pub fn connections(&self) -> ConnectionGauge {
        ConnectionGauge(self.0.gauge(&Key::from_static_name(CONNECTIONS)))
    }
}

fn key(name: &'static str, labels: Vec<(&'static str, String)>) -> Key {
    Key::from_parts(name, labels.into_iter().map(|(name, value)| Label::new(name, value)).collect::<Vec<_>>())
}

/// Counts open connections.
#[derive(Clone, Debug)]
pub struct ConnectionGauge(Gauge);

impl ConnectionGauge {
    /// Counts nothing.
    #[must_use]
    pub fn noop() -> Self {
        Self(Gauge::noop())
    }

    /// One more, until the guard is dropped.
    #[must_use]
    pub fn enter(&self) -> ConnectionGuard {
        self.0.increment(1.0);
        ConnectionGuard(self.0.clone())
    }
}

/// A connection that is counted while this lives.
#[derive(Debug)]
pub struct ConnectionGuard(Gauge);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// What a route is called in metrics and logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteLabels {
    /// The route's pattern or name; one of few, whatever clients ask for.
    pub endpoint: String,
    /// The service behind it.
    pub service: String,
}

/// The metrics of one route. Each combination of method, status and code is registered when it first occurs, and
/// found again by a look through a short list.
pub(crate) struct RouteMetrics {
    metrics: Metrics,
    labels: RouteLabels,
    known: ArcSwap<Vec<Known>>,
}

/// With a list of its own, of the same series.
impl Clone for RouteMetrics {
    fn clone(&self) -> Self {
        Self::new(self.metrics.clone(), self.labels.clone())
    }
}

#[derive(Clone)]
struct Known {
    method: &'static str,
    status: StatusCode,
    reason: Option<&'static str>,
    requests: Counter,
    duration: Histogram,
}

impl RouteMetrics {
    pub(crate) fn new(metrics: Metrics, labels: RouteLabels) -> Self {
        Self { metrics, labels, known: ArcSwap::default() }
    }

    /// Counts a request. `reason` is its label `code`: why the gateway itself answered, or there is no whole answer.
    pub(crate) fn count(
        &self,
        method: &Method,
        status: StatusCode,
        reason: Option<&'static str>,
        took: Duration,
    ) {
        let method = bounded(method);
        let record = |known: &Known| {
            known.requests.increment(1);
            known.duration.record(took.as_secs_f64());
        };
        let list = self.known.load();
        let same =
            |known: &&Known| known.status == status && known.reason == reason && known.method == method;
        if let Some(known) = list.iter().find(same) {
            return record(known);
        }
        let known = self.register(method, status, reason);
        record(&known);
        // Two that come at once register the same series: one entry is lost and made again.
        self.known.store(Arc::new(list.iter().cloned().chain([known]).collect()));
    }

    /// Counts a request that passes although somebody would refuse it. Looked up each time: only what is tried out is
    /// counted so.
    pub(crate) fn count_unenforced(&self, Unenforced { status, code }: &Unenforced) {
        let mut labels =
            vec![("route", self.labels.endpoint.clone()), ("status", status.as_str().to_owned())];
        labels.extend(code.map(|code| ("code", code.name().to_owned())));
        self.metrics.counter(WOULD_REFUSE, labels).increment(1);
    }

    fn register(&self, method: &'static str, status: StatusCode, reason: Option<&'static str>) -> Known {
        let RouteLabels { endpoint, service } = self.labels.clone();
        let base = vec![("method", method.to_owned()), ("endpoint", endpoint), ("service", service.clone())];
        let mut full = base.clone();
        full.truncate(2);
        full.extend([("status", status.as_str().to_owned()), ("service", service)]);
        full.extend(reason.map(|reason| ("code", reason.to_owned())));
        Known {
            method,
            status,
            reason,
            requests: self.metrics.0.counter(&key(REQUESTS, full)),
            duration: self.metrics.0.histogram(&key(DURATION, base)),
        }
    }
}

/// One of few names: clients may invent methods, but not series.
fn bounded(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "OTHER",
    }
}
