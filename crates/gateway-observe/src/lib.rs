//! What happened: request metrics, an access log, and health reports.
//!
//! [`ObserveLayer`] counts and logs each request when its answer's body has ended, or was given up. It reads what
//! other layers left in the extensions of requests and answers: who asked, under which id, which endpoint
//! answered, and why the gateway refused. It differs from tower-http's `TraceLayer` in that the log is no tracing
//! event: a line costs a fraction of one, and is written by a thread of its own.
//!
//! | metric | labels |
//! |---|---|
//! | `http_requests_total` | `method`, `endpoint`, `status`, `service`, and `code` where the gateway itself answered |
//! | `http_request_duration_seconds` | `method`, `endpoint`, `service` |
//! | `http_active_connections` | |
//! | `gateway_would_refuse_total` | `route`, `status`, and `code` where the gateway itself would have answered |
//!
//! `endpoint` is the route's pattern, never the path that was asked for. `code` is the [`Code`](gateway_core::Code) of
//! the gateway's own answer, one of few: with it, failures of a service and of the gateway in front of it are counted
//! apart, and a gRPC client's problems too, whose HTTP status is 200. The answers of services have no such label, but for
//! that of a service which is asked about requests and refused this one ([`AuthRefused`](gateway_core::AuthRefused)), and for
//! those that have no end ([`Break`](gateway_core::Break)): `client-gone`, if the client left before the answer (status 499)
//! or within it, and `answer-cut-off`, if its body broke off.
//!
//! The access log says the same in its field `reason`. `limited_by` and
//! `would_limit` name the limit or other policy that refused a request, or that only reports
//! ([`Limited`](gateway_core::Limited)); `would_refuse` the code of what whoever asks for credentials and rights would have
//! answered, did they not only report ([`Unenforced`](gateway_core::Unenforced)). `cache` is what the route's cache did
//! ([`CacheResult`](gateway_core::CacheResult)), where [`ObserveLayer::with_cache`] says that it has one.
//! `upstream` is where the request was when its client left.
//! Where written policies were asked, `decision` and `policies` tell what they said
//! ([`PolicyDecision`](gateway_core::PolicyDecision)).
//!
//! What to mind in axum, hyper and tonic, and between other layers:
//! [in a service of yours](gateway_core#the-layers-in-a-service-of-yours).
//!
//! [`ServerTimingLayer`] tells clients, who ask for it seldom, how much of the time was the service's.
//!
//! ```
//! use axum::{body::Body, extract::Request, routing::get, Router};
//! use gateway_observe::{prometheus, AccessLog, AccessLogSettings, Metrics, ObserveLayer, RouteLabels};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let file = tempfile::NamedTempFile::new()?;
//! let (recorder, handle) = prometheus()?;
//! let log = AccessLog::open(&AccessLogSettings { path: Some(file.path().into()), ..Default::default() })?;
//! let labels = RouteLabels { endpoint: "/users/{id}".into(), service: "users".into() };
//! let observe = ObserveLayer::new(labels, Some(Metrics::new(recorder)), Some(log.lines()));
//! let app: Router = Router::new().route("/users/{id}", get(|| async { "ada" })).layer(observe);
//!
//! let response = app.oneshot(Request::get("/users/7").body(Body::empty())?).await?;
//! axum::body::to_bytes(response.into_body(), 1024).await?;
//! log.close();
//! assert!(std::fs::read_to_string(file.path())?.contains("\"uri\":\"/users/7\""));
//! let series = r#"http_requests_total{method="GET",endpoint="/users/{id}",status="200",service="users"} 1"#;
//! assert!(handle.render().contains(series));
//! # Ok(()) }
//! ```

mod body;
mod health;
mod layer;
mod line;
mod log;
mod metrics;
mod server_timing;
mod settings;
mod time;
mod whole_lines;

pub use self::log::{AccessLog, AccessLogError, Lines};
pub use self::metrics::{ConnectionGauge, ConnectionGuard, Metrics, RouteLabels, prometheus, snapshot};
pub use body::ObservedBody;
pub use health::HealthReport;
pub use layer::{Observe, ObserveFuture, ObserveLayer};
pub use server_timing::{ServerTiming, ServerTimingFuture, ServerTimingLayer};
pub use settings::{AccessLogSettings, LogFormat};
pub use time::format_go_duration;
pub use whole_lines::WholeLines;
