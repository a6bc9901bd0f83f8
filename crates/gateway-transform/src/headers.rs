use crate::answer::{AnswerFuture, Edit};
use crate::error::{self, TransformError};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, Version};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Headers set, added and removed, on the way up and down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderRules {
    /// What the upstream sees.
    pub request: HeaderEdits,
    /// What the client sees.
    pub response: HeaderEdits,
}

/// Changes to one set of headers; first `remove`, then `set`, then `append`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderEdits {
    /// Names of headers to remove.
    pub remove: Vec<String>,
    /// Headers to set, in place of any that are there.
    pub set: BTreeMap<String, String>,
    /// Headers to add to those that are there.
    pub append: BTreeMap<String, String>,
}

impl HeaderRules {
    /// Whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Changes headers by rule.
#[derive(Clone, Debug)]
pub struct HeadersLayer(Arc<[Rules]>);

/// What is done to requests, and to answers.
#[derive(Clone, Debug)]
struct Rules {
    request: Edits,
    response: Edits,
}

#[derive(Clone, Debug)]
struct Edits {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    append: Vec<(HeaderName, HeaderValue)>,
}

impl HeadersLayer {
    /// A layer with these rules.
    ///
    /// # Errors
    /// A name or value that no header may have, or a header that only the gateway itself may change.
    pub fn new(rules: &HeaderRules) -> Result<Self, TransformError> {
        let rules = Rules { request: Edits::new(&rules.request)?, response: Edits::new(&rules.response)? };
        Ok(Self(Arc::new([rules])))
    }

    /// The rules of all these, one after the other, in one layer; `None` if there are none.
    #[must_use]
    pub fn in_turn(layers: &[Self]) -> Option<Self> {
        let rules: Arc<[Rules]> = layers.iter().flat_map(|layer| layer.0.iter().cloned()).collect();
        (!rules.is_empty()).then_some(Self(rules))
    }
}

impl Edits {
    fn new(edits: &HeaderEdits) -> Result<Self, TransformError> {
        let pairs = |pairs: &BTreeMap<String, String>| {
            pairs
                .iter()
                .map(|(name, value)| Ok((editable(name)?, error::value(name, value)?)))
                .collect::<Result<_, _>>()
        };
        Ok(Self {
            remove: edits.remove.iter().map(|name| editable(name)).collect::<Result<_, _>>()?,
            set: pairs(&edits.set)?,
            append: pairs(&edits.append)?,
        })
    }

    fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.append {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// A header that rules may change.
pub(crate) fn editable(text: &str) -> Result<HeaderName, TransformError> {
    let name = error::name(text)?;
    match name.as_str() {
        "connection" | "content-length" | "keep-alive" | "te" | "trailer" | "transfer-encoding"
        | "upgrade" => Err(TransformError::Framing(text.to_owned())),
        _ => Ok(name),
    }
}

impl<S> Layer<S> for HeadersLayer {
    type Service = Headers<S>;
    fn layer(&self, inner: S) -> Headers<S> {
        Headers { inner, layer: self.clone() }
    }
}

/// The service of [`HeadersLayer`].
#[derive(Clone, Debug)]
pub struct Headers<S> {
    inner: S,
    layer: HeadersLayer,
}

impl<S, B, R> Service<Request<B>> for Headers<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = AnswerFuture<S::Future, HeadersLayer>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        for rules in &*self.layer.0 {
            rules.request.apply(request.headers_mut());
        }
        AnswerFuture { inner: self.inner.call(request), edit: self.layer.clone() }
    }
}

impl Edit for HeadersLayer {
    fn edit(&self, _: Version, headers: &mut HeaderMap) {
        for rules in &*self.0 {
            rules.response.apply(headers);
        }
    }
}
