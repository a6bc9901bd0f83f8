//! Overload protection as tower layers: what is more than can be done well is refused early and cheaply.
//!
//! | layer | what it refuses |
//! |---|---|
//! | [`ConcurrencyLimitLayer`] | what comes while so many requests are in progress, of all or of each caller |
//!
//! What is refused is answered 503 `overloaded`, or 429 `rate-limited` where one caller has too much, with
//! `Retry-After: 1`.
//!
//! ```
//! use axum::{body::Body, extract::Request, routing::get, Router};
//! use gateway_overload::{ConcurrencyLimitLayer, ConcurrencySettings};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limit = ConcurrencyLimitLayer::new(&ConcurrencySettings::all(1))?;
//! let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(limit);
//!
//! let first = app.clone().oneshot(Request::get("/").body(Body::empty())?).await?;
//! let second = app.clone().oneshot(Request::get("/").body(Body::empty())?).await?;
//! assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 503));
//! drop(first); // its body has ended, or the client has gone
//! let third = app.oneshot(Request::get("/").body(Body::empty())?).await?;
//! assert_eq!(third.status(), 200);
//! # Ok(()) }
//! ```
//!
//! # How many at once
//!
//! | setting | meaning |
//! |---|---|
//! | `100` | 100 requests in progress, from their start to the end of the answer's body; the next is refused |
//! | `key = "client_ip"` | 100 of each address; also `caller`, `principal`, `header:NAME` |
//! | `queue = { length = 50, timeout = "1s" }` | 50 more wait for their turn, first come, first served, for a second each |
//!
//! All workers share one count. Without a queue it is kept in atomics, by key too; with one, a lock is held for
//! as long as it takes to change a line.

mod concurrency;
mod refusal;
mod settings;

pub use concurrency::{
    ConcurrencyFuture, ConcurrencyKey, ConcurrencyLimit, ConcurrencyLimitLayer, ConcurrencySettings,
    QueueSettings, SlotBody,
};
pub use settings::{Mode, OverloadError};
