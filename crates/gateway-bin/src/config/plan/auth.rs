//! Ways to authenticate, and the layers that routes make of them.

use super::chore::Chore;
use super::contents::Contents;
use super::identity::IDENTITY;
use super::planner::Planner;
use crate::config::Origin;
use crate::config::load::{join, nearest};
use crate::config::settings::{AUTH_KINDS, AuthSettings, RouteAuthSettings};
use gateway_auth::{
    ApiKeyMethod, AuthError, AuthLayer, BasicMethod, ForwardMethod, ForwardSettings, HeaderNames,
    IntrospectionMethod, IntrospectionSettings, JwtMethod, JwtSettings, KeyRing, Method, MtlsMethod,
    OidcMethod, OidcSettings, Revocations, SignatureMethod, SignatureSettings,
};
use gateway_store::Store;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Who may call, for all routes.
#[derive(Clone, Default)]
pub(crate) struct AuthPlan {
    /// By name.
    pub(crate) methods: BTreeMap<String, MethodPlan>,
    /// Those that routes use, each once.
    pub(crate) layers: Vec<AuthLayer>,
}

/// One way to authenticate.
#[derive(Clone)]
pub(crate) struct MethodPlan {
    pub(crate) method: Arc<dyn Method>,
    /// Where it is that of tokens.
    jwt: Option<JwtMethod>,
    /// Where it is that of API keys.
    pub(crate) ring: Option<KeyRing>,
    pub(crate) chore: Option<Chore>,
    /// What was in the files that it read.
    files: Contents,
}

/// Who may call a route.
#[derive(Clone)]
pub(crate) struct RouteAuth {
    /// The ways to authenticate, by name.
    pub(crate) names: Vec<String>,
    /// Which of [`AuthPlan::layers`].
    pub(crate) layer: usize,
    /// Whether one of them has to see bodies.
    pub(crate) reads_bodies: bool,
}

impl AuthPlan {
    /// What revokes tokens.
    pub(crate) fn revocations(&self) -> Vec<Revocations> {
        let jwt = self.methods.values().filter_map(|method| method.jwt.as_ref());
        jwt.map(JwtMethod::revocations).collect()
    }

    /// Headers by which ways to authenticate tell services something, but those that carry credentials.
    pub(super) fn headers(&self) -> HeaderNames {
        let methods = || self.methods.values().map(|plan| &plan.method);
        let read: Vec<_> = methods().flat_map(|method| method.reads()).collect();
        let mut names = HeaderNames::default();
        methods().for_each(|method| names.extend(method.sets().without(&read)));
        names
    }

    /// Query parameters that carry credentials.
    pub(crate) fn secret_queries(&self) -> Vec<String> {
        let names = self.methods.values().flat_map(|plan| plan.method.reads_queries());
        names.map(str::to_owned).collect()
    }

    /// The API keys, by name.
    pub(crate) fn rings(&self) -> BTreeMap<String, KeyRing> {
        let ring = |(name, method): (&String, &MethodPlan)| Some((name.clone(), method.ring.clone()?));
        self.methods.iter().filter_map(ring).collect()
    }
}

impl MethodPlan {
    fn of(method: impl Method + 'static) -> Self {
        Self { method: Arc::new(method), jwt: None, ring: None, chore: None, files: Contents::default() }
    }

    pub(super) fn jwt(method: JwtMethod) -> Self {
        let working = method.clone();
        let chore = Chore::endless(move || {
            let (refresh, listen) = (working.refresh(), working.listen());
            async move {
                tokio::join!(refresh, listen);
            }
        });
        Self { jwt: Some(method.clone()), chore: Some(chore), ..Self::of(method) }
    }

    fn api_keys(method: ApiKeyMethod) -> Self {
        let ring = method.ring().clone();
        let keeping = ring.clone();
        let chore = Chore::endless(move || {
            let ring = keeping.clone();
            async move {
                if let Err(error) = ring.load().await {
                    tracing::warn!("API keys that were made at run time are not known yet: {error}");
                }
                ring.keep_current().await;
            }
        });
        Self { ring: Some(ring), chore: Some(chore), ..Self::of(method) }
    }

