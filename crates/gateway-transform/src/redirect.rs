mod settings;

pub use settings::{RedirectScheme, RedirectSettings};

use crate::answer::OwnOrInner;
use crate::error::TransformError;
use crate::rewrite::path::PathEdit;
use crate::target::Case;
use crate::template::Template;
use bytes::Bytes;
use gateway_core::{Captures, Code, Problem, Scheme};
use http::header::{HOST, HeaderValue, LOCATION};
use http::{Request, Response, StatusCode, Uri};
use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Answers with a redirect: to another scheme, host, port or path, and always with a whole URL.
///
/// A request that is already where it would be sent goes on to the service, so that no redirect leads to itself.
/// The client's scheme is the [`Scheme`] extension: behind a proxy that ends TLS, that proxy must be in
/// `trusted_proxies`, or a redirect to `https` never ends.
///
/// The host comes from the settings (with placeholders only what a host may hold) or from the request's own `Host`, and the path begins with one slash after
/// it: nothing in a path or query leads to another host. A request without a host, or whose path would become no
/// path, is answered 400.
#[derive(Clone, Debug)]
pub struct RedirectLayer(Arc<Rule>);

#[derive(Debug)]
struct Rule {
    scheme: Option<Scheme>,
    host: Option<Template>,
    port: Option<u16>,
    path: Option<PathEdit>,
    status: StatusCode,
    keep_query: bool,
}

impl RedirectLayer {
    /// A layer with these settings.
    ///
    /// # Errors
    /// Names the host, path or status that is none of a redirect, or that nothing would change.
    pub fn new(settings: &RedirectSettings) -> Result<Self, TransformError> {
        Self::with(settings, Case::Differs)
    }

    /// The same for routes to which upper and lower case in a path are the same: they are in a prefix and in an
    /// expression, too.
    ///
    /// # Errors
    /// As of [`new`](Self::new).
    pub fn ignoring_case(settings: &RedirectSettings) -> Result<Self, TransformError> {
        Self::with(settings, Case::Ignored)
    }

    fn with(settings: &RedirectSettings, case: Case) -> Result<Self, TransformError> {
        let RedirectSettings { scheme, host, port, path, status, keep_query } = settings;
        if scheme.is_none() && host.is_none() && port.is_none() && path.is_none() {
            return Err(TransformError::Redirect);
        }
        if *port == Some(0) {
            return Err(TransformError::Port(0));
        }
        let template = host.as_deref().map(Template::new);
        if let (Some(host), Some(template)) = (host, &template)
            && !matches!(split(&template.example()), Some((_, None)))
        {
            return Err(TransformError::Host(host.clone()));
        }
        let status = match status {
            301 | 302 | 303 | 307 | 308 => StatusCode::from_u16(*status).unwrap_or(StatusCode::FOUND),
            other => return Err(TransformError::RedirectStatus(*other)),
        };
        Ok(Self(Arc::new(Rule {
            scheme: scheme.map(Scheme::from),
            host: template,
            port: *port,
            path: path.as_ref().map(|path| PathEdit::new(path, case)).transpose()?,
            status,
            keep_query: *keep_query,
        })))
    }
}

impl RedirectLayer {
    /// The names that its placeholders stand for.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        let path = self.0.path.iter().flat_map(PathEdit::placeholders);
        path.chain(self.0.host.iter().flat_map(Template::names))
    }
}

