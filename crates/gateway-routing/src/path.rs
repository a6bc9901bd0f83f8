use crate::regex::Expression;
use gateway_core::{Captures, percent};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

/// Which paths a route takes: `/exact`, `/prefix/*` (the prefix itself and all below, ending at a segment),
/// `/users/{id}`, `/users/{id}/*`, `/*` for all, or a regular expression such as `~/v(?P<version>[0-9]+)/.*`.
///
/// What is percent-encoded is read as requests have it that are in their one form (RFC 3986 §6.2.2): `/caf%c3%a9` is
/// `/caf%C3%A9`, and `/%61` is `/a`. In an expression only the digits may be small: letters are to stand as themselves.
///
/// An expression stands for the whole path, as if between `^` and `$`. It takes time linear in the path's
/// length, knows no look-around and no back-references, and takes at most 256 KiB compiled. Its named groups
/// become [`Captures`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    pub(crate) segments: Arc<[Segment]>,
    /// Whether everything below matches too.
    pub(crate) prefix: bool,
    /// In place of segments.
    pub(crate) regex: Option<Arc<PathRegex>>,
    text: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Segment {
    Literal(String),
    Param(Arc<str>),
}

/// An expression, ready for routes that know case, and for those that do not once there is one.
#[derive(Clone, Debug)]
pub(crate) struct PathRegex {
    cased: Expression,
    uncased: OnceLock<Expression>,
}

impl PartialEq for PathRegex {
    fn eq(&self, other: &Self) -> bool {
        self.cased == other.cased
    }
}

impl Eq for PathRegex {}

impl Hash for PathRegex {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.cased.hash(state);
    }
}

impl PathRegex {
    fn new(text: &str) -> Result<Self, Cow<'static, str>> {
        match text.trim_start_matches('^').chars().next() {
            None => return Err("the expression is empty".into()),
            Some(first) if first.is_ascii_alphanumeric() => {
                return Err("its paths do not begin with a slash".into());
            }
            Some(_) => {}
        }
        let normal = percent::in_expression(text)?;
        Ok(Self { cased: Expression::new(&normal)?, uncased: OnceLock::new() })
    }

    /// Compiled when it is first asked for, which is when the table is built.
    pub(crate) fn expression(&self, ignore_case: bool) -> &Expression {
        if ignore_case { self.uncased.get_or_init(|| self.cased.ignoring_case()) } else { &self.cased }
    }
}

impl Segment {
    pub(crate) fn to_lowercase(&self) -> Self {
        match self {
            Self::Literal(text) => Self::Literal(text.to_ascii_lowercase()),
            Self::Param(name) => Self::Param(name.clone()),
        }
    }
}

/// Why a text is no path pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a path pattern: {why}; expected \"/exact\", \"/prefix/*\", \"/users/{{id}}\" or \"~/regex/.*\""
)]
pub struct PatternError {
    text: String,
    why: Cow<'static, str>,
}

impl PathPattern {
    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a path fits, found out without a table.
    pub(crate) fn takes(&self, path: &str, ignore_case: bool) -> bool {
        if !path.starts_with('/') {
            return false;
        }
        if let Some(regex) = &self.regex {
            return regex.expression(ignore_case).regex.is_match(path.as_bytes());
        }
        let mut parts = segments(path);
        let begins = self.segments.iter().all(|segment| {
            parts.next().is_some_and(|part| match segment {
                Segment::Literal(text) if ignore_case => text.eq_ignore_ascii_case(part),
                Segment::Literal(text) => text == part,
                Segment::Param(_) => !part.is_empty(),
            })
        });
        begins && (self.prefix || parts.next().is_none())
    }

    /// Whether some path that fits begins with a prefix that ends at a segment. What an expression takes is not known: it
    /// may.
    pub(crate) fn may_begin_with(&self, prefix: &str, ignore_case: bool) -> bool {
        let mut own = self.segments.iter();
        self.regex.is_some()
            || segments(prefix).all(|part| match own.next() {
                Some(Segment::Literal(text)) => {
                    let part = normal(part).unwrap_or_default();
                    if ignore_case { text.eq_ignore_ascii_case(&part) } else { *text == part }
                }
                Some(Segment::Param(_)) => true,
                None => self.prefix,
            })
    }

