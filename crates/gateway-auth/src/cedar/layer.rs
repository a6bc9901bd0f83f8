use crate::authorize::layer::unenforced;
use crate::cedar::attributes::Attributes;
use crate::cedar::entity::{OWN, Shown, context, principal, resource, uid};
use crate::cedar::load::{Loaded, Sources, load};
use crate::cedar::mistake::{CedarMistake, CedarMistakes};
use crate::cedar::settings::CedarSettings;
use crate::cedar::slice::Slices;
use crate::cedar::source::{said, wrong_setting};
use crate::gate::GateFuture;
use crate::text::unix_now;
use crate::{Head, Mode};
use bytes::Bytes;
use cedar_policy::{Authorizer, Decision, EntityTypeName, EntityUid};
use gateway_core::{Code, PolicyDecision, Principal, Problem};
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
/// | `context` | `ip` (an `ipaddr`, where it is known), `time` (seconds since 1970), `headers` (those of the settings that are there), and with `params` in the settings `params` (what stood in the place of the path's parameters) |
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
    shown: Shown,
    settings: CedarSettings,
    sources: Sources,
}

impl Shared {
    fn is_of(&self, settings: &CedarSettings, sources: &Sources) -> bool {
        self.settings == *settings && self.sources == *sources
    }
}

impl Cedar {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// Everything that is wrong with them, all at once, with file, line and column: one cannot be read, does not parse,
    /// or does not fit the schema, or the schema does not describe what is in the table above.
    pub fn load(settings: &CedarSettings) -> Result<Self, CedarMistakes> {
        Self::load_after(settings, None)
    }

    /// Reads the files again. Where neither they nor the settings have changed, these are the policies of before.
    ///
    /// # Errors
    /// As with [`Cedar::load`].
    pub fn reload(&self, settings: &CedarSettings) -> Result<Self, CedarMistakes> {
        Self::load_after(settings, Some(self))
    }

    fn load_after(settings: &CedarSettings, before: Option<&Self>) -> Result<Self, CedarMistakes> {
        check(settings)?;
        let sources = Sources::read(settings)?;
        if let Some(before) = before.filter(|before| before.0.is_of(settings, &sources)) {
            return Ok(before.clone());
        }
        let kind = |name: &str| {
            name.parse::<EntityTypeName>()
                .map_err(|error| CedarMistakes(vec![wrong_setting("schema", error.to_string())]))
        };
        let loaded = load(&sources, settings)?;
        let mut shown = Shown::of(settings);
        // What a claim is, is up to whoever issued the token: with claims, all is held against the schema.
        if settings.claims.is_empty() {
            shown.attributes = Attributes::of(&loaded.policies);
        }
        Ok(Self(Arc::new(Shared {
            shown,
            loaded,
            authorizer: Authorizer::new(),
            user: kind("User")?,
            route: kind("Route")?,
            action: kind("Action")?,
            settings: settings.clone(),
            sources,
        })))
    }

    /// What is likely not what was meant, such as a policy that can never apply.
    #[must_use]
    pub fn warnings(&self) -> &[CedarMistake] {
        &self.0.loaded.warnings
    }

    /// Whether both are the same, and not only alike.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The layer of a route to a service.
    #[must_use]
    pub fn layer(&self, route: &str, service: &str) -> CedarLayer {
        let mode = self.0.settings.mode;
        let route = uid(&self.0.route, route);
        let slices = Arc::new(Slices::of(&self.0.loaded, &route));
        CedarLayer { cedar: self.clone(), route, slices, service: service.into(), mode }
    }

    fn parents(&self, entity: &EntityUid) -> HashSet<EntityUid> {
        self.0.loaded.entities.ancestors(entity).map_or_else(HashSet::new, |all| all.cloned().collect())
    }
}

/// What is wrong with settings by themselves.
fn check(settings: &CedarSettings) -> Result<(), CedarMistakes> {
    let mut mistakes = Vec::new();
    for (i, claim) in settings.claims.iter().enumerate().filter(|(_, claim)| OWN.contains(&claim.as_str())) {
        let why = format!("`{claim}` is an attribute of every principal already; expected other claims");
        mistakes.push(wrong_setting(&format!("claims[{i}]"), why));
    }
    for (i, name) in settings.headers.iter().enumerate() {
        if name.parse::<HeaderName>().is_err() {
            let why = format!("`{name}` cannot name a header; expected something like `X-Tenant`");
            mistakes.push(wrong_setting(&format!("headers[{i}]"), why));
        }
    }
    if mistakes.is_empty() { Ok(()) } else { Err(CedarMistakes(mistakes)) }
}

