//! Rate limits as a tower layer: GCRA, in memory, by caller or client address, with tiers.
//!
//! A request over the limit is answered 429 `rate-limited` with `Retry-After`; every answer tells how much is
//! left in the `RateLimit` and `RateLimit-Policy` fields (IETF draft-ietf-httpapi-ratelimit-headers).
//!
//! | setting | meaning |
//! |---|---|
//! | `"100/min"` | 100 at once, then one every 0.6 s; request 101 within the minute is refused |
//! | `"1000/h burst 50"` | 50 at once, then one every 3.6 s |
//! | `anonymous`, `authenticated`, `api_key` | another limit for each kind of caller |
//! | `key` | what is counted: `caller` (who is authenticated, else the address), `client_ip`, `principal`, `all` |
//!
//! It differs from tower's own `RateLimit` in that the state is the layer's: it holds across clones, connections
//! and threads, which is what makes it work under axum.
//!
//! ```
//! use axum::{body::Body, extract::Request, routing::get, Router};
//! use gateway_ratelimit::{RateLimitLayer, RateLimitSettings};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limit = RateLimitLayer::new("demo", &RateLimitSettings::all("2/min".parse()?))?;
//! let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(limit);
//!
//! for status in [200, 200, 429] {
//!     let response = app.clone().oneshot(Request::get("/").body(Body::empty())?).await?;
//!     assert_eq!(response.status(), status);
//! }
//! # Ok(()) }
//! ```
//!
//! IPv6 clients are counted by their /64 network. A request without a
//! [`ClientAddr`](gateway_core::ClientAddr) extension has no address: all such requests share one count.

mod gcra;
mod headers;
mod key;
mod layer;
mod limit;
mod settings;
mod store;

pub use gcra::{Decision, decide};
pub use layer::{RateLimit, RateLimitError, RateLimitFuture, RateLimitLayer};
pub use limit::Limit;
pub use settings::{KeyBy, Mode, RateLimitSettings};
