use crate::AuthError;
use crate::outbound::endpoint::{Endpoint, basic, secret};
use crate::outbound::exchange::{Exchange, Known};
use crate::outbound::held::{Held, Token};
use crate::outbound::settings::OutboundSettings;
use bytes::Bytes;
use gateway_core::{Code, Problem};
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
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
        Ok(Self(Arc::new(match settings {
            OutboundSettings::Passthrough => Kind::Nothing,
            OutboundSettings::Remove => Kind::Remove,
            OutboundSettings::Header(header) => {
                let name = header.name.parse().map_err(|_| AuthError::Header(header.name.clone()))?;
                let value = secret("value", header.value.as_deref(), header.value_file.as_deref())?;
                let mut value = HeaderValue::try_from(value).map_err(|_| {
                    AuthError::setting("value", "it has control characters; expected a header's value")
                })?;
                value.set_sensitive(true);
                Kind::Header(name, value)
            }
            OutboundSettings::Basic(user) => {
                if user.user.is_empty() || user.user.contains(':') {
                    let why = format!("`{}` is no user; expected a name without a colon", user.user);
                    return Err(AuthError::setting("user", why));
                }
                let password = secret("password", user.password.as_deref(), user.password_file.as_deref())?;
                Kind::Header(AUTHORIZATION, basic(&user.user, &password)?)
            }
            OutboundSettings::ClientCredentials(client) => Kind::Held(Held::new(Endpoint::new(client)?)),
            OutboundSettings::TokenExchange(exchange) => {
                Kind::Exchange(Exchange::new(Endpoint::new(&exchange.client)?, exchange))
            }
        })))
    }
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
    S::Error: 'static,
    B: Send + 'static,
    R: From<Bytes> + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = OutboundFuture<S::Future, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

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
                let mut inner = self.take_ready();
                return OutboundFuture::waiting(async move {
                    match held.fetch().await {
                        Ok(token) => send(&mut inner, request, held, token).step,
                        Err(_) => Step::refused(held.endpoint().unavailable()),
                    }
                });
            }
            Kind::Exchange(exchange) => match exchange.recall(request.headers()) {
                Known::Token(Some(token)) => drop(request.headers_mut().insert(AUTHORIZATION, token)),
                Known::Token(None) => drop(request.headers_mut().remove(AUTHORIZATION)),
                Known::No(problem) => return OutboundFuture::refused(problem),
                Known::Ask(token) => {
                    let exchange = exchange.clone();
                    let mut inner = self.take_ready();
                    return OutboundFuture::waiting(async move {
                        match exchange.ask(token).await {
                            Ok(token) => {
                                request.headers_mut().insert(AUTHORIZATION, token);
                                Step::Sent { future: inner.call(request), used: None }
                            }
                            Err(problem) => Step::refused(problem),
                        }
                    });
                }
            },
        }
        OutboundFuture::sent(self.inner.call(request), None)
    }
}

impl<S: Clone> OutboundCredentials<S> {
    /// The clone is what stays: the one that was made ready is the one that is called.
    fn take_ready(&mut self) -> S {
        let clone = self.inner.clone();
        mem::replace(&mut self.inner, clone)
    }
}

fn send<S, B, R>(
    inner: &mut S,
    mut request: Request<B>,
    held: Arc<Held>,
    token: Arc<Token>,
) -> OutboundFuture<S::Future, R, S::Error>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    request.headers_mut().insert(AUTHORIZATION, token.header.clone());
    OutboundFuture::sent(inner.call(request), Some((held, token)))
}

type Waiting<F, R, E> = Pin<Box<dyn Future<Output = Step<F, R, E>> + Send>>;

pin_project! {
    /// The future of [`OutboundCredentials`].
    pub struct OutboundFuture<F, R, E> {
        #[pin]
        step: Step<F, R, E>,
    }
}

pin_project! {
    #[project = StepProj]
    enum Step<F, R, E> {
        Refused { response: Option<Response<R>> },
        Sent { #[pin] future: F, used: Option<(Arc<Held>, Arc<Token>)> },
        Waiting { future: Waiting<F, R, E> },
    }
}

impl<F, R, E> OutboundFuture<F, R, E> {
    fn sent(future: F, used: Option<(Arc<Held>, Arc<Token>)>) -> Self {
        Self { step: Step::Sent { future, used } }
    }

    fn waiting(future: impl Future<Output = Step<F, R, E>> + Send + 'static) -> Self {
        Self { step: Step::Waiting { future: Box::pin(future) } }
    }
}

impl<F, R: From<Bytes>, E> OutboundFuture<F, R, E> {
    fn refused(problem: Problem) -> Self {
        Self { step: Step::refused(problem) }
    }
}

impl<F, R: From<Bytes>, E> Step<F, R, E> {
    fn refused(problem: Problem) -> Self {
        Self::Refused { response: Some(problem.into_response()) }
    }
}

impl<F, R, E> Future for OutboundFuture<F, R, E>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: From<Bytes>,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        loop {
            match self.as_mut().project().step.project() {
                StepProj::Refused { response } => {
                    let gone = || Problem::new(Code::InternalError).into_response();
                    return Poll::Ready(Ok(response.take().unwrap_or_else(gone)));
                }
                StepProj::Sent { future, used } => {
                    let response = ready!(future.poll(cx))?;
                    match used {
                        Some((held, token)) if response.status() == StatusCode::UNAUTHORIZED => {
                            held.drop_token(token);
                        }
                        Some((held, _)) => held.was_taken(),
                        None => {}
                    }
                    return Poll::Ready(Ok(response));
                }
                StepProj::Waiting { future } => {
                    let step = ready!(future.as_mut().poll(cx));
                    self.set(Self { step });
                }
            }
        }
    }
}
