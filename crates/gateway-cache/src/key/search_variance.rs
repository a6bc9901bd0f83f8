//! `No-Vary-Search`: which differences between two queries do not count (draft-ietf-httpbis-no-vary-search).

use gateway_core::percent::form_decoded;

/// Which parameters of a query count, and whether their order does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SearchVariance {
    /// The order of parameters of different names does not count.
    key_order: bool,
    params: Params,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Params {
    All,
    AllBut(Vec<Vec<u8>>),
    Only(Vec<Vec<u8>>),
}

/// A value of the field's dictionary.
enum Value {
    Switch(bool),
    List(Vec<Vec<u8>>),
}

impl SearchVariance {
    /// Reads the field's value, a dictionary (RFC 9651) such as `key-order, params=("utm_source")`. `None` for all that
    /// the draft has caches take as if it were not there, for what it does not know, and for what says nothing.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (mut key_order, mut params, mut except) = (None, None, None);
        let mut rest = text.trim_matches(' ');
        while !rest.is_empty() {
            let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '-')).unwrap_or(rest.len());
            let (key, after) = rest.split_at(end);
            let (found, after) = match after.strip_prefix('=') {
                Some(after) => value(after)?,
                None => (Value::Switch(true), after),
            };
            // Of several members of a name the last counts (RFC 9651 §4.2.2).
            match (key, found) {
                ("key-order", Value::Switch(found)) => key_order = Some(found),
                ("params", found) => params = Some(found),
                ("except", Value::List(found)) => except = Some(found),
                _ => return None,
            }
            rest = after.trim_start_matches([' ', '\t']);
            if !rest.is_empty() {
                rest = rest.strip_prefix(',')?.trim_start_matches([' ', '\t']);
                // A comma at the end is no dictionary.
                if rest.is_empty() {
                    return None;
                }
            }
        }
        let params = match (params, except) {
            (Some(Value::Switch(true)), except) => Params::Only(except.unwrap_or_default()),
            // `except` is of a `params` that stands alone.
            (_, Some(_)) => return None,
            (Some(Value::List(names)), None) => Params::AllBut(names),
            (Some(Value::Switch(false)) | None, None) => Params::All,
        };
        let read = Self { key_order: key_order.unwrap_or(false), params };
        let says_something = read.key_order || !matches!(&read.params, Params::All);
        says_something.then_some(read)
    }

    /// Adds a query to a key, so that the queries that are equal by these rules, and no others, are written the same.
    ///
    /// Names and values are compared as the URL standard reads `application/x-www-form-urlencoded`, but that bytes
    /// which are no UTF-8 stay apart: no two that a service may tell apart become one.
    pub(crate) fn push(&self, text: &mut String, query: &str) {
        let mut pairs: Vec<_> = query
            .split('&')
            .filter(|part| !part.is_empty())
            .map(|part| {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                (form_decoded(name), form_decoded(value))
            })
            .filter(|(name, _)| match &self.params {
                Params::All => true,
                Params::AllBut(names) => !names.iter().any(|one| **one == **name),
                Params::Only(names) => names.iter().any(|one| **one == **name),
            })
            .collect();
        if self.key_order {
            // Stable: the order of values of one name always counts.
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        for (i, (name, value)) in pairs.iter().enumerate() {
            text.push(if i == 0 { '?' } else { '&' });
            push_encoded(text, name);
            text.push('=');
            push_encoded(text, value);
        }
    }
}

/// A boolean or a list of strings, and what comes after it.
fn value(text: &str) -> Option<(Value, &str)> {
    if let Some(rest) = text.strip_prefix("?1") {
        return Some((Value::Switch(true), rest));
    }
    if let Some(rest) = text.strip_prefix("?0") {
        return Some((Value::Switch(false), rest));
    }
    let mut names = Vec::new();
    let mut rest = text.strip_prefix('(')?;
    loop {
        let trimmed = rest.trim_start_matches(' ');
        if let Some(after) = trimmed.strip_prefix(')') {
            return Some((Value::List(names), after));
        }
        // Strings stand apart.
        if !names.is_empty() && trimmed.len() == rest.len() {
            return None;
        }
        let (name, after) = string(trimmed.strip_prefix('"')?)?;
        names.push(form_decoded(&name).into_owned());
        rest = after;
    }
}

/// A string after its first quote, and what comes after it (RFC 9651 §4.2.5).
fn string(text: &str) -> Option<(String, &str)> {
    let mut read = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((read, &text[at + 1..])),
            (_, '\\') => read.push(chars.next().map(|(_, c)| c).filter(|c| matches!(c, '"' | '\\'))?),
            (_, c @ ' '..='~') => read.push(c),
            _ => return None,
        }
    }
}

