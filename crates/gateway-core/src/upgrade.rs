use crate::{Code, Problem};
use http::{HeaderValue, StatusCode};

/// Request extension: the client asks to go on in another protocol, such as `websocket` (RFC 9110 §7.8).
///
/// Set by a server that can do so. The request's body then is what the client sends once the answer is
/// `101 Switching Protocols`, and that answer's body is what the other side sends, both as raw bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade(pub HeaderValue);

impl Upgrade {
    /// What takes the place of an answer with this status where the client asked over HTTP/2; nothing of a refusal, and
    /// of `101`. There any success is the beginning of the tunnel (RFC 8441 §4): another answer's body would be taken for
    /// its bytes.
    #[must_use]
    pub fn not_granted(status: StatusCode) -> Option<Problem> {
        status.is_success().then(|| {
            Problem::new(Code::UpstreamProtocolError).with_detail("the upstream does not change protocols")
        })
    }
}