    /// The whole segments that every path of an expression begins with, as far as they are plain to see.
    pub(crate) fn known_segments(&self) -> Vec<Segment> {
        let known = self.known_text();
        let whole = known.rfind('/').map_or("", |slash| &known[..slash]);
        segments(whole).map(|part| Segment::Literal(part.to_owned())).collect()
    }

    /// What every path that fits begins with, as far as it is plain to see.
    pub(crate) fn beginning(&self) -> String {
        if self.regex.is_some() {
            return self.known_text().to_owned();
        }
        let mut text = String::new();
        for segment in &*self.segments {
            text.push('/');
            match segment {
                Segment::Literal(part) => text.push_str(part),
                Segment::Param(_) => return text,
            }
        }
        if text.is_empty() { "/".to_owned() } else { text }
    }

    /// What an expression takes all paths of that begin with it: `/api/`, if it is `/api/.*`. None of any other.
    pub(crate) fn swept(&self) -> Option<&str> {
        let text = self.expression_text();
        let text = text.strip_suffix('$').unwrap_or(text);
        let begin = match text.strip_suffix(".*)") {
            // `(`, `(?:`, `(?<name>` or `(?P<name>`.
            Some(text) => {
                let (begin, kind) = text.rsplit_once('(')?;
                let is_group = kind.is_empty() || kind == "?:" || (kind.contains('<') && kind.ends_with('>'));
                is_group.then_some(begin)?
            }
            None => text.strip_suffix(".*")?,
        };
        begin.chars().all(is_plain).then_some(begin)
    }

    fn known_text(&self) -> &str {
        let text = self.expression_text();
        // Another branch may begin otherwise.
        if text.contains('|') {
            return "";
        }
        let end = text.find(|c| !is_plain(c)).unwrap_or(text.len());
        // What is repeated need not be there.
        let end = if text[end..].starts_with(['?', '*', '+', '{']) { end.saturating_sub(1) } else { end };
        &text[..end]
    }

    fn expression_text(&self) -> &str {
        self.text.strip_prefix('~').unwrap_or_default().trim_start_matches('^')
    }
}

/// Whether it means itself in an expression and is never encoded in a path.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_')
}

impl FromStr for PathPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let because = |why| PatternError { text: text.to_owned(), why };
        let wrong = |why: &'static str| because(why.into());
        if let Some(expression) = text.strip_prefix('~') {
            let regex = Some(Arc::new(PathRegex::new(expression).map_err(because)?));
            return Ok(Self { segments: Arc::default(), prefix: false, regex, text: text.into() });
        }
        let rest = text.strip_prefix('/').ok_or_else(|| wrong("it does not begin with a slash"))?;
        if text.contains(['?', '#']) {
            return Err(wrong("it holds a query or a fragment"));
        }
        // The names of parameters are looked at below.
        let mut literal = text.split('/').filter(|part| !part.starts_with('{'));
        if literal.any(|part| !part.bytes().all(|b| b.is_ascii_graphic())) {
            let encoded = percent::in_ascii(text);
            return Err(because(
                format!(
                    "it holds white space or characters that requests have percent-encoded: write `{encoded}`"
                )
                .into(),
            ));
        }
        let (rest, prefix) = match rest.strip_suffix('*') {
            Some("") => ("", true),
            Some(rest) => {
                (rest.strip_suffix('/').ok_or_else(|| wrong("`*` must be a segment of its own"))?, true)
            }
            None => (rest, false),
        };
        let mut segments = Vec::new();
        // The root has no segments, and neither does the prefix of everything.
        for part in rest.split('/').filter(|_| !(rest.is_empty())) {
            let segment = if let Some(name) = part.strip_prefix('{') {
                if let Some((name, what)) = name.split_once(':') {
                    return Err(because(restricted(name, what)));
                }
                let name =
                    name.strip_suffix('}').ok_or_else(|| wrong("a `{` is not closed within its segment"))?;
                if !Captures::is_name(name) {
                    return Err(wrong("a parameter needs a plain name of letters, digits, `_`, `-` and `.`"));
                }
                if segments.iter().any(|s| matches!(s, Segment::Param(other) if **other == *name)) {
                    return Err(wrong("two parameters have the same name"));
                }
                Segment::Param(name.into())
            } else if part.contains(['{', '}']) {
                return Err(wrong("a parameter must be a whole segment"));
            } else if let Some(name) = part.strip_prefix(':') {
                let why = format!(
                    "`{part}` is no parameter here: write `{{{name}}}`, or an expression such as `~/{part}` for the text"
                );
                return Err(because(why.into()));
            } else if part.contains('*') {
                return Err(wrong("`*` may only stand at the end"));
            } else {
                let text =
                    normal(part).ok_or_else(|| wrong("a `%` without two hexadecimal digits is refused"))?;
                if text == "." || text == ".." {
                    return Err(wrong("dot segments never reach the routes"));
                }
                Segment::Literal(text)
            };
            segments.push(segment);
        }
        Ok(Self { segments: segments.into(), prefix, regex: None, text: text.into() })
    }
}

