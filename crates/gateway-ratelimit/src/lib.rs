//! Rate limits and quotas as a tower layer: five algorithms, in memory or shared by all instances over Redis.
//!
//! A request over a limit is answered 429 `rate-limited`, over a quota 429 `quota-exceeded`, with the limit's name and
//! `Retry-After`; every answer tells how much is left in the `RateLimit` and `RateLimit-Policy` fields
//! (draft-ietf-httpapi-ratelimit-headers-10) and, if wanted, in `X-RateLimit-*`.
//!
//! | setting | meaning |
//! |---|---|
//! | `limit = "100/min"` | 100 at once, then one every 0.6 s; request 101 within the minute is refused |
//! | `limit = "1000/h burst 50"` | 50 at once, then one every 3.6 s |
//! | `limit = ["10/s", "1000/h"]`, short `["10/s", "1000/h"]` | both must have room, else none is taken from; the tighter one speaks |
//! | `algorithm` | [`Algorithm`]: `gcra`, `token_bucket`, `fixed_window`, `sliding_window`, `leaky_bucket` |
//! | `anonymous`, `authenticated`, `api_key` | another limit for each kind of caller |
//! | `tiers`, `limit_from` | another limit by a claim, a header or [conditions](Condition), or the one that a claim holds |
//! | `quota = "10000/day"` | by the calendar, in `timezone`; told at 80 and 100 per cent ([`QuotaEvent`]) |
//! | `key` | what is counted: `caller`, `client_ip`, `{ header = "X-Tenant" }`, `{ claim = "org.id" }`, … or a list |
//! | `cost`, `settle` | what a request takes, and what its answer says that it took in the end, or what it is to take that does not say |
//! | `count = "failures"` | only refused logins and the like count |
//! | `penalty = "10m"` | who comes beyond the limit is refused for so long, whatever room there is meanwhile |
//! | `exempt` | who is not limited |
//! | `mode = "report"` | nobody is refused; [`Limited`](gateway_core::Limited) in the answer's extensions names the limit that would have |
//!
//! Several limits with keys, stores and modes of their own are put together by [`RateLimitsLayer`], all or nothing.
//! [`RateLimitLayer::counts`] and [`RateLimitLayer::quota_counts`] are for metrics.
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
//! Whose request it is says its [`Principal`](gateway_core::Principal), else its
//! [`ClientAddr`](gateway_core::ClientAddr), IPv6 by the /64 network. Both are extensions that something further out puts
//! there: all requests without any share one count, as those above do. In axum, with
//! `into_make_service_with_connect_info::<SocketAddr>()`:
//!
//! ```
//! # use axum::{extract::{ConnectInfo, Request}, middleware::{from_fn, Next}, response::Response, Router};
//! # use gateway_core::ClientAddr;
//! # use std::net::SocketAddr;
//! async fn client(ConnectInfo(addr): ConnectInfo<SocketAddr>, mut request: Request, next: Next) -> Response {
//!     request.extensions_mut().insert(ClientAddr(addr));
//!     next.run(request).await
//! }
//! # fn app(app: Router) -> Router {
//! app.layer(from_fn(client)) // around the limit: of axum's layers the one added last runs first
//! # }
//! ```
//!
//! What else to mind in axum, hyper and tonic, and between other layers:
//! [in a service of yours](gateway_core#the-layers-in-a-service-of-yours).
//!
//! # Over Redis
//!
//! With the feature `redis`, which is on by default, [`RateLimitLayer::with_store`] shares the counts; each caller has one key, `rate_limit:{principal=ada}:standard`,
//! never without a time to live.
//!
//! | `shared` | a request | instances together pass |
//! |---|---|---|
//! | `exact` | waits one round trip, at most the store's deadline | the limit: one atomic script, by the server's time |
//! | `leased` | never waits, while there is room for its caller's share | at most one lease per instance more than the limit, which is missing later |
//! | `local` | never waits | the limit each |
//!
//! With windows, what `leased` has let pass beyond one window is forgotten with it. When Redis is away,
//! `on_store_failure` decides: by default each instance counts for itself, by its share of the limit where `replicas`
//! says how many there are, and what it has let pass is taken off when Redis is back.
//!
//! # What must be run beside
//!
//! | where there is | run |
//! |---|---|
//! | `leased`, `settle` or `count = "failures"` over Redis, `quota_file` | [`RateLimitLayer::background`], once per layer |
//! | `quota_file` | [`RateLimitLayer::restored`] at the start |
//! | `settle = { json = "…" }` | a [`SettleLayer`] around the layer |
//! | `key = "route"` or `"service"` | [`RateLimitLayer::with_route`], [`RateLimitLayer::with_service`] |
//!
//! ```no_run
//! # use gateway_ratelimit::{RateLimitLayer, RateLimitSettings};
//! # use gateway_store::{RedisSettings, Store, StoreSettings};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let redis = RedisSettings::new("redis://127.0.0.1:6379");
//! let store = Store::open(&StoreSettings { redis: Some(redis), ..StoreSettings::default() })?;
//! let settings = RateLimitSettings::all("1000/h".parse()?);
//! let limit = RateLimitLayer::new("standard", &settings)?.with_store(store.per_worker());
//! if let Some(background) = limit.background() {
//!     tokio::spawn(background.run(async { std::future::pending().await }));
//! }
//! # Ok(()) }
//! ```
//!
//! What is no HTTP request is limited by a [`KeyedLimit`]: messages of a WebSocket, mails, attempts at a password.
//! The arithmetic stands alone: [`decide`] and [`take`] are functions of a [`State`], the time, a cost and a [`Rule`].

mod algorithm;
mod background;
mod clock;
mod condition;
mod cost;
mod error;
mod events;
mod exempt;
mod facts;
mod headers;
mod key;
mod keyed;
mod layer;
mod limit;
mod limiter;
mod plan;
mod quota;
mod service;
mod settings;
mod settle;
mod shared;
mod snapshot;
mod store;
mod tally;
mod together;

pub use algorithm::{Algorithm, Decision, Rule, State, decide, take, used};
pub use background::Background;
pub use condition::Condition;
pub use error::RateLimitError;
pub use events::QuotaEvent;
pub use gateway_core::Mode;
pub use key::{KeyBy, KeyPart, OnMissing};
pub use keyed::KeyedLimit;
pub use layer::RateLimitLayer;
pub use limit::Limit;
pub use quota::{Quota, TimeZone};
pub use service::{RateLimit, RateLimitFuture};
pub use settings::{
    CostSettings, CountWhat, ExemptSettings, LimitFromSettings, Limits, MetaSource, OnStoreFailure, Per,
    Quotas, RateLimitSettings, SettleSettings, Shared, TierExpression, TierSettings,
};
pub use settle::{SettleBody, SettleFuture, SettleLayer, SettleService};
pub use tally::{LimitCounts, QuotaCounts};
pub use together::{RateLimits, RateLimitsLayer};
