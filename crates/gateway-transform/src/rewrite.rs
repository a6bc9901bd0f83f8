pub(crate) mod path;
mod query;
mod settings;

pub use settings::{PathRewrite, QueryEdits, RegexRewrite, ReplacePrefix, RewriteSettings};

use crate::answer::OwnOrInner;
use crate::error::TransformError;
use crate::target::{self, Case};
use crate::template::Template;
use bytes::Bytes;
use gateway_core::{Captures, Code, Problem};
use http::header::{HOST, HeaderValue};
use http::uri::{Authority, PathAndQuery};
use http::{Request, Response, Uri};
use path::PathEdit;
use query::QueryEdit;
use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Asks the upstream for another path, host or query than the client did.
///
/// What comes of a path is as normal as the path was: it begins with a slash and has no dot segments. A request
/// whose path would become anything else is answered 400, and the service does not see it. Differs from
/// [`StripPrefixLayer`](crate::StripPrefixLayer) in that nothing is told of it in `X-Forwarded-Prefix`. Put it inside
/// [`ForwardedLayer`](crate::ForwardedLayer), which tells of the host that the client asked.
#[derive(Clone, Debug)]
pub struct RewriteLayer(Arc<Edits>);

#[derive(Debug)]
struct Edits {
    path: Option<PathEdit>,
    query: Option<QueryEdit>,
    host: Option<HostEdit>,
}

#[derive(Debug)]
enum HostEdit {
    Fixed(Authority, HeaderValue),
    /// Made for each request.
    Made(Template),
}

impl HostEdit {
    fn new(text: &str) -> Result<Self, TransformError> {
        let template = Template::new(text);
        let checked = |host: &str| host_of(host).ok_or_else(|| TransformError::Host(text.to_owned()));
        match template.plain() {
            Some(host) => checked(host).map(|(authority, value)| Self::Fixed(authority, value)),
            None => checked(&template.example()).map(|_| Self::Made(template)),
        }
    }

    fn get(&self, captures: Option<&Captures>) -> Option<(Authority, HeaderValue)> {
        match self {
            Self::Fixed(authority, value) => Some((authority.clone(), value.clone())),
            Self::Made(template) => host_of(&template.render(captures)),
        }
    }
}

/// A host, perhaps with a port, as authority and as value of `Host`.
fn host_of(text: &str) -> Option<(Authority, HeaderValue)> {
    let authority: Authority = text.parse().ok()?;
    let is_host = !authority.host().is_empty() && !text.contains(['@', '%']);
    is_host.then_some((authority, HeaderValue::from_str(text).ok()?))
}

impl RewriteLayer {
    /// A layer with these settings.
    ///
    /// # Errors
    /// Names the path, expression or host that is none.
    pub fn new(settings: &RewriteSettings) -> Result<Self, TransformError> {
        Self::with(settings, Case::Differs)
    }

    /// The same for routes to which upper and lower case in a path are the same: they are in a prefix and in an
    /// expression, too.
    ///
    /// # Errors
    /// As of [`new`](Self::new).
    pub fn ignoring_case(settings: &RewriteSettings) -> Result<Self, TransformError> {
        Self::with(settings, Case::Ignored)
    }

    fn with(settings: &RewriteSettings, case: Case) -> Result<Self, TransformError> {
        Ok(Self(Arc::new(Edits {
            path: settings.path.as_ref().map(|path| PathEdit::new(path, case)).transpose()?,
            query: QueryEdit::new(&settings.query),
            host: settings.host.as_deref().map(HostEdit::new).transpose()?,
        })))
    }
}

impl RewriteLayer {
    /// The names that its placeholders stand for.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        let host = self.0.host.iter().filter_map(|host| match host {
            HostEdit::Fixed(..) => None,
            HostEdit::Made(template) => Some(template),
        });
        let path = self.0.path.iter().flat_map(PathEdit::placeholders);
        let query = self.0.query.iter().flat_map(QueryEdit::placeholders);
        path.chain(query).chain(host.flat_map(Template::names))
    }
}

impl Edits {
    /// The target that this one becomes; `None` if it stays as it is.
    fn target(
        &self,
        uri: &Uri,
        captures: Option<&Captures>,
    ) -> Result<Option<PathAndQuery>, Cow<'static, str>> {
        let path = match &self.path {
            Some(edit) => edit.apply(uri.path(), captures).map_err(|error| error.to_string())?,
            None => None,
        };
        let query = self.query.as_ref().filter(|_| uri.path() != "*");
        let query = query.map(|edit| edit.apply(uri.query().unwrap_or_default(), captures));
        let (mut target, query) = match (path, query) {
            (None, None) => return Ok(None),
            (path, Some(query)) => {
                let path = path.unwrap_or_else(|| uri.path().to_owned());
                (path, Some(query).filter(|query| !query.is_empty()).map(Cow::Owned))
            }
            (Some(path), None) => (path, uri.query().map(Cow::Borrowed)),
        };
        if let Some(query) = query {
            target.reserve(query.len() + 1);
            target.push('?');
            target.push_str(&query);
        }
        PathAndQuery::try_from(target).map(Some).map_err(|_| Cow::Borrowed("the target is not valid"))
    }

    fn apply<B>(&self, request: &mut Request<B>) -> Result<(), Cow<'static, str>> {
        let captures = request.extensions().get();
        let target = self.target(request.uri(), captures);
        let target = target.map_err(|why| format!("the path cannot be rewritten: {why}"))?;
        let host = self
            .host
            .as_ref()
            .map(|host| host.get(captures).ok_or("the host cannot be rewritten: what comes of it is none"));
        if let Some(new) = target {
            target::set(request.uri_mut(), new);
        }
        if let Some((authority, value)) = host.transpose()? {
            request.headers_mut().insert(HOST, value);
            if request.uri().authority().is_some() {
                let mut parts = request.uri().clone().into_parts();
                parts.authority = Some(authority);
                if let Ok(uri) = Uri::from_parts(parts) {
                    *request.uri_mut() = uri;
                }
            }
        }
        Ok(())
    }
}

impl<S> Layer<S> for RewriteLayer {
    type Service = Rewrite<S>;
    fn layer(&self, inner: S) -> Rewrite<S> {
        Rewrite { inner, edits: self.0.clone() }
    }
}

/// The service of [`RewriteLayer`].
#[derive(Clone, Debug)]
pub struct Rewrite<S> {
    inner: S,
    edits: Arc<Edits>,
}

impl<S, B, R> Service<Request<B>> for Rewrite<S>
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
        match self.edits.apply(&mut request) {
            Ok(()) => OwnOrInner::inner(self.inner.call(request)),
            Err(why) => OwnOrInner::own(Problem::new(Code::BadRequest).with_detail(why).into_response()),
        }
    }
}
