pub(crate) mod path;
mod query;
mod settings;

pub use settings::{PathRewrite, QueryEdits, RegexRewrite, ReplacePrefix, RewriteSettings};

use crate::answer::OwnOrInner;
use crate::error::TransformError;
use crate::target;
use bytes::Bytes;
use gateway_core::{Code, Problem};
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
    host: Option<(Authority, HeaderValue)>,
}

impl RewriteLayer {
    /// A layer with these settings.
    ///
    /// # Errors
    /// Names the path, expression or host that is none.
    pub fn new(settings: &RewriteSettings) -> Result<Self, TransformError> {
        let host = |text: &String| {
            let wrong = || TransformError::Host(text.clone());
            let authority: Authority = text.parse().map_err(|_| wrong())?;
            if authority.as_str().contains('@') {
                return Err(wrong());
            }
            Ok((authority, crate::error::value("host", text)?))
        };
        Ok(Self(Arc::new(Edits {
            path: settings.path.as_ref().map(|path| PathEdit::new(path)).transpose()?,
            query: QueryEdit::new(&settings.query),
            host: settings.host.as_ref().map(host).transpose()?,
        })))
    }
}

impl Edits {
    /// The target that this one becomes; `None` if it stays as it is.
    fn target(&self, uri: &Uri) -> Result<Option<PathAndQuery>, Cow<'static, str>> {
        let path = match &self.path {
            Some(edit) => edit.apply(uri.path()).map_err(|error| error.to_string())?,
            None => None,
        };
        let query = self.query.as_ref().filter(|_| uri.path() != "*");
        let query = query.map(|edit| edit.apply(uri.query().unwrap_or_default()));
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
        if let Some(new) = self.target(request.uri())? {
            target::set(request.uri_mut(), new);
        }
        if let Some((authority, value)) = &self.host {
            request.headers_mut().insert(HOST, value.clone());
            if request.uri().authority().is_some() {
                let mut parts = request.uri().clone().into_parts();
                parts.authority = Some(authority.clone());
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
            Err(why) => {
                let detail = format!("the path cannot be rewritten: {why}");
                OwnOrInner::own(Problem::new(Code::BadRequest).with_detail(detail).into_response())
            }
        }
    }
}
