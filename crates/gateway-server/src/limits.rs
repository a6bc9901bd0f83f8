use std::time::Duration;

/// What one client connection may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest request head, in bytes; the target may take half of it. Default 64 KiB.
    pub max_head: usize,
    /// The most header fields of a request. Default 100.
    pub max_headers: usize,
    /// How long a request's head may take from its first byte, or from the beginning of the connection. Then 408.
    /// Default 10 s.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request. Default 60 s.
    pub idle_timeout: Duration,
    /// How long a client may send nothing of a body that is waited for. Then 408. Default 30 s.
    pub body_timeout: Duration,
    /// How long a client may take nothing of an answer. The connection is closed then. Default 30 s.
    pub write_timeout: Duration,
    /// How long a tunnel (WebSocket and other upgrades) may be silent in both directions. Default 5 min (Envoy's
    /// `stream_idle_timeout`).
    pub tunnel_timeout: Duration,
    /// The most requests at once on one HTTP/2 connection. Default 100.
    pub max_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_head: 64 * 1024,
            max_headers: 100,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            tunnel_timeout: Duration::from_secs(300),
            max_streams: 100,
        }
    }
}