/// Bytes as they stand in a key, each in one way only.
fn push_encoded(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~*".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push('%');
            super::push_hex(text, &[*byte]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(variance: &str, query: &str) -> String {
        let mut text = String::new();
        SearchVariance::read(variance).unwrap().push(&mut text, query);
        text
    }

    #[test]
    fn what_is_not_of_the_draft_is_not_read() {
        for text in [
            "",
            "?1",
            "params=?0",
            "key-order=?0",
            "key-order=1",
            "key-order=(\"a\")",
            "params=\"a\"",
            "params=(a)",
            "params=(\"a\"\"b\")",
            "params=(\"a\"",
            "params=(\"é\")",
            "except=(\"a\")",
            "params=?0, except=(\"a\")",
            "params=(\"a\"), except=(\"b\")",
            "params, except",
            "params,",
            "params key-order",
            "Params",
            "params, other",
        ] {
            assert_eq!(SearchVariance::read(text), None, "{text}");
        }
    }

    #[test]
    fn the_examples_of_the_draft_compare_as_it_says() {
        for (variance, first, second, equal) in [
            ("params", "a=1", "b=2&c", true),
            ("params=(\"utm_source\")", "utm_source=1&q=x", "q=x", true),
            ("params=(\"utm_source\")", "q=x", "q=y", false),
            ("params, except=(\"q\")", "q=x&a=1", "b&q=x", true),
            ("params, except=(\"q\")", "q=x", "q=y", false),
            ("params, except=()", "q=x", "", true),
            ("key-order", "a=1&b=2", "b=2&a=1", true),
            ("key-order", "a=1&a=2", "a=2&a=1", false),
            ("key-order", "a=1&b=2", "b=2&a=1&c=3", false),
            ("key-order=?1, params=(\"c\")", "a=1&b=2", "b=2&a=1&c=3", true),
            ("params=?1,  except=(\"a b\" \"c\")", "a+b=1", "a%20b=1&d", true),
            ("params=(\"%C3%A9\")", "%c3%a9=1", "", true),
            ("params=(\"a\")", "b", "b=", true),
            ("params=(\"a\")", "&&b=%7E", "b=~&", true),
            ("params=(\"a\")", "b=%FF", "b=%FE", false),
            ("params=(\"a\")", "b=%2", "b=%252", true),
            ("params=(\"a\")", "b=%26c", "b=&c", false),
        ] {
            let keys = (key(variance, first), key(variance, second));
            assert_eq!(keys.0 == keys.1, equal, "{variance}: {first} and {second}: {keys:?}");
        }
    }

    /// Parameters of few names and values, so that some are equal, each written in one of several ways.
    fn queries() -> impl Strategy<Value = Vec<(usize, usize, usize)>> {
        proptest::collection::vec((0..4_usize, 0..4_usize, 0..3_usize), 0..5)
    }

    const NAMES: [[&str; 3]; 4] =
        [["a", "%61", "a"], ["b c", "b+c", "b%20c"], ["&", "%26", "%26"], ["é", "%C3%A9", "%c3%a9"]];
    const VALUES: [[&str; 3]; 4] = [["", "", ""], ["1", "%31", "1"], ["=", "%3D", "%3d"], [" ", "+", "%20"]];

    fn written(query: &[(usize, usize, usize)]) -> String {
        let parts: Vec<_> = query
            .iter()
            .map(|&(name, value, way)| match (value, way) {
                (0, 2) => NAMES[name][2].to_owned(),
                // The first way is what is meant; it is written in one of the others.
                (value, way) => format!("{}={}", NAMES[name][way.max(1)], VALUES[value][way.max(1)]),
            })
            .collect();
        parts.join("&")
    }

    /// The draft's comparison, word by word, over names and values as they are meant.
    fn model(
        (order, all, listed): (bool, bool, &[usize]),
        query: &[(usize, usize, usize)],
    ) -> Vec<(&'static str, &'static str)> {
        let mut pairs: Vec<_> = query
            .iter()
            .filter(|(name, ..)| listed.contains(name) == all)
            .map(|&(name, value, _)| (NAMES[name][0], VALUES[value][0]))
            .collect();
        if order {
            pairs.sort_by_key(|(name, _)| *name);
        }
        pairs
    }

    proptest! {
        #[test]
        fn two_queries_share_a_key_if_and_only_if_the_draft_says_they_are_equal(
            first in queries(),
            second in queries(),
            shuffle in any::<bool>(),
            order in any::<bool>(),
            all in any::<bool>(),
            listed in proptest::sample::subsequence(vec![0_usize, 1, 2, 3], 0..=3),
        ) {
            // Half of the time the second is the first in another order, in other words.
            let second = if shuffle {
                let mut other: Vec<_> = first.iter().map(|&(n, v, way)| (n, v, (way + 1) % 3)).collect();
                other.reverse();
                other
            } else {
                second
            };
            let names: Vec<_> = listed.iter().map(|name| format!("\"{}\"", NAMES[*name][1])).collect();
            let names = names.join(" ");
            let rule = if all { format!("params, except=({names})") } else { format!("params=({names})") };
            let rule = if order { format!("key-order, {rule}") } else { rule };
            let expected = model((order, all, &listed), &first) == model((order, all, &listed), &second);
            let (first, second) = (written(&first), written(&second));
            prop_assert_eq!(key(&rule, &first) == key(&rule, &second), expected, "{}: {} {}", rule, first, second);
        }
    }
}
