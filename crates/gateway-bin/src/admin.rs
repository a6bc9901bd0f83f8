//! The admin listener: health, readiness, metrics, the route table. Bind it where only operators reach it.

mod explain;
mod keys;
mod purge;
mod revoke;

use crate::doorway::News;
use crate::gauges::{Gauges, is_open};
use crate::live::View;
use crate::routes;
use arc_swap::ArcSwap;
use bytes::Bytes;
use gateway_balance::EndpointSet;
use gateway_core::{BoxError, Code, Problem};
use gateway_observe::HealthReport;
use gateway_server::{Accepted, Listener};
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, ORIGIN};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

/// What the admin listener shows.
pub(crate) struct Admin {
    pub(crate) view: Arc<ArcSwap<View>>,
    pub(crate) metrics: Option<PrometheusHandle>,
    pub(crate) gauges: Gauges,
    pub(crate) ready: Arc<AtomicBool>,
    /// Asks for a reload; the answer is what is wrong with the configuration.
    pub(crate) reload: mpsc::Sender<oneshot::Sender<Result<(), String>>>,
}

type Answer = Response<Full<Bytes>>;

/// Serves until the end is told, or nobody is left to tell it.
pub(crate) async fn serve(listener: Listener, admin: Arc<Admin>, mut end: watch::Receiver<()>) {
    let (failing, full) = (News::default(), News::default());
    let places = Arc::new(Semaphore::new(PLACES));
    loop {
        if places.available_permits() == 0 && full.is() {
            tracing::warn!(
                "as many are connected to the admin listener as may be ({PLACES}): the next wait until one leaves"
            );
        }
        let accepted = async {
            // It is never closed.
            let place = places.clone().acquire_owned().await.ok();
            listener.accept().await.map(|accepted| (accepted, place))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            _ = end.changed() => return,
        };
        let (admin, end) = (admin.clone(), end.clone());
        match accepted {
            Ok((Accepted::Tcp(stream, _), place)) => drop(tokio::spawn(converse(stream, admin, end, place))),
            Ok((Accepted::Unix(stream), place)) => drop(tokio::spawn(converse(stream, admin, end, place))),
            Err(error) => {
                if failing.is() {
                    tracing::warn!("the admin listener cannot accept connections: {error}");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers what comes over a connection, which keeps its place as long. At the end, one answer that is on its way is the
/// last.
async fn converse<I>(
    stream: I,
    admin: Arc<Admin>,
    mut end: watch::Receiver<()>,
    _place: Option<OwnedSemaphorePermit>,
) where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request| {
        let admin = admin.clone();
        async move { Ok::<_, Infallible>(admin.answer(request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    // How it ends is the client's affair.
    tokio::select! {
        _ = &mut connection => {}
        _ = end.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
        () = tokio::time::sleep(LIFE) => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(PATIENCE, connection).await;
        }
    }
}

impl Admin {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let get = matches!(*request.method(), Method::GET | Method::HEAD);
        // Browsers name the page that a request comes from. An operator's reaches this listener, whatever page it shows.
        if !get && request.headers().contains_key(ORIGIN) {
            return refused(
                Code::Forbidden,
                "nothing is changed for a page in a browser: the request has an `Origin`",
            );
        }
        match request.uri().path() {
            "/revoke" if request.method() == Method::POST => self.revoke(request).await,
            "/revoke" => not_allowed("POST"),
            "/purge" if request.method() == Method::POST => self.purge(request).await,
            "/purge" => not_allowed("POST"),
            path if path == "/keys" || path.starts_with("/keys/") => self.keys(request).await,
            "/explain" if request.method() == Method::POST => self.explain(request).await,
            "/explain" => not_allowed("POST"),
            "/reload" if request.method() == Method::POST => self.reload().await,
            "/reload" => not_allowed("POST"),
            "/livez" | "/readyz" | "/ready" | "/health" | "/metrics" | "/routes" | "/config" if !get => {
                not_allowed("GET, HEAD")
            }
            "/livez" => text("ok\n"),
            "/readyz" | "/ready" if self.ready.load(Ordering::Relaxed) => text("ready\n"),
            "/readyz" | "/ready" => Problem::new(Code::Draining).into_response(),
            "/health" => self.health(),
            "/metrics" => match &self.metrics {
                Some(metrics) => {
                    typed(metrics.render() + &self.gauges.render(), "text/plain; version=0.0.4; charset=utf-8")
                }
                None => Problem::new(Code::NoRoute)
                    .with_detail("metrics are off: `metrics = false`")
                    .into_response(),
            },
            "/routes" => self.looking_back(|checked| Ok(routes::json(checked))).await,
            "/config" => match serde_json::to_string(&self.view.load().status) {
                Ok(status) => typed(status + "\n", "application/json"),
                Err(_) => Problem::new(Code::InternalError).into_response(),
            },
            _ => Problem::new(Code::NoRoute)
                .with_detail(
                    "the admin listener has /livez /readyz /health /metrics /routes /config /explain /reload /revoke \
                     /keys /purge",
                )
                .into_response(),
        }
    }

    fn health(&self) -> Answer {
        let view = self.view.load();
        let well = |set: &EndpointSet| {
            let answers = set.states().any(|state| state.healthy && !state.failing);
            answers && set.is_ready() && !is_open(set.circuit())
        };
        let services = view.services.iter().map(|set| (set.name().to_owned(), well(set)));
        match serde_json::to_string(&HealthReport::now(env!("CARGO_PKG_VERSION"), services)) {
            Ok(report) => typed(report, "application/json"),
            Err(_) => Problem::new(Code::InternalError).into_response(),
        }
    }

    /// Reads the configuration again, and says what is wrong with it.
    async fn reload(&self) -> Answer {
        let (tell, told) = oneshot::channel();
        if self.reload.send(tell).await.is_err() {
            return Problem::new(Code::Draining).into_response();
        }
        match told.await {
            Ok(Ok(())) => text("reloaded\n"),
            Ok(Err(mistakes)) => {
                let mut answer = typed(mistakes + "\n", "text/plain; charset=utf-8");
                *answer.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
                answer
            }
            Err(_) => Problem::new(Code::Draining).into_response(),
        }
    }
}

/// How many may be connected at once: they take descriptors from the clients' share.
const PLACES: usize = 64;
/// How long a connection lasts, besides the answer that is on its way then: whoever reads nothing keeps its place for no
/// longer.
const LIFE: Duration = Duration::from_secs(60);
/// How long a request's head may take to arrive, and then its body.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest body that is read.
const MAX_BODY: usize = 64 * 1024;

async fn bytes_of<B>(request: Request<B>) -> Result<Bytes, Problem>
where
    B: Body<Error: Into<BoxError>>,
{
    let whole = Limited::new(request.into_body(), MAX_BODY).collect();
    let whole =
        tokio::time::timeout(PATIENCE, whole).await.map_err(|_| Problem::new(Code::RequestTimeout))?;
    let whole = whole.map_err(|_| {
        Problem::new(Code::BadRequest).with_detail("the body did not arrive whole or is over 64 KiB")
    })?;
    Ok(whole.to_bytes())
}

/// The JSON in a body.
async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Problem> {
    serde_json::from_slice(&bytes_of(request).await?).map_err(|error| {
        Problem::new(Code::BadRequest).with_detail(format!("the body is not what was expected: {error}"))
    })
}

fn json(status: StatusCode, value: &Value) -> Answer {
    let mut answer = typed(value.to_string() + "\n", "application/json");
    *answer.status_mut() = status;
    answer
}

fn refused(code: Code, detail: &str) -> Answer {
    Problem::new(code).with_detail(detail.to_owned()).into_response()
}

fn text(text: &'static str) -> Answer {
    typed(text, "text/plain; charset=utf-8")
}

fn typed(body: impl Into<Bytes>, content_type: &'static str) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn not_allowed(allow: &'static str) -> Answer {
    Problem::new(Code::MethodNotAllowed).with_header(ALLOW, HeaderValue::from_static(allow)).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let silent = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let waited = bytes_of(Request::new(StreamBody::new(silent)));
        let refused = tokio::time::timeout(2 * PATIENCE, waited).await.unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::RequestTimeout);
    }
}
