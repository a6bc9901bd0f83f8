//! One path made of another. The result is as normal as the path was, or there is none.

use super::{PathRewrite, RegexRewrite};
use crate::error::TransformError;
use crate::normalize::{NormalizeSettings, PathError, is_dot_segment, normalize_path};
use crate::target::{Case, after};
use crate::template::{Template, captured};
use gateway_core::{Captures, percent};
use regex::{Regex, RegexBuilder};
use std::borrow::Cow;

/// Bytes of the compiled expression: plenty for paths, and a bound on what one line of config may cost.
const REGEX_SIZE_LIMIT: usize = 1 << 20;

/// A [`PathRewrite`] that has been checked.
#[derive(Debug)]
pub(crate) enum PathEdit {
    Full(Template),
    Add(Template),
    /// `to` is empty or does not end with a slash.
    Replace {
        from: String,
        to: Template,
        case: Case,
    },
    Regex {
        regex: Regex,
        to: Vec<Part>,
    },
}

/// A piece of what a regular expression's match becomes.
#[derive(Debug)]
pub(crate) enum Part {
    Text(String),
    Group(usize),
    /// The name of what the route captured.
    Capture(String),
}

impl PathEdit {
    pub(crate) fn new(settings: &PathRewrite, case: Case) -> Result<Self, TransformError> {
        match settings {
            PathRewrite { full: Some(path), add_prefix: None, replace_prefix: None, regex: None } => {
                Ok(Self::Full(template(path, whole)?))
            }
            PathRewrite { full: None, add_prefix: Some(prefix), replace_prefix: None, regex: None } => {
                Ok(Self::Add(template(prefix, self::prefix)?))
            }
            PathRewrite { full: None, add_prefix: None, replace_prefix: Some(replace), regex: None } => {
                let to = if replace.to == "/" { Template::new("") } else { template(&replace.to, prefix)? };
                Ok(Self::Replace { from: prefix(&replace.from)?, to, case })
            }
            PathRewrite { full: None, add_prefix: None, replace_prefix: None, regex: Some(settings) } => {
                Self::regex(settings, case)
            }
            _ => Err(TransformError::PathRewrite),
        }
    }

    fn regex(settings: &RegexRewrite, case: Case) -> Result<Self, TransformError> {
        let refused = |why| TransformError::Regex { pattern: settings.pattern.clone(), why };
        let pattern = percent::in_expression(&settings.pattern).map_err(refused)?;
        let wrong = |error: &regex::Error| {
            // The last line says what is wrong, those before draw where.
            let why = error.to_string();
            refused(why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned())
        };
        let compile = |pattern: &str| {
            let mut builder = RegexBuilder::new(pattern);
            builder.case_insensitive(case == Case::Ignored).size_limit(REGEX_SIZE_LIMIT).build()
        };
        // By itself first, so that no stray bracket closes ours.
        compile(&pattern).map_err(|error| wrong(&error))?;
        let regex = compile(&format!("^(?:{pattern})$")).map_err(|error| wrong(&error))?;
        let to = parts(&settings.to, &regex)?;
        Ok(Self::Regex { regex, to })
    }

    /// The names of what the route must have captured.
    pub(crate) fn placeholders(&self) -> Vec<&str> {
        match self {
            Self::Full(template) | Self::Add(template) | Self::Replace { to: template, .. } => {
                template.names().collect()
            }
            Self::Regex { to, .. } => {
                let parts = to.iter();
                let names = parts.filter_map(|part| match part {
                    Part::Capture(name) => Some(name.as_str()),
                    Part::Text(_) | Part::Group(_) => None,
                });
                names.collect()
            }
        }
    }

    /// The path that this one becomes; `None` if it stays as it is.
    pub(crate) fn apply(&self, path: &str, captures: Option<&Captures>) -> Result<Option<String>, PathError> {
        if path == "*" {
            return Ok(None);
        }
        let result = match self {
            Self::Full(full) => full.render(captures).into_owned(),
            Self::Add(prefix) => [&prefix.render(captures), path].concat(),
            Self::Replace { from, to, case } => match after(path, from, *case) {
                Some("") if to.plain() == Some("") => "/".to_owned(),
                Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                    [&to.render(captures), rest].concat()
                }
                _ => return Ok(None),
            },
            Self::Regex { regex, to } => match regex.captures(path) {
                Some(groups) => to.iter().fold(String::with_capacity(path.len()), |result, part| {
                    result
                        + match part {
                            Part::Text(text) => text,
                            Part::Group(group) => groups.get(*group).map_or("", |group| group.as_str()),
                            Part::Capture(name) => captured(captures, name),
                        }
                }),
                None => return Ok(None),
            },
        };
        checked(result, path).map(Some)
    }
}

