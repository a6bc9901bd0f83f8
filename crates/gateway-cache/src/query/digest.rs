//! What tells one `QUERY` from another (RFC 10008 §2.7): its body, and what says how to read it.

use aws_lc_rs::digest::{Context, SHA256};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE};
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// The digest of a body and of the headers that describe it. Of JSON, the white space between its parts does not count;
/// the order of members does, as services may go by it.
pub(super) fn digest(headers: &HeaderMap, body: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    let mut add = |part: &[u8]| {
        // With its length, so that no part is taken for the begin of the next.
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    };
    for name in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE] {
        let values = headers.get_all(&name);
        add(&[u8::try_from(values.iter().count()).unwrap_or(u8::MAX)]);
        values.iter().for_each(|value| add(value.as_bytes()));
    }
    add(&normal(headers, body));
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

fn normal<'a>(headers: &HeaderMap, body: &'a [u8]) -> Cow<'a, [u8]> {
    // What only looks like JSON is left as it is: white space may be all that tells two such bodies apart.
    if is_json(headers) && serde_json::from_slice::<IgnoredAny>(body).is_ok() {
        return Cow::Owned(compact(body));
    }
    Cow::Borrowed(body)
}

/// `application/json`, or any other type with the suffix `+json` (RFC 6839), not compressed.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(found), None) = (types.next(), types.next()) else { return false };
    let essence = found.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let essence = essence.to_ascii_lowercase();
    !headers.contains_key(CONTENT_ENCODING) && (essence == b"application/json" || essence.ends_with(b"+json"))
}

/// JSON without the white space outside of its strings.
fn compact(json: &[u8]) -> Vec<u8> {
    let (mut in_string, mut escaped) = (false, false);
    let is_kept = |byte: &u8| {
        if in_string {
            in_string = escaped || *byte != b'"';
            escaped = *byte == b'\\' && !escaped;
            return true;
        }
        in_string = *byte == b'"';
        !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
    };
    let mut is_kept = is_kept;
    json.iter().copied().filter(|byte| is_kept(byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;
    use serde_json::Value;

    fn of(lines: &[(HeaderName, &'static str)], body: &str) -> [u8; 32] {
        let lines = lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        digest(&lines.collect(), body.as_bytes())
    }

    #[test]
    fn what_says_how_to_read_a_body_counts() {
        let all = [
            of(&[], "a"),
            of(&[], "b"),
            of(&[], ""),
            of(&[(CONTENT_TYPE, "a")], ""),
            of(&[(CONTENT_TYPE, "text/plain")], "a"),
            of(&[(CONTENT_TYPE, "text/plain;charset=latin1")], "a"),
            of(&[(CONTENT_TYPE, "text/plain"), (CONTENT_LANGUAGE, "de")], "a"),
            of(&[(CONTENT_TYPE, "text/plain"), (CONTENT_ENCODING, "de")], "a"),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn white_space_counts_unless_it_is_between_the_parts_of_json() {
        let json = &[(CONTENT_TYPE, "application/vnd.a+JSON; charset=utf-8")][..];
        let plain = &[(CONTENT_TYPE, "text/plain")][..];
        let packed = &[(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "gzip")][..];
        for (lines, first, second, equal) in [
            (json, "{ \"a\" : [ 1 , 2 ] }\r\n", "{\"a\":[1,2]}", true),
            (json, "{\"a\": \"b c\"}", "{\"a\": \"bc\"}", false),
            (json, r#"{"a\" : ": 1}"#, r#"{"a\":":1}"#, false),
            (json, r#"["\\" , 1]"#, r#"["\\",1]"#, true),
            (json, "{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", false),
            (json, "1 2", "12", false),
            (json, "{\"a\":1", "{\"a\": 1", false),
            (plain, "{\"a\": 1}", "{\"a\":1}", false),
            (packed, "{\"a\": 1}", "{\"a\":1}", false),
        ] {
            assert_eq!(of(lines, first) == of(lines, second), equal, "{lines:?}: {first} and {second}");
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0..3_u8).prop_map(Value::from),
            "[ a\"\\\\]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[ab\" ]{0,2}", inner, 0..3)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn two_values_share_a_digest_if_and_only_if_they_are_the_same(a in values(), b in values()) {
            let json = &[(CONTENT_TYPE, "application/json")][..];
            let pretty = serde_json::to_string_pretty(&a).unwrap();
            prop_assert_eq!(of(json, &pretty), of(json, &a.to_string()));
            prop_assert_eq!(of(json, &pretty) == of(json, &b.to_string()), a == b);
        }
    }
}
