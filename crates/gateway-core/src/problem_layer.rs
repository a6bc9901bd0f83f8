use crate::grpc::{self, Grpc};
use crate::problem::{content_type, has_no_content};
use crate::proxy_status::PROXY_STATUS;
use crate::{Code, Problem, ProblemFormat, ProxyStatus, RequestId, Upgrade};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode, Version};
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
///
/// A gRPC request ([`Grpc`]) is answered in gRPC's way instead: with HTTP status 200, an empty body, and among the
/// headers `grpc-status` ([`Code::grpc_status`]) and `grpc-message`, the operator's text, the problem's detail or the
/// code's title. The problem's own headers stay, and so does the problem in the answer's extensions.
///
/// Where a tunnel was asked for over HTTP/2, an answer that grants none and is no refusal either is a problem, too.
///
/// Failures also say in `Proxy-Status` that it was the gateway who answered, and why; see
/// [`with_proxy_status`](Self::with_proxy_status).
///
/// ```
/// use bytes::Bytes;
/// use gateway_core::{Code, Problem, ProblemFormat, ProblemLayer};
/// use http::Request;
/// use http_body_util::Full;
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let refuse = service_fn(|_: Request<()>| async {
///     Ok::<_, std::convert::Infallible>(Problem::new(Code::NoEndpoint).into_response::<Full<Bytes>>())
/// });
/// let service = ProblemLayer::new(ProblemFormat::Problem).layer(refuse);
///
/// let call = Request::post("/shop.Cart/Add").header("content-type", "application/grpc").body(()).unwrap();
/// let response = service.oneshot(call).await.unwrap();
/// assert_eq!(response.status(), 200);
/// assert_eq!(response.headers()["grpc-status"], "14");
/// assert_eq!(response.headers()["grpc-message"], "No endpoint can take the request");
/// assert_eq!(
///     response.headers()["proxy-status"],
///     "gateway; error=destination_unavailable; details=\"no-endpoint\""
/// );
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ProblemLayer(Arc<Renderer>);

#[derive(Clone, Debug)]
struct Renderer {
    format: ProblemFormat,
    overrides: Overrides,
    proxy_status: ProxyStatus,
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
        Self(Arc::new(Renderer { format, overrides, proxy_status: ProxyStatus::default() }))
    }

    /// Chooses which problems are told in `Proxy-Status`. At first those with a status of 500 or more.
    #[must_use]
    pub fn with_proxy_status(mut self, proxy_status: ProxyStatus) -> Self {
        Arc::make_mut(&mut self.0).proxy_status = proxy_status;
        self
    }
}

/// As RFC 9457 problems, in the words of their codes.
impl Default for ProblemLayer {
    fn default() -> Self {
        Self::new(ProblemFormat::default())
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
        let grpc = Grpc::of(request.headers());
        let tunnel = request.version() == Version::HTTP_2 && request.extensions().get::<Upgrade>().is_some();
        ProblemFuture { inner: self.inner.call(request), renderer: self.renderer.clone(), id, grpc, tunnel }
    }
}

pin_project! {
    /// The future of [`ProblemService`].
    pub struct ProblemFuture<F> {
        #[pin]
        inner: F,
        renderer: Arc<Renderer>,
        id: Option<RequestId>,
        grpc: Option<Grpc>,
        // Whether a tunnel is asked for over HTTP/2.
        tunnel: bool,
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
        if *this.tunnel
            && let Some(problem) = Upgrade::not_granted(response.status())
        {
            response = problem.into_response();
        }
        if let Some(problem) = response.extensions().get::<Problem>() {
            let shown = match *this.grpc {
                None => this.renderer.show(problem, this.id.as_ref()),
                Some(grpc) => this.renderer.show_to_grpc(problem, grpc),
            };
            shown.replace(&mut response);
        }
        Poll::Ready(Ok(response))
    }
}

/// What takes the place of a problem's own answer.
struct Shown {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    body: Bytes,
    /// `grpc-status` and `grpc-message`.
    grpc: Option<(HeaderValue, HeaderValue)>,
    proxy_status: Option<HeaderValue>,
}

impl Shown {
    fn replace<R: From<Bytes>>(self, response: &mut Response<R>) {
        *response.body_mut() = R::from(self.body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.remove(CONTENT_TYPE);
        headers.extend(self.content_type.map(|content_type| (CONTENT_TYPE, content_type)));
        headers.remove(CONTENT_LENGTH);
        if let Some((status, message)) = self.grpc {
            headers.insert(grpc::STATUS, status);
            headers.insert(grpc::MESSAGE, message);
        }
        if let Some(proxy_status) = self.proxy_status {
            headers.append(PROXY_STATUS, proxy_status);
        }
    }
}

impl Renderer {
    fn show(&self, problem: &Problem, id: Option<&RequestId>) -> Shown {
        let (status, text) = self.said(problem);
        Shown {
            status,
            content_type: (!has_no_content(status)).then(|| content_type(self.format)),
            body: problem.body(self.format, status, text, id),
            grpc: None,
            proxy_status: self.proxy_status.value(problem, status),
        }
    }

    /// gRPC's `Trailers-Only`: the outcome among the headers, and no body.
    fn show_to_grpc(&self, problem: &Problem, grpc: Grpc) -> Shown {
        let (status, text) = self.said(problem);
        let code = problem.code();
        let message = text.or(problem.detail()).unwrap_or(code.title());
        Shown {
            status: StatusCode::OK,
            content_type: Some(grpc.content_type()),
            body: Bytes::new(),
            grpc: Some((HeaderValue::from(u16::from(code.grpc_status())), grpc::message(message))),
            proxy_status: self.proxy_status.value(problem, status),
        }
    }

    /// The status and the words that the operator wants for it.
    fn said(&self, problem: &Problem) -> (StatusCode, Option<&str>) {
        let replaced = self.overrides.get(&problem.code());
        let status = replaced.and_then(|o| o.status).unwrap_or(problem.status());
        (status, replaced.and_then(|o| o.text.as_deref()))
    }
}