/// Lets requests pass that the policies of a [`Cedar`] permit. Stands behind [`AuthLayer`](crate::AuthLayer).
///
/// | a request | answer |
/// |---|---|
/// | of nobody, unless the settings have `anonymous` | 401 `missing-credentials` |
/// | that no policy permits, one forbids, or a policy cannot be evaluated on | 403 `forbidden` |
///
/// The [`PolicyDecision`] is in the answer's extensions, and on `tracing` as `allowed` and `policies`. With
/// `mode = "report"` every request passes, and the answer's extensions carry [`Unenforced`](crate::Unenforced) too.
#[derive(Clone, Debug)]
pub struct CedarLayer {
    cedar: Cedar,
    route: EntityUid,
    slices: Arc<Slices>,
    service: Arc<str>,
    mode: Mode,
}

impl CedarLayer {
    /// In another mode than that of the settings.
    #[must_use]
    pub fn with_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// Whether the policies are asked about callers that are not recognised.
    #[must_use]
    pub fn asks_about_anonymous(&self) -> bool {
        self.cedar.0.settings.anonymous
    }

    /// What the policies say, whatever the mode: for tools that explain decisions.
    #[must_use]
    pub fn decide(&self, caller: Option<&Principal>, head: Head<'_>) -> PolicyDecision {
        self.try_decide(caller, head).unwrap_or_else(PolicyDecision::failed)
    }

    fn try_decide(&self, caller: Option<&Principal>, head: Head<'_>) -> Result<PolicyDecision, String> {
        let Shared { loaded, settings, shown, .. } = &*self.cedar.0;
        let user = uid(&self.cedar.0.user, caller.map_or("", Principal::id));
        let action = uid(&self.cedar.0.action, settings.action.as_deref().unwrap_or(head.method.as_str()));
        let policies = self.slices.of_action(&action);
        let seen = [
            principal(user.clone(), self.cedar.parents(&user), caller, &settings.claims, shown)?,
            resource(self.route.clone(), self.cedar.parents(&self.route), &self.service, head, shown)?,
        ];
        // A claim that is not what the schema says would make policies wrong. All else is always of one form, which was
        // checked.
        let schema = (!settings.claims.is_empty()).then_some(&loaded.schema);
        let entities = loaded.base.clone().upsert_entities(seen, schema).map_err(|error| said(&error))?;
        let context = context(head, shown, unix_now() as i64)?;
        let request = cedar_policy::Request::new(user, action, self.route.clone(), context, None);
        let request = request.map_err(|error| error.to_string())?;
        let answer = self.cedar.0.authorizer.is_authorized(&request, policies, &entities);
        let errors: Vec<String> = answer.diagnostics().errors().map(ToString::to_string).collect();
        Ok(PolicyDecision {
            allowed: answer.decision() == Decision::Allow && errors.is_empty(),
            policies: answer.diagnostics().reason().map(ToString::to_string).collect(),
            errors,
        })
    }

    /// The refusal, if it is one, and the decision, if the policies were asked.
    fn check(&self, caller: Option<&Principal>, head: Head<'_>) -> (Option<Problem>, Option<PolicyDecision>) {
        if caller.is_none() && !self.cedar.0.settings.anonymous {
            let challenge = HeaderValue::from_static("Bearer realm=\"gateway\"");
            return (
                Some(Problem::new(Code::MissingCredentials).with_header(WWW_AUTHENTICATE, challenge)),
                None,
            );
        }
        let decision = self.decide(caller, head);
        let PolicyDecision { allowed, policies, errors } = &decision;
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
        match (problem, self.layer.mode) {
            (None, _) => {}
            (Some(problem), Mode::Enforce) => {
                let mut response = problem.into_response();
                response.extensions_mut().extend(*note);
                return GateFuture::refused(response);
            }
            (Some(problem), Mode::Report) => drop(note.insert(unenforced(&problem))),
        }
        GateFuture::passed(self.inner.call(request), Some(note))
    }
}
