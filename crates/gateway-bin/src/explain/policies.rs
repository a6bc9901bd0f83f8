//! The policies of a route in the order in which a request meets them, each with where it was said.

use crate::config::{AuthSettings, Checked, Levels, Origin, Policies, RouteLimit, RoutePlan, join};
use gateway_balance::BalanceSettings;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// One policy of a route.
#[derive(Debug, Serialize)]
pub(super) struct Policy {
    pub(super) name: &'static str,
    /// As it is written, variables not put in.
    pub(super) value: Value,
    /// What the name stands for that is its value, without keys.
    pub(super) definition: Option<Value>,
    /// The key it is written in, or `default`.
    pub(super) from: String,
    /// The place of that key.
    pub(super) place: Option<String>,
    /// Those that it is read from in part.
    #[serde(skip)]
    pub(super) files: Vec<NamedFile>,
}

/// A file that a policy names.
#[derive(Debug)]
pub(super) struct NamedFile {
    /// The key that names it, within the policy or what its name stands for.
    pub(super) key: String,
    /// As it is written.
    pub(super) name: String,
    /// Where it is.
    pub(super) path: PathBuf,
}

/// Those of a route. The order is that of the layers in `assemble`, from the outside.
pub(super) fn policies(checked: &Checked, index: usize) -> Vec<Policy> {
    let (settings, plan) = (&checked.config.settings, &checked.config.plan);
    let (route, written) = (&plan.routes[index], &settings.routes[index]);
    let levels = Levels::of(settings, index, written);
    let mut all = Policed { origin: &checked.origin, levels: &levels, policies: Vec::new() };
    let own = |name: &str| format!("routes[{index}].{name}");

    let is_written = |key: &str| checked.origin.written(key).is_some();
    let underscores = "underscore_headers";
    all.add(is_written(underscores), underscores, underscores, Value::Null);
    all.of_levels(route.correlation_id.is_some(), "correlation_id", |p| p.correlation_id.map(drop));
    all.add(plan.server_timing, "server_timing", "server_timing", Value::Null);
    all.of_levels(route.cors.is_some(), "cors", |p| p.cors.map(drop));
    all.of_levels(route.security_headers.is_some(), "security_headers", |p| p.security_headers.map(drop));
    all.of_levels(route.maintenance.is_some(), "maintenance", |p| p.maintenance.map(drop));
    all.add(route.redirect.is_some(), "redirect", &own("redirect"), Value::Null);
    all.of_levels(route.max_body.is_some(), "max_body", |p| p.max_body.map(drop));
    all.limits(route, |limit| limit.counts_failures);
    all.of_levels(route.auth.is_some(), "auth", |p| p.auth.map(drop));
    all.define_auth(&settings.auth);
    let authorizes = route.authorize.is_some() || route.cedar.is_some();
    all.of_levels(authorizes, "authorize", |p| p.authorize.map(drop));
    all.define_cedar();
    all.limits(route, |limit| !limit.counts_failures);
    for (place, policies) in levels.outside_in() {
        all.add(!policies.headers.is_empty(), "headers", &format!("{place}.headers"), Value::Null);
    }
    // An answer of its own comes after what the cache still has, another service before it.
    let answers = route.fallback.as_ref().map(|fallback| fallback.respond.is_some());
    all.of_levels(answers == Some(true), "fallback", |p| p.fallback.map(drop));
    all.of_levels(route.cache.is_some(), "cache", |p| p.cache.map(drop));
    all.of_levels(route.identity_headers.is_some(), "identity_headers", |p| p.identity_headers.map(drop));
    let service = route.service.as_ref().and_then(|name| settings.services.get_key_value(name));
    let of_service = |setting: &str| {
        service.map(|(name, _)| format!("{}.{setting}", join("services", name))).unwrap_or_default()
    };
    let asserts = service.is_some_and(|(_, service)| service.assertion);
    all.add(asserts, "assertion", &of_service("assertion"), Value::Bool(true));
    all.add(true, "forwarded", "forwarded", json!({ "trusted_proxies": [] }));
    all.add(route.strip.is_some(), "strip", &own("strip"), Value::Null);
    all.add(route.rewrite.is_some(), "rewrite", &own("rewrite"), Value::Null);
    all.add(plan.via.is_some(), "via", "via", Value::Null);
    all.of_levels(route.fault.is_some(), "fault", |p| p.fault.map(drop));
    all.of_levels(route.concurrency.is_some(), "concurrency", |p| p.concurrency.map(drop));
    all.of_levels(route.class.is_some(), "class", |p| p.class.map(drop));
    if let Some((_, service)) = service {
        let asks = route.asks_service();
        all.of_levels(asks && route.grpc_web, "grpc_web", |p| p.grpc_web.map(drop));
        all.of_levels(asks && answers == Some(false), "fallback", |p| p.fallback.map(drop));
        all.add(asks && service.admission.on().is_some(), "admission", &of_service("admission"), Value::Null);
        all.add(asks && service.adaptive.on().is_some(), "adaptive", &of_service("adaptive"), Value::Null);
        if asks {
            all.add(service.outbound.is_some(), "outbound", &of_service("outbound"), Value::Null);
            all.of_levels(route.circuit.is_some(), "circuit", |p| p.circuit.map(drop));
            let (timeout, retry) = (&service.timeout, &service.retry);
            all.add(true, "timeout", &of_service("timeout"), json!(timeout.total));
            all.over_service(route, "timeout", |p| p.timeout.map(drop));
            all.add(retry.attempts > 1, "retry", &of_service("retry"), json!(retry.attempts));
            all.over_service(route, "retry", |p| p.retry.map(drop));
            let connection = of_service("connection");
            all.add(is_written(&connection), "connection", &connection, Value::Null);
            all.add(true, "balance", &of_service("balance"), json!(service.balance.strategy));
        }
    }
    for (on, name) in [
        (route.respond.is_some(), "respond"),
        (route.identity && route.respond.is_none(), "identity"),
        (route.jwks && route.respond.is_none() && !route.identity, "jwks"),
    ] {
        all.add(on, name, &own(name), Value::Bool(true));
    }
    all.policies
}

