//! Real parts for tests: the gateway as a process, recording, scripted and failing upstreams, a proxy that does harm on
//! the way to one, Redis, PostgreSQL, a certificate authority, an HTTP client that hides nothing, bare connections and WebSockets. Each starts on
//! a free port and is gone when it is dropped.
//!
//! Everything is synchronous: a test reads from top to bottom. What cannot be started fails the test with a
//! message that says what to install.
//!
//! ```
//! use gateway_testkit::{Client, Request, Upstream};
//!
//! let upstream = Upstream::named("a");
//! let response = Client::new(upstream.addr()).send(&Request::get("/x?y=1"));
//! assert_eq!((response.status, response.text().as_str()), (200, "a"));
//! assert_eq!(upstream.requests()[0].target, "/x?y=1");
//! ```

mod authority;
mod fault_proxy;
mod gateway;
mod http;
mod load;
mod postgres;
mod process;
mod redis;
mod streaming;
mod upstream;
mod wait;
mod websocket;
mod wire;

pub use authority::Authority;
pub use fault_proxy::{Disturbance, FaultProxy};
pub use gateway::{Finished, Gateway, GatewayBuilder};
pub use http::{Client, Request, Response, get, raw};
pub use load::{Load, Seen};
pub use nix::sys::signal::Signal;
pub use postgres::PostgresServer;
pub use process::Process;
pub use redis::{Redis, RedisCluster, RedisSentinel, RedisValue};
pub use streaming::{Exchange, scripted};
pub use upstream::{Fault, Recorded, Reply, Upstream, failing};
pub use wait::{daytime, free_port, wait_until};
pub use websocket::{Frame, Opcode, WebSocket, websocket_echo};
pub use wire::Wire;
