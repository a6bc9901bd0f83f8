//! Texts with placeholders for what the route captured: `/people/{id}`.

use crate::error::TransformError;
use gateway_core::Captures;
use std::borrow::Cow;

/// A text with placeholders, such as `/people/{id}` or `{tenant}.internal`.
///
/// A placeholder is a name between braces: letters, digits, `_`, `-` and `.`, or `*` for the rest below a prefix.
/// Twice the braces, `{{id}}`, are the text `{id}`. Other braces stand for themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    /// The name of what was captured.
    Capture(String),
}

impl Template {
    pub(crate) fn new(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            literal.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some((name, after)) = rest.strip_prefix('{').and_then(named) {
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Capture(name.to_owned()));
                rest = after;
            } else if let Some((name, after)) = rest.strip_prefix("{{").and_then(named)
                && let Some(after) = after.strip_prefix('}')
            {
                literal.extend(["{", name, "}"]);
                rest = after;
            } else {
                literal.push('{');
                rest = &rest[1..];
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Self(pieces)
    }

    /// The text, if it has no placeholders.
    pub(crate) fn plain(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The names of its placeholders.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Capture(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// With something harmless in the place of placeholders: to check the text around them.
    pub(crate) fn example(&self) -> String {
        self.made(|_| "x".into())
    }

    /// With what was captured in the place of placeholders; nothing for what was not.
    pub(crate) fn render(&self, captures: Option<&Captures>) -> Cow<'_, str> {
        match self.plain() {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(self.made(|name| captured(captures, name).into())),
        }
    }

    /// With something made of each name in the place of placeholders.
    pub(crate) fn made<'m>(&self, make: impl Fn(&str) -> Cow<'m, str>) -> String {
        self.0.iter().fold(String::new(), |text, piece| match piece {
            Piece::Text(literal) => text + literal,
            Piece::Capture(name) => text + &make(name),
        })
    }

    /// This one and then another.
    pub(crate) fn followed_by(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        Self::merged(self.0)
    }

    /// All of them, with a text between.
    pub(crate) fn joined(all: Vec<Self>, between: &str) -> Self {
        let between = Piece::Text(between.to_owned());
        let mut pieces = Vec::new();
        for template in all {
            if !pieces.is_empty() {
                pieces.push(between.clone());
            }
            pieces.extend(template.0);
        }
        Self::merged(pieces)
    }

    /// Texts that follow each other become one.
    fn merged(pieces: Vec<Piece>) -> Self {
        let mut merged: Vec<Piece> = Vec::new();
        for piece in pieces {
            match (merged.last_mut(), piece) {
                (Some(Piece::Text(text)), Piece::Text(more)) => text.push_str(&more),
                (_, piece) => merged.push(piece),
            }
        }
        if merged.is_empty() {
            merged.push(Piece::Text(String::new()));
        }
        Self(merged)
    }

    /// The same with its texts changed.
    pub(crate) fn map_text(self, change: impl Fn(&str) -> String) -> Self {
        let changed = |piece| match piece {
            Piece::Text(text) => Piece::Text(change(&text)),
            capture => capture,
        };
        Self(self.0.into_iter().map(changed).collect())
    }
}

/// What was captured by this name; nothing if it was not.
pub(crate) fn captured<'c>(captures: Option<&'c Captures>, name: &str) -> &'c str {
    captures.and_then(|captures| captures.get(name)).unwrap_or_default()
}

/// A name before a closing brace, and what comes after that.
fn named(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.split_once('}')?;
    (name == "*" || Captures::is_name(name)).then_some((name, after))
}

/// Whether a route has what the placeholders of its rules stand for, by the names of what it captures.
///
/// ```
/// use gateway_transform::{RewriteLayer, RewriteSettings, check_placeholders};
///
/// let settings: RewriteSettings = serde_json::from_value(serde_json::json!({ "path": "/people/{ID}" }))?;
/// let layer = RewriteLayer::new(&settings)?;
/// assert!(check_placeholders(layer.placeholders(), &["ID"]).is_ok());
/// let error = check_placeholders(layer.placeholders(), &["id", "*"]).unwrap_err();
/// assert_eq!(error.to_string(), "`{ID}` stands for nothing here; this route has `{id}` and `{*}`");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`TransformError::Placeholder`], with the first that stands for nothing and those that the route has.
pub fn check_placeholders<'u>(
    used: impl IntoIterator<Item = &'u str>,
    known: &[&str],
) -> Result<(), TransformError> {
    match used.into_iter().find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(name) => Err(TransformError::Placeholder {
            name: name.to_owned(),
            known: known.iter().map(|name| (*name).to_owned()).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    #[test]
    fn names_between_braces_are_placeholders_and_other_braces_are_not() {
        let pairs = [("id", "7"), ("*", "a/b"), ("user-id.x", "8")];
        let captures: Captures =
            pairs.into_iter().map(|(name, value)| (Arc::from(name), value.to_owned())).collect();
        for (text, expected) in [
            ("", ""),
            ("/a", "/a"),
            ("/people/{id}", "/people/7"),
            ("{id}{id}-{user-id.x}", "77-8"),
            ("/v2/{*}", "/v2/a/b"),
            ("{none}", ""),
            ("{{id}}", "{id}"),
            ("{{id}}{id}", "{id}7"),
            ("{{{id}}}", "{{id}}"),
            ("{{id}", "{7"),
            ("{\"a\":{\"b\":1}}", "{\"a\":{\"b\":1}}"),
            ("{", "{"),
            ("{}", "{}"),
            ("a}b{", "a}b{"),
            ("{a b}", "{a b}"),
            ("{é}", "{é}"),
        ] {
            assert_eq!(Template::new(text).render(Some(&captures)), expected, "{text}");
        }
        assert_eq!(Template::new("a{id}b{*}").names().collect::<Vec<_>>(), ["id", "*"]);
        assert_eq!(Template::new("/{id}").render(None), "/");
    }

    #[test]
    fn a_placeholder_that_stands_for_nothing_is_told_those_that_do() {
        for (known, expected) in [
            (&[][..], "this route has no parameters"),
            (&["a"], "this route has `{a}`"),
            (&["a", "b", "*"], "this route has `{a}`, `{b}` and `{*}`"),
        ] {
            let error = check_placeholders(["x"], known).unwrap_err().to_string();
            assert!(error.starts_with("`{x}` stands for nothing") && error.ends_with(expected), "{error}");
        }
        assert_eq!(check_placeholders([], &[]), Ok(()));
    }

    proptest! {
        #[test]
        fn a_text_without_names_in_braces_stays_as_it_is(text in "[a-c {\"]{0,12}") {
            let template = Template::new(&text);
            prop_assert_eq!(template.render(None), text);
        }
    }
}
