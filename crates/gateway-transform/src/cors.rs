use crate::answer::{AnswerFuture, Edit, OwnOrInner};
use crate::error::{self, TransformError};
use crate::redirect::split;
use bytes::Bytes;
use gateway_core::Scheme;
use gateway_core::units::{Scalar, ShortForm, Timespan};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use http::{Method, Request, Response, StatusCode, Version};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Cross-origin requests. Short form: `true`, the defaults, which are those of Echo (S3-24).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CorsSettings {
    /// `"*"`, `"https://shop.example"`, `"https://*.shop.example"`; case makes no difference, nor does the scheme's own
    /// port. Default: any.
    pub origins: Vec<String>,
    /// Methods allowed to other origins. Default GET, HEAD, PUT, PATCH, POST, DELETE.
    pub methods: Vec<String>,
    /// Headers they may send. Default: whatever the browser asks for.
    pub headers: Option<Vec<String>>,
    /// Headers of answers they may read beyond the simple ones. Default: none.
    pub expose_headers: Vec<String>,
    /// Whether cookies and credentials may be sent. The origin is then named, never `*`. Default false.
    pub credentials: bool,
    /// How long a preflight may be remembered. Default: the browser's choice.
    pub max_age: Option<Timespan>,
}

impl Default for CorsSettings {
    fn default() -> Self {
        Self {
            origins: vec!["*".to_owned()],
            methods: ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"].map(str::to_owned).to_vec(),
            headers: None,
            expose_headers: Vec::new(),
            credentials: false,
            max_age: None,
        }
    }
}

impl ShortForm for CorsSettings {
    const EXPECTED: &'static str = "`true`, or a table";
    const TYPE: &'static str = "boolean";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        (value == Scalar::Switch(true)).then(|| Ok(Self::default()))
    }
}

/// Answers preflights with 204 and marks the answers to other origins (Fetch Standard §3.2).
///
/// A preflight is `OPTIONS` with `Origin` and `Access-Control-Request-Method`; every other `OPTIONS` goes to the
/// service. (tower-http's layer answers all of them, with 200.)
#[derive(Clone, Debug)]
pub struct CorsLayer(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    any: bool,
    origins: Vec<Origin>,
    methods: HeaderValue,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    credentials: bool,
    max_age: Option<HeaderValue>,
}

/// What stands before and after the `*`, if there is one.
#[derive(Debug)]
enum Origin {
    Exact(String),
    Below { scheme: String, domain: String },
}

impl CorsLayer {
    /// A layer with these settings.
    ///
    /// # Errors
    /// Names the origin, method or header that is none.
    pub fn new(settings: &CorsSettings) -> Result<Self, TransformError> {
        for method in &settings.methods {
            let known = Method::from_bytes(method.as_bytes()).ok();
            // Browsers compare them letter by letter, and send those of the standard in capitals.
            known
                .filter(|method| !method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()))
                .ok_or_else(|| TransformError::Method(method.clone()))?;
        }
        let headers = settings.headers.as_deref().unwrap_or_default();
        for header in headers.iter().chain(&settings.expose_headers) {
            error::name(header)?;
        }
        // Fetch Standard §3.2.3: with credentials a star is a name like any other.
        let lists = [
            ("methods", &*settings.methods),
            ("headers", headers),
            ("expose_headers", &settings.expose_headers),
        ];
        if let Some((list, _)) = lists.iter().find(|(_, list)| list.iter().any(|name| name == "*"))
            && settings.credentials
        {
            return Err(TransformError::StarWithCredentials(list));
        }
        let list = |name: &str, list: &[String]| error::value(name, &list.join(", "));
        Ok(Self(Arc::new(Rules {
            any: settings.origins.iter().any(|origin| origin == "*"),
            origins: settings
                .origins
                .iter()
                .filter(|origin| *origin != "*")
                .map(|origin| Origin::parse(origin))
                .collect::<Result<_, _>>()?,
            // Echo writes its methods without spaces.
            methods: error::value("methods", &settings.methods.join(","))?,
            headers: settings.headers.as_ref().map(|headers| list("headers", headers)).transpose()?,
            expose: (!settings.expose_headers.is_empty())
                .then(|| list("expose_headers", &settings.expose_headers))
                .transpose()?,
            credentials: settings.credentials,
            max_age: settings.max_age.map(|age| age.as_secs().into()),
        })))
    }
}

