//! `CDN-Cache-Control`: what is meant for caches like this one only (RFC 9213).

use super::cache_control::ResponseDirectives;
use http::{HeaderMap, HeaderName};

/// The fields that are meant for this cache, the first that is valid wins (RFC 9213 §2.2).
static TARGETS: [HeaderName; 1] = [HeaderName::from_static("cdn-cache-control")];

/// What the targeted field says. It then stands for `Cache-Control` and `Expires` both. `None` where there is
/// none, or it is empty or no valid dictionary (RFC 9651), which is as if it were not there.
pub(crate) fn directives(headers: &HeaderMap) -> Option<ResponseDirectives> {
    TARGETS.iter().find_map(|name| {
        let mut found = ResponseDirectives::default();
        let mut any = false;
        // Lines of one dictionary are joined by commas; none of its members spans two lines.
        for line in headers.get_all(name) {
            let mut rest = line.as_bytes().trim_ascii();
            while !rest.is_empty() {
                rest = member(rest, &mut found)?;
                any = true;
            }
        }
        any.then_some(found)
    })
}

/// Reads one member of a dictionary and the comma after it.
fn member<'a>(text: &'a [u8], found: &mut ResponseDirectives) -> Option<&'a [u8]> {
    let (key, rest) = key(text)?;
    let (value, rest) = match rest.strip_prefix(b"=") {
        Some(rest) => item(rest)?,
        None => (Value::True, rest),
    };
    let mut rest = rest;
    while let Some(parameter) = rest.strip_prefix(b";") {
        let (_, after) = self::key(parameter.trim_ascii_start())?;
        rest = match after.strip_prefix(b"=") {
            Some(value) => item(value)?.1,
            None => after,
        };
    }
    match value {
        Value::True => found.set(key, None),
        // RFC 9213 §2.1: a directive whose value is of another type is ignored.
        Value::Integer(number) => found.set(key, Some(number)),
        Value::Other => {}
    }
    let rest = rest.trim_ascii_start();
    if rest.is_empty() {
        return Some(rest);
    }
    let rest = rest.strip_prefix(b",")?.trim_ascii_start();
    // A comma at the end is no dictionary.
    (!rest.is_empty()).then_some(rest)
}

enum Value<'a> {
    True,
    Integer(&'a [u8]),
    Other,
}

fn key(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if !matches!(text.first(), Some(b'a'..=b'z' | b'*')) {
        return None;
    }
    let is_key = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.*".contains(b);
    Some(text.split_at(text.iter().position(|b| !is_key(b)).unwrap_or(text.len())))
}

/// A bare item; lists are skipped as a whole.
fn item(text: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let take = |is: fn(&u8) -> bool| text.split_at(text.iter().position(|b| !is(b)).unwrap_or(text.len()));
    match text.first()? {
        b'0'..=b'9' => {
            let (number, rest) = take(|b| b.is_ascii_digit() || *b == b'.');
            let value = if number.contains(&b'.') { Value::Other } else { Value::Integer(number) };
            (number.len() <= 16).then_some((value, rest))
        }
        b'-' => {
            let (number, rest) = take(|b| b.is_ascii_digit() || b"-.".contains(b));
            (number.len() > 1).then_some((Value::Other, rest))
        }
        b'?' => match text.get(1)? {
            b'1' => Some((Value::True, &text[2..])),
            b'0' => Some((Value::Other, &text[2..])),
            _ => None,
        },
        b'"' => {
            let mut escaped = false;
            let end = text[1..].iter().position(|&b| {
                let ends = b == b'"' && !escaped;
                escaped = b == b'\\' && !escaped;
                ends
            })?;
            Some((Value::Other, &text[end + 2..]))
        }
        b'(' => Some((Value::Other, &text[text.iter().position(|b| *b == b')')? + 1..])),
        b':' => Some((Value::Other, &text[text[1..].iter().position(|b| *b == b':')? + 2..])),
        b'A'..=b'Z' | b'a'..=b'z' | b'*' => {
            let (_, rest) = take(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(b));
            Some((Value::Other, rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use std::time::Duration;

    #[test]
    fn only_a_valid_dictionary_counts() {
        let read = |text: &'static str| {
            let headers = HeaderMap::from_iter([(TARGETS[0].clone(), HeaderValue::from_static(text))]);
            directives(&headers)
        };
        let age = |text| read(text).map(|found| found.max_age.map(|age| age.as_secs()));
        for (text, expected) in [
            ("max-age=60", Some(Some(60))),
            ("max-age=60, must-revalidate", Some(Some(60))),
            ("max-age=60;a=\"x,y\";b, private", Some(Some(60))),
            ("a=(1 2);q, b=:aGk=:, c=tok/en, d=\"x\\\"y\", max-age=5", Some(Some(5))),
            ("max-age=\"60\"", Some(None)),
            ("max-age=6.5", Some(None)),
            ("max-age=-1", Some(None)),
            ("MAX-AGE=60", None),
            ("max-age=60,", None),
            ("max-age=60 private", None),
            ("max-age=", None),
            ("&", None),
            ("", None),
        ] {
            assert_eq!(age(text), expected, "{text}");
        }
        let found = read("no-store=?0, private, max-age=10").unwrap();
        assert!(!found.no_store && found.private);
        assert_eq!(found.max_age, Some(Duration::from_secs(10)));
    }
}
