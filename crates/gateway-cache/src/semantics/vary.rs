//! `Vary`: which other headers of the request an answer depends on (RFC 9111 §4.1).

use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, VARY};
use http::{HeaderMap, HeaderName};

/// The values of the selecting headers, normalised; `None` for one that the request did not have.
pub(crate) type Selected = Vec<(HeaderName, Option<Box<[u8]>>)>;

/// Whether the answer depends on more than headers.
pub(crate) fn is_star(headers: &HeaderMap) -> bool {
    items(headers).any(|item| item == b"*")
}

/// Whether the answer depends on one of these headers.
pub(crate) fn names_one(headers: &HeaderMap, names: &[HeaderName]) -> bool {
    let is_one = |item: &[u8]| names.iter().any(|name| item.eq_ignore_ascii_case(name.as_str().as_bytes()));
    !names.is_empty() && items(headers).any(is_one)
}

/// The selecting headers that the answer names, in order, each once. Names that are none are left out: no request
/// can have them.
pub(crate) fn names(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut names: Vec<_> = items(headers).filter_map(|item| HeaderName::from_bytes(item).ok()).collect();
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    names
}

fn items(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(VARY).into_iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|i| !i.is_empty())
}

/// What the request says in the selecting headers.
pub(crate) fn select(names: Vec<HeaderName>, request: &HeaderMap) -> Selected {
    names
        .into_iter()
        .map(|name| {
            let value = normal(&name, request);
            (name, value)
        })
        .collect()
}

/// Whether a request says the same.
pub(crate) fn matches(selected: &Selected, request: &HeaderMap) -> bool {
    selected.iter().all(|(name, value)| {
        let mut lines = request.get_all(name).iter();
        match (value, lines.next(), lines.next()) {
            (None, found, _) => found.is_none(),
            (Some(_), None, _) => false,
            // The common case: one line, as it was the first time.
            (Some(value), Some(line), None) if line.as_bytes() == &**value => true,
            (Some(_), Some(_), _) => normal(name, request) == *value,
        }
    })
}

/// All lines as one, without the space around commas and semicolons (RFC 9111 §4.1). Encodings and languages are
/// of no case, and encodings of no order; that of languages is kept, as services go by it.
fn normal(name: &HeaderName, request: &HeaderMap) -> Option<Box<[u8]>> {
    if !request.contains_key(name) {
        return None;
    }
    let mut items: Vec<Vec<u8>> = Vec::new();
    for line in request.get_all(name) {
        for item in line.as_bytes().split(|byte| *byte == b',') {
            let parts: Vec<_> = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).collect();
            items.push(parts.join(&b';'));
        }
    }
    if name == ACCEPT_ENCODING || name == ACCEPT_LANGUAGE {
        items.iter_mut().for_each(|item| item.make_ascii_lowercase());
        items.retain(|item| !item.is_empty());
    }
    if name == ACCEPT_ENCODING {
        items.sort();
        items.dedup();
    }
    Some(items.join(&b',').into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_star_anywhere_matches_nothing() {
        for value in ["*", "*, *", ", *", "*, foo", "foo, *"] {
            assert!(is_star(&map(&[("vary", value)])), "{value}");
        }
        assert!(is_star(&map(&[("vary", "foo"), ("vary", "*")])));
        assert!(!is_star(&map(&[("vary", "foo*")])));
    }

    #[test]
    fn requests_match_if_they_say_the_same_in_other_words() {
        let vary = |names| super::names(&map(&[("vary", names)]));
        for (names, first, second, expected) in [
            ("foo", &[("foo", "1")][..], &[("foo", "1")][..], true),
            ("foo", &[("foo", "1")], &[("foo", "2")], false),
            ("foo", &[("foo", "1")], &[], false),
            ("foo", &[], &[("foo", "1")], false),
            ("foo", &[], &[("foo", "")], false),
            ("foo", &[("foo", "1")], &[("foo", "1"), ("other", "2")], true),
            ("Foo, bar", &[("foo", "1"), ("bar", "a")], &[("bar", "a"), ("foo", "1")], true),
            ("foo, bar", &[("foo", "1"), ("bar", "a")], &[("foo", "1")], false),
            ("foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")], true),
            ("foo", &[("foo", "1,2;a")], &[("foo", " 1 ,  2 ; a")], true),
            ("foo", &[("foo", "a")], &[("foo", "A")], false),
            ("accept-encoding", &[("accept-encoding", "gzip, br")], &[("accept-encoding", "BR,gzip")], true),
            ("accept-encoding", &[("accept-encoding", "gzip;q=0")], &[("accept-encoding", "gzip")], false),
            ("accept-language", &[("accept-language", "en, de")], &[("accept-language", "EN,DE")], true),
            ("accept-language", &[("accept-language", "en, de")], &[("accept-language", "de, en")], false),
        ] {
            let selected = select(vary(names), &map(first));
            assert_eq!(matches(&selected, &map(second)), expected, "{names}: {first:?} and {second:?}");
        }
    }
}