impl Rule {
    /// Where a request goes instead; `None` if it is there already.
    fn location(
        &self,
        scheme: Scheme,
        host: Option<&str>,
        uri: &Uri,
        captures: Option<&Captures>,
    ) -> Result<Option<String>, Cow<'static, str>> {
        let host = host.ok_or("the request has no host")?;
        let (name, port) = split(host).ok_or("the request's host is not valid")?;
        let port = port.unwrap_or(scheme.default_port());
        let new_path = match &self.path {
            Some(edit) => edit.apply(uri.path(), captures).map_err(|error| error.to_string())?,
            None => None,
        };
        let new_scheme = self.scheme.unwrap_or(scheme);
        let new_host = self.host.as_ref().map(|host| host.render(captures));
        let new_name = match &new_host {
            Some(host) if !matches!(split(host), Some((_, None))) => {
                return Err("its host is not valid".into());
            }
            Some(host) => host,
            None => name,
        };
        // A scheme and a host are a whole URL; the scheme alone must not send away those who are there already by a
        // port of their own.
        let is_whole = self.scheme.is_some() && self.host.is_some();
        let keeps_port = new_scheme == scheme && !is_whole;
        let new_port = self.port.unwrap_or(if keeps_port { port } else { new_scheme.default_port() });
        let stays = new_scheme == scheme
            && new_name.eq_ignore_ascii_case(name)
            && new_port == port
            && new_path.as_ref().is_none_or(|path| path == uri.path());
        if stays {
            return Ok(None);
        }
        let path = new_path.as_deref().unwrap_or(uri.path());
        // `OPTIONS *` has no path.
        let path = if path.starts_with('/') { path } else { "/" };
        let query = uri.query().filter(|_| self.keep_query);
        let mut url = String::with_capacity(16 + new_name.len() + path.len() + query.map_or(0, str::len));
        url.extend([new_scheme.as_str(), "://", new_name]);
        if new_port != new_scheme.default_port() {
            url.extend([":", &new_port.to_string()]);
        }
        url.push_str(path);
        if let Some(query) = query {
            url.extend(["?", query]);
        }
        Ok(Some(url))
    }

    fn answer<R: From<Bytes>, B>(&self, request: &Request<B>) -> Option<Response<R>> {
        let scheme = request.extensions().get().copied().unwrap_or_default();
        let host = request.headers().get(HOST).map(|host| host.to_str().unwrap_or_default());
        let host = host.or_else(|| request.uri().authority().map(http::uri::Authority::as_str));
        let location = match self.location(scheme, host, request.uri(), request.extensions().get()) {
            Ok(location) => location?,
            Err(why) => {
                let detail = format!("the request cannot be redirected: {why}");
                return Some(Problem::new(Code::BadRequest).with_detail(detail).into_response());
            }
        };
        let mut response = Response::new(R::from(Bytes::new()));
        *response.status_mut() = self.status;
        // All of it came in headers and targets that were valid.
        let location = HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static("/"));
        response.headers_mut().insert(LOCATION, location);
        Some(response)
    }
}

/// A host and its port; `None` if it is no host, or one that clients might read in two ways.
pub(crate) fn split(host: &str) -> Option<(&str, Option<u16>)> {
    let end = match host.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    let valid = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(ip) => ip.parse::<Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    let port = match port.strip_prefix(':') {
        None | Some("") => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
    };
    valid.then_some((name, port))
}

impl<S> Layer<S> for RedirectLayer {
    type Service = Redirect<S>;
    fn layer(&self, inner: S) -> Redirect<S> {
        Redirect { inner, rule: self.0.clone() }
    }
}

/// The service of [`RedirectLayer`].
#[derive(Clone, Debug)]
pub struct Redirect<S> {
    inner: S,
    rule: Arc<Rule>,
}