/// How paths are made normal, which comes before routes are looked for.
pub(super) fn normalize(checked: &Checked) -> Policy {
    let written = checked.origin.written("normalize");
    Policy {
        name: "normalize",
        value: written.cloned().unwrap_or(json!({})),
        definition: None,
        from: if written.is_some() { "normalize" } else { "default" }.to_owned(),
        place: checked.origin.place("normalize"),
        files: Vec::new(),
    }
}

struct Policed<'a> {
    origin: &'a Origin,
    levels: &'a Levels<'a>,
    policies: Vec<Policy>,
}

impl<'a> Policed<'a> {
    /// A policy that a route, its group or the defaults say, or that is on by itself.
    fn of_levels(&mut self, on: bool, name: &'static str, of: impl Fn(&Policies<'a>) -> Option<()>) {
        let (key, _) = self.levels.first(name, of);
        self.add(on, name, &key, Value::Bool(true));
    }

    /// What a route or its group says otherwise than the service, whose policy is the last: shown with what is left of that.
    fn over_service(
        &mut self,
        route: &RoutePlan,
        name: &'static str,
        of: impl Fn(&Policies<'a>) -> Option<()>,
    ) {
        let ((key, Some(())), Some(holds)) = (self.levels.first(name, of), &route.balancing) else { return };
        let of_service = self.policies.pop_if(|policy| policy.name == name).map(|policy| policy.value);
        self.add(true, name, &key, Value::Null);
        if let Some(policy) = self.policies.last_mut() {
            let own = std::mem::take(&mut policy.value);
            policy.value = over(of_service.unwrap_or_default(), own, name, holds);
        }
    }

    /// Those limits of a route that stand at the same place, each under its name.
    fn limits(&mut self, route: &RoutePlan, here: impl Fn(&RouteLimit) -> bool) {
        let names = route.rate_limits.iter().filter(|limit| here(limit)).map(|limit| &limit.name);
        let mut names: Vec<Value> = names.map(|name| json!(name)).collect();
        self.of_levels(!names.is_empty(), "rate_limit", |p| p.rate_limit.map(drop));
        let Some(policy) = self.policies.last_mut().filter(|_| !names.is_empty()) else { return };
        let mut definitions: Vec<Value> = Vec::new();
        for name in names.iter().filter_map(Value::as_str) {
            let written = self.origin.written(&join("rate_limits", name));
            definitions.push(written.map(without_secrets).unwrap_or_default());
        }
        let one_or_all = |list: &mut Vec<Value>| match list.len() {
            1 => list.pop().unwrap_or_default(),
            _ => Value::Array(std::mem::take(list)),
        };
        policy.value = one_or_all(&mut names);
        policy.definition = Some(one_or_all(&mut definitions));
    }

    /// A policy that is written in a key, or has this value.
    fn add(&mut self, on: bool, name: &'static str, key: &str, otherwise: Value) {
        if !on {
            return;
        }
        let written = self.origin.written(key).map(without_secrets);
        let from = if written.is_some() { key } else { "default" };
        self.policies.push(Policy {
            name,
            value: written.unwrap_or(otherwise),
            definition: None,
            from: from.to_owned(),
            place: self.origin.place(key),
            files: Vec::new(),
        });
        self.note_files(key, name, None);
    }

    /// Notes the files that a key names, or those below it: relative paths are taken from the folder, or where there is
    /// none from the working directory, as they are when they are read.
    fn note_files(&mut self, key: &str, within: &str, folder: Option<&Path>) {
        let origin = self.origin;
        let (Some(policy), Some(written)) = (self.policies.last_mut(), origin.written(key)) else { return };
        let is_file = |name: &str| match folder {
            Some(_) => matches!(name, "policies" | "schema" | "entities"),
            None => is_file(name),
        };
        let mut left = vec![(key.to_owned(), within.to_owned(), false, written)];
        while let Some((key, within, named, value)) = left.pop() {
            match value {
                Value::Object(table) => left.extend(
                    table
                        .iter()
                        .rev()
                        .map(|(name, inner)| (join(&key, name), join(&within, name), is_file(name), inner)),
                ),
                Value::Array(list) => left.extend(
                    list.iter()
                        .enumerate()
                        .rev()
                        .map(|(i, inner)| (format!("{key}[{i}]"), format!("{within}[{i}]"), named, inner)),
                ),
                Value::String(name) if named => {
                    let path = Path::new(origin.text(&key).unwrap_or(name));
                    let path = folder.map_or_else(|| path.to_owned(), |folder| folder.join(path));
                    policy.files.push(NamedFile { key: within, name: name.clone(), path });
                }
                _ => {}
            }
        }
    }

    /// Adds to the last policy, if it is `auth`, what the names in it stand for.
    fn define_auth(&mut self, auth: &AuthSettings) {
        let Some(policy) = self.policies.last_mut().filter(|policy| policy.name == "auth") else { return };
        let names = match &policy.value {
            Value::Object(table) => table.get("methods").unwrap_or(&Value::Null),
            name_or_list => name_or_list,
        };
        let names: Vec<&str> = match names {
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            name => name.as_str().into_iter().collect(),
        };
        let mut keys = Vec::new();
        for (kind, of_kind) in auth.kinds() {
            let named = of_kind.iter().filter(|name| names.contains(name));
            keys.extend(named.map(|name| join(&format!("auth.{kind}"), name)));
        }
        let written = |key: &String| self.origin.written(key).map(without_secrets);
        let mut definitions: Vec<Value> = keys.iter().filter_map(written).collect();
        policy.definition = match definitions.len() {
            0 => None,
            1 => definitions.pop(),
            _ => Some(Value::Array(definitions)),
        };
        keys.iter().for_each(|key| self.note_files(key, key, None));
    }

    /// Adds to the last policy, if it is `authorize`, the policies in Cedar that it names.
    fn define_cedar(&mut self) {
        let Some(policy) = self.policies.last_mut().filter(|policy| policy.name == "authorize") else {
            return;
        };
        let Some(name) = policy.value.get("cedar").and_then(Value::as_str) else { return };
        let key = join("cedar", name);
        policy.definition = self.origin.written(&key).map(without_secrets);
        self.note_files(&key, &key, Some(&self.origin.folder()));
    }
}

