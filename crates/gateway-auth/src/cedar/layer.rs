use crate::authorize::layer::unenforced;
use crate::cedar::entity::{OWN, context, principal, resource, uid};
use crate::cedar::load::{Loaded, load};
use crate::cedar::settings::CedarSettings;
use crate::gate::GateFuture;
use crate::text::unix_now;
use crate::{AuthError, AuthMode, Head};
use bytes::Bytes;
use cedar_policy::{Authorizer, Decision, EntityTypeName, EntityUid};
use gateway_core::{Code, Principal, Problem};
use http::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{Extensions, Request, Response};
use std::collections::HashSet;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Policies in [Cedar](https://docs.cedarpolicy.com), checked against their schema when they are loaded. Clones share
/// them.
///
/// | in a policy | is |
/// |---|---|
/// | `principal` | `User::"id"` with the attributes `id`, `method` (how it was proved), `roles` and `scopes` (sets of texts), and the `claims` of the settings where the caller has them |
/// | `action` | `Action::"GET"`, or the name in the settings |
/// | `resource` | `Route::"name"` with the attributes `path`, `service` and `host` |
/// | `context` | `ip` (an `ipaddr`, where it is known), `time` (seconds since 1970), `headers` (those of the settings that are there) |
///
/// Users and routes in the entities' file lend their parents, so that groups work; their attributes there do not count.
///
/// ```cedar
/// entity User { id: String, method: String, roles: Set<String>, scopes: Set<String>, tenant?: String };
/// entity Route { path: String, service: String, host: String };
/// action GET, POST appliesTo {
///     principal: User, resource: Route,
///     context: { ip?: ipaddr, time: Long, headers: { x_tenant?: String } },
/// };
/// ```
#[derive(Clone, Debug)]
pub struct Cedar(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    loaded: Loaded,
    authorizer: Authorizer,
    user: EntityTypeName,
    route: EntityTypeName,
    action: EntityTypeName,
    headers: Vec<(HeaderName, String)>,
    settings: CedarSettings,
}

/// What the policies say of a request. Also an extension of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CedarDecision {
    /// Whether it may pass.
    pub allowed: bool,
    /// The policies that decided: by their `@id("…")`, or by file and number. Empty where none applies, which is a no.
    pub policies: Vec<String>,
    /// Policies that could not be evaluated, and why. One is enough for a no: it might have forbidden the request.
    pub errors: Vec<String>,
}

impl CedarDecision {
    fn no(error: String) -> Self {
        Self { allowed: false, policies: Vec::new(), errors: vec![error] }
    }
}

impl Cedar {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// A file cannot be read, does not parse, or does not fit the schema: with its line and column.
    pub fn load(settings: &CedarSettings) -> Result<Self, AuthError> {
        if let Some(claim) = settings.claims.iter().find(|claim| OWN.contains(&claim.as_str())) {
            let why = format!("`{claim}` is an attribute of every principal already; expected other claims");
            return Err(AuthError::setting("claims", why));
        }
        let headers = settings.headers.iter().map(|name| {
            let header: HeaderName = name.parse().map_err(|_| AuthError::Header(name.clone()))?;
            let shown = header.as_str().replace('-', "_");
            Ok((header, shown))
        });
        let kind = |name: &str| {
            name.parse::<EntityTypeName>().map_err(|error| AuthError::setting("schema", error.to_string()))
        };
        Ok(Self(Arc::new(Shared {
            headers: headers.collect::<Result<_, AuthError>>()?,
            loaded: load(&settings.policies, &settings.schema, settings.entities.as_deref())?,
            authorizer: Authorizer::new(),
            user: kind("User")?,
            route: kind("Route")?,
            action: kind("Action")?,
            settings: settings.clone(),
        })))
    }

    /// The layer of a route to a service.
    #[must_use]
    pub fn layer(&self, route: &str, service: &str) -> CedarLayer {
        CedarLayer { cedar: self.clone(), route: uid(&self.0.route, route), service: service.into() }
    }

    fn parents(&self, entity: &EntityUid) -> HashSet<EntityUid> {
        self.0.loaded.entities.ancestors(entity).map_or_else(HashSet::new, |all| all.cloned().collect())
    }

    fn decide(
        &self,
        route: &EntityUid,
        service: &str,
        caller: Option<&Principal>,
        head: Head<'_>,
    ) -> CedarDecision {
        self.try_decide(route, service, caller, head).unwrap_or_else(CedarDecision::no)
    }

