use crate::method::Head;
use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::str::FromStr;

/// A path that needs no credentials: `"/health"`, `"/api/auth/*"`, `"GET,HEAD /api/products/*"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicPath {
    /// Empty for all.
    methods: Vec<Method>,
    path: Box<str>,
    /// Whether the path is only the beginning.
    prefix: bool,
}

impl PublicPath {
    /// Whether a request is for this path.
    ///
    /// A path that a service might read as another one, with dot segments or an encoded slash or dot, begins like
    /// nothing: `/api/auth/../orders` is not public where `/api/auth/*` is.
    #[must_use]
    pub fn matches(&self, head: Head<'_>) -> bool {
        let path = head.uri.path();
        let same = match self.prefix {
            true => path.starts_with(&*self.path) && !is_ambiguous(path),
            false => path == &*self.path,
        };
        same && (self.methods.is_empty() || self.methods.contains(head.method))
    }
}

fn is_ambiguous(path: &str) -> bool {
    let bytes = path.as_bytes();
    // What follows a semicolon is a parameter to some, and no part of the segment.
    let dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    path.split('/').any(dots)
        || path.contains("//")
        || path.contains('\\')
        || bytes.windows(3).any(|w| match w {
            // A dot, a slash, and the percent sign of what was encoded twice.
            [b'%', b'2', b'e' | b'E' | b'f' | b'F' | b'5'] => true,
            // A backslash.
            [b'%', b'5', b'c' | b'C'] => true,
            _ => false,
        })
}

const EXPECTED: &str = "a path such as `/health`, `/api/auth/*` or `GET,HEAD /api/products/*`";

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
        if !path.starts_with('/') {
            return Err(wrong("does not begin with a slash"));
        }
        let (path, prefix) = path.strip_suffix('*').map_or((path, false), |path| (path, true));
        if path.contains(['*', ' ', '?', '#']) {
            return Err(wrong("is not a path with at most one `*`, at its end"));
        }
        Ok(Self { methods, path: path.into(), prefix })
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
            ("/api/auth/*", "POST", "/api/auth", false),
            ("/api/auth/*", "POST", "/api/authors", false),
            ("/api/auth*", "POST", "/api/authors", true),
            ("/*", "GET", "/anything/at/all", true),
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
            ("/.well-known/*", "GET", "/.well-known/jwks.json", true),
            ("/files/*", "GET", "/files/a.b/c%20d", true),
        ] {
            assert_eq!(matches(pattern, method, path), expected, "{pattern}: {method} {path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused_with_what_was_found() {
        for text in ["", "health", "GET", "GET health", "G T /x", "/a*b", "/a/**", "/a?b"] {
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
                prop_assert!(uri.path().starts_with("/pub/") && !uri.path().contains(".."));
            }
        }
    }
}