/// What is written of a service's `timeout` or `retry` and, before that, of a route's, without what does not hold there.
fn over(service: Value, route: Value, name: &str, holds: &BalanceSettings) -> Value {
    let short = if name == "timeout" { "total" } else { "attempts" };
    let table = |value: Value| match value {
        Value::Object(table) => table,
        Value::Null => Map::new(),
        value => Map::from_iter([(short.to_owned(), value)]),
    };
    let (mut all, mut own) = (table(service), table(route));
    // Says no more than whether the service's holds.
    own.remove("hedge");
    all.extend(own);
    all.retain(|key, _| match key.as_str() {
        "per_try" => holds.timeout.per_try.is_some(),
        "hedge" => holds.retry.hedge.is_some(),
        _ => true,
    });
    match all.remove(short) {
        Some(value) if all.is_empty() => value,
        value => {
            all.extend(value.map(|value| (short.to_owned(), value)));
            Value::Object(all)
        }
    }
}

/// Whether a key of this name holds the name of a file that is read for what it says.
fn is_file(key: &str) -> bool {
    let named = key.ends_with("_file") && key != "quota_file";
    named || matches!(key, "file" | "client_certificate" | "client_key")
}

/// The same value without what is secret: keys, the gateway's own credentials, and what signs the cookies of sticky
/// clients.
pub(crate) fn without_secrets(value: &Value) -> Value {
    let is_open = |name: &str| {
        !matches!(
            name,
            "secret"
                | "password"
                | "public_key"
                | "client_secret"
                | "cookie_secret"
                | "hash"
                | "users"
                | "token"
        )
    };
    match value {
        Value::Object(table) => {
            let open = table.iter().filter(|(name, _)| is_open(name)).map(|(name, inner)| {
                let mut inner = without_secrets(inner);
                // Names that are secret only there.
                let secret = match name.as_str() {
                    "sticky" | "client_assertion" => Some("key"),
                    "header" => Some("value"),
                    _ => None,
                };
                if let (Some(secret), Value::Object(inner)) = (secret, &mut inner) {
                    inner.remove(secret);
                }
                (name.clone(), inner)
            });
            open.collect()
        }
        Value::Array(list) => list.iter().map(without_secrets).collect(),
        other => other.clone(),
    }
}