/// A result that is as normal as the path was: pieces that were harmless apart may make dot segments or encoded
/// slashes together.
fn checked(result: String, path: &str) -> Result<String, PathError> {
    let mut settings =
        NormalizeSettings { merge_slashes: !path.contains("//"), ..NormalizeSettings::default() };
    let strict = normalize_path(&result, &settings);
    let normal = match strict {
        // Then the edge lets them pass, and only then.
        Err(PathError::EncodedSlash) if normalize_path(path, &settings) == Err(PathError::EncodedSlash) => {
            settings.allow_encoded_slashes = true;
            normalize_path(&result, &settings)?
        }
        other => other?,
    };
    if result.contains(['?', '#']) {
        return Err(PathError::Delimiter);
    }
    match normal {
        Cow::Owned(_) if result.split('/').any(is_dot_segment) => Err(PathError::DotSegment),
        Cow::Owned(normal) => Ok(normal),
        Cow::Borrowed(_) => Ok(result),
    }
}

fn whole(text: &str) -> Result<String, TransformError> {
    let normal = matches!(normalize_path(text, &NormalizeSettings::default()), Ok(path) if path == text);
    if normal && text.starts_with('/') && text.bytes().all(is_path_byte) {
        Ok(text.to_owned())
    } else {
        Err(TransformError::Path(text.to_owned()))
    }
}

fn prefix(text: &str) -> Result<String, TransformError> {
    let wrong = || TransformError::Prefix(text.to_owned());
    if text.ends_with('/') { Err(wrong()) } else { whole(text).map_err(|_| wrong()) }
}

/// A text with placeholders that is such a path whatever stands in their place, or is told apart from one later.
fn template(
    text: &str,
    check: impl Fn(&str) -> Result<String, TransformError>,
) -> Result<Template, TransformError> {
    let template = Template::new(text);
    match template.plain() {
        Some(plain) => check(plain)?,
        // The error shows what was written.
        None => check(&template.example()).map_err(|error| match error {
            TransformError::Prefix(_) => TransformError::Prefix(text.to_owned()),
            _ => TransformError::Path(text.to_owned()),
        })?,
    };
    Ok(template)
}

/// RFC 3986 §3.3: what a path is made of.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(&byte)
}

