//! The HTTP face: paths and shapes by configuration, the rest by [`Identity`].

use crate::{Identity, IdentityError, Paths, Preset};
use ::http::header::{CACHE_CONTROL, HeaderValue, PRAGMA};
use ::http::{Method, Request, Response, StatusCode};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, delete, get, post};
use bytes::Bytes;
use gateway_core::{BoxError, Code, Override, Overrides, Problem, ProblemLayer};
use serde::Serialize;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::Service;

mod accounts;
mod fields;
mod openapi;
mod request;
mod sessions;

/// What a client is allowed to send.
const MAX_BODY: usize = 64 * 1024;

#[derive(Clone)]
struct Face {
    identity: Identity,
    paths: Arc<Paths>,
    openapi: Bytes,
}

impl Face {
    fn preset(&self) -> Preset {
        self.identity.settings().preset
    }
}

/// An answer, or why there is none.
type Answer = Result<Response<Body>, Refusal>;

struct Refusal(IdentityError);

impl From<IdentityError> for Refusal {
    fn from(error: IdentityError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        // What is away is told where that is noticed.
        if let IdentityError::Internal(why) = &self.0 {
            tracing::error!(why, "a request for accounts failed");
        }
        no_store(self.0.problem().into_response())
    }
}

/// Nothing here is for caches (RFC 6749 §5.1, RFC 9111 §5.2.2.5).
fn no_store(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    no_store((status, axum::Json(value)).into_response())
}

fn nothing() -> Response<Body> {
    no_store(StatusCode::NO_CONTENT.into_response())
}

/// Everything as an axum router: to be served alone, or merged into another one. Errors are shown in the format of
/// the settings.
///
/// The client's address, for throttles and the list of sessions, is the [`ClientAddr`](gateway_core::ClientAddr) among
/// the request's extensions, else axum's `ConnectInfo<SocketAddr>`.
pub fn router(identity: &Identity) -> Router {
    let paths = Arc::new(Paths::of(identity.settings()));
    let openapi = openapi::document(identity.settings(), &paths);
    let mut router = Router::new();
    let mut serve = |path: &str, below: &str, methods: MethodRouter<Face>| {
        if !path.is_empty() {
            router = std::mem::take(&mut router).route(&format!("{path}{below}"), methods);
        }
    };
    serve(&paths.register, "", post(accounts::register));
    serve(&paths.login, "", post(sessions::login));
    serve(&paths.refresh, "", post(sessions::refresh));
    serve(&paths.logout, "", post(sessions::logout));
    serve(&paths.revoke, "", post(sessions::revoke));
    serve(&paths.sessions, "", get(sessions::list).delete(sessions::end_all));
    serve(&paths.sessions, "/{id}", delete(sessions::end));
    serve(
        &paths.me,
        "",
        get(accounts::me).put(accounts::change_me).patch(accounts::change_me).delete(accounts::remove_me),
    );
    serve(&paths.password, "", post(accounts::change_password));
    serve(&paths.users, "", get(accounts::list).post(accounts::create));
    serve(
        &paths.users,
        "/{id}",
        get(accounts::read).put(accounts::change).patch(accounts::change).delete(accounts::remove),
    );
    serve(&paths.users, "/{id}/sessions", get(sessions::list_of).delete(sessions::end_all_of));
    serve(&paths.jwks, "", get(jwks));
    // An issuer that is only a name is not discovered by URL.
    if identity.settings().issuer.starts_with("http") {
        serve(&paths.discovery, "", get(discovery));
    }
    serve(&paths.openapi, "", get(openapi_document));

    let settings = identity.settings();
    let overrides = match settings.preset {
        // S2-20.
        Preset::S2 => {
            let text = Some("You are not allowed to access this scope.".to_owned());
            Overrides::from([(Code::Forbidden, Override { status: None, text })])
        }
        Preset::Gateway | Preset::S1 => Overrides::new(),
    };
    let refuse = |code| async move { no_store(Problem::new(code).into_response()) };
    router
        .fallback(move || refuse(Code::NoRoute))
        .method_not_allowed_fallback(move || refuse(Code::MethodNotAllowed))
        .layer(ProblemLayer::with_overrides(settings.errors(), overrides))
        .with_state(Face { identity: identity.clone(), paths, openapi })
}

async fn jwks(State(face): State<Face>) -> Response<Body> {
    let mut response = axum::Json(&*face.identity.jwks()).into_response();
    // Not for longer than a new key is published before it signs.
    let age = face.identity.settings().keys.publish_ahead.as_secs();
    let value = HeaderValue::try_from(format!("public, max-age={age}"));
    response.headers_mut().insert(CACHE_CONTROL, value.unwrap_or(HeaderValue::from_static("no-cache")));
    response
}

/// As much of OpenID Connect Discovery 1.0 §3 as a verifier of tokens needs.
async fn discovery(State(face): State<Face>) -> Response<Body> {
    let settings = face.identity.settings();
    let issuer = settings.issuer.trim_end_matches('/');
    let at = |path: &str| format!("{issuer}{path}");
    let document = serde_json::json!({
        "issuer": settings.issuer,
        "jwks_uri": at(&face.paths.jwks),
        "token_endpoint": at(&face.paths.login),
        "revocation_endpoint": at(&face.paths.revoke),
        "grant_types_supported": ["password", "refresh_token"],
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [settings.keys.algorithm.name()],
    });
    let mut response = axum::Json(document).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

async fn openapi_document(State(face): State<Face>) -> Response<Body> {
    let mut response = Response::new(Body::from(face.openapi.clone()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(::http::header::CONTENT_TYPE, json);
    response
}

/// The router as a service for any body, which answers with any body that can be made of bytes.
///
/// It is always ready: what there is too much of is refused with 503.
#[derive(Clone, Debug)]
pub struct IdentityService {
    router: Router,
    paths: Arc<Paths>,
}

impl IdentityService {
    /// The HTTP face of these accounts.
    #[must_use]
    pub fn new(identity: &Identity) -> Self {
        Self { router: router(identity), paths: Arc::new(Paths::of(identity.settings())) }
    }

    /// Where it expects its requests: to be routed to it as they are.
    #[must_use]
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Answers one request.
    pub async fn answer<B, R>(&mut self, request: Request<B>) -> Response<R>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        R: From<Bytes>,
    {
        let head = request.method() == Method::HEAD;
        let Ok(response) = self.router.call(request).await;
        let (mut parts, body) = response.into_parts();
        // Made of bytes above: it ends at once, and well.
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
        if !head {
            parts.headers.remove(::http::header::CONTENT_LENGTH);
        }
        Response::from_parts(parts, R::from(bytes))
    }
}

/// The body of [`IdentityService`]'s answers as a [`Service`].
impl<B> Service<Request<B>> for IdentityService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<http_body_util::Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}
