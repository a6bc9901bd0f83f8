//! Metrics at `/metrics`, and a line of JSON per request on standard output.
//!
//! `cargo run -p axum-examples --bin observe`, then `curl localhost:3000/users/7 localhost:3000/metrics`.

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use gateway_observe::{AccessLog, AccessLogSettings, Metrics, ObserveLayer, RouteLabels, prometheus};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (recorder, handle) = prometheus()?;
    let log = AccessLog::open(&AccessLogSettings::default())?;
    let labels = RouteLabels { endpoint: "/users/{id}".into(), service: "users".into() };
    let observe = ObserveLayer::new(labels, Some(Metrics::new(recorder)), Some(log.lines()));
    let app = Router::new()
        .route(
            "/users/{id}",
            get(|Path(id): Path<String>| async move { format!("hello {id}\n") }).layer(observe),
        )
        .route("/metrics", get(|| async move { handle.render() }));
    let listener =
        tokio::net::TcpListener::bind(std::env::var("LISTEN").unwrap_or("127.0.0.1:3000".into())).await?;
    axum::serve(listener, app).await?;
    Ok(())
}