impl Origin {
    fn parse(text: &str) -> Result<Self, TransformError> {
        let wrong = || TransformError::Origin(text.to_owned());
        if text == "null" {
            return Ok(Self::Exact(text.to_owned()));
        }
        // As browsers write it: in lower case, and without the scheme's own port.
        let text = text.to_ascii_lowercase();
        let (scheme, host) = text.split_once("://").ok_or_else(wrong)?;
        let default = match scheme {
            "" => return Err(wrong()),
            "http" => Some(Scheme::Http.default_port()),
            "https" => Some(Scheme::Https.default_port()),
            _ => None,
        };
        let (below, host) = host.strip_prefix("*.").map_or((false, host), |domain| (true, domain));
        let (name, port) = split(host).ok_or_else(wrong)?;
        let port = port.filter(|port| Some(*port) != default).map(|port| format!(":{port}"));
        let port = port.unwrap_or_default();
        Ok(if below {
            Self::Below { scheme: format!("{scheme}://"), domain: format!(".{name}{port}") }
        } else {
            Self::Exact(format!("{scheme}://{name}{port}"))
        })
    }

    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == origin,
            Self::Below { scheme, domain } => origin
                .strip_prefix(scheme.as_str())
                .and_then(|host| host.strip_suffix(domain.as_str()))
                .is_some_and(|sub| !sub.is_empty() && !sub.contains(['/', ':'])),
        }
    }
}

impl Rules {
    /// The value of `Access-Control-Allow-Origin` for this origin, if it is allowed.
    fn allow(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        if self.any && !self.credentials {
            return Some(HeaderValue::from_static("*"));
        }
        let origin = origin?;
        let allowed =
            self.any || origin.to_str().is_ok_and(|text| self.origins.iter().any(|o| o.matches(text)));
        allowed.then(|| origin.clone())
    }

    fn mark(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
        headers.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
        if !self.any || self.credentials {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        let Some(allowed) = self.allow(origin) else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    fn preflight<R: From<Bytes>>(&self, origin: &HeaderValue, asked: Option<&HeaderValue>) -> Response<R> {
        let mut response = Response::new(R::from(Bytes::new()));
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Method"));
        headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
        self.mark(Some(origin), headers);
        if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
            if let Some(allowed) = self.headers.as_ref().or(asked) {
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed.clone());
            }
            if let Some(age) = &self.max_age {
                headers.insert(ACCESS_CONTROL_MAX_AGE, age.clone());
            }
        }
        response
    }
}

impl<S> Layer<S> for CorsLayer {
    type Service = Cors<S>;
    fn layer(&self, inner: S) -> Cors<S> {
        Cors { inner, rules: self.0.clone() }
    }
}

/// The service of [`CorsLayer`].
#[derive(Clone, Debug)]
pub struct Cors<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S, B, R> Service<Request<B>> for Cors<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = OwnOrInner<AnswerFuture<S::Future, Marks>, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let headers = request.headers();
        let origin = headers.get(ORIGIN).cloned();
        if request.method() == Method::OPTIONS
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
            && let Some(origin) = &origin
        {
            let response = self.rules.preflight(origin, headers.get(ACCESS_CONTROL_REQUEST_HEADERS));
            return OwnOrInner::own(response);
        }
        let edit = Marks { rules: self.rules.clone(), origin };
        OwnOrInner::inner(AnswerFuture { inner: self.inner.call(request), edit })
    }
}

/// Marks the answer to a request of this origin.
pub struct Marks {
    rules: Arc<Rules>,
    origin: Option<HeaderValue>,
}

impl Edit for Marks {
    fn edit(&mut self, _: Version, headers: &mut HeaderMap) {
        self.rules.mark(self.origin.as_ref(), headers);
        if let Some(expose) = &self.rules.expose {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }
}