/// Other routers read `{id:[0-9]+}` as a parameter that takes digits only. Whoever writes it here must not get one that
/// takes anything.
fn restricted(name: &str, what: &str) -> Cow<'static, str> {
    // Where a slash ended the segment, the rest of it is not at hand.
    let what = what.strip_suffix('}').unwrap_or("…");
    format!("a parameter takes any segment; for this one alone write an expression, `~…/(?<{name}>{what})`")
        .into()
}

/// A segment as requests have it; none, where a `%` begins no triplet.
fn normal(segment: &str) -> Option<String> {
    let mut encoded = segment.as_bytes().split(|byte| *byte == b'%').skip(1);
    encoded
        .all(|after| percent::triplet(after).is_some())
        .then(|| percent::encoded_as_needed(segment).into_owned())
}

impl<'de> Deserialize<'de> for PathPattern {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for PathPattern {
    fn schema_name() -> Cow<'static, str> {
        "PathPattern".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[/~]", "examples": ["/api/users/*", "/users/{id}", "~/v(?P<version>[0-9]+)/.*"] })
    }
    fn inline_schema() -> bool {
        true
    }
}

/// The segments of a request's path: none for `/`, a last empty one for a trailing slash.
pub(crate) fn segments(path: &str) -> impl Iterator<Item = &str> {
    let rest = path.strip_prefix('/').unwrap_or(path);
    rest.split('/').take(if rest.is_empty() { 0 } else { usize::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_or_refused_with_a_reason() {
        for (text, expected) in [
            ("/", Ok((0, false))),
            ("/*", Ok((0, true))),
            ("/a/b", Ok((2, false))),
            ("/a/", Ok((2, false))),
            ("/a/*", Ok((1, true))),
            ("/users/{id}/*", Ok((2, true))),
            ("a", Err("begin with a slash")),
            ("", Err("begin with a slash")),
            ("/a*", Err("segment of its own")),
            ("/*/a", Err("at the end")),
            ("/a/{", Err("not closed")),
            ("/a/{}", Err("plain name")),
            ("/a/{b c}", Err("plain name")),
            ("/a/{ü}", Err("plain name")),
            ("/a/{b|c}", Err("plain name")),
            ("/a/{*b}", Err("plain name")),
            ("/a/{b_1.c-D}", Ok((2, false))),
            ("/a/{id:[0-9]+}", Err("write an expression, `~…/(?<id>[0-9]+)`")),
            ("/a/{id:[0-9]{4}}/*", Err("write an expression, `~…/(?<id>[0-9]{4})`")),
            ("/a/{id:[^/]+}", Err("write an expression, `~…/(?<id>…)`")),
            ("/a/:id/b", Err("write `{id}`, or an expression such as `~/:id` for the text")),
            ("/a/b:id", Ok((2, false))),
            ("/a/x{id}", Err("whole segment")),
            ("/{a}/{a}", Err("same name")),
            ("/a?b", Err("query")),
            ("/a b", Err("percent-encoded: write `/a%20b`")),
            ("/ä/*", Err("percent-encoded: write `/%C3%A4/*`")),
            ("/%c3%a4/{id}/日", Err("percent-encoded: write `/%c3%a4/{id}/%E6%97%A5`")),
            ("/a/../b", Err("dot segments")),
            ("/a/%2e%2E/b", Err("dot segments")),
            ("/a%", Err("without two hexadecimal digits")),
            ("/a%+1", Err("without two hexadecimal digits")),
            ("~/v[0-9]+", Ok((0, false))),
            ("~^/(a|b)$", Ok((0, false))),
            ("~", Err("empty")),
            ("~^", Err("empty")),
            ("~/caf(é|e)", Err("have `é` percent-encoded: write `(?:%C3%A9)`")),
            ("~/%61dmin", Err("have `%61` as `a`")),
            ("~/[^é]+", Err("Unicode not allowed")),
            ("~v1/.*", Err("do not begin with a slash")),
            ("~/a(", Err("unclosed group")),
            ("~/a)(b", Err("unopened group")),
            ("~/(?=a)", Err("look-around")),
            ("~/(a{1000}){1000}", Err("more than 256 KiB")),
        ] {
            match (text.parse::<PathPattern>(), expected) {
                (Ok(p), Ok(shape)) => assert_eq!((p.segments.len(), p.prefix), shape, "{text}"),
                (Err(e), Err(part)) => assert!(e.to_string().contains(part), "{text}: {e}"),
                (seen, _) => panic!("{text}: {seen:?}"),
            }
        }
    }

    #[test]
    fn what_is_encoded_is_matched_in_the_form_that_requests_have() {
        for (text, path) in [
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/%61dmin/*", "/admin/x"),
            ("/a%7eb/{id}", "/a~b/7"),
            ("/%7Bid%7d", "/%7Bid%7D"),
            ("/a|b;v=1", "/a%7Cb;v=1"),
            ("~/caf%c3%a9(/.*)?", "/caf%C3%A9/x"),
        ] {
            let pattern: PathPattern = text.parse().unwrap();
            assert!(pattern.takes(path, false), "{text}");
            assert_eq!(pattern.as_str(), text);
        }
    }

    #[test]
    fn a_prefix_of_no_path_that_fits_is_known() {
        for (text, prefix, expected) in [
            ("/s/*", "/s", true),
            ("/s/*", "/s/t", true),
            ("/s/*", "/other", false),
            ("/s/*", "/S", false),
            ("/s", "/s/t", false),
            ("/s/t", "/s", true),
            ("/{id}/t", "/anything/t", true),
            ("/*", "/any", true),
            ("/caf%C3%A9/*", "/caf%c3%a9", true),
            ("~/s/.*", "/other", true),
        ] {
            let pattern: PathPattern = text.parse().unwrap();
            assert_eq!(pattern.may_begin_with(prefix, false), expected, "{text} {prefix}");
        }
        assert!("/s/*".parse::<PathPattern>().unwrap().may_begin_with("/S", true));
    }

    #[test]
    fn the_beginning_of_an_expression_is_known_as_far_as_it_is_plain() {
        for (text, expected) in [
            ("~/api/v[0-9]+/x", vec!["api"]),
            ("~^/api/v1/.*$", vec!["api", "v1"]),
            ("~/api/v1", vec!["api"]),
            ("~/api/?", vec![]),
            ("~/api/v1/*", vec!["api"]),
            ("~/a/b|/c", vec![]),
            ("~/", vec![]),
            ("~.*", vec![]),
            ("~(?i)/api/.*", vec![]),
            ("~/a//.*", vec!["a", ""]),
        ] {
            let expected: Vec<_> =
                expected.into_iter().map(|part: &str| Segment::Literal(part.into())).collect();
            assert_eq!(text.parse::<PathPattern>().unwrap().known_segments(), expected, "{text}");
        }
    }
}
