//! Several ways to say who one is, and rules for what one may: tokens, API keys, signed requests.
//!
//! `cargo run -p axum-examples --bin auth` prints a token and a key; then `curl -i localhost:3000` with one of them, or
//! with neither, and `curl -i localhost:3000/orders -X POST`, which takes a token for it. `/health` is for everybody.

use axum::routing::{get, post};
use axum::{Extension, Router};
use gateway_auth::{
    ApiKey, ApiKeyEntry, ApiKeyMethod, ApiKeySettings, AuthLayer, AuthPolicy, AuthorizeLayer, JwtMethod,
    JwtSettings, KeyRing, SignatureKey, SignatureMethod, SignatureSettings, SignedBodyLayer, mint,
};
use gateway_core::Principal;
use gateway_store::Store;
use serde_json::{from_value, json};
use std::sync::Arc;

const SECRET: &str = "an example's secret, 32 bytes long";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let jwt = JwtSettings { secret: Some(SECRET.into()), ..JwtSettings::default() };
    let token = mint(&jwt, json!({ "sub": "ada", "scope": "orders:write", "exp": 4_102_444_800_u64 }))?;
    println!("curl localhost:3000 -H 'Authorization: Bearer {token}'");

    // Only the key's hash is kept.
    let key = ApiKey::generate("example");
    println!("curl localhost:3000 -H 'X-API-Key: {}'", key.as_str());
    let keys =
        ApiKeySettings { keys: vec![ApiKeyEntry::new("robot", key.hash())], ..ApiKeySettings::default() };
    let ring = KeyRing::new("robots", &keys, Store::memory())?;

    // Requests by whoever has this secret, signed as RFC 9421 says.
    let partner =
        SignatureKey { id: "partner".into(), secret: Some(SECRET.into()), ..SignatureKey::default() };
    let signatures = SignatureSettings { keys: vec![partner], ..SignatureSettings::default() };

    let policy = AuthPolicy { public: vec!["/health".parse()?], ..AuthPolicy::default() };
    let auth = AuthLayer::new(
        vec![
            Arc::new(JwtMethod::new(&jwt, Store::memory())?),
            Arc::new(ApiKeyMethod::new(&keys, ring)?),
            Arc::new(SignatureMethod::new(&signatures, Store::memory())?),
        ],
        &policy,
    );
    let writers = AuthorizeLayer::new(&from_value(json!({ "scopes": ["orders:write"] }))?)?;
    let app = Router::new()
        .route("/orders", post(|| async { "ordered\n" }).layer(writers))
        .route(
            "/",
            get(|Extension(who): Extension<Principal>| async move {
                format!("hello {}, by {}\n", who.id(), who.method().name())
            }),
        )
        .route("/health", get(|| async { "fine\n" }))
        .layer(auth.clone())
        .layer(SignedBodyLayer::new(&auth));
    let listener =
        tokio::net::TcpListener::bind(std::env::var("LISTEN").unwrap_or("127.0.0.1:3000".into())).await?;
    axum::serve(listener, app).await?;
    Ok(())
}
