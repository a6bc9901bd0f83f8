use crate::patience::Patience;
use std::time::Duration;

/// What one client connection may cost.
///
/// | limit | over HTTP/1 | over HTTP/2 |
/// |---|---|---|
/// | `max_head` | 414 or 431, and the connection is closed | 414 or 431; by more than 16 KiB, a bare 431 of which the handler is only told |
/// | `max_headers` | 431, and the connection is closed | 431 |
/// | `header_timeout` | 408; silence where nothing was sent | 408 where the preface stops; where a head does, GOAWAY, and a 408 of which the handler is only told |
/// | `idle_timeout` | closed silently | GOAWAY once there is no stream, then closed |
/// | `body_timeout`, `min_body_rate` | 408; closed where the answer has begun | 408; the body fails where the answer has begun |
/// | `write_timeout` | closed | the stream is reset (CANCEL), the others go on; who is gone is found by PING within 50 s |
/// | `tunnel_timeout` | closed | the stream ends (RFC 8441) |
/// | `tunnel_max_age` | Close 1001 to a WebSocket, then closed | the same, and the stream ends |
/// | `max_streams` | | the client is told; a stream more is refused |
///
/// Besides these, fixed and of HTTP/2 alone: a client that opens and resets streams at once (CVE-2023-44487), within a
/// second 500 of them and more than half of all it has opened, makes the server reset them (CVE-2025-8671) or sends
/// CONTINUATION frames without end (CVE-2024-27316) is sent away.
/// What still comes of an upload within 5 s of its refusal is ignored, and counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest request head, in bytes; the target may take half of it. Default 64 KiB.
    pub max_head: usize,
    /// The most header fields of a request. Default 100.
    pub max_headers: usize,
    /// How long a request's head may take from its first byte, or from the beginning of the connection. Then 408.
    /// Default 10 s.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request; with HTTP/2 also for its first. Default 60 s.
    pub idle_timeout: Duration,
    /// How long a client may send nothing of a body that is waited for. Then 408. Default 30 s. The messages of a gRPC
    /// call may be `tunnel_timeout` apart, and once its answer has begun as far as they like.
    pub body_timeout: Duration,
    /// How many bytes of a body earn a second of the time that its client may be waited for: who sends less is out of
    /// it after `body_timeout` in all, and answered 408. Only until the answer begins. Default 240 (Kestrel's); 0 has
    /// silence alone count.
    pub min_body_rate: u64,
    /// How long a client may take nothing of an answer. The connection is closed then; over HTTP/2 only the stream is
    /// ended, and the upstream's side of it. Default 30 s.
    pub write_timeout: Duration,
    /// How long a tunnel (WebSocket and other upgrades) may be silent in both directions; and an answer over HTTP/1
    /// whose client has sent 32 KiB or more behind its request, and so cannot be seen to have gone. Default 5 min
    /// (Envoy's `stream_idle_timeout`).
    pub tunnel_timeout: Duration,
    /// How long a tunnel may last, whatever goes through it; by chance up to a tenth less, so that those that began
    /// together do not all come back together. Then a WebSocket is sent Close 1001 between two frames of its service,
    /// and has 5 s to end; any other tunnel is closed. Default: as long as both sides like.
    pub tunnel_max_age: Option<Duration>,
    /// The most requests at once on one HTTP/2 connection. Default 100.
    pub max_streams: u32,
}

impl Limits {
    pub(crate) fn patience(&self) -> Patience {
        Patience::new(self.body_timeout, self.min_body_rate)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_head: 64 * 1024,
            max_headers: 100,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            min_body_rate: 240,
            write_timeout: Duration::from_secs(30),
            tunnel_timeout: Duration::from_secs(300),
            tunnel_max_age: None,
            max_streams: 100,
        }
    }
}
