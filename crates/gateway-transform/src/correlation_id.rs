use crate::answer::{AnswerFuture, Edit};
use crate::error::TransformError;
use crate::headers::editable_in_requests;
use gateway_core::RequestId;
use gateway_core::units::{Scalar, ShortForm};
use http::header::HeaderName;
use http::{HeaderMap, Request, Response, Version};
use schemars::JsonSchema;
use serde::Deserialize;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// An id for each request. Short form: `true`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CorrelationIdSettings {
    /// The header that carries it, on the way upstream and in the answer. Default `X-Correlation-ID`.
    pub header: String,
    /// Whether an id that came with the request is kept, if it is harmless. Default false: clients do not
    /// choose what stands in the logs.
    pub trust_inbound: bool,
}

impl Default for CorrelationIdSettings {
    fn default() -> Self {
        Self { header: "X-Correlation-ID".to_owned(), trust_inbound: false }
    }
}

impl ShortForm for CorrelationIdSettings {
    const EXPECTED: &'static str = "`true`, or a table";
    const TYPE: &'static str = "boolean";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        (value == Scalar::Switch(true)).then(|| Ok(Self::default()))
    }
}

/// Gives each request an id, a version 4 UUID (S4-24): as [`RequestId`] in its extensions, in a header on the way
/// upstream in place of whatever the client sent, and in the answer.
#[derive(Clone, Debug)]
pub struct CorrelationIdLayer {
    header: HeaderName,
    trust_inbound: bool,
}

impl CorrelationIdLayer {
    /// A layer with these settings.
    ///
    /// # Errors
    /// The header's name is not valid, or its header is not ours to set.
    pub fn new(settings: &CorrelationIdSettings) -> Result<Self, TransformError> {
        Ok(Self { header: editable_in_requests(&settings.header)?, trust_inbound: settings.trust_inbound })
    }
}

impl<S> Layer<S> for CorrelationIdLayer {
    type Service = CorrelationId<S>;
    fn layer(&self, inner: S) -> CorrelationId<S> {
        CorrelationId { inner, layer: self.clone() }
    }
}

/// The service of [`CorrelationIdLayer`].
#[derive(Clone, Debug)]
pub struct CorrelationId<S> {
    inner: S,
    layer: CorrelationIdLayer,
}

impl<S, B, R> Service<Request<B>> for CorrelationId<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = AnswerFuture<S::Future, Echo>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let CorrelationIdLayer { header, trust_inbound } = &self.layer;
        let inbound = request.headers().get(header).filter(|_| *trust_inbound);
        let id = inbound.and_then(RequestId::from_inbound).unwrap_or_else(RequestId::generate);
        request.headers_mut().insert(header.clone(), id.as_header().clone());
        request.extensions_mut().insert(id.clone());
        AnswerFuture { inner: self.inner.call(request), edit: Echo(Some((header.clone(), id))) }
    }
}

/// Puts the id into the answer.
pub struct Echo(Option<(HeaderName, RequestId)>);

impl Edit for Echo {
    fn edit(&mut self, _: Version, headers: &mut HeaderMap) {
        if let Some((name, id)) = self.0.take() {
            headers.insert(name, id.into_header());
        }
    }
}
