use crate::answer::OwnOrInner;
use bytes::Bytes;
use gateway_core::{Code, Problem};
use http::header::{HeaderMap, HeaderName};
use http::{Request, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// What becomes of request headers with an underscore in their name, such as `X_User_ID`. Services behind CGI,
/// WSGI and their heirs take it for `X-User-ID`, and with it for something that only the gateway says. Default
/// `keep`: the headers by which the gateway itself says who is calling are removed in either spelling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnderscoreHeaders {
    /// They pass.
    #[default]
    Keep,
    /// They are removed, as nginx does unless `underscores_in_headers` is on.
    Delete,
    /// The request is answered 400.
    Reject,
}

impl UnderscoreHeaders {
    /// Does so with the headers of one request. Looks at them only if it is to do anything, and changes none that
    /// it refuses.
    ///
    /// # Errors
    /// The answer for a request that is refused.
    pub fn apply(self, headers: &mut HeaderMap) -> Result<(), Box<Problem>> {
        if self == Self::Keep || !headers.keys().any(has_underscore) {
            return Ok(());
        }
        let found: Vec<HeaderName> = headers.keys().filter(|name| has_underscore(name)).cloned().collect();
        match (self, found.first()) {
            (Self::Reject, Some(name)) => {
                let detail = format!("the header `{name}` has an underscore in its name");
                return Err(Box::new(Problem::new(Code::BadRequest).with_detail(detail)));
            }
            _ => found.iter().for_each(|name| drop(headers.remove(name))),
        }
        Ok(())
    }
}

fn has_underscore(name: &HeaderName) -> bool {
    name.as_str().bytes().any(|byte| byte == b'_')
}

/// Keeps, removes or refuses request headers with underscores: [`UnderscoreHeaders`] as a layer.
///
/// Servers that clean requests before they route them call [`UnderscoreHeaders::apply`].
#[derive(Clone, Copy, Debug, Default)]
pub struct UnderscoreHeadersLayer(UnderscoreHeaders);

impl UnderscoreHeadersLayer {
    /// A layer with this policy.
    #[must_use]
    pub fn new(policy: UnderscoreHeaders) -> Self {
        Self(policy)
    }
}

impl<S> Layer<S> for UnderscoreHeadersLayer {
    type Service = Underscores<S>;
    fn layer(&self, inner: S) -> Underscores<S> {
        Underscores { inner, policy: self.0 }
    }
}

/// The service of [`UnderscoreHeadersLayer`].
#[derive(Clone, Debug)]
pub struct Underscores<S> {
    inner: S,
    policy: UnderscoreHeaders,
}

impl<S, B, R> Service<Request<B>> for Underscores<S>
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.policy.apply(request.headers_mut()) {
            Ok(()) => OwnOrInner::inner(self.inner.call(request)),
            Err(problem) => OwnOrInner::own(problem.into_response()),
        }
    }
}
