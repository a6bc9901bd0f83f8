//! Changes to a query that leave the rest of it alone.

use super::QueryEdits;
use crate::template::{Template, captured};
use gateway_core::{Captures, percent};
use std::borrow::Cow;
use std::fmt::Write;

/// [`QueryEdits`] with its values encoded.
#[derive(Debug)]
pub(crate) struct QueryEdit {
    /// What goes, decoded: what is removed, and what is set anew.
    gone: Vec<String>,
    /// What comes at the end, encoded: `a=1&b=2`.
    added: Template,
}

impl QueryEdit {
    /// `None` if nothing is changed.
    pub(crate) fn new(edits: &QueryEdits) -> Option<Self> {
        let gone: Vec<_> = edits.remove.iter().chain(edits.set.keys()).cloned().collect();
        let added: Vec<_> = edits
            .set
            .iter()
            .chain(&edits.append)
            .map(|(name, value)| {
                let value = Template::new(value).map_text(|text| encoded(text.as_bytes()));
                Template::new(&format!("{}=", encoded(name.as_bytes()))).followed_by(value)
            })
            .collect();
        (!gone.is_empty() || !added.is_empty()).then(|| Self { gone, added: Template::joined(added, "&") })
    }

    /// The names of what the route must have captured.
    pub(crate) fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.added.names()
    }

    /// The query that this one becomes; empty for none.
    pub(crate) fn apply(&self, query: &str, captures: Option<&Captures>) -> String {
        let added = match self.added.plain() {
            Some(added) => Cow::Borrowed(added),
            // Captured as the client encoded it for a path, which a query may read otherwise.
            None => {
                self.added.made(|name| encoded(&percent::decoded(captured(captures, name))).into()).into()
            }
        };
        let mut result = String::with_capacity(query.len() + added.len() + 1);
        for pair in query.split('&').filter(|_| !query.is_empty()) {
            let name = pair.split_once('=').map_or(pair, |(name, _)| name);
            if !self.gone.iter().any(|gone| means(name, gone)) {
                push(&mut result, pair);
            }
        }
        if !added.is_empty() {
            push(&mut result, &added);
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
fn encoded(text: &[u8]) -> String {
    text.iter().fold(String::new(), |mut out, &byte| {
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
    *percent::form_decoded(name) == *plain.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn edited(edits: serde_json::Value, query: &str) -> String {
        QueryEdit::new(&serde_json::from_value(edits).unwrap()).unwrap().apply(query, None)
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

    #[test]
    fn what_the_route_captured_is_encoded_for_a_query() {
        let captures = [("id", "a%20b%2Fc+d&e")].map(|(name, value)| (name.into(), value.to_owned()));
        let captures = captures.into_iter().collect();
        let edits = json!({ "set": { "user": "u {id}!", "v": "1" } });
        let edit = QueryEdit::new(&serde_json::from_value(edits).unwrap()).unwrap();
        assert_eq!(edit.apply("a=1", Some(&captures)), "a=1&user=u%20a%20b%2Fc%2Bd%26e%21&v=1");
        assert_eq!(edit.placeholders().collect::<Vec<_>>(), ["id"]);
    }

    proptest! {
        #[test]
        fn what_is_removed_is_gone_and_what_is_encoded_means_itself(name in ".{1,8}", query in "[ab%&=+0-9]{0,20}") {
            prop_assert!(means(&encoded(name.as_bytes()), &name));
            let gone = edited(json!({ "remove": [name] }), &format!("{query}&{}=1", encoded(name.as_bytes())));
            prop_assert!(gone.split('&').all(|pair| !means(pair.split('=').next().unwrap(), &name)), "{}", gone);
        }
    }
}
