//! Who is calling, may they, and what the service is told: tower layers for the edge of an API.
//!
//! # The layers, in the order a request meets them
//!
//! | layer | question |
//! |---|---|
//! | [`AuthLayer`] | who is calling? |
//! | [`SignedBodyLayer`] | outside of it, reads the bodies that signatures cover |
//! | [`AuthorizeLayer`] | may they, by rules on scopes, roles, claims, addresses |
//! | `CedarLayer` | may they, by policies in Cedar; with the feature `cedar` |
//! | [`IdentityHeadersLayer`] | tells the service in headers who calls; nobody else can set them |
//! | [`AssertionLayer`] | tells it in a token that [`Assertions`] signed, for services that do not trust their network |
//! | [`OutboundCredentialsLayer`] | shows the service what lets the gateway in |
//!
//! They meet in the request's extensions: [`AuthLayer`] leaves a [`Principal`](gateway_core::Principal) there, the
//! others read it. Each works without the rest. The last three belong below whatever answers without the service, such
//! as a cache. What to mind in axum, hyper and tonic, and between other layers:
//! [in a service of yours](gateway_core#the-layers-in-a-service-of-yours).
//!
//! ```
//! use axum::{body::Body, extract::Request, http::HeaderMap, routing::get, Router};
//! use gateway_auth::{mint, AuthorizeLayer, AuthorizeSettings, IdentityHeadersLayer, IdentityHeadersSettings};
//! use gateway_auth::{JwtLayer, JwtSettings};
//! use gateway_store::Store;
//! use serde_json::{from_value, json};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let jwt = JwtSettings { secret: Some("a secret of 32 bytes or more ....".into()), ..JwtSettings::default() };
//! let rules: AuthorizeSettings = from_value(json!({ "roles": ["seller", "admin"] }))?;
//! let headers: IdentityHeadersSettings = from_value(json!({ "headers": { "X-User-ID": "sub" } }))?;
//! let app: Router = Router::new()
//!     .route("/", get(|headers: HeaderMap| async move { headers["x-user-id"].to_str().unwrap().to_owned() }))
//!     .layer(IdentityHeadersLayer::new(&headers)?)
//!     .layer(AuthorizeLayer::new(&rules)?)
//!     .layer(JwtLayer::new(&jwt, Store::memory())?);
//!
//! for (role, status, body) in [("seller", 200, "ada"), ("customer", 403, "")] {
//!     let token = mint(&jwt, json!({ "sub": "ada", "roles": [role], "exp": 4102444800u64 }))?;
//!     let request = Request::get("/").header("Authorization", format!("Bearer {token}")).header("X-User-ID", "root");
//!     let response = app.clone().oneshot(request.body(Body::empty())?).await?;
//!     assert_eq!(response.status(), status);
//!     if status == 200 {
//!         assert_eq!(axum::body::to_bytes(response.into_body(), 1024).await?, body);
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! # Who is calling
//!
//! [`AuthLayer`] asks one or several [`Method`]s in turn, under an [`AuthPolicy`]: whether one or all must recognise
//! the caller, whether anonymous callers may pass, which paths are public, and whether refusals are carried out or only
//! reported. Requests that pass have a [`Principal`](gateway_core::Principal) in their extensions, and so have their
//! answers, for the log.
//!
//! | method | credential | cost of a check |
//! |---|---|---|
//! | [`JwtMethod`] | a JSON Web Token in `Authorization: Bearer` | a signature once, then a look-up |
//! | [`ApiKeyMethod`] | a key in `X-API-Key`, kept as a hash; [`KeyRing`] adds and revokes them at run time | a SHA-256 and a look-up |
//! | [`BasicMethod`] | user and password, kept as bcrypt or argon2id | tens of ms off the worker once, then a look-up |
//! | [`MtlsMethod`] | a client certificate, shown to us or to a trusted proxy | a comparison |
//! | [`IntrospectionMethod`] | a bearer token that its issuer is asked about (RFC 7662), or a user service | a round trip once a minute |
//! | [`ForwardMethod`] | whatever a service that is asked about the request makes of it (Traefik: ForwardAuth) | a round trip, unless it is remembered |
//! | [`SignatureMethod`] | the signature of the request: HTTP Message Signatures (RFC 9421) or Standard Webhooks; a [`SignedBodyLayer`] reads its body | a signature and a look-up |
//! | [`OidcMethod`] | the cookie of a browser that logged in at an OpenID provider | a decryption |
//!
//! Where a method, or [`OutboundCredentialsLayer`], asks a token endpoint, it proves who it is by a secret or by a token
//! that it signs ([`ClientAuth`], RFC 7523).
//!
//! What no method finds is 401 `missing-credentials` with the challenges of all; a bad credential gets the answer of
//! the method it was meant for. Headers by which a method tells the service who is calling are removed from every
//! request that passes before they are set, on public paths too; for an edge with routes that use other methods,
//! [`Method::sets`] says which they are.
//!
//! ```
//! use axum::{body::Body, extract::{Extension, Request}, routing::get, Router};
//! use gateway_auth::{ApiKey, ApiKeyEntry, ApiKeyMethod, ApiKeySettings, AuthLayer, AuthPolicy, KeyRing};
//! use gateway_auth::{JwtMethod, JwtSettings};
//! use gateway_core::Principal;
//! use gateway_store::Store;
//! use std::sync::Arc;
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let jwt = JwtSettings { secret: Some("a secret of 32 bytes or more ....".into()), ..JwtSettings::default() };
//! let key = ApiKey::generate("gw_live");
//! let keys = ApiKeySettings { keys: vec![ApiKeyEntry::new("robot", key.hash())], ..ApiKeySettings::default() };
//! let ring = KeyRing::new("shop", &keys, Store::memory())?;
//!
//! let policy = AuthPolicy { public: vec!["/health".parse()?], ..AuthPolicy::default() };
//! let auth = AuthLayer::new(
//!     vec![Arc::new(JwtMethod::new(&jwt, Store::memory())?), Arc::new(ApiKeyMethod::new(&keys, ring)?)],
//!     &policy,
//! );
//! let app: Router = Router::new()
//!     .route("/", get(|Extension(who): Extension<Principal>| async move { who.id().to_owned() }))
//!     .route("/health", get(|| async { "fine" }))
//!     .layer(auth);
//!
//! let request = Request::get("/").header("X-API-Key", key.as_str()).body(Body::empty())?;
//! let response = app.clone().oneshot(request).await?;
//! assert_eq!(axum::body::to_bytes(response.into_body(), 1024).await?, "robot");
//! for (path, status) in [("/", 401), ("/health", 200)] {
//!     let response = app.clone().oneshot(Request::get(path).body(Body::empty())?).await?;
//!     assert_eq!(response.status(), status);
//! }
//! # Ok(()) }
//! ```
//!
//! # JSON Web Tokens
//!
//! [`JwtLayer`] lets a request pass with a [`Principal`](gateway_core::Principal) in its extensions, or answers:
//!
//! | request | answer |
//! |---|---|
//! | without `Authorization` | 401 `missing-credentials`, `WWW-Authenticate: Bearer realm="…"` |
//! | another scheme, malformed, wrong signature, algorithm, issuer or audience, not valid yet | 401 `invalid-token`, `error="invalid_token"` |
//! | valid once | 401 `expired-token` |
//! | revoked | 401 `revoked-token` |
//! | while the issuer's keys could not be read even once, or not for a day | 503 `auth-unavailable` |
//! | while the store is away, with `on_store_failure = "deny"` | 503 `store-unavailable` |
//!
//! The key decides the algorithm, never the token. A token that was verified is remembered until it expires, so
//! that the next request with it costs a hash and a look-up instead of a signature check, and is forgotten when its
//! key goes. With a Redis [`Store`](gateway_store::Store) (the feature `redis`, on by default) all instances remember
//! together, and every request asks whether the token was revoked, or, with `revocation = "push"`, none does and all are
//! told; see [`Revocations`].
//!
//! Keys are secrets, PEM, key sets, or those of an issuer by its `jwks_url` or `discovery`. The latter two are read by
//! a task that you spawn: `tokio::spawn(layer.refresh())`. It reads them every 5 minutes; a token with an unknown key
//! makes it read them at once, one time for all who wait, and after a reading in vain not for 10 s. While the issuer is
//! away, its last keys are used for a day.
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
//!
//! # Logins of browsers
//!
//! [`OidcMethod`] sends pages without a session to an OpenID provider (authorization code with PKCE), answers the
//! provider's callback itself, and keeps the session in an encrypted cookie: nothing is kept on the server, and every
//! instance with the same `cookie_secret` knows it. Scripts and API clients get 401 in place of a redirect. The routes
//! under the layer must include `callback_path`, `login_path` and `logout_path`, by default `/oauth2/callback`,
//! `/oauth2/login` and `/oauth2/logout`, and the provider's keys are read by a task that you spawn.
//!
//! ```
//! use gateway_auth::{AuthLayer, AuthPolicy, OidcMethod, OidcSettings, OneOrMany};
//! use gateway_store::Store;
//! use std::sync::Arc;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = OidcSettings {
//!     issuer: "https://login.example/realms/shop".into(),
//!     client_id: "shop".into(),
//!     client_secret: Some("from the provider".into()),
//!     cookie_secret: Some(OneOrMany::One("32 random bytes, from the environment".into())),
//!     ..OidcSettings::default()
//! };
//! let oidc = OidcMethod::new(&settings, Store::memory())?;
//! tokio::spawn(oidc.refresh());
//! let layer = AuthLayer::new(vec![Arc::new(oidc)], &AuthPolicy::default());
//! # drop(layer); Ok(()) }
//! ```

