//! Keeps answers for as long as they say, before a service that knows nothing of it.
//!
//! `cargo run -p axum-examples --bin cache`, then twice `curl -i localhost:3000/reports/7`.

use axum::Router;
use axum::extract::Path;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use axum::routing::get;
use gateway_cache::{CacheLayer, CacheSettings, CacheStore};
use gateway_core::units::ByteSize;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Says how many reports were made so far.
async fn report(Path(name): Path<String>) -> impl IntoResponse {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let made = MADE.fetch_add(1, Ordering::Relaxed) + 1;
    ([(CACHE_CONTROL, "max-age=60")], format!("report {name}, the {made}. to be made\n"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = CacheStore::new(ByteSize::kib(16 * 1024));
    let cache = CacheLayer::new("reports", &CacheSettings::default(), &store)?;
    let app = Router::new().route("/reports/{name}", get(report)).layer(cache);
    let listener =
        tokio::net::TcpListener::bind(std::env::var("LISTEN").unwrap_or("127.0.0.1:3000".into())).await?;
    axum::serve(listener, app).await?;
    Ok(())
}
