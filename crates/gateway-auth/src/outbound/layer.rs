use crate::AuthError;
use crate::gate::{GateFuture, Leave};
use crate::outbound::endpoint::{Endpoint, basic, secret};
use crate::outbound::exchange::{Exchange, Known};
use crate::outbound::held::{Held, Token};
use crate::outbound::settings::{OutboundBasic, OutboundHeader, OutboundSettings};
use bytes::Bytes;
use gateway_core::take_ready;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Shows the service what lets the gateway in: one layer per service, shared by its routes, just above what sends.
///
/// | settings | the service sees | costs |
/// |---|---|---|
/// | `passthrough` | what the caller sent | nothing |
/// | `remove` | no `Authorization` | |
/// | `header`, `basic` | the same with each request, whatever the caller sent under this name | a reference count |
/// | `client_credentials` | a bearer token of the gateway's own | the same; one question to the token endpoint per token |
/// | `token_exchange` | a bearer token made of the caller's | a hash and a look-up; one question per caller's token |
///
/// | a token of the gateway's own | |
/// |---|---|
/// | is good | is used |
/// | ends within `refresh_ahead` | is used, and replaced meanwhile; while the endpoint fails, once a second, until its end |
/// | has ended, or is the first | requests wait for the one question that is asked |
/// | cannot be had | 503 `auth-unavailable` or 502, with `Retry-After` |
/// | is answered 401 by the service | is dropped, once: not again before the service has taken one. The 401 goes to the client |
///
/// A caller's token that the endpoint answers 400 for is 403 `forbidden`, and remembered as such for a while.
#[derive(Clone, Debug)]
pub struct OutboundCredentialsLayer(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    Nothing,
    Remove,
    Header(HeaderName, HeaderValue),
    Held(Arc<Held>),
    Exchange(Arc<Exchange>),
}

impl OutboundCredentialsLayer {
    /// A layer with these settings. Asks for nothing before the first request.
    ///
    /// # Errors
    /// A setting is missing, makes no sense, or names a file that cannot be read.
    pub fn new(settings: &OutboundSettings) -> Result<Self, AuthError> {
        let (below, kind) = match settings {
            OutboundSettings::Passthrough => return Ok(Self(Arc::new(Kind::Nothing))),
            OutboundSettings::Remove => return Ok(Self(Arc::new(Kind::Remove))),
            OutboundSettings::Header(header) => ("header", fixed(header)),
            OutboundSettings::Basic(user) => ("basic", password(user)),
            OutboundSettings::ClientCredentials(client) => {
                ("client_credentials", Endpoint::new(client).map(|endpoint| Kind::Held(Held::new(endpoint))))
            }
            OutboundSettings::TokenExchange(exchange) => {
                let endpoint = Endpoint::new(&exchange.client);
                (
                    "token_exchange.client",
                    endpoint.map(|endpoint| Kind::Exchange(Exchange::new(endpoint, exchange))),
                )
            }
        };
        kind.map(|kind| Self(Arc::new(kind))).map_err(|error| error.below(below))
    }
}

fn fixed(header: &OutboundHeader) -> Result<Kind, AuthError> {
    let name = header.name.parse().map_err(|_| AuthError::Header(header.name.clone()))?;
    let value = secret("value", header.value.as_deref(), header.value_file.as_deref())?;
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| AuthError::setting("value", "it has control characters; expected a header's value"))?;
    value.set_sensitive(true);
    Ok(Kind::Header(name, value))
}

fn password(user: &OutboundBasic) -> Result<Kind, AuthError> {
    if user.user.is_empty() || user.user.contains(':') {
        let why = format!("`{}` is no user; expected a name without a colon", user.user);
        return Err(AuthError::setting("user", why));
    }
    let password = match (user.password.as_deref(), user.password_file.as_deref()) {
        // Where the user is the token, there is none.
        (Some(""), None) => String::new(),
        (text, file) => secret("password", text, file)?,
    };
    Ok(Kind::Header(AUTHORIZATION, basic(&user.user, &password)?))
}

impl<S> Layer<S> for OutboundCredentialsLayer {
    type Service = OutboundCredentials<S>;
    fn layer(&self, inner: S) -> OutboundCredentials<S> {
        OutboundCredentials { inner, layer: self.clone() }
    }
}

/// The service of [`OutboundCredentialsLayer`].
#[derive(Clone, Debug)]
pub struct OutboundCredentials<S> {
    inner: S,
    layer: OutboundCredentialsLayer,
}

impl<S, B, R> Service<Request<B>> for OutboundCredentials<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<Bytes> + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = GateFuture<S::Future, R, Option<Used>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[allow(clippy::async_yields_async, reason = "the gate polls what is yielded in its place")]
    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match &*self.layer.0 {
            Kind::Nothing => {}
            Kind::Remove => drop(request.headers_mut().remove(AUTHORIZATION)),
            Kind::Header(name, value) => drop(request.headers_mut().insert(name, value.clone())),
            Kind::Held(held) => {
                let held = held.clone();
                if let Some(token) = held.now() {
                    return send(&mut self.inner, request, held, token);
                }
                let mut inner = take_ready(&mut self.inner);
                return GateFuture::waiting(async move {
                    match held.fetch().await {
                        Ok(token) => send(&mut inner, request, held, token),
                        Err(_) => GateFuture::refused(held.endpoint().unavailable().into_response()),
                    }
                });
            }
            Kind::Exchange(exchange) => match exchange.recall(request.headers()) {
                Known::Token(Some(token)) => drop(request.headers_mut().insert(AUTHORIZATION, token)),
                Known::Token(None) => drop(request.headers_mut().remove(AUTHORIZATION)),
                Known::No(problem) => return GateFuture::refused(problem.into_response()),
                Known::Ask(token) => {
                    let exchange = exchange.clone();
                    let mut inner = take_ready(&mut self.inner);
                    return GateFuture::waiting(async move {
                        match exchange.ask(token).await {
                            Ok(token) => {
                                request.headers_mut().insert(AUTHORIZATION, token);
                                GateFuture::passed(inner.call(request), None)
                            }
                            Err(problem) => GateFuture::refused(problem.into_response()),
                        }
                    });
                }
            },
        }
        GateFuture::passed(self.inner.call(request), None)
    }
}

fn send<S, B, R>(
    inner: &mut S,
    mut request: Request<B>,
    held: Arc<Held>,
    token: Arc<Token>,
) -> GateFuture<S::Future, R, Option<Used>>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    request.headers_mut().insert(AUTHORIZATION, token.header.clone());
    GateFuture::passed(inner.call(request), Some(Used { held, token }))
}

/// The token that the service was shown.
pub struct Used {
    held: Arc<Held>,
    token: Arc<Token>,
}

/// Tells whether the service took it.
impl Leave for Option<Used> {
    fn leave<R>(&mut self, response: &mut Response<R>) {
        match self {
            Some(Used { held, token }) if response.status() == StatusCode::UNAUTHORIZED => {
                held.drop_token(token);
            }
            Some(Used { held, .. }) => held.was_taken(),
            None => {}
        }
    }
}
