use crate::assertion::authority::Assertions;
use crate::gate::GateFuture;
use crate::identity::name::strip;
use bytes::Bytes;
use gateway_core::{Code, Principal, Problem};
use http::{Request, Response};
use std::slice;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Gives every request a short-lived token in `X-Internal-Assertion` by which the service can tell that it came
/// through the gateway, who calls, and by which route: so it need not trust its network.
///
/// | claim | |
/// |---|---|
/// | `iss`, `aud` | the `issuer` and the service's name, unless the settings say otherwise |
/// | `sub` | the caller's id; absent for nobody |
/// | `route`, `service` | where the request is on its way |
/// | `iat`, `exp` | when it was signed, and until when it is good: `ttl` later |
/// | `claims` of the settings | as the caller has them, by the name given |
///
/// There is no `jti`: a token goes with all requests of the same caller, route and service for a quarter of its life,
/// so that few requests cost a signature. Made by [`Assertions::layer`]; the keys are at [`Assertions::jwks`].
///
/// ```
/// use gateway_auth::{AssertionSettings, Assertions};
/// let assertions = Assertions::new(&AssertionSettings { issuer: "https://gw.example".into(), ..Default::default() })?;
/// let layer = assertions.layer("orders", "order-service");
/// # let _: gateway_auth::AssertionLayer = layer;
/// assert!(assertions.jwks_json().starts_with(b"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\""));
/// # Ok::<_, gateway_auth::AuthError>(())
/// ```
#[derive(Clone, Debug)]
pub struct AssertionLayer {
    assertions: Assertions,
    route: Arc<str>,
    service: Arc<str>,
}

impl AssertionLayer {
    pub(crate) fn new(assertions: Assertions, route: &str, service: &str) -> Self {
        Self { assertions, route: route.into(), service: service.into() }
    }
}

impl<S> Layer<S> for AssertionLayer {
    type Service = Assertion<S>;
    fn layer(&self, inner: S) -> Assertion<S> {
        Assertion { inner, layer: self.clone() }
    }
}

/// The service of [`AssertionLayer`].
#[derive(Clone, Debug)]
pub struct Assertion<S> {
    inner: S,
    layer: AssertionLayer,
}

impl<S, B, R> Service<Request<B>> for Assertion<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = GateFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let AssertionLayer { assertions, route, service } = &self.layer;
        let token = assertions.token(request.extensions().get::<Principal>(), route, service);
        strip(request.headers_mut(), slice::from_ref(assertions.header()));
        match token {
            Ok(None) => {}
            Ok(Some(token)) => drop(request.headers_mut().insert(assertions.header(), token)),
            // A service that wants one would refuse, and one that does not must not learn to do without.
            Err(_) => {
                tracing::error!("a request is refused because its assertion could not be signed");
                return GateFuture::refused(Problem::new(Code::InternalError).into_response());
            }
        }
        GateFuture::passed(self.inner.call(request), None)
    }
}
