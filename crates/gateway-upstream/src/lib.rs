//! Connections to service instances: a pool per endpoint and a lean HTTP/1.1 client, written for proxies.
//!
//! [`HttpUpstream`] sends requests to one [`Endpoint`](gateway_core::Endpoint). It differs from a general client
//! in what a proxy needs:
//!
//! * the request head is borrowed and written straight to the wire; hop-by-hop headers (RFC 9110 §7.6.1) and
//!   framing headers never leave, nor do those that `Connection` nominates, unless they are end-to-end ones that
//!   a client must not be able to drop;
//! * no task per connection and no hop between tasks: whoever waits for the answer drives the socket;
//! * bodies stream both ways with back-pressure, an answer may come before the request body has ended;
//! * answers that are not unambiguous HTTP/1.1 (RFC 9112 §6.3) are failures, never passed on;
//! * what failed, and whether the request may have been processed, is in [`FailureKind`](gateway_core::FailureKind).
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

mod body;
mod client;
mod connection;
mod request;
mod settings;

pub use body::UpstreamBody;
pub use client::HttpUpstream;
pub use settings::{HostHeader, UpstreamSettings};
