//! A shared HTTP cache (RFC 9111) as a tower layer, in front of any service: of a gateway, of axum, or of a hyper
//! client.
//!
//! ```
//! use axum::{body::Body, extract::Request, http::header::CACHE_CONTROL, routing::get, Router};
//! use gateway_cache::{CacheLayer, CacheSettings, CacheStore};
//! use gateway_core::units::ByteSize;
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = CacheStore::new(ByteSize::kib(64 * 1024));
//! let cache = CacheLayer::new("demo", &CacheSettings::default(), &store)?;
//! let hello = get(|| async { ([(CACHE_CONTROL, "max-age=60")], "hello") });
//! let app: Router = Router::new().route("/", hello).layer(cache);
//!
//! for expected in ["gateway; fwd=uri-miss; stored", "gateway; hit; ttl=60"] {
//!     let response = app.clone().oneshot(Request::get("/").body(Body::empty())?).await?;
//!     assert_eq!(response.headers()["cache-status"], expected);
//!     axum::body::to_bytes(response.into_body(), 1024).await?; // stored once it is whole
//! }
//! # Ok(()) }
//! ```
//!
//! `examples/reverse_proxy.rs` puts it in front of a hyper client. In axum, hyper and tonic, and between other layers:
//! [in a service of yours](gateway_core#the-layers-in-a-service-of-yours).
//!
//! # What is stored, and for how long
//!
//! | of | rule |
//! |---|---|
//! | methods | `GET`; `HEAD` is answered from it; [`QUERY`](#query) by choice; what a [`POST`](#post) answers, by choice, for a later `GET`. All others pass; those that may change something make their URL, and those of the same origin in `Location` and `Content-Location`, out of date once they succeed (§4.4); those that do not pass the layer, by an [`InvalidateLayer`] |
//! | lifetime | `override`, `CDN-Cache-Control` (RFC 9213), `s-maxage`, `max-age`, `Expires`, then the settings' `negative` or `ttl`, then `heuristic`; of several values of a directive the least, of malformed ones none |
//! | never | `no-store`, `private`, `Vary: *`, `Set-Cookie` unless `set_cookie`, 206, 412, 416, event streams, gRPC, what has trailers, what is larger than `max_entry`, what broke off or is not as long as announced |
//! | `Authorization`, [`Principal`](gateway_core::Principal) | only with `public`, `must-revalidate` or `s-maxage` (§3.5), or by the operator's `ttl`; and each caller has a copy of their own unless `isolation = "shared"`, by which no `ttl` is leave |
//! | `Cookie` | the operator's `ttl` is not for answers to requests with cookies that are not in the key, unless it `override`s; such requests are answered with what others left |
//! | `Vary` | up to 32 variants of a URL; selecting headers are compared without spaces, encodings in any order |
//! | `must-understand` | stored if the status is known, even with `no-store` (§5.2.2.3) |
//! | upgrades, `CONNECT`, other requests with a body, `bypass` | go around the cache |
//!
//! The key is the scheme, host, path and query of the request as it comes: normalise paths further out. What of the
//! query counts may be named, or told in the words of `No-Vary-Search` ([`KeySettings::no_vary_search`]), or learned
//! from answers that have this header ([`KeySettings::learn_no_vary_search`]): then the last answer of a path that is
//! stored says what counts of the path's queries. Rules are part of keys, so that nobody is given what the rule of that
//! very answer tells apart; a purge of any query of the path takes all that is stored by such rules. All layers that
//! share a [`CacheStore`] and have the same name share answers: to two services that are asked for the same paths, give
//! caches of different names. So it is within axum's `nest`, which takes the prefix off before the cache sees the path:
//!
//! ```
//! use axum::{body::Body, extract::Request, http::header::CACHE_CONTROL, routing::get, Router};
//! use gateway_cache::{CacheLayer, CacheSettings, CacheStore};
//! use gateway_core::units::ByteSize;
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = CacheStore::new(ByteSize::kib(64 * 1024));
//! let mut app: Router = Router::new();
//! for name in ["books", "films"] {
//!     let cache = CacheLayer::new(name, &CacheSettings::default(), &store)?;
//!     let list = get(move || async move { ([(CACHE_CONTROL, "max-age=60")], name) });
//!     app = app.nest(&format!("/{name}"), Router::new().route("/list", list).layer(cache));
//! }
//! for name in ["books", "films"] {
//!     let response = app.clone().oneshot(Request::get(format!("/{name}/list")).body(Body::empty())?).await?;
//!     assert_eq!(axum::body::to_bytes(response.into_body(), 1024).await?, name);
//! }
//! # Ok(()) }
//! ```
//!
//! Around the whole router, one cache sees whole paths.
//!
//! # `QUERY`
//!
//! With `methods = ["GET", "HEAD", "QUERY"]`, a `QUERY` (RFC 10008) is treated as a `GET` is. The [`QueryLayer`], put
//! right before the cache, reads its body up to `max_query`: the key has a digest of it, of `Content-Type`,
//! `Content-Encoding` and `Content-Language`. White space between the parts of JSON does not count. Longer bodies go
//! around the cache.
//!
//! ```
//! use axum::{body::Body, extract::Request, http::header::CACHE_CONTROL, routing::any, Router};
//! use gateway_cache::{CacheLayer, CacheMethod, CacheSettings, CacheStore};
//! use gateway_core::units::ByteSize;
//! use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = CacheSettings { methods: vec![CacheMethod::Query], ..CacheSettings::default() };
//! let cache = CacheLayer::new("demo", &settings, &CacheStore::new(ByteSize::kib(64 * 1024)))?;
//! let find = any(|body: String| async move { ([(CACHE_CONTROL, "max-age=60")], body) });
//! let app: Router = Router::new().route("/", find).layer(cache.clone());
//! let app = tower::util::option_layer(cache.query()).layer(app);
//!
//! for (body, expected) in [("a", "fwd=uri-miss; stored"), ("b", "fwd=uri-miss; stored"), ("a", "hit; ttl=60")] {
//!     let request = Request::builder().method("QUERY").uri("/").body(Body::from(body))?;
//!     let response = app.clone().oneshot(request).await?;
//!     assert_eq!(response.headers()["cache-status"], format!("gateway; {expected}"));
//!     assert_eq!(axum::body::to_bytes(response.into_body(), 1024).await?, body);
//! }
//! # Ok(()) }
//! ```
//!
//! # `POST`
//!
//! With `methods = ["GET", "HEAD", "POST"]`, a 200 to a `POST` is stored for a `GET` of the same URL if it says that it is
//! one (RFC 9110 §9.3.3): its `Content-Location` is that URL, and it says itself how long it is fresh. Every `POST`
//! reaches the upstream.
//!
//! # How it is used
//!
//! | when | what happens |
//! |---|---|
//! | fresh | answered, with `Age`; 304 where the client has it already; 206 or 416 for one range, with `If-Range` |
//! | stale | the upstream is asked with `If-None-Match` and `If-Modified-Since`; its 304 refreshes what is stored |
//! | stale, within `stale-while-revalidate` | answered, and refreshed once in the background by the [`Executor`] |
//! | stale, the upstream fails, within `stale-if-error` | answered (500, 502, 503, 504, or no answer at all) |
//! | `must-revalidate`, `proxy-revalidate`, `s-maxage`, `no-cache` | never answered stale |
//! | client: `no-cache`, `max-age`, `min-fresh`, `max-stale` | followed, unless `client_directives = false` |
//! | client: `only-if-cached` | 504 `not-cached` if nothing stored answers |
//! | client's own conditions, nothing stored | passed on |
//!
//! # Many at once
//!
//! Of requests that miss the same answer, the first asks the upstream; the others wait, at most `collapse_timeout`, and
//! are streamed the body as it comes. Who has read all that there is asks the upstream for more, so that nobody waits
//! for a slow reader and the body goes on when the first client goes away. Of a body that turns out larger than
//! `max_entry` no more than that is held: who falls behind by more is cut off, the first who asked only when it has read
//! nothing for a second while others wait. When all have gone, what has arrived is
//! taken, and stored if that is all of it; the rest is given up.
//!
//! They get the answer only if it is stored, fresh, and says the same for what it varies by. When it is not for them,
//! or the upstream fails, each asks for itself, and for ten seconds nobody waits for that key. Who asks after a purge
//! never gets what was asked for before it.
//!
//! # Where it is stored
//!
//! In memory, bounded in bytes, what was never asked for again forgotten first (SIEVE). With
//! [`CacheStore::with_tier`] also in a [`Store`](gateway_store::Store) that instances share (Redis: the feature `redis`, on
//! by default), compressed by LZ4 from
//! 1 KiB on and checksummed: a tier that fails, is slow, or holds something broken is a miss.
//! [`CacheStore::purge`] and the method `PURGE` reach all instances.
//!
//! # What is told
//!
//! `Cache-Status` (RFC 9211) in each answer: `gateway; hit; ttl=30`, `fwd=uri-miss`, `vary-miss`, `stale`, `request`,
//! `bypass` or `method`, with `fwd-status`, `stored` and `collapsed`; in one word, for logs, the extension
//! [`CacheResult`](gateway_core::CacheResult). [`CacheLayer::count`] for metrics.
//! [`CacheLayer::fresh_for`] tells beforehand whether a request would be a hit.
//!
//! # Not done
//!
//! Parts are not stored and combined (§3.3, §3.4), and a qualified `private="field"` or `no-cache="field"` counts as one without fields.

mod answer;
mod body;
mod clock;
mod engine;
mod entry;
mod executor;
mod fetch;
mod fill;
mod flight;
mod future;
mod invalidation;
mod key;
mod layer;
mod purging;
mod query;
mod semantics;
mod service;
mod settings;
mod store;
mod wakers;

pub use body::CacheBody;
pub use executor::{Executor, LocalExecutor, TokioExecutor};
pub use fill::SharedBodyError;
pub use future::{CacheFuture, RefreshFuture};
pub use gateway_core::Mode;
pub use invalidation::{Invalidate, InvalidateFuture, InvalidateLayer};
pub use layer::CacheLayer;
pub use query::{Query, QueryFuture, QueryLayer};
pub use service::Cache;
pub use settings::{
    BypassSettings, CacheError, CacheMethod, CacheSettings, Isolation, KeySettings, PurgeSettings,
};
pub use store::CacheStore;
pub use store::purge::{Purge, PurgeMode};
pub use store::tier::TierTask;
