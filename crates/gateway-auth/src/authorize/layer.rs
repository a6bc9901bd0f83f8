use crate::authorize::rule::{Lack, Rule};
use crate::authorize::settings::AuthorizeSettings;
use crate::gate::GateFuture;
use crate::{AuthError, Head, Method, Mode, Unenforced};
use bytes::Bytes;
use gateway_core::{Code, Principal, Problem};
use http::header::{HeaderValue, WWW_AUTHENTICATE};
use http::{Extensions, Request, Response};
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Lets requests pass that the rules allow: who calls, with which roles, scopes and claims, how and from where. Stands
/// behind [`AuthLayer`](crate::AuthLayer), which finds out who calls.
///
/// | a request | answer |
/// |---|---|
/// | of nobody, where it matters who calls | 401 `missing-credentials` |
/// | without a scope, all else being right | 403 `insufficient-scope`, `WWW-Authenticate: Bearer error="insufficient_scope", scope="…"` (RFC 6750 §3.1) |
/// | that any other rule excludes | 403 `forbidden`; the detail says which kind of rule |
///
/// The rules are compiled when the layer is made. A request that passes costs some comparisons of texts, and no
/// allocation. With `mode = "report"` every request passes, the answer's extensions carry [`Unenforced`], and the log
/// says so.
///
/// ```
/// use gateway_auth::{AuthorizeLayer, AuthorizeSettings};
/// let rules: AuthorizeSettings = serde_json::from_value(serde_json::json!({
///     "scopes": "orders:read",
///     "claims": { "tenant": "acme", "level": { "min": 3 } },
///     "methods": { "POST,PUT,DELETE": { "roles": ["editor", "admin"] } },
///     "not": { "claims": { "suspended": true } },
/// }))?;
/// let layer = AuthorizeLayer::new(&rules)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct AuthorizeLayer(Arc<Shared>);

#[derive(Clone, Debug)]
struct Shared {
    rule: Arc<Rule>,
    mode: Mode,
    missing: Problem,
}

impl AuthorizeLayer {
    /// A layer with these rules.
    ///
    /// # Errors
    /// A rule makes no sense, or there is none.
    pub fn new(settings: &AuthorizeSettings) -> Result<Self, AuthError> {
        let realm = settings.realm.as_deref().unwrap_or("gateway");
        let challenge = crate::credential::challenge("Bearer", realm, "");
        Ok(Self(Arc::new(Shared {
            rule: Arc::new(Rule::said(settings, "")?),
            mode: settings.mode.unwrap_or_default(),
            missing: Problem::new(Code::MissingCredentials).with_header(WWW_AUTHENTICATE, challenge),
        })))
    }

    /// Asks in a 401 for what these methods of authentication take, in place of a bearer token.
    #[must_use]
    pub fn with_challenges_of(&self, methods: &[Arc<dyn Method>]) -> Self {
        let mut challenges = methods.iter().filter_map(|method| method.challenge()).peekable();
        if challenges.peek().is_none() {
            return self.clone();
        }
        let missing = challenges.fold(Problem::new(Code::MissingCredentials), |problem, challenge| {
            problem.with_header(WWW_AUTHENTICATE, challenge.clone())
        });
        Self(Arc::new(Shared { missing, ..(*self.0).clone() }))
    }

    /// Whether a request passes, whatever the mode: for tools that explain decisions.
    ///
    /// # Errors
    /// What it is answered with where it does not.
    pub fn check(&self, caller: Option<&Principal>, head: Head<'_>) -> Result<(), Box<Problem>> {
        self.0.rule.check(caller, head).map_err(|lack| Box::new(self.problem(lack)))
    }

    fn problem(&self, lack: Lack<'_>) -> Problem {
        match lack {
            Lack::Caller => self.0.missing.clone(),
            Lack::Scopes(scopes) => {
                let scopes = scopes.replace(['"', '\\'], "'");
                let value = format!("Bearer error=\"insufficient_scope\", scope=\"{scopes}\"");
                let value = HeaderValue::try_from(value)
                    .unwrap_or(HeaderValue::from_static("Bearer error=\"insufficient_scope\""));
                Problem::new(Code::InsufficientScope).with_header(WWW_AUTHENTICATE, value)
            }
            Lack::Other(why) => Problem::new(Code::Forbidden).with_detail(why),
        }
    }
}

/// What a request that passes all the same is noted with.
pub(crate) fn unenforced(problem: &Problem) -> Unenforced {
    let code = problem.code();
    tracing::info!(
        code = code.name(),
        detail = problem.detail(),
        status = code.status().as_u16(),
        "a request passes that `enforce` would refuse"
    );
    Unenforced { status: code.status(), code: Some(code) }
}

impl<S> Layer<S> for AuthorizeLayer {
    type Service = Authorize<S>;
    fn layer(&self, inner: S) -> Authorize<S> {
        Authorize { inner, layer: self.clone() }
    }
}

/// The service of [`AuthorizeLayer`].
#[derive(Clone, Debug)]
pub struct Authorize<S> {
    inner: S,
    layer: AuthorizeLayer,
}

impl<S, B, R> Service<Request<B>> for Authorize<S>
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

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let caller = request.extensions().get::<Principal>();
        let note = match (self.layer.check(caller, Head::of(&request)), self.layer.0.mode) {
            (Ok(()), _) => None,
            (Err(problem), Mode::Enforce) => return GateFuture::refused(problem.into_response()),
            (Err(problem), Mode::Report) => {
                let mut note = Extensions::new();
                note.insert(unenforced(&problem));
                Some(Box::new(note))
            }
        };
        GateFuture::passed(self.inner.call(request), note)
    }
}
