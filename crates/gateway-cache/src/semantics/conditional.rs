//! Validators and preconditions (RFC 9110 §13, RFC 9111 §4.3).

use super::freshness::date;
use http::header::{
    DATE, ETAG, HeaderMap, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};

/// Whether the upstream can be asked if the answer is still right.
pub(crate) fn has_validator(headers: &HeaderMap) -> bool {
    headers.contains_key(ETAG) || date(headers, &LAST_MODIFIED).is_some()
}

/// Whether the client asks on a condition that a cache can judge.
pub(crate) fn is_conditional(headers: &HeaderMap) -> bool {
    headers.contains_key(IF_NONE_MATCH) || headers.contains_key(IF_MODIFIED_SINCE)
}

/// Whether the client asks on a condition that only the upstream can judge (RFC 9111 §4.3.2).
pub(crate) fn is_for_origin(headers: &HeaderMap) -> bool {
    headers.contains_key(IF_MATCH) || headers.contains_key(IF_UNMODIFIED_SINCE)
}

/// Asks whether the stored answer is still right, in place of what the client asked. If it is not, all of the new one
/// is wanted: a part of it may not fit the parts that the client has (`If-Range`), and could not be stored.
pub(crate) fn ask(request: &mut HeaderMap, stored: &HeaderMap) {
    for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE] {
        request.remove(name);
    }
    if let Some(tag) = stored.get(ETAG) {
        request.insert(IF_NONE_MATCH, tag.clone());
    }
    if let Some(changed) = stored.get(LAST_MODIFIED) {
        request.insert(IF_MODIFIED_SINCE, changed.clone());
    }
}

/// Whether the client already has the stored answer, and is told so by a 304 (RFC 9110 §13.2.2).
pub(crate) fn is_not_modified(request: &HeaderMap, stored: &HeaderMap) -> bool {
    if request.contains_key(IF_NONE_MATCH) {
        let Some(tag) = stored.get(ETAG) else {
            return request.get_all(IF_NONE_MATCH).iter().any(|value| value.as_bytes() == b"*");
        };
        return request.get_all(IF_NONE_MATCH).iter().any(|list| {
            list.as_bytes().trim_ascii() == b"*"
                || tags(list.as_bytes()).any(|other| weak(other) == weak(tag.as_bytes()))
        });
    }
    let Some(since) = date(request, &IF_MODIFIED_SINCE) else { return false };
    // RFC 9111 §4.3.2: what does not say when it changed did so no later than it was made.
    date(stored, &LAST_MODIFIED).or_else(|| date(stored, &DATE)).is_some_and(|changed| changed <= since)
}

/// Whether a range may be taken of the stored answer (RFC 9110 §13.1.5): the strong comparison.
pub(crate) fn if_range_holds(value: &HeaderValue, stored: &HeaderMap) -> bool {
    let value = value.as_bytes();
    if value.starts_with(b"\"") {
        return stored.get(ETAG).is_some_and(|tag| tag.as_bytes() == value);
    }
    stored.get(LAST_MODIFIED).is_some_and(|changed| changed.as_bytes() == value) && is_settled(stored)
}

/// Whether the answer was made so long after it had changed that it cannot have changed again within the same second
/// (RFC 9110 §8.8.2.2): else two versions may have the same date, and parts of them would be put together.
fn is_settled(stored: &HeaderMap) -> bool {
    let since = || date(stored, &DATE)?.duration_since(date(stored, &LAST_MODIFIED)?).ok();
    since().is_some_and(|since| !since.is_zero())
}

fn weak(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The entity tags of a list; a comma may be part of one.
fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        while let [b',', after @ ..] = rest {
            rest = after.trim_ascii_start();
        }
        if rest.is_empty() {
            return None;
        }
        let mut quoted = false;
        let end = rest.iter().position(|&byte| {
            quoted ^= byte == b'"';
            byte == b',' && !quoted
        });
        let (tag, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        Some(tag.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn map(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn rfc_9110_13_1_2_if_none_match_compares_weakly() {
        for (asked, stored, expected) in [
            ("\"a\"", "\"a\"", true),
            ("W/\"a\"", "\"a\"", true),
            ("\"a\"", "W/\"a\"", true),
            ("\"b\", \"a\"", "\"a\"", true),
            ("\"b\" ,,\"a,c\"", "\"a,c\"", true),
            ("\"a,c\"", "\"a\"", false),
            ("*", "\"a\"", true),
            ("\"A\"", "\"a\"", false),
            ("a", "\"a\"", false),
            ("", "\"a\"", false),
        ] {
            let found = is_not_modified(&map(&[(IF_NONE_MATCH, asked)]), &map(&[(ETAG, stored)]));
            assert_eq!(found, expected, "{asked} of {stored}");
        }
    }

    #[test]
    fn rfc_9110_13_1_3_if_modified_since_counts_only_without_tags() {
        let (early, late) = ("Thu, 01 Jan 2015 00:00:00 GMT", "Fri, 01 Jan 2021 00:00:00 GMT");
        let asked = |value| map(&[(IF_MODIFIED_SINCE, value)]);
        assert!(is_not_modified(&asked(early), &map(&[(LAST_MODIFIED, early)])));
        assert!(is_not_modified(&asked(late), &map(&[(LAST_MODIFIED, early)])));
        assert!(!is_not_modified(&asked(early), &map(&[(LAST_MODIFIED, late)])));
        assert!(is_not_modified(&asked(late), &map(&[(DATE, early)])));
        assert!(!is_not_modified(&asked("yesterday"), &map(&[(LAST_MODIFIED, early)])));
        let both = map(&[(IF_MODIFIED_SINCE, late), (IF_NONE_MATCH, "\"b\"")]);
        assert!(!is_not_modified(&both, &map(&[(LAST_MODIFIED, early), (ETAG, "\"a\"")])));
    }

    #[test]
    fn rfc_9110_13_1_5_if_range_compares_strongly() {
        let changed = "Thu, 01 Jan 2015 00:00:00 GMT";
        let at = |date| map(&[(ETAG, "\"a\""), (LAST_MODIFIED, changed), (DATE, date)]);
        let stored = at("Thu, 01 Jan 2015 00:00:01 GMT");
        for (value, expected) in [
            ("\"a\"", true),
            ("W/\"a\"", false),
            ("\"b\"", false),
            ("Thu, 01 Jan 2015 00:00:00 GMT", true),
            ("Thu, 01 Jan 2016 00:00:00 GMT", false),
        ] {
            assert_eq!(if_range_holds(&HeaderValue::from_static(value), &stored), expected, "{value}");
        }
        assert!(!if_range_holds(&HeaderValue::from_static("W/\"a\""), &map(&[(ETAG, "W/\"a\"")])));
        // It may have changed again within the second that it was made in.
        assert!(!if_range_holds(&HeaderValue::from_static(changed), &at(changed)));
    }
}
