//! Ways to authenticate, and the layers that routes make of them.

use super::planner::Planner;
use crate::config::Origin;
use crate::config::load::nearest;
use crate::config::settings::RouteAuthSettings;
use gateway_auth::{AuthLayer, JwtLayer, JwtMethod, Method, Revocations};
use gateway_store::Store;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who may call, for all routes.
#[derive(Clone, Default)]
pub(crate) struct AuthPlan {
    pub(crate) jwt: BTreeMap<String, JwtLayer>,
    /// Those that routes use, each once.
    pub(crate) layers: Vec<AuthLayer>,
}

/// Who may call a route.
#[derive(Clone)]
pub(crate) struct RouteAuth {
    /// The ways to authenticate, by name.
    pub(crate) names: Vec<String>,
    /// Which of [`AuthPlan::layers`].
    pub(crate) layer: usize,
}

impl AuthPlan {
    /// What revokes tokens.
    pub(crate) fn revocations(&self) -> Vec<Revocations> {
        self.jwt.values().map(JwtLayer::revocations).collect()
    }

    fn method(&self, name: &str) -> Option<Arc<dyn Method>> {
        let jwt = |layer: &JwtLayer| -> Arc<dyn Method> { Arc::new(JwtMethod::clone(layer.method())) };
        self.jwt.get(name).map(jwt)
    }
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

    pub(super) fn of(&mut self, asked: &RouteAuthSettings, plan: &AuthPlan) -> usize {
        if let Some(known) = self.asked.iter().position(|known| known == asked) {
            return known;
        }
        let methods = asked.methods.iter().filter_map(|name| plan.method(name)).collect();
        self.asked.push(asked.clone());
        self.made.push(AuthLayer::new(methods, &asked.policy()));
        self.made.len() - 1
    }
}

impl Planner<'_> {
    /// Every way to authenticate; those that are as before live on.
    pub(super) fn auth(&mut self, store: &Store) -> AuthPlan {
        let settings = self.settings;
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        for (kind, of_kind) in settings.auth.kinds() {
            for name in of_kind {
                let key = format!("auth.{kind}.{name}");
                if name == "none" {
                    let mistake =
                        self.origin.mistake(&key, "`none` is what routes say for no authentication");
                    self.mistakes.push(mistake.with_help("choose another name"));
                }
                if let Some(other) = names.insert(name, kind) {
                    let message = format!("there is an [auth.{other}] `{name}` already");
                    self.mistakes.push(self.origin.mistake(&key, message));
                }
            }
        }
        AuthPlan { jwt: self.jwt(store), layers: Vec::new() }
    }

    fn jwt(&mut self, store: &Store) -> BTreeMap<String, JwtLayer> {
        let settings = self.settings;
        let store_kept = self.previous.is_some_and(|previous| previous.settings.store == settings.store);
        let layers = settings.auth.jwt.iter().filter_map(|(name, jwt)| {
            let layer = self.noted(&format!("auth.jwt.{name}"), JwtLayer::new(jwt, store.clone()))?;
            // Files may hold other keys than before, whatever the settings say.
            let (same, _) = self.kept(name, jwt, |config| (&config.settings.auth.jwt, &config.plan.auth.jwt));
            let same = same.filter(|same| store_kept && same.has_keys_of(&layer));
            Some((name.clone(), same.unwrap_or(layer)))
        });
        layers.collect()
    }

    /// Whether every name in a route's `auth` stands for something.
    pub(super) fn auth_is_known(&mut self, key: &str, auth: &RouteAuthSettings) -> bool {
        let defined: Vec<&str> =
            AUTH_KINDS.iter().flat_map(|kind| self.origin.names(&format!("/auth/{kind}"))).collect();
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

/// As the tables under `[auth]` are called.
const AUTH_KINDS: [&str; 1] = ["jwt"];

/// Where the n-th name of an `auth` stands: it may be all of it, in a list, or in a table.
fn key_of_name(origin: &Origin, key: &str, n: usize) -> String {
    match origin.written(key) {
        Some(Value::Array(_)) => format!("{key}[{n}]"),
        Some(Value::Object(_)) => format!("{key}.methods[{n}]"),
        _ => key.to_owned(),
    }
}
