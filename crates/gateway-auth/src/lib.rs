//! Who is calling: JSON Web Tokens verified, cached and revoked, as a tower layer.
//!
//! [`JwtLayer`] lets a request pass with a [`Principal`](gateway_core::Principal) in its extensions, or answers:
//!
//! | request | answer |
//! |---|---|
//! | without `Authorization` | 401 `missing-credentials`, `WWW-Authenticate: Bearer realm="…"` |
//! | another scheme, malformed, wrong signature, algorithm, issuer or audience, not valid yet | 401 `invalid-token`, `error="invalid_token"` |
//! | valid once | 401 `expired-token` |
//! | revoked | 401 `revoked-token` |
//!
//! The key decides the algorithm, never the token. A token that was verified is remembered until it expires, so
//! that the next request with it costs a hash and a look-up instead of a signature check. With a Redis
//! [`Store`](gateway_store::Store) all instances remember together, and every request asks whether the token was
//! revoked; see [`keys`](Revocations) for what stands there.
//!
//! ```
//! use axum::{body::Body, extract::{Extension, Request}, routing::get, Router};
//! use gateway_auth::{mint, JwtLayer, JwtSettings};
//! use gateway_core::Principal;
//! use gateway_store::Store;
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = JwtSettings { secret: Some("a secret of 32 bytes or more ....".into()), ..JwtSettings::default() };
//! let app: Router = Router::new()
//!     .route("/", get(|Extension(who): Extension<Principal>| async move { who.id().to_owned() }))
//!     .layer(JwtLayer::new(&settings, Store::memory())?);
//!
//! let response = app.clone().oneshot(Request::get("/").body(Body::empty())?).await?;
//! assert_eq!(response.status(), 401);
//!
//! let token = mint(&settings, serde_json::json!({ "sub": "ada", "exp": 4102444800u64 }))?;
//! let request = Request::get("/").header("Authorization", format!("Bearer {token}")).body(Body::empty())?;
//! let response = app.oneshot(request).await?;
//! assert_eq!(axum::body::to_bytes(response.into_body(), 1024).await?, "ada");
//! # Ok(()) }
//! ```

mod error;
mod jwt;
mod layer;
mod refusal;
mod revocation;
mod service;
mod text;

pub use error::AuthError;
pub use jwt::mint::mint;
pub use jwt::settings::{
    Algorithm, CookiePlace, HeaderPlace, JwksSettings, JwtSettings, KeySettings, OnStoreFailure, OneOrMany,
    Place, QueryPlace, RevocationMode, Standard,
};
pub use layer::JwtLayer;
pub use revocation::Revocations;
pub use service::{Jwt, JwtFuture};
