use crate::answer::{AnswerFuture, Edit};
use crate::error::{self, TransformError};
use crate::template::Template;
use gateway_core::Captures;
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
    /// Headers to set, in place of any that are there. In a request a value may hold `{id}`, what the route captured by
    /// that name. `Host` is what `rewrite.host` changes.
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
pub struct HeadersLayer {
    rules: Arc<[Rules]>,
    /// Whether any of them is made of what was captured.
    captures: bool,
}

/// What is done to requests, and to answers.
#[derive(Clone, Debug)]
struct Rules {
    request: Edits,
    response: Edits,
}

#[derive(Clone, Debug)]
struct Edits {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, Value)>,
    append: Vec<(HeaderName, Value)>,
}

#[derive(Clone, Debug)]
enum Value {
    Fixed(HeaderValue),
    /// Made for each request.
    Made(Template),
}

impl Value {
    /// `None` if what was captured cannot stand in a header.
    fn get(&self, captures: Option<&Captures>) -> Option<HeaderValue> {
        match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::Made(template) => HeaderValue::try_from(template.render(captures).as_ref()).ok(),
        }
    }
}

impl HeadersLayer {
    /// A layer with these rules.
    ///
    /// # Errors
    /// A name or value that no header may have, or a header that only the gateway itself may change.
    pub fn new(rules: &HeaderRules) -> Result<Self, TransformError> {
        let request = |name: &str, text: &str| {
            let template = Template::new(text);
            let Some(plain) = template.plain() else {
                error::value(name, &template.example())?;
                return Ok(Value::Made(template));
            };
            error::value(name, plain).map(Value::Fixed)
        };
        let response = |name: &str, text: &str| {
            let template = Template::new(text);
            match template.plain() {
                Some(plain) => error::value(name, plain).map(Value::Fixed),
                // Clients would be sent the placeholder itself.
                None => Err(TransformError::AnswerPlaceholder(
                    template.names().next().unwrap_or_default().to_owned(),
                )),
            }
        };
        Ok(Self::of(Arc::new([Rules {
            request: Edits::new(&rules.request, editable_in_requests, request)?,
            response: Edits::new(&rules.response, editable, response)?,
        }])))
    }

    fn of(rules: Arc<[Rules]>) -> Self {
        let mut layer = Self { rules, captures: false };
        let captures = layer.placeholders().next().is_some();
        layer.captures = captures;
        layer
    }

    /// The names that the placeholders of its request headers stand for.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        let values =
            self.rules.iter().flat_map(|rules| rules.request.set.iter().chain(&rules.request.append));
        let templates = values.filter_map(|(_, value)| match value {
            Value::Fixed(_) => None,
            Value::Made(template) => Some(template),
        });
        templates.flat_map(Template::names)
    }

    /// The rules of all these, one after the other, in one layer; `None` if there are none.
    #[must_use]
    pub fn in_turn(layers: &[Self]) -> Option<Self> {
        let rules: Arc<[Rules]> = layers.iter().flat_map(|layer| layer.rules.iter().cloned()).collect();
        (!rules.is_empty()).then(|| Self::of(rules))
    }
}

impl Edits {
    fn new(
        edits: &HeaderEdits,
        editable: impl Fn(&str) -> Result<HeaderName, TransformError>,
        make: impl Fn(&str, &str) -> Result<Value, TransformError>,
    ) -> Result<Self, TransformError> {
        let pairs = |pairs: &BTreeMap<String, String>| {
            pairs
                .iter()
                .map(|(name, value)| Ok((editable(name)?, make(name, value)?)))
                .collect::<Result<_, _>>()
        };
        Ok(Self {
            remove: edits.remove.iter().map(|name| editable(name)).collect::<Result<_, _>>()?,
            set: pairs(&edits.set)?,
            append: pairs(&edits.append)?,
        })
    }

    fn apply(&self, headers: &mut HeaderMap, captures: Option<&Captures>) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            match value.get(captures) {
                Some(value) => drop(headers.insert(name.clone(), value)),
                // Whatever the client sent by this name is not what was meant either.
                None => drop(headers.remove(name)),
            }
        }
        for (name, value) in &self.append {
            if let Some(value) = value.get(captures) {
                headers.append(name.clone(), value);
            }
        }
    }
}

/// A header that rules may change.
pub(crate) fn editable(text: &str) -> Result<HeaderName, TransformError> {
    let name = error::name(text)?;
    match name.as_str() {
        "connection" | "content-length" | "keep-alive" | "proxy-connection" | "te" | "trailer"
        | "transfer-encoding" | "upgrade" => Err(TransformError::Framing(text.to_owned())),
        _ => Ok(name),
    }
}

/// A header of requests that rules may change: one that goes on to the service as they leave it.
pub(crate) fn editable_in_requests(text: &str) -> Result<HeaderName, TransformError> {
    let name = editable(text)?;
    match name.as_str() {
        "host" => Err(TransformError::HostHeader),
        "expect" | "http2-settings" | "proxy-authenticate" | "proxy-authorization" => {
            Err(TransformError::Framing(text.to_owned()))
        }
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
        // Out of its extensions for as long as headers change: a request lends its parts only one at a time.
        let captures = self.layer.captures.then(|| request.extensions_mut().remove::<Captures>()).flatten();
        for rules in &*self.layer.rules {
            rules.request.apply(request.headers_mut(), captures.as_ref());
        }
        if let Some(captures) = captures {
            request.extensions_mut().insert(captures);
        }
        AnswerFuture { inner: self.inner.call(request), edit: self.layer.clone() }
    }
}

impl Edit for HeadersLayer {
    fn edit(&mut self, _: Version, headers: &mut HeaderMap) {
        for rules in &*self.rules {
            rules.response.apply(headers, None);
        }
    }
}
