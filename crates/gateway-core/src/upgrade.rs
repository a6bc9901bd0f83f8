use http::HeaderValue;

/// Request extension: the client asks to go on in another protocol, such as `websocket` (RFC 9110 §7.8).
///
/// Set by a server that can do so. The request's body then is what the client sends once the answer is
/// `101 Switching Protocols`, and that answer's body is what the other side sends, both as raw bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade(pub HeaderValue);