mod api_key;
mod assertion;
mod authorize;
mod basic;
mod cedar;
mod client;
mod credential;
mod error;
mod flight;
mod forward;
mod gate;
mod identity;
mod introspection;
mod jwt;
mod layer;
mod method;
mod mtls;
mod oidc;
mod outbound;
mod policy;
mod refusal;
mod remote;
mod revocation;
mod service;
mod signatures;
mod text;

pub use api_key::key::{ApiKey, KeyHash};
pub use api_key::method::ApiKeyMethod;
pub use api_key::ring::{KeyRing, ListedKey};
pub use api_key::settings::{ApiKeyEntry, ApiKeySettings, Date};
pub use assertion::authority::Assertions;
pub use assertion::layer::{Assertion, AssertionLayer};
pub use assertion::settings::{AssertionAlgorithm, AssertionSettings};
pub use authorize::claim::{ClaimRule, ClaimTests};
pub use authorize::layer::{Authorize, AuthorizeLayer};
pub use authorize::settings::{AuthorizeSettings, Matching};
pub use basic::method::BasicMethod;
pub use basic::settings::{BasicSettings, BasicUser};
#[cfg(feature = "cedar")]
pub use cedar::layer::{Cedar, CedarLayer, CedarService};
pub use cedar::mistake::{CedarMistake, CedarMistakes, CedarPlace};
pub use cedar::settings::CedarSettings;
pub use client::settings::{ClientAssertion, ClientAuth};
pub use error::AuthError;
pub use forward::key::KeyPart;
pub use forward::method::ForwardMethod;
pub use forward::settings::{ForwardCache, ForwardSettings, OnForwardFailure};
pub use gate::GateFuture;
pub use gateway_core::{Mode, Network, Unenforced};
pub use identity::layer::{IdentityHeaders, IdentityHeadersLayer};
pub use identity::name::HeaderNames;
pub use identity::settings::{AuthorizationHeader, HeaderSource, IdentityHeadersSettings, IdentityPreset};
pub use introspection::method::IntrospectionMethod;
pub use introspection::settings::{IntrospectionProtocol, IntrospectionSettings, OnIntrospectionFailure};
pub use jwt::method::JwtMethod;
pub use jwt::mint::mint;
pub use jwt::settings::{
    Algorithm, CookiePlace, HeaderPlace, JwksSettings, JwtSettings, KeySettings, OnStoreFailure, OneOrMany,
    Place, QueryPlace, RevocationMode, Standard,
};
pub use layer::{AuthLayer, JwtLayer};
pub use method::{Changes, Check, Head, Login, Method, Passed, Refusal, Verdict};
pub use mtls::method::MtlsMethod;
pub use mtls::settings::{AllowedCertificates, CertificateName, MtlsSettings};
pub use oidc::method::OidcMethod;
pub use oidc::settings::{OidcSettings, SameSite, SessionCookie};
pub use outbound::layer::{OutboundCredentials, OutboundCredentialsLayer};
pub use outbound::settings::{
    ClientCredentials, OnTokenFailure, OutboundBasic, OutboundHeader, OutboundSettings, TokenExchange,
};
pub use policy::path::PublicPath;
pub use policy::{AuthPolicy, Require};
pub use revocation::Revocations;
pub use service::Auth;
pub use signatures::body::{SignedBody, SignedBodyLayer};
pub use signatures::method::SignatureMethod;
pub use signatures::settings::{SignatureAlgorithm, SignatureKey, SignatureProtocol, SignatureSettings};