/// `/people/{id}{2}` as text and groups of this expression.
fn parts(to: &str, regex: &Regex) -> Result<Vec<Part>, TransformError> {
    let wrong = |why: String| TransformError::Template { template: to.to_owned(), why };
    let mut parts = Vec::new();
    let mut rest = to;
    while !rest.is_empty() {
        let (text, after) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
        if !text.bytes().all(is_path_byte) {
            return Err(wrong("it holds characters that no path may".to_owned()));
        }
        if text.as_bytes().windows(2).any(|pair| pair[0] == b'$' && pair[1].is_ascii_digit())
            || (text.ends_with('$') && !after.is_empty())
        {
            return Err(wrong("groups are written as {1} or {name}".to_owned()));
        }
        if !text.is_empty() {
            parts.push(Part::Text(text.to_owned()));
        }
        let Some(group) = after.strip_prefix('{') else { break };
        let (name, after) = group.split_once('}').ok_or_else(|| wrong("a `{` is not closed".to_owned()))?;
        let part = match name.parse::<usize>() {
            Ok(number) if number < regex.captures_len() => Part::Group(number),
            Ok(_) => return Err(wrong(format!("the expression has no group `{name}`"))),
            Err(_) => match regex.capture_names().position(|known| known == Some(name)) {
                Some(number) => Part::Group(number),
                None => Part::Capture(name.to_owned()),
            },
        };
        parts.push(part);
        rest = after;
    }
    match parts.first() {
        Some(Part::Text(text)) if text.starts_with('/') => Ok(parts),
        Some(Part::Group(_) | Part::Capture(_)) => Ok(parts),
        _ => Err(wrong("it does not begin with a slash".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn edit(settings: serde_json::Value) -> Result<PathEdit, TransformError> {
        PathEdit::new(&serde_json::from_value::<PathRewrite>(settings).unwrap(), Case::Differs)
    }

    fn regex(pattern: &str, to: &str) -> PathEdit {
        edit(json!({ "regex": { "match": pattern, "to": to } })).unwrap()
    }

    fn replace(from: &str, to: &str) -> PathEdit {
        edit(json!({ "replace_prefix": { "from": from, "to": to } })).unwrap()
    }

    #[test]
    fn each_kind_of_rewrite_makes_the_path_it_says() {
        let full = || edit(json!({ "full": "/v2/status" })).unwrap();
        let add = || edit(json!({ "add_prefix": "/v2" })).unwrap();
        let people = || regex("/users/(?<id>[0-9]+)(/.*)?", "/people/{id}{2}");
        for (edit, path, expected) in [
            (full(), "/x", Some("/v2/status")),
            (full(), "*", None),
            (add(), "/users/a%20b", Some("/v2/users/a%20b")),
            (add(), "/", Some("/v2/")),
            (replace("/api", "/v1"), "/api/x", Some("/v1/x")),
            (replace("/api", "/v1"), "/api", Some("/v1")),
            (replace("/api", "/v1"), "/apix", None),
            (replace("/api", "/"), "/api", Some("/")),
            (replace("/api", "/"), "/api/x/", Some("/x/")),
            (people(), "/users/7", Some("/people/7")),
            (people(), "/users/7/a/b", Some("/people/7/a/b")),
            (people(), "/x/users/7", None),
            (people(), "/users/7x", None),
            (regex("^/a(.*)", "{1}"), "/a/b", Some("/b")),
            (regex("/a|/b", "/c"), "/b", Some("/c")),
            (regex("/a(.*)", "/b/{1}"), "/a/c", Some("/b/c")),
            (regex("/a(.*)", "/b/{1}"), "/a//c", Some("/b///c")),
            (regex("/(.*)", "/x/{1}"), "/a%2Fb", Some("/x/a%2Fb")),
        ] {
            assert_eq!(edit.apply(path, None), Ok(expected.map(str::to_owned)), "{edit:?} {path}");
        }
    }

    #[test]
    fn where_case_is_ignored_prefixes_and_expressions_ignore_it_too() {
        for (settings, path, expected) in [
            (json!({ "replace_prefix": { "from": "/Old", "to": "/New" } }), "/OLD/X", Some("/New/X")),
            (json!({ "replace_prefix": { "from": "/Old", "to": "/New" } }), "/olds", None),
            (
                json!({ "regex": { "match": "/users/([a-z]+)", "to": "/people/{1}" } }),
                "/Users/Ann",
                Some("/people/Ann"),
            ),
        ] {
            let of = |case| PathEdit::new(&serde_json::from_value(settings.clone()).unwrap(), case).unwrap();
            let ignored = of(Case::Ignored).apply(path, None);
            assert_eq!(ignored, Ok(expected.map(str::to_owned)), "{settings} {path}");
            assert_eq!(of(Case::Differs).apply(path, None), Ok(None), "{settings} {path}");
        }
    }

    #[test]
    fn what_the_route_captured_stands_in_the_place_of_placeholders() {
        let captures = |id: &str, rest: &str| -> Captures {
            [("id", id), ("*", rest)].into_iter().map(|(n, v)| (n.into(), v.to_owned())).collect()
        };
        let full = |path: &str| edit(json!({ "full": path })).unwrap();
        for (edit, id, rest, expected) in [
            (full("/people/{id}"), "7", "", Ok("/people/7")),
            (full("/v2/{*}"), "", "a/b/", Ok("/v2/a/b/")),
            (full("/v2/{*}"), "", "", Ok("/v2/")),
            (full("/v2/{*}/x"), "", "", Ok("/v2/x")),
            (full("/v2/.{id}"), ".", "", Err(PathError::DotSegment)),
            (edit(json!({ "add_prefix": "/{id}" })).unwrap(), "acme", "", Ok("/acme/users/7")),
            (replace("/users", "/{id}"), "acme", "", Ok("/acme/7")),
            (regex("/users/(?<n>.*)", "/{id}/{n}"), "acme", "", Ok("/acme/7")),
        ] {
            let seen = edit.apply("/users/7", Some(&captures(id, rest)));
            assert_eq!(seen, expected.map(|path| Some(path.to_owned())), "{edit:?}");
        }
    }

    #[test]
    fn a_result_that_is_no_normal_path_is_refused() {
        for (edit, path, expected) in [
            (regex("/(.*)", "/.{1}"), "/./x", PathError::DotSegment),
            (regex("/(.*)", "/a/.{1}"), "/.", PathError::DotSegment),
            (regex("/(.*)", "/a/{1}/b"), "/..", PathError::DotSegment),
            (regex("/([^x]*)x(.*)", "/{1}{2}"), "/.x./a", PathError::DotSegment),
            (regex("/([^x]*)x(.*)", "/{1}{2}"), "/%x2e/a", PathError::DotSegment),
            (regex("/([^x]*)x(.*)", "/{1}{2}"), "/%x2fa", PathError::EncodedSlash),
            (regex("/([^x]*)x(.*)", "/{1}{2}"), "/%x0a", PathError::Control),
            (regex("/(.).*", "/{1}"), "/%20", PathError::BadEncoding),
            (regex("/(.*)", "{1}"), "/a", PathError::NotRooted),
            (regex("/(.*)", "{1}"), "/", PathError::NotRooted),
        ] {
            assert_eq!(edit.apply(path, None), Err(expected), "{edit:?} {path}");
        }
    }

    #[test]
    fn settings_that_make_no_rewrite_name_what_is_wrong() {
        let regex = |pattern: &str, to: &str| json!({ "regex": { "match": pattern, "to": to } });
        for (settings, part) in [
            (json!({}), "exactly one of"),
            (json!({ "full": "/a", "add_prefix": "/b" }), "exactly one of"),
            (json!({ "full": "a" }), "`a` is not a path"),
            (json!({ "full": "/a/../b" }), "`/a/../b` is not a path"),
            (json!({ "full": "/ä/{id}" }), "percent-encoded: `/%C3%A4/{id}`"),
            (json!({ "replace_prefix": { "from": "/ä", "to": "/a" } }), "percent-encoded: `/%C3%A4`"),
            (json!({ "full": "/a?b=c" }), "is not a path"),
            (json!({ "full": "*" }), "`*` is not a path"),
            (json!({ "add_prefix": "/a/" }), "`/a/` is not a path prefix"),
            (json!({ "replace_prefix": { "from": "/", "to": "/a" } }), "`/` is not a path prefix"),
            (regex("/(", "/a"), "unclosed group"),
            (regex("/caf(é|e)", "/a"), "have `é` percent-encoded: write `(?:%C3%A9)`"),
            (regex("/%61", "/a"), "have `%61` as `a`"),
            (regex("/a)|(?:b", "/a"), "unopened group"),
            (regex("/a{1000}{1000}", "/a"), "size limit"),
            (regex("/(.*)", "/a/{2}"), "no group `2`"),
            (json!({ "full": "{id}" }), "`{id}` is not a path"),
            (json!({ "full": "/{id}/../b" }), "`/{id}/../b` is not a path"),
            (json!({ "add_prefix": "/{id}/" }), "`/{id}/` is not a path prefix"),
            (regex("/(.*)", "/a/$1"), "written as {1}"),
            (regex("/(.*)", "/a/\\1"), "characters that no path may"),
            (regex("/(.*)", "/a/{1"), "is not closed"),
            (regex("/(.*)", "a/{1}"), "does not begin with a slash"),
            (regex("/(.*)", ""), "does not begin with a slash"),
        ] {
            let error = edit(settings.clone()).unwrap_err().to_string();
            assert!(error.contains(part), "{settings}: {error}");
        }
    }

    /// Paths as they come from the edge.
    fn paths() -> impl Strategy<Value = String> {
        let piece = prop_oneof!["[a-c.%2eEfF]{0,4}", Just("..".to_owned()), Just("x".to_owned())];
        prop::collection::vec(piece, 0..6).prop_filter_map("normal", |pieces| {
            let path = format!("/{}", pieces.join("/"));
            normalize_path(&path, &NormalizeSettings::default()).ok().map(Cow::into_owned)
        })
    }

    proptest! {
        #[test]
        fn whatever_comes_of_a_normal_path_is_a_normal_path(
            path in paths(), to in prop::collection::vec(prop_oneof![
                Just("{1}"), Just("{2}"), Just("{3}"), Just("/"), Just("."), Just("a"), Just("%2"), Just("e"), Just("f"),
            ], 0..8), pattern in prop_oneof![
                Just("/(.*)x(.*)()"), Just("/(.?)(.?)(.*)"), Just("(/[^.]*)(.)(.*)"), Just("/(.*)%(.*)(..)"),
            ],
        ) {
            let edit = edit(json!({ "regex": { "match": pattern, "to": format!("/{}", to.concat()) } })).unwrap();
            if let Ok(Some(result)) = edit.apply(&path, None) {
                prop_assert_eq!(normalize_path(&result, &NormalizeSettings::default()), Ok(Cow::Borrowed(result.as_str())));
                prop_assert!(result.starts_with('/') && !result.split('/').any(is_dot_segment), "{}", result);
                prop_assert!(http::uri::PathAndQuery::try_from(result).is_ok());
            }
        }

        #[test]
        fn prefixes_come_and_go_without_a_trace(path in paths()) {
            let added = edit(json!({ "add_prefix": "/v2" })).unwrap().apply(&path, None).unwrap().unwrap();
            prop_assert_eq!(replace("/v2", "/").apply(&added, None).unwrap().unwrap(), path.clone());
            let moved = replace("/v2", "/w").apply(&added, None).unwrap().unwrap();
            prop_assert_eq!(replace("/w", "/v2").apply(&moved, None).unwrap().unwrap(), added);
        }
    }
}
