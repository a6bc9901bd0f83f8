use http::header::{CONTENT_TYPE, HeaderMap};

/// Whether an answer with these headers is a stream of server-sent events (WHATWG HTML, "Server-sent events"): it goes on
/// for as long as its client stays, and silence in it is normal.
#[must_use]
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}
