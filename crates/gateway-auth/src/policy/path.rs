use crate::method::Head;
use gateway_core::Captures;
use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::str::FromStr;

/// A path that needs no credentials: `"/health"`, `"/api/auth/*"`, `"GET,HEAD /api/products/{id}"`.
///
/// Read as the path of a route is: `/api/auth/*` is `/api/auth` itself and all below, `{id}` one segment that is not
/// empty. Besides, a `*` within the last segment stands for any rest: `/api/auth*` is `/api/authors` too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicPath {
    /// Empty for all.
    methods: Vec<Method>,
    segments: Box<[Segment]>,
    end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    /// `{name}`: one that is not empty.
    Any,
}

/// What may come after the segments.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// Nothing.
    Here,
    /// `/*`: anything, in segments of its own.
    Below,
    /// `/begin*`: a segment that begins so, and anything after that.
    Begins(Box<str>),
}

impl PublicPath {
    /// Whether a request is for this path.
    ///
    /// A path that a service might read as another one, with dot segments or an encoded slash or dot, fits only what
    /// is written out: `/api/auth/../orders` is not public where `/api/auth/*` is.
    #[must_use]
    pub fn matches(&self, head: Head<'_>) -> bool {
        (self.methods.is_empty() || self.methods.contains(head.method)) && self.takes(head.uri.path())
    }

    fn takes(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix('/') else { return false };
        // The root has no segments, a trailing slash is followed by an empty one.
        let mut parts = rest.split('/').take(if rest.is_empty() { 0 } else { usize::MAX });
        let begins = self.segments.iter().all(|segment| {
            parts.next().is_some_and(|part| match segment {
                Segment::Literal(text) => **text == *part,
                Segment::Any => !part.is_empty(),
            })
        });
        let ends = match &self.end {
            End::Here => parts.next().is_none(),
            End::Below => true,
            End::Begins(text) => parts.next().is_some_and(|part| part.starts_with(&**text)),
        };
        begins && ends && (self.is_written_out() || !is_ambiguous(path))
    }

    fn is_written_out(&self) -> bool {
        self.end == End::Here && !self.segments.contains(&Segment::Any)
    }
}

fn is_ambiguous(path: &str) -> bool {
    let bytes = path.as_bytes();
    // What follows a semicolon, encoded or not, is a parameter to some, and no part of the segment.
    let dots = |segment: &str| {
        let name = segment.split(';').next().unwrap_or_default();
        let end = name.as_bytes().windows(3).position(|w| matches!(w, [b'%', b'3', b'b' | b'B']));
        matches!(&name[..end.unwrap_or(name.len())], "." | "..")
    };
    path.split('/').any(dots)
        || path.contains("//")
        || path.contains('\\')
        || bytes.windows(3).any(|w| match w {
            // A dot, a slash, and the percent sign of what was encoded twice.
            [b'%', b'2', b'e' | b'E' | b'f' | b'F' | b'5'] => true,
            // A backslash.
            [b'%', b'5', b'c' | b'C'] => true,
            // UTF-8 that is longer than need be, which some decode all the same: `%c0%ae` is a dot to them.
            [b'%', b'c' | b'C', b'0' | b'1'] => true,
            _ => false,
        })
        || bytes.windows(5).any(|w| {
            // The same in three and in four bytes.
            matches!(w, [b'%', b'e' | b'E', b'0', b'%', b'8' | b'9'] | [b'%', b'f' | b'F', b'0', b'%', b'8'])
        })
}

const EXPECTED: &str = "a path such as `/health`, `/api/auth/*` or `GET,HEAD /api/products/{id}`";

const PARAMETER: &str = "has a parameter that is not a whole segment with a plain name such as `{id}`";

