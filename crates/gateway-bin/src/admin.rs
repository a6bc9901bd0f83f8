//! The admin listener: health, readiness, metrics, the route table. Bind it where only operators reach it.

use crate::check::Format;
use crate::explain::{self, Asked};
use crate::live::View;
use crate::{config, routes};
use arc_swap::ArcSwap;
use bytes::Bytes;
use gateway_core::{Code, Problem};
use gateway_observe::HealthReport;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// What the admin listener shows.
pub(crate) struct Admin {
    pub(crate) view: Arc<ArcSwap<View>>,
    pub(crate) metrics: Option<PrometheusHandle>,
    /// Brings the gauges that are only read now and then up to date.
    pub(crate) refresh: Box<dyn Fn() + Send + Sync>,
    pub(crate) ready: Arc<AtomicBool>,
    /// Asks for a reload; the answer is what is wrong with the configuration.
    pub(crate) reload: mpsc::Sender<oneshot::Sender<Result<(), String>>>,
}

type Answer = Response<Full<Bytes>>;

/// Serves until dropped.
pub(crate) async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("the admin listener cannot accept connections: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let admin = admin.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let admin = admin.clone();
                async move { Ok::<_, Infallible>(admin.answer(request).await) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
            // How it ends is the client's affair.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Admin {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let get = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/revoke" if request.method() == Method::POST => self.revoke(request).await,
            "/revoke" => not_allowed("POST"),
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
                    (self.refresh)();
                    typed(metrics.render(), "text/plain; version=0.0.4; charset=utf-8")
                }
                None => Problem::new(Code::NoRoute)
                    .with_detail("metrics are off: `metrics = false`")
                    .into_response(),
            },
            "/routes" => typed(routes::json(&self.view.load().plan), "application/json"),
            "/config" => match serde_json::to_string(&self.view.load().status) {
                Ok(status) => typed(status + "\n", "application/json"),
                Err(_) => Problem::new(Code::InternalError).into_response(),
            },
            _ => Problem::new(Code::NoRoute)
                .with_detail(
                    "the admin listener has /livez /readyz /health /metrics /routes /config /explain /reload /revoke",
                )
                .into_response(),
        }
    }

    fn health(&self) -> Answer {
        let view = self.view.load();
        let services = view.services.iter().map(|set| (set.name().to_owned(), set.is_ready()));
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

    /// Says what becomes of the request in the body, by the configuration in force. No live request is held up, and
    /// nothing is counted.
    async fn explain(&self, request: Request<Incoming>) -> Answer {
        let bad = |detail: String| Problem::new(Code::BadRequest).with_detail(detail).into_response();
        let Ok(body) = Limited::new(request.into_body(), 64 * 1024).collect().await else {
            return bad("the body did not arrive whole or is over 64 KiB".to_owned());
        };
        let asked = match Asked::from_json(&body.to_bytes()) {
            Ok(asked) => asked,
            Err(message) => return bad(message),
        };
        let plan = self.view.load().plan.clone();
        // Stacks are of one thread, and this one has other things to do.
        let explaining = tokio::task::spawn_blocking(move || {
            let checked = config::look_back(&plan).map_err(|mistakes| mistakes.to_string())?;
            explain::explain(&checked, &asked, Format::Json).map_err(|error| error.to_string())
        });
        match explaining.await {
            Ok(Ok(explained)) => typed(explained.text, "application/json"),
            Ok(Err(message)) => Problem::new(Code::InternalError).with_detail(message).into_response(),
            Err(_) => Problem::new(Code::InternalError).into_response(),
        }
    }

    /// Revokes the token in the body until it expires.
    async fn revoke(&self, request: Request<Incoming>) -> Answer {
        let bad = |detail: &'static str| Problem::new(Code::BadRequest).with_detail(detail).into_response();
        let view = self.view.load_full();
        if view.revocations.is_empty() {
            return Problem::new(Code::NoRoute).with_detail("no [auth.jwt] is configured").into_response();
        }
        let Ok(body) = Limited::new(request.into_body(), 64 * 1024).collect().await else {
            return bad("the body did not arrive whole or is over 64 KiB");
        };
        let body = body.to_bytes();
        let Ok(token) = std::str::from_utf8(body.trim_ascii()) else {
            return bad("the body is not a token");
        };
        // Which of them the token is for is not asked: revoked is revoked.
        let mut failed = None;
        for revocations in &view.revocations {
            if let Err(error) = revocations.revoke(token).await {
                failed = Some(error);
            }
        }
        match failed {
            None => text("revoked\n"),
            // This process refuses the token; the others have not been told.
            Some(error) => {
                Problem::new(Code::StoreUnavailable).with_detail(error.to_string()).into_response()
            }
        }
    }
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
