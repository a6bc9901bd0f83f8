//! Connections to service instances: HTTP/1.1 and HTTP/2, in plain text or TLS, written for proxies.
//!
//! [`HttpUpstream`] sends requests to one [`Endpoint`](gateway_core::Endpoint). It differs from a general client
//! in what a proxy needs:
//!
//! * the request head is borrowed; hop-by-hop headers (RFC 9110 §7.6.1) and framing headers never leave, nor do
//!   those that `Connection` nominates, unless they are end-to-end ones that a client must not be able to drop;
//!   of `TE` only `trailers` passes, as gRPC needs it;
//! * bodies and trailers stream both ways with back-pressure, an answer may come before the request body has ended;
//! * answers that are not unambiguous (RFC 9112 §6.3, RFC 9113 §8.1.1) are failures, never passed on;
//! * interim answers (1xx) such as `103 Early Hints` go to whoever listens ([`gateway_core::interim`]), up to eight;
//! * what failed, and whether the request may have been processed, is in [`FailureKind`](gateway_core::FailureKind).
//!
//! | endpoint | [`protocol`](Protocol) | spoken |
//! |---|---|---|
//! | `http://…`, `unix:/…` | `auto`, `http1` | HTTP/1.1 |
//! | | `http2` | HTTP/2 by prior knowledge ("h2c") |
//! | `https://…` | `auto` | HTTP/2 or HTTP/1.1, as the upstream prefers; upgrades always over HTTP/1.1 |
//! | | `http1`, `http2` | that; an upstream that does not is a failure to connect |
//!
//! **HTTP/1.1** has no task per connection and no hop between tasks: whoever waits for the answer drives the
//! socket, and the head is written straight to the wire. How much is read at first is learned from the answers
//! before. A request that finds its idle connection closed is sent once more if that is safe.
//!
//! **HTTP/2** shares few connections among all requests of a worker, each driven by a task that is spawned where
//! the request is sent. Another is opened when the peer's or our own limit of streams is reached. Requests that
//! come back unprocessed (`REFUSED_STREAM`, `GOAWAY`) are sent again as long as nothing of their body was taken,
//! and are [`Refused`](gateway_core::FailureKind::Refused) otherwise. A connection that answers no ping is closed.
//! Requests to change the protocol, which the server in front tells by [`Upgrade`](gateway_core::Upgrade) in their
//! extensions (axum's and hyper's do not), are streams of their own (RFC 8441) where only
//! HTTP/2 is spoken, and go without that wish to an upstream that does not know of those.
//! What one client does, be it cancelling request after request, closes no connection that others share.
//!
//! **TLS** needs an [`UpstreamTls`], loaded once per service: certificates are verified against the system's
//! authorities or those of `tls.ca_file`, and an own certificate can be shown. Why a handshake failed is said in
//! the failure's message.
//!
//! **PROXY protocol**: with `proxy_protocol` each connection begins by saying, before TLS, who the client is: its
//! [`ClientAddr`](gateway_core::ClientAddr), which behind trusted proxies is the one they name, and the address that was
//! connected to. As with HAProxy's `send-proxy`, a connection is only used again for who it was made for, address and
//! port; requests without a client, such as health checks, go as `LOCAL` or `UNKNOWN`. HTTP/1.1 only, as requests of all
//! clients share an HTTP/2 connection.
//!
//! **Limits** of the pool are those of one client: `max_idle`, `idle_timeout`, `max_lifetime`, `max_requests`,
//! `max_streams`; see [`UpstreamSettings`]. `max_connections` may be shared by the clients of several workers, and there
//! may be one for many endpoints together: [`ConnectionLimits`].
//!
//! ```
//! use axum::{routing::get, Router};
//! use gateway_core::{Endpoint, Upstream};
//! use gateway_upstream::{HttpUpstream, UpstreamSettings};
//! use http_body_util::{BodyExt, Empty};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr()?))?;
//! tokio::spawn(async { axum::serve(listener, Router::new().route("/", get(|| async { "hello" }))).await });
//!
//! let upstream = HttpUpstream::new(endpoint, UpstreamSettings::default());
//! let (head, body) = http::Request::get("/").body(Empty::<bytes::Bytes>::new())?.into_parts();
//! let response = upstream.send(&head, body).await?;
//! assert_eq!(response.status(), 200);
//! assert_eq!(response.into_body().collect().await?.to_bytes(), "hello");
//! # Ok(()) }
//! ```
//!
//! Over TLS, with the files read before the first request:
//!
//! ```no_run
//! use gateway_core::Endpoint;
//! use gateway_upstream::{HttpUpstream, TlsSettings, UpstreamSettings, UpstreamTls};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tls = TlsSettings { ca_file: Some("/etc/gateway/ca.pem".into()), ..TlsSettings::default() };
//! let settings = UpstreamSettings { tls, ..UpstreamSettings::default() };
//! let tls = UpstreamTls::load(&settings)?;
//! let upstream = HttpUpstream::with_tls(Endpoint::parse("https://users")?, settings, Some(tls));
//! # Ok(()) }
//! ```

mod body;
mod client;
mod dial;
mod http1;
mod http2;
mod proxy_header;
mod settings;
mod slots;
mod socket;
#[cfg_attr(not(target_os = "linux"), path = "splice/elsewhere.rs")]
mod splice;
mod tls;

pub use body::UpstreamBody;
pub use client::HttpUpstream;
pub use settings::{HostHeader, Protocol, ProxyProtocol, TlsSettings, TlsVersion, UpstreamSettings};
pub use slots::{ConnectionLimit, ConnectionLimits};
pub use tls::{TlsError, UpstreamTls};
