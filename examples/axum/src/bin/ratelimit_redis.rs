//! Two requests a minute for each client address, however many instances of this program there are: Redis counts.
//!
//! `REDIS_URL=redis://127.0.0.1:6379 cargo run -p axum-examples --bin ratelimit_redis`, and again with
//! `LISTEN=127.0.0.1:3001`; then `curl -i` at either of them.
//!
//! While Redis is away each instance counts for itself, and no request waits longer than the store's deadline.

use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn};
use axum::routing::get;
use axum::{Router, response::Response};
use gateway_core::ClientAddr;
use gateway_ratelimit::{RateLimitLayer, RateLimitSettings};
use gateway_store::{RedisSettings, Store, StoreSettings};
use std::net::SocketAddr;

/// Tells the layer who is asking, as axum knows it.
async fn client(ConnectInfo(addr): ConnectInfo<SocketAddr>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(ClientAddr(addr));
    next.run(request).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let redis = RedisSettings::new(&std::env::var("REDIS_URL").unwrap_or("redis://127.0.0.1:6379".into()));
    let store = Store::open(&StoreSettings { redis: Some(redis), ..StoreSettings::default() })?;
    let limit = RateLimitLayer::new("demo", &RateLimitSettings::all("2/min".parse()?))?.with_store(store);
    // Nothing to do for `exact`, the default; `leased` takes its shares here.
    if let Some(background) = limit.background() {
        tokio::spawn(background.run(std::future::pending()));
    }
    let app = Router::new().route("/", get(|| async { "hello\n" })).layer(limit).layer(from_fn(client));
    let listener =
        tokio::net::TcpListener::bind(std::env::var("LISTEN").unwrap_or("127.0.0.1:3000".into())).await?;
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
