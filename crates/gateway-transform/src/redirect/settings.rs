use crate::rewrite::PathRewrite;
use gateway_core::Scheme;
use gateway_core::units::{Scalar, Short, ShortForm};
use http::Uri;
use schemars::JsonSchema;
use serde::Deserialize;

/// Sends clients elsewhere. What is not given stays as the client asked. Short forms: `"https"`, which is
/// `{ scheme = "https", status = 308 }`, a path such as `"/new"`, or a URL such as `"https://shop.example"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedirectSettings {
    /// `http` or `https`. Default: the client's own.
    pub scheme: Option<RedirectScheme>,
    /// A host without a port, such as `shop.example` or `{tenant}.example`. Default: that of the request's own `Host`.
    pub host: Option<String>,
    /// Default: that of the scheme where the scheme changes or `scheme` and `host` are both given, else the one the
    /// client asked.
    pub port: Option<u16>,
    /// Another path. Default: the client's own.
    pub path: Option<Short<PathRewrite>>,
    /// 301, 302, 303, 307 or 308; only the last two keep the method. Default 302, as in Gateway API.
    pub status: u16,
    /// Whether the query stays. Default true.
    pub keep_query: bool,
}

impl Default for RedirectSettings {
    fn default() -> Self {
        Self { scheme: None, host: None, port: None, path: None, status: 302, keep_query: true }
    }
}

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RedirectScheme {
    /// In plain text.
    Http,
    /// Over TLS.
    Https,
}

impl From<RedirectScheme> for Scheme {
    fn from(scheme: RedirectScheme) -> Self {
        match scheme {
            RedirectScheme::Http => Self::Http,
            RedirectScheme::Https => Self::Https,
        }
    }
}

impl RedirectSettings {
    /// Plain requests go to the same URL over TLS, for good and with the same method: 308.
    #[must_use]
    pub fn https() -> Self {
        Self { scheme: Some(RedirectScheme::Https), status: 308, ..Self::default() }
    }

    fn to_path(path: &str) -> Self {
        Self {
            path: Some(Short(PathRewrite { full: Some(path.to_owned()), ..PathRewrite::default() })),
            ..Self::default()
        }
    }

    fn to_url(text: &str) -> Option<Self> {
        let url: Uri = text.parse().ok()?;
        let scheme = match url.scheme_str()? {
            "http" => RedirectScheme::Http,
            "https" => RedirectScheme::Https,
            _ => return None,
        };
        let authority = url.authority().filter(|authority| !authority.as_str().contains('@'))?;
        // The parser shows a URL without a path as if it had one.
        let has_path = text.split_once("://")?.1.contains('/');
        let path = if has_path { Self::to_path(url.path()).path } else { None };
        let host = Some(authority.host().to_owned());
        url.query().is_none().then_some(Self {
            scheme: Some(scheme),
            host,
            port: url.port_u16(),
            path,
            ..Self::default()
        })
    }
}

impl ShortForm for RedirectSettings {
    const EXPECTED: &'static str = "\"https\", a path, a URL without a query, or a table";
    const TYPE: &'static str = "string";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Text("https") => Some(Ok(Self::https())),
            Scalar::Text(path) if path.starts_with('/') => Some(Ok(Self::to_path(path))),
            Scalar::Text(text) => Some(
                Self::to_url(text)
                    .ok_or_else(|| format!("`{text}` is no redirect; expected {}", Self::EXPECTED)),
            ),
            Scalar::Number(_) | Scalar::Switch(_) => None,
        }
    }
}
