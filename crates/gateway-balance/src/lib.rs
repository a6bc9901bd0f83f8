//! Load balancing over the endpoints of a service: picking, health seen and asked for, circuit breakers, retries
//! within a budget, and timeouts, as one tower service.
//!
//! [`Balance`] takes a request and answers with the response of one of its endpoints, or with a problem:
//!
//! | situation | answer |
//! |---|---|
//! | no endpoint is healthy | 503 `no-endpoint` and `Retry-After: 1` |
//! | a circuit is open | 503 `circuit-open` and `Retry-After` |
//! | as many requests as allowed are on their way, or no connection is left for one | 503 `overloaded` and `Retry-After: 1` |
//! | no connection to any endpoint tried | 502 `upstream-connect-failed` |
//! | the connection broke before an answer | 502 `upstream-reset` |
//! | the answer was not valid HTTP | 502 `upstream-protocol-error` |
//! | no answer in time, retries included; or none before the client's own deadline | 504 `upstream-timeout` |
//!
//! Such an answer has its [`Problem`](gateway_core::Problem), and with it the [`Code`](gateway_core::Code), in its
//! extensions, for a layer around it that asks someone else or answers from a cache. An answer that came from an endpoint has
//! no problem, whatever its status. Either has the [`Endpoint`](gateway_core::Endpoint) there that was asked last, if any was.
//!
//! What is decided by whom:
//!
//! | settings | what they say | at first |
//! |---|---|---|
//! | [`Strategy`] | which endpoint is next: in turn, at random, by load, by latency, by a hash of the request | in turn |
//! | [`HashOn`], [`LoadFactor`] | what is hashed, and how uneven that may make the load | the client's address; any |
//! | [`StickySettings`] | a cookie brings a client back to its endpoint | off |
//! | [`SubsetSettings`] | requests go only to endpoints with a label that they ask for | off |
//! | [`HealthSettings`] | active checks over HTTP, TCP or gRPC take an endpoint out and back in | off |
//! | [`OutlierSettings`] | an endpoint that keeps failing, or fails more than the others, is left alone for a while | on |
//! | [`PanicSettings`] | ejections are ignored when too few endpoints are left | below half |
//! | [`SlowStartSettings`] | an endpoint that is new or comes back gets its share bit by bit | off |
//! | [`CircuitSettings`] | too many failures stop all requests for a while, to the service or to one endpoint; by a [`RouteCircuit`], those of a route | off |
//! | [`BulkheadSettings`] | how many requests wait at once for a service that answers hardly any of them | 1000 |
//! | [`HoldSettings`] | requests wait while no endpoint can take them | off |
//! | [`LimitSettings`] | how many requests may be on their way at once | any number |
//! | [`RetrySettings`], [`RetryOn`], [`RetryHeader`] | what is tried again, at another endpoint: failures, statuses, gRPC statuses, headers of answers | once, where it is safe |
//! | [`HedgeSettings`] | when a second endpoint is asked because the first is slow | off |
//! | [`TimeoutSettings`] | how long all of it may take | 15 s |
//!
//! Some requests, such as those of one route, may have other timeouts and retries: [`RouteTimeoutSettings`] and
//! [`RouteRetrySettings`] say what differs, and [`Balance::with_settings`] takes what holds then.
//!
//! All but the last three and the checks stand together in [`PolicySettings`], which an [`EndpointSet`] is made
//! with; its state is shared by all that balance over the set. Endpoints may also have weights and priorities:
//! those of the next priority take over what the ones before cannot, from the point where fewer than five
//! sevenths of them are available. In the same way those of other zones take over from those of
//! [`PolicySettings::zone`], within a priority. No part needs a task but the active checks: what ends with time is noticed
//! by the next request. A request that succeeds takes no lock, but for a moment to borrow a timer of its worker's.
//!
//! Timeouts hold until the answer's head. What a client says of its own deadline, in `grpc-timeout` or in the header
//! that [`TimeoutSettings`] names, shortens them, and the endpoint is told what is left. Bodies, and so streams of any
//! kind, are not cut off, in neither direction: what a client takes to send a request's body is not part of its timeouts.
//!
//! Circuits and limits have a `mode`: with `report` they refuse nobody, count whom they would, and say so in the answer's
//! extensions ([`Limited`](gateway_core::Limited)).
//!
//! Where the settings of a service change while it runs, [`EndpointSet::renewed`] makes the set that follows: what is
//! known of the endpoints that both have, and the requests on their way to them, count on.
//!
//! An endpoint that a new set does not have any more is not picked from the moment that a balance over that set takes
//! requests; those on their way go on. What has no end of its own, tunnels, event streams and gRPC, is given one by
//! [`EndpointSet::replaced_by`]. With the last clone of the old balance its idle connections are closed, and each of
//! the others when its answer has ended.
//!
//! # In an app of yours
//!
//! | what | how |
//! |---|---|
//! | where it stands | it is a service, not a layer: axum's `fallback_service` or `nest_service`, or a route of `gateway-routing` |
//! | runtimes | timers and connections belong to the one that they are first used in: where there are several at once, each has a balance of its own over the same [`EndpointSet`] |
//! | health | [`health_checks`] is a future that you spawn; without it, only what requests meet tells |
//! | `Host` | is passed on, unless the settings of `gateway-upstream` say otherwise |
//! | `X-Forwarded-For`, `Via`, the path | stay as they are: for those there are the layers of `gateway-transform` |
//! | WebSockets and other tunnels | only below a server that says [`Upgrade`](gateway_core::Upgrade), as `gateway-server` does. axum's and hyper's do not: there the request goes on without the wish to change protocols |
//!
//! Retrying and picking are one service because a retry must go to another endpoint, and because the request's
//! head need not be copied for it. What sends the requests is any [`Upstream`](gateway_core::Upstream), for
//! instance that of `gateway-upstream`.
//!
//! ```
//! use axum::{routing::get, Router};
//! use gateway_balance::{Balance, BalanceSettings, EndpointSet, Strategy};
//! use gateway_core::Endpoint;
//! use gateway_upstream::{HttpUpstream, UpstreamSettings};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let endpoints = vec![Endpoint::parse(&format!("http://{}", listener.local_addr()?))?];
//! tokio::spawn(async { axum::serve(listener, Router::new().route("/", get(|| async { "hello" }))).await });
//!
//! // A reverse proxy in an axum app.
//! let set = EndpointSet::new("hello", endpoints, Strategy::RoundRobin);
//! let proxy = Balance::new(set, &BalanceSettings::default(), |endpoint| {
//!     HttpUpstream::new(endpoint.clone(), UpstreamSettings::default())
//! });
//! let app: Router = Router::new().fallback_service(proxy);
//!
//! let request = axum::extract::Request::get("/").body(axum::body::Body::empty())?;
//! let response = tower::ServiceExt::oneshot(app, request).await?;
//! assert_eq!(axum::body::to_bytes(response.into_body(), 1024).await?, "hello");
//! # Ok(()) }
//! ```

