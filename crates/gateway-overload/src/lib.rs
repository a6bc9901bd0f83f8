//! Overload protection as tower layers: what is more than can be done well is refused early and cheaply.
//!
//! | layer | what it refuses |
//! |---|---|
//! | [`ConcurrencyLimitLayer`] | what comes while so many requests are in progress, of all or of each caller |
//! | [`AdaptiveLimitLayer`] | what comes while the service has as many requests as it can answer without queueing |
//! | [`AdmissionLayer`] | a share of all while too many requests fail, the least important first |
//! | [`FaultLayer`] | nothing: it injects delays, errors and slow answers, to see how clients bear the above |
//!
//! Each of the first three has a `mode`: `report` refuses nobody, and only counts whom it would. Whoever is refused, or
//! would be, is told in the answer's extensions ([`Limited`](gateway_core::Limited)): `concurrency`, `adaptive` or
//! `admission`.
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
//! Who calls is told by the [`ClientAddr`](gateway_core::ClientAddr) and the [`Principal`](gateway_core::Principal) in the
//! request's extensions, which something further out puts there. That, and what else to mind in axum, hyper and tonic, and
//! between other layers: [in a service of yours](gateway_core#the-layers-in-a-service-of-yours).
//!
//! # How many at once
//!
//! | setting | meaning |
//! |---|---|
//! | `100` | 100 requests in progress, from their start to the end of the answer's body; the next is refused |
//! | `key = "client_ip"` | 100 of each address; also `caller`, `principal`, `header:NAME` |
//! | `queue = { length = 50, timeout = "1s" }` | 50 more wait for their turn, first come, first served, for a second each |
//! | `queue.codel = true` | while the first in line has waited for over 5 ms at every turn for 100 ms, the newest goes first and whoever has waited for over 5 ms is refused ([`CodelSettings`]) |
//!
//! All workers share one count. Without a queue it is kept in atomics, by key too; with one, a lock is held for
//! as long as it takes to change a line.
//!
//! # As many as the service can bear
//!
//! Without a queue, more requests at once leave the latency as it is; beyond the knee they only wait for each
//! other. [`AdaptiveLimitLayer`] measures the latency until the head of the answer, and moves its limit towards
//! the knee once in a window:
//!
//! | `algorithm` | a window is too slow when | and then | else |
//! |---|---|---|---|
//! | `gradient2` | it is slower than 1.2 times the long run | limit shrinks with the ratio, at most by a tenth | grows by `0.2 √limit` |
//! | `vegas` | the latency implies a queue over `6 log₁₀ limit` | less by `log₁₀ limit` | more, up to `6 log₁₀ limit` |
//! | `aimd` | it is slower than `slow` | a tenth less | one more |
//!
//! A window in which more than one answer in twenty was a 503, a 504, an error or a panic is too slow whatever its latency.
//! With `mode = "report"` the limit is measured, and who is over it counted, but nobody is refused.
//!
//! # The least important first
//!
//! [`AdmissionLayer`] sheds the share `p = max(0, (n − ok / 0.95) / (n + 1))` of all requests, at most 80 %, where
//! `n` were admitted and answered within 30 s and `ok` of them below 500. [`rejection`] is that formula.
//!
//! The share is taken from the classes in the order `sheddable`, `default`, `critical`: as much as possible from the
//! first, what is left from the next ([`shed_by_class`]). While 30 % of the requests are sheddable and 70 % default, a
//! share of 15 % sheds every second sheddable request and no other; one of 65 % all sheddable and half of the default.
//!
//! The class of a request is the [`Priority`] in its extensions, which a layer further out may set; else what
//! `priority_header` says, if the [`ClientAddr`](gateway_core::ClientAddr) is in a `trusted` network; else the
//! `priority` of the settings.
//!
//! Put it around an [`AdaptiveLimitLayer`]: the limit keeps its last tenth for critical requests and its last quarter
//! from sheddable ones, and its 503s are failures to admission, which then sheds earlier and more cheaply.
//!
//! # Faults on purpose
//!
//! | setting | meaning |
//! |---|---|
//! | `delay = { time = "2s", percent = 10 }` | every tenth request waits for two seconds before it goes on |
//! | `abort = { status = 503, percent = 5 }` | every twentieth is answered 503 `fault-injected`, after its delay if it has one |
//! | `rate = "10KiB"` | answers are sent at 10 KiB a second |
//! | `header = "x-fault"` | only requests with this header |
//! | `max_active = 100` | at most 100 delayed or slowed down at once; others pass untouched |
//!
//! Each fault is rolled for on its own. Where a stack's type has a place for them, [`FaultLayer::off`] and
//! [`ConcurrencyLimitLayer::off`] fill it: both change the type of the body.

mod adaptive;
mod admission;
mod concurrency;
mod fault;
mod panicked;
mod refusal;
mod settings;

pub use adaptive::{
    AdaptiveFuture, AdaptiveLimit, AdaptiveLimitLayer, AdaptiveSettings, Aimd, Algorithm, AlgorithmName,
    Bounds, Gradient2, Sample, Vegas,
};
pub use admission::{
    Admission, AdmissionFuture, AdmissionLayer, AdmissionSettings, Seen, rejection, shed_by_class,
};
pub use concurrency::{
    CodelSettings, ConcurrencyFuture, ConcurrencyKey, ConcurrencyLimit, ConcurrencyLimitLayer,
    ConcurrencySettings, QueueSettings, SlotBody,
};
pub use fault::{
    AbortFault, DelayFault, Fault, FaultFuture, FaultLayer, FaultSettings, Faults, PacedBody, RateFault,
};
pub use gateway_core::{Mode, Priority};
pub use settings::OverloadError;