impl<S, B, R> Service<Request<B>> for Redirect<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = OwnOrInner<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.rule.answer(&request) {
            Some(response) => OwnOrInner::own(response),
            None => OwnOrInner::inner(self.inner.call(request)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::units::Short;
    use proptest::prelude::*;
    use serde_json::json;

    fn layer(settings: serde_json::Value) -> Result<RedirectLayer, String> {
        let settings =
            serde_json::from_value::<Short<RedirectSettings>>(settings).map_err(|e| e.to_string())?;
        RedirectLayer::new(&settings).map_err(|error| error.to_string())
    }

    /// The request is written as its URL.
    fn location(settings: serde_json::Value, url: &str) -> Option<String> {
        let url: Uri = url.parse().unwrap();
        let scheme = if url.scheme_str() == Some("https") { Scheme::Https } else { Scheme::Http };
        layer(settings)
            .unwrap()
            .0
            .location(scheme, url.authority().map(http::uri::Authority::as_str), &url, None)
            .unwrap()
    }

    #[test]
    fn each_part_changes_alone_and_the_rest_stays() {
        for (settings, url, expected) in [
            (json!("https"), "http://a.example/x?q=1", Some("https://a.example/x?q=1")),
            (json!("https"), "http://a.example:8080/x", Some("https://a.example/x")),
            (json!("https"), "https://a.example:8443/x", None),
            (
                json!({ "scheme": "https", "port": 8443 }),
                "http://a.example/x",
                Some("https://a.example:8443/x"),
            ),
            (json!({ "host": "b.example" }), "http://a.example:8080/x", Some("http://b.example:8080/x")),
            (json!({ "host": "b.example" }), "http://B.example/x", None),
            (
                json!({ "host": "b.example", "port": 80 }),
                "http://a.example:8080/x",
                Some("http://b.example/x"),
            ),
            (json!({ "port": 81 }), "http://[2001:db8::1]/x", Some("http://[2001:db8::1]:81/x")),
            (json!("/new"), "http://a.example/old?q=1", Some("http://a.example/new?q=1")),
            (json!("/new"), "http://a.example/new?q=1", None),
            (
                json!({ "path": "/new", "keep_query": false }),
                "http://a.example/old?q=1",
                Some("http://a.example/new"),
            ),
            (
                json!({ "path": { "replace_prefix": { "from": "/v1", "to": "/v2" } } }),
                "http://a.example/v1/x",
                Some("http://a.example/v2/x"),
            ),
            (
                json!({ "path": { "replace_prefix": { "from": "/v1", "to": "/v2" } } }),
                "http://a.example/v2/x",
                None,
            ),
            (json!("https://b.example:8443"), "http://a.example/x", Some("https://b.example:8443/x")),
            (json!("https://b.example/"), "http://a.example/x", Some("https://b.example/")),
            (json!("https://b.example"), "https://a.example:8443/x", Some("https://b.example/x")),
            (json!("https://b.example"), "https://b.example:8443/x", Some("https://b.example/x")),
            (json!("https://b.example:8443"), "https://a.example/x", Some("https://b.example:8443/x")),
            (json!("https://b.example"), "https://b.example/x", None),
            (
                json!({ "scheme": "https", "path": "/y" }),
                "https://a.example:8443/x",
                Some("https://a.example:8443/y"),
            ),
            (json!("https"), "http://a.example//evil.example/x", Some("https://a.example//evil.example/x")),
        ] {
            assert_eq!(location(settings.clone(), url).as_deref(), expected, "{settings} {url}");
        }
        let star =
            layer(json!("https")).unwrap().0.location(Scheme::Http, Some("a"), &Uri::from_static("*"), None);
        assert_eq!(star.unwrap().as_deref(), Some("https://a/"));
    }

    #[test]
    fn what_the_route_captured_leads_on_but_only_to_a_host() {
        let layer = layer(json!({ "host": "{tenant}.example", "path": "/shop/{*}" })).unwrap();
        assert_eq!(layer.placeholders().collect::<Vec<_>>(), ["*", "tenant"]);
        for (tenant, expected) in [
            ("acme", Some("http://acme.example/shop/a/b")),
            ("a.b", Some("http://a.b.example/shop/a/b")),
            ("evil/", None),
            ("evil%2f", None),
            ("evil@x", None),
            ("evil:80", None),
        ] {
            let captures = [("tenant", tenant), ("*", "a/b")].map(|(n, v)| (n.into(), v.to_owned()));
            let captures = captures.into_iter().collect();
            let uri = Uri::from_static("/a/b");
            let seen = layer.0.location(Scheme::Http, Some("x.example"), &uri, Some(&captures));
            assert_eq!(seen.ok().flatten().as_deref(), expected, "{tenant}");
        }
    }

    #[test]
    fn a_host_that_clients_might_read_otherwise_is_refused() {
        let layer = layer(json!("https")).unwrap();
        let at = |host| layer.0.location(Scheme::Http, host, &Uri::from_static("/"), None);
        for host in [
            None,
            Some(""),
            Some("a@b"),
            Some("a/b"),
            Some("a\\b"),
            Some("a:b"),
            Some("[::1"),
            Some("a:99999"),
        ] {
            assert!(at(host).is_err(), "{host:?}");
        }
    }

    #[test]
    fn settings_that_make_no_redirect_name_what_is_wrong() {
        for (settings, part) in [
            (json!({}), "a redirect needs at least one of"),
            (json!({ "host": "a:80" }), "`a:80` is not a host"),
            (json!({ "port": 0 }), "0 is not a port"),
            (json!({ "path": "/x", "status": 200 }), "200 is not the status of a redirect"),
            (json!({ "path": "x" }), "`x` is not a path"),
            (json!({ "scheme": "ftp" }), "expected `http` or `https`"),
            (json!("ftp://a"), "`ftp://a` is no redirect"),
            (json!("https://a/?q"), "is no redirect"),
        ] {
            let error = layer(settings.clone()).unwrap_err();
            assert!(error.contains(part), "{settings}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_path_leads_to_another_host_and_no_redirect_to_itself(path in "/[/a-c.@:%2f\\\\]{0,12}", query in "[ab/:@=]{0,6}") {
            let Ok(uri) = format!("http://a.example{path}?{query}").parse::<Uri>() else { return Ok(()) };
            for settings in [json!("https"), json!({ "host": "b.example" }), json!({ "path": { "add_prefix": "/x" } })] {
                let layer = layer(settings.clone()).unwrap();
                let Ok(Some(url)) = layer.0.location(Scheme::Http, Some("a.example"), &uri, None) else { continue };
                let url: Uri = url.parse().unwrap();
                let expected = if settings["host"].is_null() { "a.example" } else { "b.example" };
                prop_assert_eq!(url.authority().unwrap().as_str(), expected);
                if settings["path"].is_null() {
                    let scheme = if url.scheme_str() == Some("https") { Scheme::Https } else { Scheme::Http };
                    prop_assert_eq!(layer.0.location(scheme, Some(expected), &url, None), Ok(None));
                }
            }
        }
    }
}
