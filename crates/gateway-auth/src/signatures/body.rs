//! Reads the bodies that a method has to see.

use crate::gate::GateFuture;
use crate::layer::AuthLayer;
use crate::method::Head;
use bytes::Bytes;
use gateway_core::{BoxError, Code, Problem, take_ready};
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Request extension: the body as a whole, for methods that look at it.
#[derive(Clone, Debug)]
pub(crate) struct WholeBody(pub(crate) Bytes);

/// Reads the body of a request whose signature covers it, before the [`AuthLayer`] within looks at it: at most
/// `max_body` of the [`SignatureSettings`](crate::SignatureSettings), else 413 `body-too-large`; one that breaks off is
/// 400 `bad-request`. The service gets the bytes; trailers, which nobody signed, end here. Requests without a signature
/// that may be good, and those on public paths, pass as they come.
///
/// ```
/// # use gateway_auth::{AuthLayer, AuthPolicy, SignatureKey, SignatureMethod, SignatureSettings, SignedBodyLayer};
/// # use gateway_store::Store;
/// # use std::sync::Arc;
/// let key = SignatureKey { id: "acme".into(), secret: Some("32 random bytes ...".into()), ..SignatureKey::default() };
/// let settings = SignatureSettings { keys: vec![key], ..SignatureSettings::default() };
/// let method = SignatureMethod::new(&settings, Store::memory())?;
/// let auth = AuthLayer::new(vec![Arc::new(method)], &AuthPolicy::default());
/// let app: axum::Router = axum::Router::new()
///     .route("/", axum::routing::post(|body: String| async { body }))
///     .layer(auth.clone())
///     .layer(SignedBodyLayer::new(&auth));
/// # Ok::<_, gateway_auth::AuthError>(())
/// ```
#[derive(Clone, Debug)]
pub struct SignedBodyLayer(AuthLayer);

impl SignedBodyLayer {
    /// A layer that reads bodies for the methods of another.
    #[must_use]
    pub fn new(auth: &AuthLayer) -> Self {
        Self(auth.clone())
    }
}

impl<S> Layer<S> for SignedBodyLayer {
    type Service = SignedBody<S>;

    fn layer(&self, inner: S) -> SignedBody<S> {
        SignedBody { inner, auth: self.0.clone() }
    }
}

/// The service of [`SignedBodyLayer`].
#[derive(Clone, Debug)]
pub struct SignedBody<S> {
    inner: S,
    auth: AuthLayer,
}

impl<S, B, R> Service<Request<B>> for SignedBody<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + From<Bytes> + Send + 'static,
    R: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = GateFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[allow(clippy::async_yields_async, reason = "the gate polls what is yielded in its place")]
    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Some(most) = self.auth.wants_body(Head::of(&request)) else {
            return GateFuture::passed(self.inner.call(request), None);
        };
        if request.body().is_end_stream() {
            request.extensions_mut().insert(WholeBody(Bytes::new()));
            return GateFuture::passed(self.inner.call(request), None);
        }
        if request.body().size_hint().lower() > most {
            return GateFuture::refused(too_large(most).into_response());
        }
        let mut inner = take_ready(&mut self.inner);
        GateFuture::waiting(async move {
            let (mut parts, body) = request.into_parts();
            match read(body, most).await {
                Ok(bytes) => {
                    parts.extensions.insert(WholeBody(bytes.clone()));
                    GateFuture::passed(inner.call(Request::from_parts(parts, B::from(bytes))), None)
                }
                Err(problem) => GateFuture::refused(problem.into_response()),
            }
        })
    }
}

fn too_large(most: u64) -> Problem {
    let detail = format!("the body of a signed request is larger than {most} bytes");
    Problem::new(Code::BodyTooLarge).with_detail(detail)
}

async fn read<B>(body: B, most: u64) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let limit = usize::try_from(most).unwrap_or(usize::MAX);
    let whole = Limited::new(body, limit).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return too_large(most);
        }
        Problem::of_request_body(&*error)
    })?;
    Ok(whole.to_bytes())
}
