//! Routes: what they match, and the layers that their requests pass.

use super::auth::{AuthLayers, AuthPlan, RouteAuth};
use super::cache::{Behind, CachePlan, RouteCache};
use super::cedar::{Authorization, Cedar, RouteCedar};
use super::levels::Levels;
use super::limit::{LimitPlan, RouteLimit};
use super::planner::Planner;
use crate::body_limit::BodyLimitLayer;
use crate::config::settings::RouteSettings;
use gateway_auth::{AuthorizeLayer, IdentityHeadersLayer};
use gateway_balance::{BalanceSettings, CircuitSettings, RouteCircuit};
use gateway_cache::InvalidateLayer;
use gateway_core::units::Switch;
use gateway_overload::{ConcurrencyLimitLayer, ConcurrencySettings, FaultLayer, Priority};
use gateway_ratelimit::OnMissing;
use gateway_routing::{Conflict, Conflicts, RouteMatch, RouteTable};
use gateway_transform::{
    CorrelationIdLayer, CorsLayer, FallbackLayer, FallbackSettings, HeaderRules, HeadersLayer,
    MaintenanceLayer, RedirectLayer, RespondLayer, RewriteLayer, SecurityHeadersLayer, StripPrefixLayer,
    check_placeholders,
};
use http::Method;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// One route's match and layers. What few routes have is in a box or shared, for there may be very many routes.
#[derive(Clone)]
pub(crate) struct RoutePlan {
    pub(crate) name: String,
    /// The same as in the table.
    pub(crate) matches: Arc<RouteMatch>,
    /// The expression of its match, for people: variables as they are written.
    pub(crate) when: Option<Box<str>>,
    /// `None` where the gateway answers itself.
    pub(crate) service: Option<String>,
    pub(crate) correlation_id: Option<CorrelationIdLayer>,
    pub(crate) cors: Option<CorsLayer>,
    pub(crate) security_headers: Option<SecurityHeadersLayer>,
    pub(crate) auth: Option<RouteAuth>,
    pub(crate) authorize: Option<AuthorizeLayer>,
    pub(crate) cedar: Option<RouteCedar>,
    pub(crate) identity_headers: Option<IdentityHeadersLayer>,
    pub(crate) fallback: Option<Box<FallbackSettings>>,
    /// Whether the keys of the gateway's own tokens answer.
    pub(crate) jwks: bool,
    /// In the order in which they are asked.
    pub(crate) rate_limits: Vec<RouteLimit>,
    pub(crate) cache: Option<Box<RouteCache>>,
    /// What routes of the same path have in their caches, where it has none itself.
    pub(crate) invalidates: Option<InvalidateLayer>,
    pub(crate) max_body: Option<BodyLimitLayer>,
    /// Those of the defaults, of the group and of the route, in this order.
    pub(crate) headers: Option<HeadersLayer>,
    pub(crate) strip: Option<Box<(String, StripPrefixLayer)>>,
    pub(crate) rewrite: Option<RewriteLayer>,
    pub(crate) redirect: Option<RedirectLayer>,
    pub(crate) respond: Option<RespondLayer>,
    /// Whether the gateway's own accounts answer.
    pub(crate) identity: bool,
    pub(crate) maintenance: Option<MaintenanceLayer>,
    /// With what it was made by: who is in progress is counted on over a reload that leaves it as it is.
    pub(crate) concurrency: Option<Box<(ConcurrencySettings, ConcurrencyLimitLayer)>>,
    /// With what it was made by, as well.
    pub(crate) circuit: Option<Box<(CircuitSettings, RouteCircuit)>>,
    /// What its requests are sent by, where that is not what its service says.
    pub(crate) balancing: Option<Arc<BalanceSettings>>,
    pub(crate) class: Option<Priority>,
    pub(crate) fault: Option<FaultLayer>,
    /// Whether browsers may call its service by gRPC-Web.
    pub(crate) grpc_web: bool,
}

impl RoutePlan {
    /// The limits that stand within authentication, so that they know who calls.
    pub(crate) fn limits_within(&self) -> impl DoubleEndedIterator<Item = &RouteLimit> {
        self.rate_limits.iter().filter(|limit| !limit.counts_failures)
    }

    /// Whether its service is asked, and nobody answers in its place.
    pub(crate) fn asks_service(&self) -> bool {
        self.service.is_some() && !(self.respond.is_some() || self.identity || self.jwks)
    }

