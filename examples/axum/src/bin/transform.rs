//! An id for each request, security headers, and cross-origin requests as Echo allows them.
//!
//! `cargo run -p axum-examples --bin transform`, then `curl -i localhost:3000`.

use axum::Router;
use axum::routing::get;
use gateway_transform::{
    CorrelationIdLayer, CorrelationIdSettings, CorsLayer, CorsSettings, SecurityHeadersLayer,
    SecurityHeadersSettings,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = Router::new()
        .route("/", get(|| async { "hello\n" }))
        .layer(CorsLayer::new(&CorsSettings::default())?)
        .layer(SecurityHeadersLayer::new(&SecurityHeadersSettings::default())?)
        .layer(CorrelationIdLayer::new(&CorrelationIdSettings::default())?);
    let listener =
        tokio::net::TcpListener::bind(std::env::var("LISTEN").unwrap_or("127.0.0.1:3000".into())).await?;
    axum::serve(listener, app).await?;
    Ok(())
}