    fn oidc(method: OidcMethod) -> Self {
        let working = method.clone();
        let chore = Chore::endless(move || working.refresh());
        Self { chore: Some(chore), ..Self::of(method) }
    }

    fn basic(method: BasicMethod) -> Self {
        let keeping = method.clone();
        let chore = Chore::endless(move || keeping.clone().keep_current());
        Self { chore: Some(chore), ..Self::of(method) }
    }
}

/// For ways that look after their files themselves, or have none.
fn none<T>(_: &T) -> std::iter::Empty<&Path> {
    std::iter::empty()
}

/// The layers of routes that ask for the same are one.
#[derive(Default)]
pub(super) struct AuthLayers {
    asked: Vec<RouteAuthSettings>,
    made: Vec<AuthLayer>,
}

impl AuthLayers {
    pub(super) fn into_layers(self) -> Vec<AuthLayer> {
        self.made
    }

    /// Whether it has to see bodies.
    pub(super) fn reads_bodies(&self, layer: usize) -> bool {
        self.made.get(layer).is_some_and(AuthLayer::reads_bodies)
    }

    pub(super) fn of(&mut self, asked: &RouteAuthSettings, plan: &AuthPlan) -> usize {
        if let Some(known) = self.asked.iter().position(|known| known == asked) {
            return known;
        }
        let methods = asked.methods.iter().filter_map(|name| Some(plan.methods.get(name)?.method.clone()));
        self.asked.push(asked.clone());
        self.made.push(AuthLayer::new(methods.collect(), &asked.policy()));
        self.made.len() - 1
    }
}

impl<'a> Planner<'a> {
    /// Every way to authenticate; those that are as before live on.
    pub(super) fn auth(&mut self, store: &Store) -> AuthPlan {
        self.auth_names();
        let mut plan = AuthPlan::default();
        let into = &mut plan.methods;
        self.ways(
            "jwt",
            into,
            |auth| &auth.jwt,
            JwtSettings::files,
            |_, jwt, before| {
                let made = match before.and_then(|before| before.jwt.as_ref()) {
                    Some(before) => before.succeed(jwt, store.clone()),
                    None => JwtMethod::new(jwt, store.clone()),
                };
                made.map(MethodPlan::jwt)
            },
        );
        self.ways(
            "api_keys",
            into,
            |auth| &auth.api_keys,
            none,
            |name, keys, before| {
                let ring = match before.and_then(|before| before.ring.as_ref()) {
                    Some(before) => before.succeed(keys, store.clone()),
                    None => KeyRing::new(name, keys, store.clone()),
                };
                ApiKeyMethod::new(keys, ring?).map(MethodPlan::api_keys)
            },
        );
        self.ways(
            "basic",
            into,
            |auth| &auth.basic,
            none,
            |_, basic, _| BasicMethod::new(basic).map(MethodPlan::basic),
        );
        self.ways(
            "introspection",
            into,
            |auth| &auth.introspection,
            IntrospectionSettings::files,
            |_, asked, _| IntrospectionMethod::new(asked).map(MethodPlan::of),
        );
        self.ways(
            "forward",
            into,
            |auth| &auth.forward,
            ForwardSettings::files,
            |_, to, _| ForwardMethod::new(to).map(MethodPlan::of),
        );
        self.ways(
            "oidc",
            into,
            |auth| &auth.oidc,
            OidcSettings::files,
            |_, oidc, _| OidcMethod::new(oidc, store.clone()).map(MethodPlan::oidc),
        );
        self.ways(
            "mtls",
            into,
            |auth| &auth.mtls,
            none,
            |_, mtls, _| MtlsMethod::new(mtls).map(MethodPlan::of),
        );
        self.ways(
            "signatures",
            into,
            |auth| &auth.signatures,
            SignatureSettings::files,
            |_, signatures, _| SignatureMethod::new(signatures, store.clone()).map(MethodPlan::of),
        );
        plan
    }

