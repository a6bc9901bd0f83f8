//! The vocabulary of Gateway: what crosses the borders between its crates, and nothing with behaviour of
//! its own.
//!
//! | name | what it is |
//! |---|---|
//! | [`Problem`], [`Code`] | what a layer answers when it refuses: RFC 9457, with a stable code |
//! | [`ProblemLayer`] | shows every problem of the service below in one format; to gRPC clients as `grpc-status` |
//! | [`ProxyStatus`], [`ProxyError`] | the same cause in the words of RFC 9209, in `Proxy-Status` |
//! | [`Grpc`], [`is_event_stream`] | whether a request is a gRPC call, and an answer a stream of events |
//! | [`ClientAddr`], [`PeerAddr`], [`Scheme`], [`RequestId`], [`Principal`], [`ClientCertificate`], [`Captures`] | request extensions: the only channel between layers |
//! | [`Priority`] | request extension: how much a request matters when not all can be served |
//! | [`Limited`] | response extension: the rate limit that a request went beyond |
//! | [`Unenforced`] | response extension: why a request would have been refused that passes all the same |
//! | [`CacheResult`] | response extension: what a cache did with a request |
//! | [`PolicyDecision`] | what written policies said of a request, in the extensions of its answer |
//! | [`Endpoint`], [`Upstream`] | one instance of a service, and something that can send it a request |
//! | [`Body`] | a response body: nothing, bytes, or a stream, without a box |
//! | [`given_up`] | at which endpoint a request was when its client left |
//! | [`interim`] | answers before the answer, such as `103 Early Hints`, from an upstream to the client |
//! | [`KeyedHash`] | what stands for a caller or a token in a map: nobody outside can make two the same |
//! | [`with_causes`] | an error and what caused it, in one line |
//! | [`take_ready`] | the service to call later: the one that was made ready, not a clone of it |
//! | [`clock`] | the time as the thread last saw it, for what may be off by a moment |
//! | [`spare`] | the memory of heads that were used up, kept for the next ones |
//! | [`once`] | a header value that HTTP/2 need not remember |
//! | [`Mode`] | whether a policy is carried out, or only says what it would have done |
//! | [`Network`] | a range of addresses, or one address, as settings write it |
//! | [`Slot`], [`civil`] | one of a bounded number, given back; days since 1970 as dates |
//! | [`cookie`], [`percent`] | the cookies of a request, and what percent-encoded text stands for |
//! | [`units`] | settings with units in their values: `"5s"`, `"64KiB"`, and short forms of tables |
//!
//! ```
//! use axum::{body::Body, extract::Request, response::Response, routing::get, Router};
//! use gateway_core::{Code, Problem, ProblemFormat, ProblemLayer};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let app: Router = Router::new()
//!     .route("/", get(|| async { Problem::new(Code::Forbidden).into_response::<Body>() }))
//!     .layer(ProblemLayer::new(ProblemFormat::Message));
//!
//! let request = Request::get("/").body(Body::empty()).unwrap();
//! let response: Response = tower::ServiceExt::oneshot(app, request).await.unwrap();
//! assert_eq!(response.status(), 403);
//! let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
//! assert_eq!(body, "{\"message\":\"Forbidden\"}\n");
//! # }
//! ```
//!
//! # The layers in a service of yours
//!
//! All of them, and their services, are `Clone + Send + Sync`; the clones of a layer, and whatever stands around different
//! services, share its limits, keys and stored answers. They take bodies of any type, pass on whether the service below
//! is ready, and its errors, as they are; what they refuse is an answer. A request that is given up leaves nothing behind
//! but what it was counted for: its place in a queue, or among those in progress, is free. What has to run beside is a future that you spawn; what more than one request waits for, such
//! as a token or the refreshing of a stale answer, is a task of its own until it is there.
//!
//! | server | who connects, as [`ClientAddr`] in the request's extensions | bodies of answers |
//! |---|---|---|
//! | axum | a middleware copies it from `ConnectInfo` | as they are |
//! | hyper | `map_request` with the address that `accept` told | any that is made `From<Bytes>`: `Full<Bytes>`, [`Body`] |
//! | tonic | `map_request` copies it from `TcpConnectInfo` | a `MapResponseLayer` below makes them axum's |
//!
//! Without a [`ClientAddr`] all clients are one: a limit by caller is one limit for all who are not authenticated. What
//! layers refuse is a problem (RFC 9457) without any help; a [`ProblemLayer`] around them shows it in another format, and
//! to gRPC clients as `grpc-status`. Programs to copy: `ratelimit.rs` and `tonic.rs` in `examples/axum/src/bin`.
//!
//! | where | to mind |
//! |---|---|
//! | around a layer with a body of its own, as most of tower-http's | who answers instead makes the answer's body `From<Bytes>`, which theirs are not. axum's `Router::layer` makes them axum's each time; in a `ServiceBuilder`, tower-http's `MapResponseBodyLayer::new(axum::body::Body::new)` does so in between |
//! | order | of axum's layers the one added last meets the request first, in a `ServiceBuilder` the one named first |
//! | paths in axum | routes are found before their layers are asked: what changes the path belongs around the router, `layer.layer(router)`. Within `nest`, layers do not see the prefix |
//! | panics | what catches them belongs right around the service: then limits and metrics see an answer of 500. What passes through the layers is an answer that never came |
//! | tokio | whatever waits needs its runtime, with time enabled: for a turn, a delay, an answer that another request fetches, a store, a connection. The rest needs none |
//! | several runtimes | share the layers; what is over Redis takes a store by `per_worker` for each. A balance and its connections belong to one runtime: each has its own, over the same set of endpoints |

