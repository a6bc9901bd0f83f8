//! Two requests a minute for each client address.
//!
//! `cargo run -p axum-examples --bin ratelimit`, then three times `curl -i localhost:3000`.

use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn};
use axum::routing::get;
use axum::{Router, response::Response};
use gateway_core::ClientAddr;
use gateway_ratelimit::{RateLimitLayer, RateLimitSettings};
use std::net::SocketAddr;

/// Tells the layer who is asking, as axum knows it.
async fn client(ConnectInfo(addr): ConnectInfo<SocketAddr>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(ClientAddr(addr));
    next.run(request).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let limit = RateLimitLayer::new("demo", &RateLimitSettings::all("2/min".parse()?))?;
    let app = Router::new().route("/", get(|| async { "hello\n" })).layer(limit).layer(from_fn(client));
    let listener =
        tokio::net::TcpListener::bind(std::env::var("LISTEN").unwrap_or("127.0.0.1:3000".into())).await?;
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
