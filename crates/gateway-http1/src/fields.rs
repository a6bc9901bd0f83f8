//! Which fields frame a message or belong to one connection only, and so never pass a proxy (RFC 9110 §7.6.1).

use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};

/// Digits only (RFC 9110 §8.6): no sign, no list, no white space within.
pub(crate) fn content_length(value: &HeaderValue) -> Option<u64> {
    let bytes = value.as_bytes();
    let append = |length: u64, b: &u8| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    };
    if bytes.is_empty() { None } else { bytes.iter().try_fold(0, append) }
}

/// Removes the headers that `Connection` nominates as hop-by-hop, and itself (RFC 9110 §7.6.1).
///
/// To be called before a proxy adds headers of its own, which a client could otherwise nominate. Headers that are
/// always end-to-end, such as `Authorization`, stay.
pub fn remove_nominated(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        for name in nominated_by(headers) {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
}

/// The request headers that `Connection` nominates as hop-by-hop. None for most requests.
pub fn nominated_by(headers: &HeaderMap) -> Vec<HeaderName> {
    headers.get_all(CONNECTION).iter().flat_map(tokens).filter_map(nominated_name).collect()
}

pub(crate) fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii)
}

/// A nominated header is removed, unless it is one that is always end-to-end: nobody drops `Authorization` or
/// the forwarding headers by naming them in `Connection`. `TE` always is nominated (RFC 9110 §10.1.4), and stays for
/// whoever writes it anew with the one thing in it that passes, `trailers`.
pub(crate) fn nominated_name(token: &[u8]) -> Option<HeaderName> {
    let written_anew: [&[u8]; 3] = [b"close", b"keep-alive", b"te"];
    if written_anew.iter().any(|name| token.eq_ignore_ascii_case(name)) {
        return None;
    }
    HeaderName::from_bytes(token).ok().filter(|name| !is_end_to_end(name.as_str()))
}

fn is_end_to_end(name: &str) -> bool {
    matches!(
        name,
        "authorization"
            | "cookie"
            | "set-cookie"
            | "host"
            | "content-length"
            | "content-type"
            | "content-encoding"
            | "cache-control"
            | "forwarded"
            | "via"
            | "date"
            | "expires"
            | "vary"
            | "etag"
            | "location"
            | "www-authenticate"
            | "retry-after"
    ) || name.starts_with("x-forwarded-")
        || name.starts_with("x-real-")
        || name.starts_with("x-user-")
        || name.starts_with("x-consumer-")
        || name.starts_with("x-authenticated-")
        || name.starts_with("x-internal-")
        || name == "request-user-id"
        || name.starts_with("access-control-")
}

/// Fields that mean one connection only, removed in both directions (RFC 9110 §7.6.1; §11.7: proxies name themselves).
pub(crate) fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "proxy-connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether a request header stays behind: hop-by-hop ones, and those that the encoder writes itself.
pub fn stays_behind(name: &str) -> bool {
    matches!(name, "host" | "content-length" | "expect" | "http2-settings") || is_hop_by_hop(name)
}

/// Whether a field may stand in a trailer section: nothing that frames, routes or authenticates (RFC 9110 §6.5.1).
pub fn may_be_trailer(name: &HeaderName) -> bool {
    let name = name.as_str();
    !stays_behind(name) && !is_end_to_end(name) && name != "content-range"
}
