//! The side of a gateway that faces clients: one connection at a time, HTTP/1.1 and HTTP/2 on the same port.
//!
//! [`serve_connection`] differs from a general server in what an edge needs:
//!
//! * what is no request is answered with a problem body, by the same [`Handler`] that answers requests: it is
//!   logged and counted like all others;
//! * ambiguous framing never gets past it (see [`gateway_http1`]);
//! * whoever is slow, in sending or in taking, is sent away: [`Limits`];
//! * a protocol upgrade is a request whose body and answer are the tunnel, so that layers need to know nothing of
//!   it; a WebSocket over an HTTP/2 stream (RFC 8441) is the same to them;
//! * whoever is connected when it drains ends in order: HTTP/1 by `connection: close`, HTTP/2 by GOAWAY, a WebSocket
//!   by a Close frame 1001 between two of its frames (RFC 6455 §7.4.1), another tunnel when it is done;
//! * a tunnel lasts no longer than [`Limits::tunnel_max_age`], where one is set, and a WebSocket is told so in the same way;
//! * interim answers such as `103 Early Hints` ([`gateway_core::interim`]) go out as they come, over HTTP/1.1 and HTTP/2;
//!   HTTP/1.0 does not know them;
//! * HTTP/1 is this crate's own, HTTP/2 stands on [h2](https://docs.rs/h2) for frames, windows and header compression:
//!   what a stream's client does not take waits in the stream's own task, and is let go with it;
//! * an idle connection holds no buffers.
//!
//! What comes before a connection is served is plain functions: [`ListenAddress::listen`] opens TCP and Unix sockets,
//! [`inherited_sockets`] takes those over that systemd opened, [`read_proxy_header`] reads for whom a load balancer
//! speaks.
//!
//! ```
//! use bytes::Bytes;
//! use gateway_core::Problem;
//! use gateway_server::{serve_connection, Drain, Handler, Limits, RequestBody};
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use std::{convert::Infallible, future::{ready, Ready}, rc::Rc};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! #[derive(Clone)]
//! struct Hello;
//!
//! impl Handler for Hello {
//!     type Body = Full<Bytes>;
//!     type Future = Ready<Result<Response<Full<Bytes>>, Infallible>>;
//!     fn call(&self, request: Request<RequestBody>) -> Self::Future {
//!         ready(Ok(Response::new(Full::from(format!("hello from {}", request.uri().path())))))
//!     }
//!     fn refuse(&self, problem: Problem) -> Self::Future {
//!         ready(Ok(problem.into_response()))
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap().block_on(async {
//! let (mut client, server) = tokio::io::duplex(4096);
//! tokio::task::spawn_local(serve_connection(server, Hello, Rc::new(Limits::default()), Drain::default()));
//! client.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
//! let mut answer = String::new();
//! client.read_to_string(&mut answer).await.unwrap();
//! assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello from /a"), "{answer}");
//! # });
//! ```

mod body;
mod date;
mod drain;
mod handler;
mod http1;
mod http2;
mod limits;
mod listen;
mod patience;
mod proxy_protocol;
mod serve;
mod together;

pub use body::{BodyError, RequestBody};
pub use drain::Drain;
pub use handler::Handler;
pub use limits::Limits;
pub use listen::{
    Accepted, InheritedError, InheritedSocket, ListenAddress, ListenAddressError, Listener, Socket,
    inherited_sockets,
};
pub use proxy_protocol::{
    MAX_PROXY_HEADER, Proxied, ProxyHeader, ProxyHeaderError, parse_proxy_header, read_proxy_header,
};
pub use serve::{serve_connection, serve_connection_from};
