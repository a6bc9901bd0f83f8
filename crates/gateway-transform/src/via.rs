use crate::answer::{AnswerFuture, Edit};
use crate::error::TransformError;
use gateway_core::units::{Scalar, ShortForm};
use http::header::{HeaderValue, VIA};
use http::{HeaderMap, Request, Response, Version};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// `Via` in requests and answers (RFC 9110 §7.6.3). Short forms: `true`, or the name it tells.
///
/// Off unless given, as in Envoy, Traefik and nginx: some services, nginx among them (`gzip_proxied`), stop to
/// compress for requests that have it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ViaSettings {
    /// What the gateway calls itself: a pseudonym, or a host with or without a port. Default `gateway`.
    pub pseudonym: String,
    /// Whether upstreams see it. Default true.
    pub request: bool,
    /// Whether clients see it. Default false: whoever is outside need not know what stands between.
    pub response: bool,
}

impl Default for ViaSettings {
    fn default() -> Self {
        Self { pseudonym: "gateway".to_owned(), request: true, response: false }
    }
}

impl ShortForm for ViaSettings {
    const EXPECTED: &'static str = "`true`, a pseudonym such as \"gateway\", or a table";
    const TYPE: &'static str = "string";
    const ALSO: &'static [&'static str] = &["boolean"];
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Switch(true) => Some(Ok(Self::default())),
            Scalar::Text(name) => Some(Ok(Self { pseudonym: name.to_owned(), ..Self::default() })),
            Scalar::Switch(false) | Scalar::Number(_) => None,
        }
    }
}

/// Says in `Via` that a message came through the gateway, and in which version it came: `1.1 gateway`. Added to
/// what others wrote there before.
#[derive(Clone, Debug)]
pub struct ViaLayer(Arc<Told>);

#[derive(Debug)]
struct Told {
    /// For HTTP/1.0, 1.1, 2 and 3.
    versions: [HeaderValue; 4],
    request: bool,
    response: bool,
}

impl ViaLayer {
    /// A layer with these settings.
    ///
    /// # Errors
    /// The pseudonym is neither a token nor a host.
    pub fn new(settings: &ViaSettings) -> Result<Self, TransformError> {
        let name = &settings.pseudonym;
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:[]".contains(&b);
        if name.is_empty() || !name.bytes().all(fits) {
            return Err(TransformError::Pseudonym(name.clone()));
        }
        let told = |version: &str| crate::error::value("via", &format!("{version} {name}"));
        let versions = [told("1.0")?, told("1.1")?, told("2.0")?, told("3.0")?];
        Ok(Self(Arc::new(Told { versions, request: settings.request, response: settings.response })))
    }
}

impl Told {
    fn value(&self, version: Version) -> HeaderValue {
        let [http_10, http_11, http_2, http_3] = &self.versions;
        match version {
            Version::HTTP_3 => http_3,
            Version::HTTP_2 => http_2,
            Version::HTTP_10 | Version::HTTP_09 => http_10,
            _ => http_11,
        }
        .clone()
    }
}

impl<S> Layer<S> for ViaLayer {
    type Service = Via<S>;
    fn layer(&self, inner: S) -> Via<S> {
        Via { inner, told: self.0.clone() }
    }
}

/// The service of [`ViaLayer`].
#[derive(Clone, Debug)]
pub struct Via<S> {
    inner: S,
    told: Arc<Told>,
}

impl<S, B, R> Service<Request<B>> for Via<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = AnswerFuture<S::Future, ViaAnswer>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if self.told.request {
            let value = self.told.value(request.version());
            request.headers_mut().append(VIA, value);
        }
        let edit = ViaAnswer(self.told.response.then(|| self.told.clone()));
        AnswerFuture { inner: self.inner.call(request), edit }
    }
}

/// Puts `Via` into the answer, if it is to be there.
pub struct ViaAnswer(Option<Arc<Told>>);

impl Edit for ViaAnswer {
    fn edit(&mut self, version: Version, headers: &mut HeaderMap) {
        if let Some(told) = &self.0 {
            headers.append(VIA, told.value(version));
        }
    }
}
