//! The cookies of a request (RFC 6265 §5.4), in one field or, as HTTP/2 may send them, in several (RFC 9113 §8.2.3).
//!
//! ```
//! use gateway_core::cookie;
//! use http::header::{COOKIE, HeaderMap, HeaderValue};
//!
//! let mut headers = HeaderMap::new();
//! headers.append(COOKIE, HeaderValue::from_static("theme=dark; id=\"7\""));
//! headers.append(COOKIE, HeaderValue::from_static("id=8"));
//! let ids: Vec<_> = cookie::values(&headers, "id").map(cookie::unquoted).collect();
//! assert_eq!(ids, [b"7", b"8"]);
//!
//! cookie::remove(&mut headers, |pair| cookie::value_of(pair, "id").is_some());
//! assert_eq!(headers[COOKIE], "theme=dark");
//! ```

use http::header::{COOKIE, HeaderMap, HeaderValue};

/// All that stands between the semicolons, mostly `name=value`.
pub fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let fields = headers.get_all(COOKIE).into_iter();
    fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';')).map(<[u8]>::trim_ascii)
}

/// The values of the cookies of this name, as they are written. Several are of several paths, the longest first.
pub fn values<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h [u8]> {
    pairs(headers).filter_map(move |pair| value_of(pair, name))
}

/// The value of a pair, as it is written, if it is of this name. Names differ by case.
#[must_use]
pub fn value_of<'p>(pair: &'p [u8], name: &str) -> Option<&'p [u8]> {
    pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// A value without the quotes around it, if there are any (RFC 6265 §4.1.1).
#[must_use]
pub fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

/// Takes these pairs out; the others are in one field then. Without such a pair nothing changes.
pub fn remove(headers: &mut HeaderMap, goes: impl Fn(&[u8]) -> bool) {
    if !pairs(headers).any(&goes) {
        return;
    }
    let rest = pairs(headers).filter(|pair| !pair.is_empty() && !goes(pair));
    let rest = rest.collect::<Vec<_>>().join(&b"; "[..]);
    headers.remove(COOKIE);
    if let Ok(rest) = HeaderValue::from_bytes(&rest)
        && !rest.is_empty()
    {
        headers.insert(COOKIE, rest);
    }
}

/// Whether a cookie may have this name: an RFC 9110 token.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let special = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || special(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name_in_any_field() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1;ab=2 ; c"));
        headers.append(COOKIE, HeaderValue::from_static("d=x=y"));
        for (name, value) in
            [("a", Some("1")), ("ab", Some("2")), ("c", None), ("d", Some("x=y")), ("b", None), ("A", None)]
        {
            assert_eq!(values(&headers, name).next(), value.map(str::as_bytes), "{name}");
        }
    }

    #[test]
    fn quotes_are_taken_off_in_pairs() {
        for (value, expected) in
            [("", ""), ("a", "a"), ("\"a\"", "a"), ("\"\"", ""), ("\"", "\""), ("\"a", "\"a")]
        {
            assert_eq!(unquoted(value.as_bytes()), expected.as_bytes(), "{value}");
        }
    }

    #[test]
    fn what_is_removed_leaves_the_others_as_they_were() {
        let removed = |fields: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(COOKIE, HeaderValue::from_static(field));
            }
            remove(&mut headers, |pair| value_of(pair, "a").is_some());
            headers.get_all(COOKIE).iter().map(|v| v.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for (fields, expected) in [
            (&["a=1"][..], &[][..]),
            (&["b=1;;c", "A=2"], &["b=1;;c", "A=2"]),
            (&["b=1;; c;a=3", "A=2;a="], &["b=1; c; A=2"]),
            (&["aa=1; a"], &["aa=1; a"]),
        ] {
            assert_eq!(removed(fields), expected, "{fields:?}");
        }
    }
}