impl FromStr for PublicPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` {why}; expected {EXPECTED}");
        let (methods, path) = match text.trim().split_once(' ') {
            None => (Vec::new(), text.trim()),
            Some((methods, path)) => {
                let methods = methods.split(',').map(|name| name.trim().to_ascii_uppercase().parse());
                let methods = methods.collect::<Result<Vec<Method>, _>>();
                (methods.map_err(|_| wrong("does not begin with methods"))?, path.trim())
            }
        };
        let rest = path.strip_prefix('/').ok_or_else(|| wrong("does not begin with a slash"))?;
        let (rest, end) = match rest.strip_suffix('*') {
            None => (Some(rest).filter(|rest| !rest.is_empty()), End::Here),
            Some("") => (None, End::Below),
            Some(rest) => match rest.rsplit_once('/') {
                Some((rest, "")) => (Some(rest), End::Below),
                Some((rest, begin)) => (Some(rest), End::Begins(begin.into())),
                None => (None, End::Begins(rest.into())),
            },
        };
        let begin = match &end {
            End::Begins(begin) => Some(&**begin),
            End::Here | End::Below => None,
        };
        if rest.into_iter().chain(begin).any(|part| part.contains(['*', ' ', '?', '#'])) {
            return Err(wrong("is not a path with at most one `*`, at its end"));
        }
        if begin.is_some_and(|begin| begin.contains(['{', '}'])) {
            return Err(wrong(PARAMETER));
        }
        let segment = |part: &str| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            // As in the path of a route, so that no `{id:[0-9]+}` is public for more than digits.
            Some(name) if Captures::is_name(name) => Ok(Segment::Any),
            None if !part.contains(['{', '}']) => Ok(Segment::Literal(part.into())),
            _ => Err(wrong(PARAMETER)),
        };
        let segments = rest.into_iter().flat_map(|rest| rest.split('/')).map(segment);
        Ok(Self { methods, segments: segments.collect::<Result<_, _>>()?, end })
    }
}

impl<'de> Deserialize<'de> for PublicPath {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for PublicPath {
    fn schema_name() -> Cow<'static, str> {
        "PublicPath".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": EXPECTED })
    }
    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use proptest::prelude::*;

    fn matches(pattern: &str, method: &str, path: &str) -> bool {
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        pattern.parse::<PublicPath>().unwrap().matches(Head::of(&request))
    }

    #[test]
    fn a_path_is_public_by_itself_by_its_beginning_and_by_method() {
        for (pattern, method, path, expected) in [
            ("/health", "GET", "/health", true),
            ("/health", "GET", "/health?x=1", true),
            ("/health", "GET", "/health/", false),
            ("/health", "GET", "/healthy", false),
            ("/api/auth/*", "POST", "/api/auth/login", true),
            ("/api/auth/*", "POST", "/api/auth/", true),
            ("/api/auth/*", "POST", "/api/auth", true),
            ("/api/auth/*", "POST", "/api", false),
            ("/api/auth/*", "POST", "/api/authors", false),
            ("/api/auth*", "POST", "/api/authors", true),
            ("/api*", "POST", "/apis/1", true),
            ("/api*", "POST", "/", false),
            ("/*", "GET", "/anything/at/all", true),
            ("/*", "GET", "/", true),
            ("/", "GET", "/", true),
            ("/", "GET", "/x", false),
            ("/x/", "GET", "/x/", true),
            ("/x/", "GET", "/x", false),
            ("GET /p/{id}", "GET", "/p/7", true),
            ("GET /p/{id}", "GET", "/p/", false),
            ("GET /p/{id}", "GET", "/p/7/8", false),
            ("/p/{id}/*", "GET", "/p/7/8/9", true),
            ("/p/{id}/*", "GET", "/p/7", true),
            ("/p/{id}", "GET", "/p/..", false),
            ("/p/{id}/x", "GET", "/p/a%2Fb/x", false),
            ("GET,HEAD /p/*", "GET", "/p/1", true),
            ("GET,HEAD /p/*", "HEAD", "/p/1", true),
            ("get /p/*", "GET", "/p/1", true),
            ("GET,HEAD /p/*", "POST", "/p/1", false),
            ("/api/auth/*", "GET", "/api/auth/../orders", false),
            ("/api/auth/*", "GET", "/api/auth/./x", false),
            ("/api/auth/*", "GET", "/api/auth/..", false),
            ("/api/auth/*", "GET", "/api/auth/%2e%2e/orders", false),
            ("/api/auth/*", "GET", "/api/auth/%2E./orders", false),
            ("/api/auth/*", "GET", "/api/auth/..%2forders", false),
            ("/api/auth/*", "GET", "/api/auth/%252e%252e/orders", false),
            ("/api/auth/*", "GET", "/api/auth/..%5corders", false),
            ("/api/auth/*", "GET", "/api/auth//x", false),
            ("/api/auth/*", "GET", "/api/auth/..;x=1/orders", false),
            ("/api/auth/*", "GET", "/api/auth/..%3Bx=1/orders", false),
            ("/api/auth/*", "GET", "/api/auth/.%3b/orders", false),
            ("/api/auth/*", "GET", "/api/auth/a%3Bx=1/b", true),
            ("/api/auth/*", "GET", "/api/auth/%c0%ae%C0%AE/orders", false),
            ("/api/auth/*", "GET", "/api/auth/..%c0%aforders", false),
            ("/api/auth/*", "GET", "/api/auth/%c1%9corders", false),
            ("/api/auth/*", "GET", "/api/auth/%e0%80%ae/orders", false),
            ("/api/auth/*", "GET", "/api/auth/%F0%80%80%AE/orders", false),
            ("/api/auth/*", "GET", "/api/auth/caf%C3%A9/%E0%A4%85/%F0%9F%98%80", true),
            ("/.well-known/*", "GET", "/.well-known/jwks.json", true),
            ("/files/*", "GET", "/files/a.b/c%20d", true),
        ] {
            assert_eq!(matches(pattern, method, path), expected, "{pattern}: {method} {path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused_with_what_was_found() {
        for text in [
            "",
            "health",
            "GET",
            "GET health",
            "G T /x",
            "/a*b",
            "/a/**",
            "/*/a",
            "/a?b",
            "/{",
            "/{}",
            "/a{b}",
            "/{a}*",
            "/{id:[0-9]+}",
        ] {
            let error = text.parse::<PublicPath>().unwrap_err();
            assert!(error.starts_with(&format!("`{text}`")) && error.contains("expected a path"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_without_a_star_matches_exactly_its_own_path(path in "/[a-z/]{0,12}", other in "/[a-z/]{0,12}") {
            prop_assert_eq!(matches(&path, "GET", &other), path == other);
        }

        #[test]
        fn nothing_outside_the_prefix_is_public(path in "/[a-z.%2eEfF/]{0,16}") {
            let Ok(uri) = path.parse::<http::Uri>() else { return Ok(()) };
            if matches("/pub/*", "GET", &path) {
                let below = uri.path().strip_prefix("/pub");
                prop_assert!(below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
                prop_assert!(!uri.path().contains(".."));
            }
        }
    }
}