mod backoff;
mod bias;
mod budget;
mod bulkhead;
mod circuit;
mod client_deadline;
mod deadline;
mod departures;
mod entry;
mod ewma;
mod failure;
mod hash;
mod health;
mod hedge;
mod hold;
mod limits;
mod member;
mod outlier;
mod panic;
mod percent;
mod pick;
mod plan;
mod policy;
mod replay;
mod retry;
mod retry_header;
mod retry_on;
mod route_circuit;
mod route_settings;
mod service;
mod set;
mod settings;
mod slow_start;
mod sticky;
mod strategy;
mod subset;
mod timeout;

pub use backoff::Backoff;
pub use bias::RequestBias;
pub use budget::RetryBudgetSettings;
pub use bulkhead::BulkheadSettings;
pub use circuit::{CircuitSettings, CircuitState};
pub use client_deadline::MillisHeader;
pub use ewma::EwmaSettings;
pub use hash::{HashKey, HashOn, LoadFactor};
pub use health::{HealthCheck, HealthSettings, StatusRanges, health_checks};
pub use hedge::{HedgeDelay, HedgeSettings};
pub use hold::HoldSettings;
pub use limits::LimitSettings;
pub use outlier::{FailurePercentageSettings, OutlierMode, OutlierSettings, SuccessRateSettings};
pub use panic::{Ignored, PanicSettings};
pub use percent::Percent;
pub use policy::PolicySettings;
pub use replay::Replay;
pub use retry_header::RetryHeader;
pub use retry_on::RetryOn;
pub use route_circuit::RouteCircuit;
pub use route_settings::{RouteRetrySettings, RouteTimeoutSettings};
pub use service::{Balance, BalancedBody};
pub use set::{EndpointSet, EndpointState};
pub use settings::{BalanceSettings, RetrySettings, TimeoutSettings};
pub use slow_start::SlowStartSettings;
pub use sticky::{SameSite, StickyKey, StickySettings};
pub use strategy::Strategy;
pub use subset::{SubsetFallback, SubsetFrom, SubsetSettings};
