//! Accounts, sessions and the tokens they are given: sign-up, login, renewal, revocation and signing keys, on an SQLite
//! file or PostgreSQL.
//!
//! Usable in three ways: as a plain async API ([`Identity`]), as an axum [`router`], and as a tower service for any
//! body ([`IdentityService`]). What it issues are signed JSON Web Tokens that any service verifies with the published
//! keys: verifying on the request path is not this crate's business.
//!
//! ```
//! use gateway_identity::{router, Identity, IdentitySettings, Secret};
//! use axum::{body::Body, http::Request};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("identity.db").display().to_string();
//! let settings = IdentitySettings { database: Secret::new(path), ..IdentitySettings::default() };
//! let (identity, upkeep) = Identity::builder(settings).open().await?;
//! tokio::spawn(upkeep.run());
//! let app = router(&identity);
//!
//! let post = |path: &str, body: &str| {
//!     Request::post(path).header("content-type", "application/json").body(Body::from(body.to_owned()))
//! };
//! let ada = r#"{ "email": "ada@example.org", "password": "correct horse battery" }"#;
//! let response = app.clone().oneshot(post("/auth/register", ada)?).await?;
//! assert_eq!(response.status(), 201);
//! let response = app.oneshot(post("/auth/login", ada)?).await?;
//! let tokens = axum::body::to_bytes(response.into_body(), 8192).await?;
//! let tokens: serde_json::Value = serde_json::from_slice(&tokens)?;
//! assert_eq!(tokens["token_type"], "Bearer");
//!
//! let caller = identity.authenticate(tokens["access_token"].as_str().unwrap_or_default()).await?;
//! assert_eq!(caller.session_id, tokens["session_id"]);
//! # Ok(()) }
//! ```
//!
//! # What is served
//!
//! | operation | `gateway` | `s1` | `s2` |
//! |---|---|---|---|
//! | open an account | `POST /auth/register` | `POST /api/auth/signin` | `POST /api/v1/register` |
//! | log in | `POST /auth/login` | `POST /api/auth/login` | `POST /api/v1/login/access-token` |
//! | renew | `POST /auth/refresh` | `POST /api/tokens/renew` | `POST /api/v1/login/refresh-token` |
//! | log out | `POST /auth/logout` | `POST /api/auth/logout?id=` | `POST /api/v1/logout` |
//! | revoke | `POST /auth/revoke` (RFC 7009, or `?id=`) | `POST /api/tokens/revoke?id=` | `POST /api/v1/revoke` |
//! | own sessions | `GET`, `DELETE /auth/sessions[/{id}]` | `/api/auth/sessions` | `/api/v1/sessions` |
//! | own account | `GET`, `PUT`, `PATCH`, `DELETE /auth/me` | `/api/auth/me` | `/api/v1/users/me` |
//! | own password | `POST /auth/password` | `/api/auth/password` | `/api/v1/password` |
//! | accounts | `GET`, `POST /users`, … `/users/{id}[/sessions]` | `/api/users` | `/api/v1/users` |
//! | keys, issuer, this table | `GET /.well-known/jwks.json`, `/.well-known/openid-configuration`, `/openapi.json` | same | same |
//!
//! Every path can be changed or turned off ([`PathSettings`]). Bodies are JSON or forms of at most 64 KiB; fields that
//! have no meaning of their own belong to the profile. Answers with tokens have RFC 6749's names and `session_id`, and
//! are not for caches. What is refused is a [`Problem`](gateway_core::Problem):
//!
//! | answer | when |
//! |---|---|
//! | 401 `invalid-credentials` | unknown name, wrong password, disabled account: same work, same words |
//! | 401 `missing-credentials`, `invalid-token`, `expired-token`, `revoked-token` | the access or refresh token |
//! | 403 `forbidden` | somebody else's account, without the role `admin_role` |
//! | 404 `not-found` | no such account or session; also somebody else's session |
//! | 409 `conflict` | the address or name is taken |
//! | 413, 415, 400, 422 `invalid-request` | the body; 422 names each field by its JSON pointer |
//! | 429 `rate-limited` | too many guesses, by account or by address; `Retry-After` |
//! | 503 `overloaded` | too many passwords wait to be checked; `Retry-After` |
//! | 503 `store-unavailable` | the database did not answer within `database_timeout`; `Retry-After` |
//!
//! # How it holds
//!
//! - **Refresh tokens** are 256 random bits, kept as SHA-256, good once. Within `reuse_grace` (10 s) the same token gets
//!   the same answer again, as long as its successor is unused; any other second use ends the session
//!   (RFC 9700 §4.14.2). A session is one family of refresh tokens.
//! - **Passwords** are hashed with argon2id on threads of their own, `password.max_parallel` at once; a login whose hash
//!   was made with less work than configured now makes it anew.
//! - **Guessing**: each failure beyond the free ones doubles the wait, up to 15 minutes; sessions that go on are not
//!   concerned, and nobody is locked out for good.
//! - **Signing keys** are made at the first start by exactly one instance, kept in the database (encrypted with
//!   `keys.secret`; without it whoever reads the database can sign, and only the owner may read the SQLite file),
//!   published for `keys.publish_ahead` before they sign, and verify until the last token of theirs is over.
//! - **Revocation** stands in the database at once and is passed to a [`RevocationSink`] before the answer; services that
//!   verify by the keys alone accept an access token until it expires. [`Identity::authenticate`] asks the database.

mod account;
mod clock;
mod db;
mod error;
mod http;
mod identity;
mod key;
mod keyring;
mod password;
mod secret;
mod session;
mod settings;
mod throttle;
mod token;

pub use crate::http::{IdentityService, router};
pub use account::{NewUser, ProfileChange, User, UserChange, UserPage};
pub use clock::Clock;
pub use error::{IdentityError, OpenError, Violation};
pub use identity::{Builder, Identity, Upkeep};
pub use keyring::Rotation;
pub use secret::Secret;
pub use session::{Caller, Origin, RevocationSink, Revoked, Session, Tokens};
pub use settings::{
    FirstAdmin, IdentitySettings, KeySettings, PasswordSettings, PathSettings, Paths, Preset,
    ProfileSettings, Registration, SigningAlgorithm, ThrottleSettings,
};