    /// Whether it has policies that are put in boxes, so that all other routes need not pay for them.
    pub(crate) fn has_few_route_policies(&self) -> bool {
        let limits = self.limits_within().count();
        self.cache.is_some()
            || self.invalidates.is_some()
            || self.authorize.is_some()
            || self.cedar.is_some()
            || self.identity_headers.is_some()
            || self.fallback.is_some()
            || limits > 1
            || limits < self.rate_limits.len()
            || self.rate_limits.iter().any(|limit| limit.layer.settles_bodies())
            || self.max_body.is_some()
            || self.redirect.is_some()
            || self.maintenance.is_some()
            || self.auth.as_ref().is_some_and(|auth| auth.reads_bodies)
    }

    /// Its policies in the order in which a request meets them, for people.
    pub(crate) fn policies(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let mut named = |on: bool, name: &str| all.extend(on.then(|| name.to_owned()));
        named(self.correlation_id.is_some(), "correlation-id");
        named(self.cors.is_some(), "cors");
        named(self.security_headers.is_some(), "security-headers");
        named(self.maintenance.is_some(), "maintenance");
        named(self.redirect.is_some(), "redirect");
        named(self.max_body.is_some(), "max-body");
        let limits = |outside: bool| {
            let limits = self.rate_limits.iter().filter(|limit| limit.counts_failures == outside);
            limits.map(|limit| limit.name.as_str()).collect::<Vec<_>>().join("|")
        };
        let (outside, within) = (limits(true), limits(false));
        named(!outside.is_empty(), &format!("rate-limit={outside}"));
        let auth = self.auth.as_ref().map_or(String::new(), |auth| auth.names.join("|"));
        named(self.auth.is_some(), &format!("auth={auth}"));
        named(self.authorize.is_some(), "authorize");
        let cedar = self.cedar.as_ref().map_or("", |cedar| &cedar.name);
        named(self.cedar.is_some(), &format!("cedar={cedar}"));
        named(!within.is_empty(), &format!("rate-limit={within}"));
        named(self.headers.is_some(), "headers");
        // An answer of its own comes after what the cache still has, another service before it.
        let answers = self.fallback.as_ref().map(|fallback| fallback.respond.is_some());
        named(answers == Some(true), "fallback");
        named(self.cache.is_some(), "cache");
        named(self.identity_headers.is_some(), "identity-headers");
        let prefix = self.strip.as_deref().map_or("", |(prefix, _)| prefix);
        named(self.strip.is_some(), &format!("strip={prefix}"));
        named(self.rewrite.is_some(), "rewrite");
        named(self.fault.is_some(), "fault");
        named(self.concurrency.is_some(), "concurrency");
        named(self.class.is_some(), &format!("class={}", self.class.unwrap_or_default().name()));
        named(self.grpc_web, "grpc-web");
        named(answers == Some(false), "fallback");
        named(self.circuit.is_some(), "circuit");
        if let Some(own) = &self.balancing {
            named(true, &format!("timeout={}", own.timeout.total));
            named(true, &format!("retry={}", own.retry.attempts));
        }
        named(self.respond.is_some(), "respond");
        named(self.identity, "identity");
        named(self.jwks, "jwks");
        all
    }
}

/// A key of a route, written out only for what is said of it: there may be very many.
#[derive(Clone, Copy)]
struct RouteKey {
    index: usize,
    name: &'static str,
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, name } = self;
        write!(f, "routes[{index}].{name}")
    }
}

/// What routes are made of that they share.
pub(super) struct Shared<'a> {
    pub(super) auth: &'a AuthPlan,
    pub(super) auth_layers: AuthLayers,
    pub(super) limits: &'a BTreeMap<String, LimitPlan>,
    pub(super) cedar: &'a BTreeMap<String, Cedar>,
    pub(super) cache: Option<&'a CachePlan>,
    /// Of routes that say nothing of it.
    pub(super) correlation_id: Option<&'a CorrelationIdLayer>,
    /// How many routes without a name there are of the same requests so far, as far as their keys say.
    pub(super) unnamed: HashMap<String, usize>,
}