    /// All ways of one kind. One with the settings and files that it had lives on; any other may take over from the
    /// one of its name before.
    fn ways<T: PartialEq + 'a, F: Iterator<Item = &'a Path>>(
        &mut self,
        kind: &str,
        into: &mut BTreeMap<String, MethodPlan>,
        of: impl Fn(&AuthSettings) -> &BTreeMap<String, T>,
        files: impl Fn(&'a T) -> F,
        make: impl Fn(&str, &T, Option<&MethodPlan>) -> Result<MethodPlan, AuthError>,
    ) {
        let settings = self.settings;
        for (name, way) in of(&settings.auth) {
            let (same, other) =
                self.kept(name, way, |config| (of(&config.settings.auth), &config.plan.auth.methods));
            // Read before what is made of them: of one that changes in between too much is made, and not too little.
            let files = Contents::of(files(way));
            let made = match same {
                Some(same) if same.files == files => Some(same),
                before => {
                    let made = make(name, way, before.or(other).as_ref());
                    self.noted(join(&format!("auth.{kind}"), name), made)
                }
            };
            into.extend(made.map(|made| (name.clone(), MethodPlan { files, ..made })));
        }
    }

    /// A name stands for one way, and is not one that routes use for something else.
    fn auth_names(&mut self) {
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        for (kind, of_kind) in self.settings.auth.kinds() {
            for name in of_kind {
                let key = join(&format!("auth.{kind}"), name);
                let taken = match name {
                    "none" => "`none` is what routes say for no authentication",
                    "" => "the name of a way to authenticate is empty, so that no route can use it",
                    IDENTITY => "`identity` is what routes say for the gateway's own accounts",
                    _ => "",
                };
                if !taken.is_empty() {
                    let mistake = self.origin.mistake(&key, taken);
                    self.mistakes.push(mistake.with_help("choose another name"));
                }
                if let Some(other) = names.insert(name, kind) {
                    let message = format!("there is an [auth.{other}] `{name}` already");
                    self.mistakes.push(self.origin.mistake(&key, message));
                }
            }
        }
    }

    /// A table that names no way to authenticate would leave its routes open, which is said by `"none"`.
    pub(super) fn auth_names_one(&mut self, key: &str, auth: &RouteAuthSettings) {
        let is_table = self.origin.written(key).is_some_and(Value::is_object);
        if auth.methods.is_empty() && is_table && !self.origin.is_known_wrong(key) {
            let at = if self.origin.written(&format!("{key}.methods")).is_some() { ".methods" } else { "" };
            let message =
                format!("`{key}` names no way to authenticate, so that nobody would be asked who they are");
            let mistake = self.origin.mistake(&format!("{key}{at}"), message);
            let mistake = mistake.with_help("name one in `methods`, or write `auth = \"none\"`");
            // Said once, however many routes it is for.
            if !self.mistakes.contains(&mistake) {
                self.mistakes.push(mistake);
            }
        }
    }

    /// Whether every name in a route's `auth` stands for something.
    pub(super) fn auth_is_known(&mut self, key: &str, auth: &RouteAuthSettings) -> bool {
        let mut defined: Vec<&str> =
            AUTH_KINDS.iter().flat_map(|kind| self.origin.names(&format!("/auth/{kind}"))).collect();
        defined.extend(self.settings.identity.as_ref().map(|_| IDENTITY));
        let mut all_known = true;
        for (i, name) in auth.methods.iter().enumerate() {
            if defined.contains(&name.as_str()) {
                continue;
            }
            all_known = false;
            let message = format!("there is no way to authenticate `{name}`");
            let mistake = self.origin.mistake(&key_of_name(self.origin, key, i), message);
            self.mistakes.push(mistake.with_help(match nearest(name, defined.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if defined.is_empty() => "no [auth.jwt] or other way is defined".to_owned(),
                None => format!("defined are {}", defined.join(", ")),
            }));
        }
        all_known
    }
}

/// Where the n-th name of an `auth` stands: it may be all of it, in a list, or in a table.
pub(super) fn key_of_name(origin: &Origin, key: &str, n: usize) -> String {
    match origin.written(key) {
        Some(Value::Array(_)) => format!("{key}[{n}]"),
        Some(Value::Object(_)) => format!("{key}.methods[{n}]"),
        _ => key.to_owned(),
    }
}
