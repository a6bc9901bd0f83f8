//! Which fields of an answer are stored, and what a 304 changes of them (RFC 9111 §3.1, §3.2).

use http::header::{
    AGE, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderMap, HeaderName,
    HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use std::time::SystemTime;

/// Says when an answer was made that does not say so itself: when it came (RFC 9110 §6.6.1).
pub(crate) fn date(headers: &mut HeaderMap, received: SystemTime) {
    // A date is always a value.
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(received)) {
        headers.insert(DATE, date);
    }
}

/// What is of one connection only (RFC 9110 §7.6.1), or between a proxy and its client (RFC 9111 §3.1), and `Age`,
/// which is counted anew for each answer.
static NEVER: [HeaderName; 11] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    AGE,
];

/// Of the stored representation itself, which a 304 leaves as it is.
static KEPT: [HeaderName; 5] =
    [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderName::from_static("content-md5"), ETAG];

/// The fields of an answer that are stored.
pub(crate) fn stored(headers: &HeaderMap) -> HeaderMap {
    let mut stored = headers.clone();
    for line in headers.get_all(CONNECTION) {
        for name in line.as_bytes().split(|byte| *byte == b',') {
            if let Ok(name) = HeaderName::from_bytes(name.trim_ascii()) {
                stored.remove(name);
            }
        }
    }
    for name in &NEVER {
        stored.remove(name);
    }
    stored
}

/// The stored fields after a 304: those that it has replace all stored ones of that name.
pub(crate) fn updated(stored: &HeaderMap, not_modified: &HeaderMap, set_cookie: bool) -> HeaderMap {
    let mut updated = stored.clone();
    let new = self::stored(not_modified);
    for name in new.keys() {
        if KEPT.contains(name) || (name == SET_COOKIE && !set_cookie) {
            continue;
        }
        updated.remove(name);
        for value in new.get_all(name) {
            updated.append(name, value.clone());
        }
    }
    updated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn rfc_9111_3_1_what_is_of_one_connection_is_not_stored() {
        let headers = map(&[
            ("connection", "a, b"),
            ("connection", "d"),
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("d", "4"),
            ("keep-alive", "1"),
            ("proxy-authenticate", "1"),
            ("proxy-connection", "1"),
            ("te", "1"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("age", "1"),
            ("content-type", "text/plain"),
        ]);
        assert_eq!(stored(&headers), map(&[("c", "3"), ("content-type", "text/plain")]));
    }

    #[test]
    fn rfc_9111_3_2_a_304_changes_all_but_what_describes_the_body() {
        let old = map(&[("x", "1"), ("x", "2"), ("y", "1"), ("etag", "\"a\""), ("content-length", "5")]);
        let new = map(&[
            ("x", "3"),
            ("etag", "\"b\""),
            ("content-length", "9"),
            ("content-type", "b"),
            ("set-cookie", "a=b"),
            ("connection", "z"),
            ("z", "1"),
        ]);
        let expected =
            map(&[("x", "3"), ("y", "1"), ("etag", "\"a\""), ("content-length", "5"), ("content-type", "b")]);
        assert_eq!(updated(&old, &new, false), expected);
    }
}
