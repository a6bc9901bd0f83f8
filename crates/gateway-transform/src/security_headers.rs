use crate::answer::{AnswerFuture, Edit};
use crate::error::{self, TransformError};
use gateway_core::units::{Scalar, ShortForm};
use http::header::{Entry, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, Version};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Security headers in answers. Short form: `true`, the defaults. An empty text leaves a header out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityHeadersSettings {
    /// `X-Content-Type-Options`. Default `nosniff`.
    pub content_type_options: String,
    /// `X-Frame-Options`. Default `DENY`.
    pub frame_options: String,
    /// `X-XSS-Protection`. Default `1; mode=block`.
    pub xss_protection: String,
    /// `Strict-Transport-Security`. Default: left out.
    pub hsts: String,
    /// `Referrer-Policy`. Default: left out.
    pub referrer_policy: String,
    /// `Content-Security-Policy`. Default: left out.
    pub content_security_policy: String,
    /// Whether they replace what the upstream set. Default false.
    #[serde(rename = "override")]
    pub overrides: bool,
}

impl Default for SecurityHeadersSettings {
    fn default() -> Self {
        Self {
            content_type_options: "nosniff".to_owned(),
            frame_options: "DENY".to_owned(),
            xss_protection: "1; mode=block".to_owned(),
            hsts: String::new(),
            referrer_policy: String::new(),
            content_security_policy: String::new(),
            overrides: false,
        }
    }
}

impl ShortForm for SecurityHeadersSettings {
    const EXPECTED: &'static str = "`true`, or a table";
    const TYPE: &'static str = "boolean";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        (value == Scalar::Switch(true)).then(|| Ok(Self::default()))
    }
}

/// Puts security headers into answers.
#[derive(Clone, Debug)]
pub struct SecurityHeadersLayer(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    headers: Vec<(HeaderName, HeaderValue)>,
    overrides: bool,
}

impl SecurityHeadersLayer {
    /// A layer with these settings.
    ///
    /// # Errors
    /// A value that no header may have.
    pub fn new(settings: &SecurityHeadersSettings) -> Result<Self, TransformError> {
        let headers = [
            ("x-content-type-options", &settings.content_type_options),
            ("x-frame-options", &settings.frame_options),
            ("x-xss-protection", &settings.xss_protection),
            ("strict-transport-security", &settings.hsts),
            ("referrer-policy", &settings.referrer_policy),
            ("content-security-policy", &settings.content_security_policy),
        ];
        let headers = headers
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| {
                // Of the program itself where they are the usual ones: to copy those costs no count of who refers to them.
                let usual = ["nosniff", "DENY", "1; mode=block"].into_iter().find(|usual| usual == value);
                let value = match usual {
                    Some(usual) => HeaderValue::from_static(usual),
                    None => error::value(name, value)?,
                };
                Ok((HeaderName::from_static(name), value))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Rules { headers, overrides: settings.overrides })))
    }
}

impl<S> Layer<S> for SecurityHeadersLayer {
    type Service = SecurityHeaders<S>;
    fn layer(&self, inner: S) -> SecurityHeaders<S> {
        SecurityHeaders { inner, layer: self.clone() }
    }
}

/// The service of [`SecurityHeadersLayer`].
#[derive(Clone, Debug)]
pub struct SecurityHeaders<S> {
    inner: S,
    layer: SecurityHeadersLayer,
}

impl<S, B, R> Service<Request<B>> for SecurityHeaders<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = AnswerFuture<S::Future, SecurityHeadersLayer>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        AnswerFuture { inner: self.inner.call(request), edit: self.layer.clone() }
    }
}

impl Edit for SecurityHeadersLayer {
    fn edit(&mut self, _: Version, headers: &mut HeaderMap) {
        for (name, value) in &self.0.headers {
            if self.0.overrides {
                headers.insert(name.clone(), value.clone());
            } else if let Entry::Vacant(place) = headers.entry(name) {
                place.insert(value.clone());
            }
        }
    }
}