impl Planner<'_> {
    pub(super) fn route(
        &mut self,
        index: usize,
        route: &RouteSettings,
        shared: &mut Shared<'_>,
    ) -> Option<RoutePlan> {
        let key = |name: &'static str| RouteKey { index, name };
        let settings = self.settings;
        self.reference(key("group"), route.group.as_deref(), "group", "/groups");
        let levels = Levels::of(settings, index, route);
        let name = route.name().to_owned();

        let (auth_key, auth) = levels.first("auth", |policies| policies.auth);
        if let Some(auth) = auth {
            self.auth_names_one(&auth_key, auth);
        }
        let auth = auth.filter(|auth| !auth.methods.is_empty() && self.auth_is_known(&auth_key, auth));
        let auth = auth.map(|asked| {
            let layer = shared.auth_layers.of(asked, shared.auth);
            let reads_bodies = shared.auth_layers.reads_bodies(layer);
            RouteAuth { names: asked.methods.clone(), layer, reads_bodies }
        });
        let (limit_key, limit) = levels.first("rate_limit", |policies| policies.rate_limit);
        let (authorize_key, authorize) = levels.first("authorize", |policies| policies.authorize);
        let service_name = route.service.as_deref().unwrap_or_default();
        let Authorization { rules: authorize, cedar } =
            self.authorization(&authorize_key, authorize, (&name, service_name), shared.cedar);
        let (told_key, told) = levels.first("identity_headers", |policies| policies.identity_headers);
        let identity_headers = told.and_then(|told| self.switch(&told_key, told, IdentityHeadersLayer::new));
        let (fallback_key, fallback) = levels.first("fallback", |policies| policies.fallback);
        let fallback = fallback.and_then(Switch::on);
        let fallback = fallback.filter(|fallback| self.fallback_is_good(&fallback_key, fallback));
        let fallback = fallback.cloned().map(Box::new);
        let rate_limits = limit.map(|limit| self.limits_of(&limit_key, limit, route, shared));
        let (cors_key, cors) = levels.first("cors", |policies| policies.cors);
        let cors = cors.and_then(|cors| self.switch(&cors_key, cors, CorsLayer::new));
        let (security_key, security) = levels.first("security_headers", |policies| policies.security_headers);
        let security_headers =
            security.and_then(|security| self.switch(&security_key, security, SecurityHeadersLayer::new));
        let (closed_key, closed) = levels.first("maintenance", |policies| policies.maintenance);
        let maintenance = closed.and_then(|closed| self.switch(&closed_key, closed, MaintenanceLayer::new));
        let (_, class) = levels.first("class", |policies| policies.class);
        let (fault_key, fault) = levels.first("fault", |policies| policies.fault);
        let fault = fault.and_then(|fault| self.switch(&fault_key, fault, FaultLayer::new));
        let (_, grpc_web) = levels.first("grpc_web", |policies| policies.grpc_web);
        let (id_key, id) = levels.first("correlation_id", |policies| policies.correlation_id);
        let correlation_id = match id {
            Some(id) if !id_key.starts_with("defaults") => self.switch(&id_key, id, CorrelationIdLayer::new),
            _ => shared.correlation_id.cloned(),
        };
        let mut headers = Vec::new();
        for (place, policies) in levels.outside_in().filter(|(_, policies)| !policies.headers.is_empty()) {
            let key = format!("{place}.headers");
            headers.extend(self.headers(&key, policies.headers).map(|layer| (key, layer)));
        }

        let service = self.reference(key("service"), route.service.as_deref(), "service", "/services");
        let answers_itself =
            route.redirect.is_some() || route.respond.is_some() || route.identity || route.jwks;
        if route.identity && settings.identity.is_none() {
            let message = "there are no accounts: [identity] is missing";
            let mistake = self.origin.mistake(&key("identity").to_string(), message);
            self.mistakes.push(mistake.with_help("an empty [identity] keeps them in `identity.db`"));
        }
        let answers = ["service", "redirect", "respond", "identity", "jwks"];
        let is_known = |name: &&'static str| self.origin.is_known_wrong(&key(name).to_string());
        if route.service.is_none() && !answers_itself && !answers.iter().any(is_known) {
            let place = format!("routes[{index}]");
            let message = format!("`service` is missing in {}", self.origin.original(&place));
            let mistake = self.origin.mistake(&place, message);
            self.mistakes.push(
                mistake.with_help("name one, or answer by `redirect`, `respond`, `identity` or `jwks`"),
            );
        }
        let mut methods = Vec::new();
        for (i, method) in route.methods.iter().enumerate() {
            let parsed =
                Method::from_bytes(method.as_bytes()).ok().filter(|m| *m.as_str() == method.to_uppercase());
            // A method may be called `*`, but none is.
            let parsed =
                parsed.filter(|method| method.as_str() != "*").ok_or_else(|| match method.as_str() {
                    "*" => "`*` is not a method; leave `methods` out to take any".to_owned(),
                    _ => format!("`{method}` is not a method; expected GET, POST, … in capitals"),
                });
            methods.extend(self.noted(format_args!("routes[{index}].methods[{i}]"), parsed));
        }
        let strip = route.strip.as_ref().and_then(|strip| {
            let layer = self.noted(key("strip"), StripPrefixLayer::from_settings(strip))?;
            Some(Box::new((strip.prefix.clone(), layer.ignore_case(!route.case_sensitive))))
        });
        let rewrite = route.rewrite.as_ref();
        let new = if route.case_sensitive { RewriteLayer::new } else { RewriteLayer::ignoring_case };
        let rewrite = rewrite.and_then(|rewrite| self.noted(key("rewrite"), new(rewrite)));
        let redirect = route.redirect.as_ref();
        let new = if route.case_sensitive { RedirectLayer::new } else { RedirectLayer::ignoring_case };
        let redirect = redirect.and_then(|to| self.noted(key("redirect"), new(to)));
        let respond = route.respond.as_ref();
        let respond = respond.and_then(|answer| self.noted(key("respond"), RespondLayer::new(answer)));
        let mut matches = RouteMatch {
            hosts: route.hosts.clone(),
            ignore_case: !route.case_sensitive,
            methods,
            priority: route.priority,
            ..RouteMatch::new(route.path.clone()).with(&route.matches)
        };
        // What they have counted lives on with what the route matches.
        let (cache_key, cache) = levels.first("cache", |policies| policies.cache);
        let behind = Behind { service: service_name, identity_headers: identity_headers.as_ref() };
        let cache = cache
            .and_then(|cache| self.route_cache((&name, &matches), &cache_key, cache, shared.cache, &behind));
        let (most_key, most) = levels.first("concurrency", |policies| policies.concurrency);
        let concurrency = most.and_then(|most| self.concurrency((&name, &matches), &most_key, most));
        let (_, max_body) = levels.first("max_body", |policies| policies.max_body);
        let max_body = max_body.and_then(|most| most.on().copied()).map(|most| {
            let earlier = self.previous_route(&name, &matches).and_then(|route| route.max_body.as_ref());
            BodyLimitLayer::new(most, earlier)
        });
        let (circuit_key, circuit) = levels.first("circuit", |policies| policies.circuit);
        let circuit = circuit.and_then(|circuit| self.circuit((&name, &matches), &circuit_key, circuit));
        let balancing = self.route_balancing(&levels, service.as_deref());
        let mut used: Vec<(String, Vec<&str>)> = Vec::new();
        used.extend(rewrite.iter().map(|layer| (key("rewrite").to_string(), layer.placeholders().collect())));
        used.extend(
            redirect.iter().map(|layer| (key("redirect").to_string(), layer.placeholders().collect())),
        );
        used.extend(headers.iter().map(|(key, layer)| (key.clone(), layer.placeholders().collect())));
        used.retain(|(_, names)| !names.is_empty());
        let known = matches.capture_names();
        for (key, names) in &used {
            self.noted(key, check_placeholders(names.iter().copied(), &known));
        }
        let limits = rate_limits.as_deref().unwrap_or_default();
        for limit in limits {
            let settings = self.settings.rate_limits.get(&limit.name);
            if settings.is_some_and(|settings| settings.on_missing == OnMissing::Shared) {
                self.noted(&limit_key, check_placeholders(limit.layer.captures(), &known));
            }
        }
        let captures_for_policies = cedar.as_ref().is_some_and(|cedar| cedar.shows_params);
        let services =
            service.as_deref().into_iter().chain(fallback.as_ref().and_then(|to| to.service.as_deref()));
        let captures_for_limits = limits.iter().any(|limit| limit.layer.captures().next().is_some());
        let captures_for_balance = self.hash_params(services).any(|name| known.contains(&name));
        matches.captures =
            !used.is_empty() || captures_for_policies || captures_for_limits || captures_for_balance;
        let headers: Vec<_> = headers.iter().map(|(_, layer)| layer.clone()).collect();
        let when = matches.when.as_ref();
        let when = when.map(|when| self.origin.shown(&key("match.when").to_string(), when.as_str()).into());
        Some(RoutePlan {
            name,
            when,
            matches: Arc::new(matches),
            service: if answers_itself { service } else { Some(service?) },
            correlation_id,
            cors,
            security_headers,
            auth,
            rate_limits: rate_limits.unwrap_or_default(),
            cache,
            invalidates: None,
            authorize,
            cedar,
            identity_headers,
            fallback,
            jwks: route.jwks,
            max_body,
            headers: HeadersLayer::in_turn(&headers),
            strip,
            rewrite,
            redirect,
            respond,
            identity: route.identity,
            maintenance,
            concurrency,
            circuit,
            balancing,
            class: class.and_then(|class| class.on().copied()),
            fault,
            grpc_web: grpc_web.unwrap_or(false),
        })
    }

    /// Whether a fallback names a service that there is, and can be made.
    pub(super) fn fallback_is_good(&mut self, key: &str, fallback: &FallbackSettings) -> bool {
        let name = fallback.service.as_deref();
        let service = self.reference(format_args!("{key}.service"), name, "service", "/services");
        let made = FallbackLayer::new(fallback, name.map(drop));
        self.noted(key, made).is_some() && service.is_some() == name.is_some()
    }

    fn concurrency(
        &mut self,
        (route, matches): (&str, &RouteMatch),
        key: &str,
        switch: &Switch<ConcurrencySettings>,
    ) -> Option<Box<(ConcurrencySettings, ConcurrencyLimitLayer)>> {
        let settings = switch.on()?;
        let earlier = self.previous_route(route, matches).and_then(|route| route.concurrency.as_ref());
        if let Some(same) = earlier.filter(|earlier| earlier.0 == *settings) {
            return Some(same.clone());
        }
        let layer = self.noted(key, ConcurrencyLimitLayer::new(settings))?;
        if let Some((_, earlier)) = earlier.map(|earlier| &**earlier) {
            layer.count_on_from(earlier);
        }
        Some(Box::new((settings.clone(), layer)))
    }

    fn circuit(
        &mut self,
        (route, matches): (&str, &RouteMatch),
        key: &str,
        switch: &Switch<CircuitSettings>,
    ) -> Option<Box<(CircuitSettings, RouteCircuit)>> {
        let settings = switch.on()?;
        self.is_some_time(key, "window", settings.window);
        self.is_some_time(key, "open", settings.open);
        let earlier = self.previous_route(route, matches).and_then(|route| route.circuit.as_ref());
        if let Some(same) = earlier.filter(|earlier| earlier.0 == *settings) {
            return Some(same.clone());
        }
        let circuit = RouteCircuit::new(route, settings);
        if let Some((_, earlier)) = earlier.map(|earlier| &**earlier) {
            circuit.count_on_from(earlier);
        }
        Some(Box::new((settings.clone(), circuit)))
    }

    pub(super) fn headers(&mut self, key: &str, rules: &HeaderRules) -> Option<HeadersLayer> {
        if rules.is_empty() {
            return None;
        }
        self.noted(key, HeadersLayer::new(rules))
    }

    /// Compiled once, for all workers.
    pub(super) fn table(&mut self, routes: &[RoutePlan]) -> Option<RouteTable<()>> {
        if routes.len() != self.settings.routes.len() {
            // The places of those left are not those in the file, and there is enough to mend already.
            return None;
        }
        let conflicts =
            match RouteTable::build(routes.iter().map(|route| (route.matches.clone(), ())).collect()) {
                Ok(table) => return Some(table),
                Err(Conflicts(conflicts)) => conflicts,
            };
        for Conflict { first, second } in conflicts {
            // What cannot be read of a match may well be what tells them apart.
            if [first, second]
                .iter()
                .any(|route| self.origin.is_known_wrong(&format!("routes[{route}].match")))
            {
                continue;
            }
            let path = routes[second].matches.path.as_str();
            let first = self.origin.original(&format!("routes[{first}]"));
            let message = format!("`{path}` takes the same requests as {first}, so this route is never used");
            let mistake = self.origin.mistake(&format!("routes[{second}].path"), message);
            self.mistakes.push(mistake.with_help("make one more specific, or give one a `priority`"));
        }
        None
    }
}
