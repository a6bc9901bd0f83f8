//! Connections as their clients see them: what is on the wire, and when.
#![allow(clippy::unwrap_used)]

mod answers;
mod bodies;
mod cancellation;
mod drain;
mod http2;
mod http2_answers;
mod http2_refused;
mod http2_silence;
mod http2_uploads;
mod interim;
mod limits;
mod pipelining;
mod splits;
mod support;
mod tunnels;
mod websocket_over_http2;
