//! What an API edge does to requests and answers without knowing what their bodies mean, each as a tower layer.
//!
//! | layer | what it does |
//! |---|---|
//! | [`ClientIpLayer`] | finds the client behind trusted proxies, for all that counts, logs or decides by it |
//! | [`CorrelationIdLayer`] | an id for each request: in its extensions, on the way upstream, and in the answer |
//! | [`CorsLayer`] | cross-origin requests: preflights answered, answers marked |
//! | [`SecurityHeadersLayer`] | `X-Content-Type-Options`, `X-Frame-Options` and the like in answers |
//! | [`HeadersLayer`] | headers set, added and removed |
//! | [`ForwardedLayer`] | `X-Forwarded-For`, `-Proto`, `-Host` and `-Port`, and `Forwarded`, believed only from trusted proxies |
//! | [`ViaLayer`] | `Via: 1.1 gateway` |
//! | [`StripPrefixLayer`] | `/api/users/7` becomes `/7` |
//! | [`RewriteLayer`] | another path (prefix, regular expression, whole), host or query |
//! | [`RedirectLayer`] | sends clients to another scheme, host, port or path |
//! | [`RespondLayer`] | an answer that is always the same: text, JSON or a file |
//! | [`FallbackLayer`] | asks another service when the first gave no answer, then answers itself |
//! | [`MaintenanceLayer`] | 503 with `Retry-After` to all clients but some |
//! | [`GrpcWebLayer`] | browsers' gRPC-Web for services of gRPC: base64 decoded, trailers as a last frame |
//! | [`UnderscoreHeadersLayer`] | `X_User_ID` kept, removed or refused |
//!
//! From the outside in, they stand in this order: who the client is (client IP, underscores), what needs no service
//! (maintenance, redirects, own answers), what marks answers (CORS, security headers), then, after authentication
//! and limits, what the upstream is to see (headers, forwarded, via) and last what it is asked (strip, rewrite,
//! gRPC-Web).
//!
//! In axum, layers of a router are asked once it has found a route: what changes the path goes around the router,
//! `StripPrefixLayer::new("/api")?.layer(router)`, or around a service that is put into one. What else to mind there, in
//! hyper and in tonic: [in a service of yours](gateway_core#the-layers-in-a-service-of-yours).
//!
//! Where a rewrite, a redirect or a header of the request is to hold a part of what the client asked, `{id}` stands
//! for what the route captured by that name (core's [`Captures`](gateway_core::Captures)): a parameter of its path, a
//! named group of an expression, or `{*}` for the rest below a prefix. `{{id}}` is the text `{id}`.
//! [`check_placeholders`] tells before the first request whether a route has them all.
//!
//! [`normalize_path`] is no layer: a path must be one and the same before anything is decided by it. A slash at its end
//! stays, goes, or is redirected away ([`TrailingSlash`]). Nor is [`only_proxies_say`]: what it names is taken away from
//! strangers' requests before conditions and limits look at them.
//!
//! ```
//! use axum::{body::Body, extract::Request, routing::get, Router};
//! use gateway_core::units::ShortForm;
//! use gateway_transform::{CorrelationIdLayer, CorrelationIdSettings, RedirectLayer, RedirectSettings};
//! use gateway_transform::{SecurityHeadersLayer, SecurityHeadersSettings};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app: Router = Router::new()
//!     .route("/", get(|| async { "hello" }))
//!     .layer(SecurityHeadersLayer::new(&SecurityHeadersSettings::default())?)
//!     .layer(CorrelationIdLayer::new(&CorrelationIdSettings::default())?);
//!
//! let response = app.oneshot(Request::get("/").body(Body::empty())?).await?;
//! assert_eq!(response.headers()["x-content-type-options"], "nosniff");
//! assert_eq!(response.headers()["x-correlation-id"].len(), 36);
//!
//! let to_tls: Router = Router::new().fallback(|| async { "over TLS" }).layer(RedirectLayer::new(&RedirectSettings::https())?);
//! let request = Request::get("/cart?id=7").header("host", "shop.example").body(Body::empty())?;
//! let response = to_tls.oneshot(request).await?;
//! assert_eq!(response.status(), 308);
//! assert_eq!(response.headers()["location"], "https://shop.example/cart?id=7");
//! # Ok(()) }
//! ```

mod answer;
mod client_ip;
mod correlation_id;
mod cors;
mod error;
mod fallback;
mod forwarded;
mod grpc_web;
mod headers;
mod normalize;
mod redirect;
mod respond;
mod rewrite;
mod security_headers;
mod strip_prefix;
mod target;
mod template;
mod underscores;
mod via;

pub use answer::{AnswerFuture, OwnOrInner};
pub use client_ip::{ClientIp, ClientIpLayer};
pub use correlation_id::{CorrelationId, CorrelationIdLayer, CorrelationIdSettings};
pub use cors::{Cors, CorsLayer, CorsSettings};
pub use error::TransformError;
pub use fallback::{Fallback, FallbackFuture, FallbackLayer, FallbackOn, FallbackSettings};
pub use forwarded::{ClientFrom, Forwarded, ForwardedLayer, ForwardedSettings, only_proxies_say};
pub use grpc_web::{GrpcWeb, GrpcWebBody, GrpcWebError, GrpcWebFuture, GrpcWebLayer, GrpcWebRequestBody};
pub use headers::{HeaderEdits, HeaderRules, Headers, HeadersLayer};
pub use normalize::{EncodedSet, NormalizeSettings, PathError, TrailingSlash, normalize_path};
pub use redirect::{Redirect, RedirectLayer, RedirectScheme, RedirectSettings};
pub use respond::{MaintenanceLayer, MaintenanceSettings, Respond, RespondLayer, RespondSettings};
pub use rewrite::{
    PathRewrite, QueryEdits, RegexRewrite, ReplacePrefix, Rewrite, RewriteLayer, RewriteSettings,
};
pub use security_headers::{SecurityHeaders, SecurityHeadersLayer, SecurityHeadersSettings};
pub use strip_prefix::{StripPrefix, StripPrefixLayer, StripPrefixSettings};
pub use template::check_placeholders;
pub use underscores::{UnderscoreHeaders, UnderscoreHeadersLayer, Underscores};
pub use via::{Via, ViaLayer, ViaSettings};
