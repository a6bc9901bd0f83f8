//! Only callers with a good token, which the program prints.
//!
//! `cargo run -p axum-examples --bin auth`, then `curl -i localhost:3000` with and without the token.

use axum::routing::get;
use axum::{Extension, Router};
use gateway_auth::{JwtLayer, JwtSettings, mint};
use gateway_core::Principal;
use gateway_store::Store;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings =
        JwtSettings { secret: Some("an example's secret, 32 bytes long".into()), ..JwtSettings::default() };
    let token = mint(&settings, serde_json::json!({ "sub": "ada", "exp": 4_102_444_800_u64 }))?;
    println!("curl localhost:3000 -H 'Authorization: Bearer {token}'");
    let app = Router::new()
        .route(
            "/",
            get(|Extension(who): Extension<Principal>| async move { format!("hello {}\n", who.id()) }),
        )
        .layer(JwtLayer::new(&settings, Store::memory())?);
    let listener =
        tokio::net::TcpListener::bind(std::env::var("LISTEN").unwrap_or("127.0.0.1:3000".into())).await?;
    axum::serve(listener, app).await?;
    Ok(())
}
