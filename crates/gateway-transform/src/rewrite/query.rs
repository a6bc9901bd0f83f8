//! Changes to a query that leave the rest of it alone.

use super::QueryEdits;
use std::fmt::Write;

/// [`QueryEdits`] with its values encoded.
#[derive(Debug)]
pub(crate) struct QueryEdit {
    /// What goes, decoded: what is removed, and what is set anew.
    gone: Vec<String>,
    /// What comes at the end, encoded: `a=1&b=2`.
    added: String,
}

impl QueryEdit {
    /// `None` if nothing is changed.
    pub(crate) fn new(edits: &QueryEdits) -> Option<Self> {
        let gone: Vec<_> = edits.remove.iter().chain(edits.set.keys()).cloned().collect();
        let added: Vec<_> = edits
            .set
            .iter()
            .chain(&edits.append)
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        (!gone.is_empty() || !added.is_empty()).then(|| Self { gone, added: added.join("&") })
    }

    /// The query that this one becomes; empty for none.
    pub(crate) fn apply(&self, query: &str) -> String {
        let mut result = String::with_capacity(query.len() + self.added.len() + 1);
        for pair in query.split('&').filter(|_| !query.is_empty()) {
            let name = pair.split_once('=').map_or(pair, |(name, _)| name);
            if !self.gone.iter().any(|gone| means(name, gone)) {
                push(&mut result, pair);
            }
        }
        if !self.added.is_empty() {
            push(&mut result, &self.added);
        }
        result
    }
}

fn push(query: &mut String, pair: &str) {
    if !query.is_empty() {
        query.push('&');
    }
    query.push_str(pair);
}

/// Everything but RFC 3986's unreserved characters.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String never fails.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Whether an encoded name is this one. A `+` is a space, as in forms.
fn means(name: &str, plain: &str) -> bool {
    let mut bytes = name.bytes();
    let decoded = std::iter::from_fn(|| {
        let byte = match bytes.next()? {
            b'+' => b' ',
            b'%' => {
                let ahead = bytes.clone();
                let mut digits = ahead.take(2).map(|b| char::from(b).to_digit(16));
                match (digits.next().flatten(), digits.next().flatten()) {
                    (Some(high), Some(low)) => {
                        bytes.nth(1);
                        u8::try_from(high * 16 + low).unwrap_or(b'%')
                    }
                    _ => b'%',
                }
            }
            byte => byte,
        };
        Some(byte)
    });
    decoded.eq(plain.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn edited(edits: serde_json::Value, query: &str) -> String {
        QueryEdit::new(&serde_json::from_value(edits).unwrap()).unwrap().apply(query)
    }

    #[test]
    fn what_is_not_named_stays_byte_for_byte() {
        let edits = json!({ "remove": ["key", "a b"], "set": { "v": "1&2" }, "append": { "é": "x y" } });
        for (query, expected) in [
            ("", "v=1%262&%C3%A9=x%20y"),
            ("a=%2f&a=2&v=9", "a=%2f&a=2&v=1%262&%C3%A9=x%20y"),
            ("key&k%65y=1&keys=1", "keys=1&v=1%262&%C3%A9=x%20y"),
            ("a+b=1&a%20b=2&c=%", "c=%&v=1%262&%C3%A9=x%20y"),
        ] {
            assert_eq!(edited(edits.clone(), query), expected, "{query}");
        }
        assert_eq!(edited(json!({ "remove": ["a"] }), "a=1"), "");
        assert!(QueryEdit::new(&QueryEdits::default()).is_none());
    }

    proptest! {
        #[test]
        fn what_is_removed_is_gone_and_what_is_encoded_means_itself(name in ".{1,8}", query in "[ab%&=+0-9]{0,20}") {
            prop_assert!(means(&encoded(&name), &name));
            let gone = edited(json!({ "remove": [name] }), &format!("{query}&{}=1", encoded(&name)));
            prop_assert!(gone.split('&').all(|pair| !means(pair.split('=').next().unwrap(), &name)), "{}", gone);
        }
    }
}
