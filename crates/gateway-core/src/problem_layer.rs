use crate::problem::content_type;
use crate::{Code, Problem, ProblemFormat, RequestId};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower::{Layer, Service};

/// What the operator wants said instead of a code's own status and words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// Another status.
    pub status: Option<StatusCode>,
    /// Other words.
    pub text: Option<String>,
}

/// Overrides by code.
pub type Overrides = HashMap<Code, Override>;

/// Shows every [`Problem`] that the service below answers in one format, with the operator's own words, and
/// with the request's id. Answers that are not problems pass untouched.
#[derive(Clone, Debug)]
pub struct ProblemLayer(Arc<Renderer>);

#[derive(Debug)]
struct Renderer {
    format: ProblemFormat,
    overrides: Overrides,
}

impl ProblemLayer {
    /// Shows problems in this format.
    #[must_use]
    pub fn new(format: ProblemFormat) -> Self {
        Self::with_overrides(format, Overrides::new())
    }

    /// Shows problems in this format, some of them with another status or other words.
    #[must_use]
    pub fn with_overrides(format: ProblemFormat, overrides: Overrides) -> Self {
        Self(Arc::new(Renderer { format, overrides }))
    }
}

impl<S> Layer<S> for ProblemLayer {
    type Service = ProblemService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ProblemService { inner, renderer: self.0.clone() }
    }
}

/// The service of [`ProblemLayer`].
#[derive(Clone, Debug)]
pub struct ProblemService<S> {
    inner: S,
    renderer: Arc<Renderer>,
}

impl<S, B, R> Service<Request<B>> for ProblemService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ProblemFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let id = request.extensions().get::<RequestId>().cloned();
        ProblemFuture { inner: self.inner.call(request), renderer: self.renderer.clone(), id }
    }
}

pin_project! {
    /// The future of [`ProblemService`].
    pub struct ProblemFuture<F> {
        #[pin]
        inner: F,
        renderer: Arc<Renderer>,
        id: Option<RequestId>,
    }
}

impl<F, R, E> Future for ProblemFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: From<Bytes>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        if let Some(problem) = response.extensions().get::<Problem>() {
            let (status, body) = this.renderer.show(problem, this.id.as_ref());
            *response.body_mut() = R::from(body);
            *response.status_mut() = status;
            response.headers_mut().insert(CONTENT_TYPE, content_type(this.renderer.format));
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        Poll::Ready(Ok(response))
    }
}

impl Renderer {
    fn show(&self, problem: &Problem, id: Option<&RequestId>) -> (StatusCode, Bytes) {
        let replaced = self.overrides.get(&problem.code());
        let status = replaced.and_then(|o| o.status).unwrap_or(problem.code().status());
        let text = replaced.and_then(|o| o.text.as_deref());
        (status, problem.body(self.format, status, text, id))
    }
}