mod auth_refused;
mod body;
mod broke;
mod cache_result;
mod captures;
mod certificate;
pub mod civil;
mod client;
pub mod clock;
mod code;
pub mod cookie;
mod decision;
mod endpoint;
mod error;
mod event_stream;
pub mod given_up;
mod grpc;
pub mod interim;
mod keyed_hash;
mod limited;
mod mode;
mod network;
mod once;
pub mod percent;
mod principal;
mod priority;
mod problem;
mod problem_layer;
mod proxy_status;
mod ready;
mod recall;
mod received;
mod refusals;
mod request_id;
mod slot;
pub mod spare;
mod splice;
mod unenforced;
pub mod units;
mod upgrade;
mod upstream;

pub use auth_refused::AuthRefused;
pub use body::Body;
pub use broke::Break;
pub use cache_result::CacheResult;
pub use captures::Captures;
pub use certificate::{Certificate, ClientCertificate};
pub use client::{ClientAddr, PeerAddr, Scheme};
pub use code::Code;
pub use decision::PolicyDecision;
pub use endpoint::{Endpoint, EndpointError};
pub use error::{BoxError, with_causes};
pub use event_stream::is_event_stream;
pub use grpc::Grpc;
pub use keyed_hash::{KeyedHash, KeyedHasher};
pub use limited::Limited;
pub use mode::Mode;
pub use network::{Network, NetworkError, client_network};
pub use once::once;
pub use principal::{AuthMethod, Principal};
pub use priority::Priority;
pub use problem::{Problem, ProblemFormat};
pub use problem_layer::{Override, Overrides, ProblemLayer, ProblemService};
pub use proxy_status::{ProxyError, ProxyStatus};
pub use ready::take_ready;
pub use recall::{Recall, Recalled};
pub use received::Received;
pub use refusals::Refusals;
pub use request_id::RequestId;
pub use slot::Slot;
pub use splice::{Splice, Spliced};
pub use unenforced::Unenforced;
pub use upgrade::Upgrade;
pub use upstream::{BodyTimedOut, BodyTooLarge, FailureKind, Upstream, UpstreamError};
