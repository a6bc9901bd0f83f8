use crate::error::TransformError;
use crate::target::{self, Case};
use gateway_core::percent;
use gateway_core::units::{Scalar, ShortForm};
use http::header::{HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request};
use schemars::JsonSchema;
use serde::Deserialize;
use std::task::{Context, Poll};
use tower::{Layer, Service};

static FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// A prefix that the service does not see. Short form: the prefix, such as `"/api/users"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StripPrefixSettings {
    /// What goes, without a slash at its end.
    pub prefix: String,
    /// Whether the service is told of it in `X-Forwarded-Prefix`, as Traefik does, after what a trusted proxy in front
    /// took off. Default true.
    #[serde(default = "told")]
    pub forward_prefix: bool,
}

fn told() -> bool {
    true
}

impl ShortForm for StripPrefixSettings {
    const EXPECTED: &'static str = "a prefix such as \"/api/users\", or a table";
    const TYPE: &'static str = "string";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Text(prefix) => Some(Ok(Self { prefix: prefix.to_owned(), forward_prefix: told() })),
            Scalar::Number(_) | Scalar::Switch(_) => None,
        }
    }
}

/// Takes a prefix off the path: `/api/users/7?a=1` becomes `/7?a=1`, and `/api/users` becomes `/` (S3-05, S3-06).
///
/// The prefix ends at a segment: `/api/usersX` stays as it is. The query is kept byte for byte. What was taken
/// off is told in `X-Forwarded-Prefix`, as Traefik does, unless [`forward_prefix`](Self::forward_prefix) says not. What
/// a proxy in front has taken off stands before it: `/outer` becomes `/outer/api/users`. So that no stranger writes
/// that, put it inside [`ForwardedLayer`](crate::ForwardedLayer).
#[derive(Clone, Debug)]
pub struct StripPrefixLayer {
    prefix: String,
    told: Option<HeaderValue>,
    case: Case,
}

impl StripPrefixLayer {
    /// Strips this prefix.
    ///
    /// # Errors
    /// The prefix does not begin with a slash, or ends with one.
    pub fn new(prefix: &str) -> Result<Self, TransformError> {
        let wrong = || TransformError::Prefix(prefix.to_owned());
        if !prefix.starts_with('/') || prefix.ends_with('/') || prefix.contains(['?', '#', '*', '{']) {
            return Err(wrong());
        }
        let told = HeaderValue::from_str(prefix).map_err(|_| wrong())?;
        // In the form that paths have by now.
        Ok(Self {
            prefix: percent::encoded_as_needed(prefix).into_owned(),
            told: Some(told),
            case: Case::Differs,
        })
    }

    /// A layer with these settings.
    ///
    /// # Errors
    /// As of [`new`](Self::new).
    pub fn from_settings(settings: &StripPrefixSettings) -> Result<Self, TransformError> {
        Ok(Self::new(&settings.prefix)?.forward_prefix(settings.forward_prefix))
    }

    /// Takes upper and lower case in the prefix for the same (S3-04).
    #[must_use]
    pub fn ignore_case(mut self, ignore: bool) -> Self {
        self.case = if ignore { Case::Ignored } else { Case::Differs };
        self
    }

    /// Whether the service is told of the prefix in `X-Forwarded-Prefix`. Default true.
    #[must_use]
    pub fn forward_prefix(mut self, forward: bool) -> Self {
        self.told = self.told.filter(|_| forward);
        self
    }

    /// The target without the prefix; `None` if it does not begin with it.
    fn strip(&self, target: &str) -> Option<PathAndQuery> {
        let rest = target::after(target, &self.prefix, self.case)?;
        match rest.as_bytes().first() {
            None => Some(PathAndQuery::from_static("/")),
            Some(b'/') => PathAndQuery::try_from(rest).ok(),
            Some(b'?') => PathAndQuery::try_from(format!("/{rest}")).ok(),
            Some(_) => None,
        }
    }
}

/// This prefix after all that proxies in front have taken off, the outermost first.
fn below(headers: &HeaderMap, own: &HeaderValue) -> HeaderValue {
    if !headers.contains_key(&FORWARDED_PREFIX) {
        return own.clone();
    }
    let lines = headers.get_all(&FORWARDED_PREFIX).iter().filter_map(|line| line.to_str().ok());
    let outer = lines.flat_map(|line| line.split(',')).map(|prefix| prefix.trim().trim_end_matches('/'));
    let all: String = outer.chain(own.to_str().ok()).collect();
    HeaderValue::try_from(all).unwrap_or_else(|_| own.clone())
}

impl<S> Layer<S> for StripPrefixLayer {
    type Service = StripPrefix<S>;
    fn layer(&self, inner: S) -> StripPrefix<S> {
        StripPrefix { inner, layer: self.clone() }
    }
}

/// The service of [`StripPrefixLayer`].
#[derive(Clone, Debug)]
pub struct StripPrefix<S> {
    inner: S,
    layer: StripPrefixLayer,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for StripPrefix<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        if let Some(stripped) = self.layer.strip(target) {
            target::set(request.uri_mut(), stripped);
            if let Some(told) = &self.layer.told {
                let told = below(request.headers(), told);
                request.headers_mut().insert(FORWARDED_PREFIX.clone(), told);
            }
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_05_s3_06_the_prefix_goes_at_a_segment_and_the_query_stays() {
        let (exact, any_case) = (
            StripPrefixLayer::new("/api/users").unwrap(),
            StripPrefixLayer::new("/api/users").unwrap().ignore_case(true),
        );
        for (target, expected, expected_any_case) in [
            ("/api/users/123", Some("/123"), Some("/123")),
            ("/api/users", Some("/"), Some("/")),
            ("/api/users/", Some("/"), Some("/")),
            ("/api/users?a=1&a=2", Some("/?a=1&a=2"), Some("/?a=1&a=2")),
            ("/api/users/a%20b?c=%2F", Some("/a%20b?c=%2F"), Some("/a%20b?c=%2F")),
            ("/api/usersX", None, None),
            ("/API/Users/1", None, Some("/1")),
            ("/api", None, None),
            ("/", None, None),
        ] {
            assert_eq!(exact.strip(target).as_ref().map(PathAndQuery::as_str), expected, "{target}");
            assert_eq!(
                any_case.strip(target).as_ref().map(PathAndQuery::as_str),
                expected_any_case,
                "{target}"
            );
        }
        // Both in the one form that paths have.
        let encoded = StripPrefixLayer::new("/caf%c3%a9").unwrap();
        assert_eq!(encoded.strip("/caf%C3%A9/x").as_ref().map(PathAndQuery::as_str), Some("/x"));
        for prefix in ["", "/", "api", "/api/", "/api/*"] {
            assert!(StripPrefixLayer::new(prefix).is_err(), "{prefix}");
        }
    }

    #[test]
    fn what_proxies_in_front_took_off_stands_before_the_prefix() {
        let own = HeaderValue::from_static("/api");
        for (sent, expected) in [
            (&[][..], "/api"),
            (&["/outer"], "/outer/api"),
            (&["/outer/"], "/outer/api"),
            (&["/"], "/api"),
            (&["/a, /b"], "/a/b/api"),
            (&["/a", "/b"], "/a/b/api"),
        ] {
            let lines = sent.iter().map(|value| (FORWARDED_PREFIX.clone(), HeaderValue::from_static(value)));
            let headers: HeaderMap = lines.collect();
            assert_eq!(below(&headers, &own), expected, "{sent:?}");
        }
    }
}