    fn try_decide(
        &self,
        route: &EntityUid,
        service: &str,
        caller: Option<&Principal>,
        head: Head<'_>,
    ) -> Result<CedarDecision, String> {
        let Shared { loaded, settings, .. } = &*self.0;
        let user = uid(&self.0.user, caller.map_or("", Principal::id));
        let action = settings.action.as_deref().unwrap_or(head.method.as_str());
        let entities = [
            principal(user.clone(), self.parents(&user), caller, &settings.claims)?,
            resource(route.clone(), self.parents(route), service, head)?,
        ];
        let entities = loaded.entities.clone().upsert_entities(entities, None).map_err(|e| e.to_string())?;
        let request = cedar_policy::Request::new(
            user,
            uid(&self.0.action, action),
            route.clone(),
            context(head, &self.0.headers, unix_now() as i64)?,
            None,
        );
        let request = request.map_err(|error| error.to_string())?;
        let answer = self.0.authorizer.is_authorized(&request, &loaded.policies, &entities);
        let errors: Vec<String> = answer.diagnostics().errors().map(ToString::to_string).collect();
        Ok(CedarDecision {
            allowed: answer.decision() == Decision::Allow && errors.is_empty(),
            policies: answer.diagnostics().reason().map(ToString::to_string).collect(),
            errors,
        })
    }
}

/// Lets requests pass that the policies of a [`Cedar`] permit. Stands behind [`AuthLayer`](crate::AuthLayer).
///
/// | a request | answer |
/// |---|---|
/// | of nobody, unless the settings have `anonymous` | 401 `missing-credentials` |
/// | that no policy permits, one forbids, or a policy cannot be evaluated on | 403 `forbidden` |
///
/// The [`CedarDecision`] is in the answer's extensions, and on `tracing` as `allowed` and `policies`. With
/// `mode = "report"` every request passes, and the answer's extensions carry [`Unenforced`](crate::Unenforced) too.
#[derive(Clone, Debug)]
pub struct CedarLayer {
    cedar: Cedar,
    route: EntityUid,
    service: Arc<str>,
}

impl CedarLayer {
    /// What the policies say, whatever the mode: for tools that explain decisions.
    #[must_use]
    pub fn decide(&self, caller: Option<&Principal>, head: Head<'_>) -> CedarDecision {
        self.cedar.decide(&self.route, &self.service, caller, head)
    }

    /// The refusal, if it is one, and the decision, if the policies were asked.
    fn check(&self, caller: Option<&Principal>, head: Head<'_>) -> (Option<Problem>, Option<CedarDecision>) {
        if caller.is_none() && !self.cedar.0.settings.anonymous {
            let challenge = HeaderValue::from_static("Bearer realm=\"gateway\"");
            return (
                Some(Problem::new(Code::MissingCredentials).with_header(WWW_AUTHENTICATE, challenge)),
                None,
            );
        }
        let decision = self.decide(caller, head);
        let CedarDecision { allowed, policies, errors } = &decision;
        tracing::debug!(allowed, ?policies, ?errors, "policies decided");
        let why = match (policies.is_empty(), errors.first()) {
            (_, Some(error)) => {
                tracing::warn!(error, "a policy could not be evaluated; the request is not allowed");
                "a policy could not be evaluated"
            }
            (true, None) => "no policy permits it",
            (false, None) => "a policy forbids it",
        };
        ((!allowed).then(|| Problem::new(Code::Forbidden).with_detail(why)), Some(decision))
    }
}

impl<S> Layer<S> for CedarLayer {
    type Service = CedarService<S>;
    fn layer(&self, inner: S) -> CedarService<S> {
        CedarService { inner, layer: self.clone() }
    }
}

/// The service of [`CedarLayer`].
#[derive(Clone, Debug)]
pub struct CedarService<S> {
    inner: S,
    layer: CedarLayer,
}

impl<S, B, R> Service<Request<B>> for CedarService<S>
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
        let (problem, decision) = self.layer.check(request.extensions().get(), Head::of(&request));
        let mut note = Box::new(Extensions::new());
        if let Some(decision) = decision {
            note.insert(decision);
        }
        match (problem, self.layer.cedar.0.settings.mode) {
            (None, _) => {}
            (Some(problem), AuthMode::Enforce) => return GateFuture::refused(problem, Some(note)),
            (Some(problem), AuthMode::Report) => drop(note.insert(unenforced(&problem))),
        }
        GateFuture::passed(self.inner.call(request), Some(note))
    }
}
