//! Settings made into parts that can run: every layer, endpoint and route, or what is wrong with them.

use super::Config;
use super::load::{Mistake, Origin, join, nearest};
use super::settings::{Policies, RouteSettings, ServiceSettings, Settings};
use crate::body_limit::BodyLimitLayer;
use gateway_auth::JwtLayer;
use gateway_balance::{BalanceSettings, EndpointSet, HealthSettings};
use gateway_core::units::Switch;
use gateway_core::{Code, Endpoint, Override, Overrides, ProblemLayer, Scheme};
use gateway_overload::{AdaptiveLimitLayer, AdmissionLayer, ConcurrencyLimitLayer, FaultLayer};
use gateway_ratelimit::RateLimitLayer;
use gateway_routing::{Conflict, RouteMatch, RouteTable};
use gateway_server::Limits;
use gateway_store::Store;
use gateway_transform::{
    ClientIpLayer, CorrelationIdLayer, CorrelationIdSettings, CorsLayer, ForwardedLayer, HeaderRules,
    HeadersLayer, MaintenanceLayer, NormalizeSettings, RedirectLayer, RespondLayer, RewriteLayer,
    SecurityHeadersLayer, StripPrefixLayer, UnderscoreHeaders, ViaLayer,
};
use gateway_upstream::{UpstreamSettings, UpstreamTls};
use http::{HeaderName, Method, StatusCode};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

/// What runs, shared by all workers.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) store: Store,
    pub(crate) problems: ProblemLayer,
    pub(crate) client_ip: ClientIpLayer,
    pub(crate) forwarded: ForwardedLayer,
    pub(crate) underscores: UnderscoreHeaders,
    pub(crate) via: Option<ViaLayer>,
    pub(crate) normalize: NormalizeSettings,
    pub(crate) connections: Limits,
    /// Whose connections begin with a PROXY header.
    pub(crate) proxy_protocol: Arc<[IpNet]>,
    pub(crate) correlation_id: Option<CorrelationIdLayer>,
    pub(crate) services: BTreeMap<String, ServicePlan>,
    pub(crate) jwt: BTreeMap<String, JwtLayer>,
    pub(crate) limits: BTreeMap<String, RateLimitLayer>,
    pub(crate) routes: Vec<RoutePlan>,
}

#[derive(Clone)]
pub(crate) struct ServicePlan {
    pub(crate) set: EndpointSet,
    pub(crate) balancing: BalanceSettings,
    pub(crate) connection: UpstreamSettings,
    /// Only where an endpoint is `https`.
    pub(crate) tls: Option<UpstreamTls>,
    pub(crate) health: Option<HealthSettings>,
    pub(crate) adaptive: Option<AdaptiveLimitLayer>,
    pub(crate) admission: Option<AdmissionLayer>,
}

/// One route's match and layers.
#[derive(Clone)]
pub(crate) struct RoutePlan {
    pub(crate) name: String,
    pub(crate) matches: RouteMatch,
    /// `None` where the gateway answers itself.
    pub(crate) service: Option<String>,
    pub(crate) correlation_id: Option<CorrelationIdLayer>,
    pub(crate) cors: Option<CorsLayer>,
    pub(crate) security_headers: Option<SecurityHeadersLayer>,
    pub(crate) auth: Option<String>,
    pub(crate) rate_limit: Option<(String, RateLimitLayer)>,
    pub(crate) max_body: Option<BodyLimitLayer>,
    /// Those of the defaults, of the group and of the route, in this order.
    pub(crate) headers: Option<HeadersLayer>,
    pub(crate) strip: Option<(String, StripPrefixLayer)>,
    pub(crate) rewrite: Option<RewriteLayer>,
    pub(crate) redirect: Option<RedirectLayer>,
    pub(crate) respond: Option<RespondLayer>,
    pub(crate) maintenance: Option<MaintenanceLayer>,
    pub(crate) concurrency: Option<ConcurrencyLimitLayer>,
    pub(crate) fault: Option<FaultLayer>,
}

impl RoutePlan {
    /// Its policies in the order in which a request meets them, for people.
    pub(crate) fn policies(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let mut named = |on: bool, name: &str| all.extend(on.then(|| name.to_owned()));
        named(self.cors.is_some(), "cors");
        named(self.security_headers.is_some(), "security-headers");
        named(self.maintenance.is_some(), "maintenance");
        named(self.redirect.is_some(), "redirect");
        named(self.auth.is_some(), &format!("auth={}", self.auth.as_deref().unwrap_or_default()));
        let limit = self.rate_limit.as_ref().map_or("", |(name, _)| name);
        named(self.rate_limit.is_some(), &format!("rate-limit={limit}"));
        named(self.max_body.is_some(), "max-body");
        named(self.headers.is_some(), "headers");
        let prefix = self.strip.as_ref().map_or("", |(prefix, _)| prefix);
        named(self.strip.is_some(), &format!("strip={prefix}"));
        named(self.rewrite.is_some(), "rewrite");
        named(self.fault.is_some(), "fault");
        named(self.concurrency.is_some(), "concurrency");
        named(self.respond.is_some(), "respond");
        named(self.correlation_id.is_some(), "correlation-id");
        all
    }
}

/// Headers that tell a service who is calling. From outside they are always removed.
const IDENTITY_HEADERS: [&str; 7] = [
    "x-user-id",
    "x-user-roles",
    "x-user-email",
    "x-consumer-id",
    "x-authenticated-userid",
    "request-user-id",
    "x-internal-assertion",
];

impl Plan {
    /// Adds what is wrong to the mistakes; `None` if something is.
    pub(crate) fn new(
        settings: &Settings,
        origin: &Origin,
        previous: Option<&Config>,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<Self> {
        let before = mistakes.len();
        let mut planner = Planner { settings, origin, previous, mistakes };
        let services = planner.services();
        let store = match previous.filter(|previous| previous.settings.store == settings.store) {
            Some(previous) => Some(previous.plan.store.clone()),
            None => planner.noted("store.redis.url", Store::open(&settings.store)),
        };
        let jwt = planner.jwt(&store.clone().unwrap_or_else(Store::memory));
        let limits = planner.rate_limits();
        let problems = planner.problems();
        let correlation_id = planner.default_correlation_id();
        let via = settings.via.as_ref().and_then(|via| planner.noted("via", ViaLayer::new(via)));
        let routes: Vec<_> = settings
            .routes
            .iter()
            .enumerate()
            .filter_map(|(i, route)| planner.route(i, route, &limits, correlation_id.as_ref()))
            .collect();
        planner.shared_policies();
        planner.conflicts(&routes);
        if settings.routes.is_empty() && mistakes.len() == before {
            let hint = "add at least one, such as\n\n    [[routes]]\n    path = \"/api/users/*\"\n    service = \"users\"\n";
            mistakes.push(origin.mistake("routes", "there are no routes").with_help(hint));
        }
        (mistakes.len() == before).then_some(())?;
        Some(Self {
            store: store?,
            problems,
            client_ip: ClientIpLayer::new(&settings.forwarded),
            forwarded: ForwardedLayer::new(&settings.forwarded),
            underscores: settings.underscore_headers,
            via,
            normalize: settings.normalize,
            connections: settings.server.limits(),
            proxy_protocol: settings.server.proxy_protocol.clone().into(),
            correlation_id,
            services,
            jwt,
            limits,
            routes,
        })
    }

    pub(crate) fn identity_headers() -> Vec<HeaderName> {
        IDENTITY_HEADERS.into_iter().map(HeaderName::from_static).collect()
    }
}

/// What a route, its group and the defaults say, in this order, and where.
pub(crate) struct Levels<'a>(Vec<(String, Policies<'a>)>);

impl<'a> Levels<'a> {
    /// Those of a route, from the most special to the most general.
    pub(crate) fn of(settings: &'a Settings, index: usize, route: &'a RouteSettings) -> Self {
        let mut levels = vec![(format!("routes[{index}]"), route.policies())];
        let group = route.group.as_ref().filter(|name| *name != "none");
        if let Some((name, group)) = group.and_then(|name| settings.groups.get_key_value(name)) {
            levels.push((join("groups", name), group.policies()));
        }
        levels.push(("defaults".to_owned(), settings.defaults.policies()));
        Self(levels)
    }

    /// The first that says something of a policy, and the key it stands in.
    pub(crate) fn first<T>(
        &self,
        name: &str,
        of: impl Fn(&Policies<'a>) -> Option<T>,
    ) -> (String, Option<T>) {
        let found = self.0.iter().find_map(|(place, policies)| Some((place, of(policies)?)));
        match found {
            Some((place, value)) => (format!("{place}.{name}"), Some(value)),
            None => (name.to_owned(), None),
        }
    }

    /// Where each stands and what it says, the most general first.
    pub(crate) fn outside_in(&self) -> impl Iterator<Item = (&str, &Policies<'a>)> {
        self.0.iter().rev().map(|(place, policies)| (place.as_str(), policies))
    }
}

struct Planner<'a> {
    settings: &'a Settings,
    origin: &'a Origin,
    previous: Option<&'a Config>,
    mistakes: &'a mut Vec<Mistake>,
}

impl Planner<'_> {
    /// The value, or its error as a mistake in a key.
    fn noted<T, E: Display>(&mut self, key: &str, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(_) if self.origin.is_unresolved(key) => None,
            Err(error) => {
                let message = format!("`{}`: {error}", self.origin.original(key));
                self.mistakes.push(self.origin.mistake(key, message));
                None
            }
        }
    }

    fn services(&mut self) -> BTreeMap<String, ServicePlan> {
        let settings = self.settings;
        settings
            .services
            .iter()
            .filter_map(|(name, service)| Some((name.clone(), self.service(name, service)?)))
            .collect()
    }

    /// What the previous configuration made of the same settings, or, if they were others, of the same name.
    fn kept<T: PartialEq, P: Clone>(
        &self,
        name: &str,
        now: &T,
        of: impl Fn(&'_ Config) -> (&BTreeMap<String, T>, &BTreeMap<String, P>),
    ) -> (Option<P>, Option<P>) {
        let Some(previous) = self.previous else { return (None, None) };
        let (settings, made) = of(previous);
        let made = made.get(name).cloned();
        if settings.get(name) == Some(now) { (made, None) } else { (None, made) }
    }

    fn service(&mut self, name: &str, service: &ServiceSettings) -> Option<ServicePlan> {
        let (same, earlier) =
            self.kept(name, service, |config| (&config.settings.services, &config.plan.services));
        if same.is_some() {
            return same;
        }
        let mut endpoints = Vec::new();
        for (i, endpoint) in service.endpoints.iter().enumerate() {
            let key = format!("services.{name}.endpoints[{i}]");
            let parsed = self.noted(&key, Endpoint::parse(&endpoint.url))?;
            let parsed = parsed.with_weight(endpoint.weight).with_priority(endpoint.priority);
            if endpoints.contains(&parsed) {
                self.mistakes.push(self.origin.mistake(&key, format!("{parsed} is listed twice")));
            }
            endpoints.push(parsed);
        }
        if endpoints.is_empty() {
            let key = format!("services.{name}.endpoints");
            self.mistakes.push(self.origin.mistake(&key, format!("the service `{name}` has no endpoints")));
        }
        if let Some(health) = &service.health
            && !health.path.starts_with('/')
        {
            let key = format!("services.{name}.health");
            let message = format!("`{}` is no path; expected something like \"/health\"", health.path);
            self.mistakes.push(self.origin.mistake(&key, message));
        }
        let tls = if endpoints.iter().any(|endpoint| endpoint.scheme() == Scheme::Https) {
            let key = format!("services.{name}.connection.tls");
            Some(self.noted(&key, UpstreamTls::load(&service.connection))?)
        } else {
            None
        };
        let set = EndpointSet::new(name, endpoints, service.balance.0.clone());
        if let Some(earlier) = earlier {
            set.learn_from(&earlier.set);
        }
        Some(ServicePlan {
            set,
            balancing: service.balancing(),
            connection: service.connection.clone(),
            tls,
            health: service.health.as_ref().map(|health| health.0.clone()),
            adaptive: self.switch(
                &format!("services.{name}.adaptive"),
                &service.adaptive,
                AdaptiveLimitLayer::new,
            ),
            admission: self.switch(
                &format!("services.{name}.admission"),
                &service.admission,
                AdmissionLayer::new,
            ),
        })
    }

    fn jwt(&mut self, store: &Store) -> BTreeMap<String, JwtLayer> {
        let settings = self.settings;
        let store_kept = self.previous.is_some_and(|previous| previous.settings.store == settings.store);
        let layers = settings.auth.jwt.iter().filter_map(|(name, jwt)| {
            let layer = self.noted(&format!("auth.jwt.{name}"), JwtLayer::new(jwt, store.clone()))?;
            // Files may hold other keys than before, whatever the settings say.
            let (same, _) = self.kept(name, jwt, |config| (&config.settings.auth.jwt, &config.plan.jwt));
            let same = same.filter(|same| store_kept && same.has_keys_of(&layer));
            Some((name.clone(), same.unwrap_or(layer)))
        });
        layers.collect()
    }

    fn rate_limits(&mut self) -> BTreeMap<String, RateLimitLayer> {
        let settings = self.settings;
        let layers = settings.rate_limits.iter().filter_map(|(name, limit)| {
            let (same, _) =
                self.kept(name, limit, |config| (&config.settings.rate_limits, &config.plan.limits));
            if let Some(same) = same {
                return Some((name.clone(), same));
            }
            let layer = self.noted(&format!("rate_limits.{name}"), RateLimitLayer::new(name, limit))?;
            Some((name.clone(), layer))
        });
        layers.collect()
    }

    fn problems(&mut self) -> ProblemLayer {
        let mut overrides = Overrides::new();
        for (name, replaced) in &self.settings.errors.overrides {
            let key = format!("errors.overrides.{name}");
            let Some(code) = Code::from_name(name) else {
                let mistake = self.origin.mistake(&key, format!("there is no code `{name}`"));
                self.mistakes.push(match nearest(name, Code::all().map(Code::name)) {
                    Some(near) => mistake.with_help(format!("did you mean `{near}`?")),
                    None => mistake.with_help("`gateway codes` lists them"),
                });
                continue;
            };
            let status = replaced.status.map(|status| match StatusCode::from_u16(status) {
                Ok(valid) if (400..600).contains(&status) => Ok(valid),
                _ => Err(format!("{status} is not the status of an error; expected 400 to 599")),
            });
            let status = status.and_then(|status| self.noted(&format!("{key}.status"), status));
            overrides.insert(code, Override { status, text: replaced.text.clone() });
        }
        let errors = &self.settings.errors;
        ProblemLayer::with_overrides(errors.format, overrides).with_proxy_status(errors.proxy_status)
    }

    /// The layer of a policy that is switched on.
    fn switch<T, L, E: Display>(
        &mut self,
        key: &str,
        switch: &Switch<T>,
        make: impl Fn(&T) -> Result<L, E>,
    ) -> Option<L> {
        switch.on().and_then(|on| self.noted(key, make(on)))
    }

    fn headers(&mut self, key: &str, rules: &HeaderRules) -> Option<HeadersLayer> {
        if rules.is_empty() {
            return None;
        }
        self.noted(key, HeadersLayer::new(rules))
    }

    fn default_correlation_id(&mut self) -> Option<CorrelationIdLayer> {
        match &self.settings.defaults.correlation_id {
            Some(own) => self.switch("defaults.correlation_id", own, CorrelationIdLayer::new),
            None => CorrelationIdLayer::new(&CorrelationIdSettings::default()).ok(),
        }
    }

    /// A name that must be one of those defined in a table; `none` turns the policy off.
    fn reference(&mut self, key: &str, name: Option<&str>, what: &str, pointer: &str) -> Option<String> {
        let name = name.filter(|name| *name != "none")?;
        let defined = self.origin.names(pointer);
        if defined.contains(&name) {
            return Some(name.to_owned());
        }
        let mistake = self.origin.mistake(key, format!("there is no {what} `{name}`"));
        let help = match nearest(name, defined.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if defined.is_empty() => format!("no {what} is defined"),
            None => format!("defined are {}", defined.join(", ")),
        };
        self.mistakes.push(mistake.with_help(help));
        None
    }

    fn route(
        &mut self,
        index: usize,
        route: &RouteSettings,
        limits: &BTreeMap<String, RateLimitLayer>,
        default_correlation: Option<&CorrelationIdLayer>,
    ) -> Option<RoutePlan> {
        let key = |name: &str| format!("routes[{index}].{name}");
        let settings = self.settings;
        self.reference(&key("group"), route.group.as_deref(), "group", "/groups");
        let levels = Levels::of(settings, index, route);

        let (auth_key, auth) = levels.first("auth", |policies| policies.auth);
        let auth = self.reference(&auth_key, auth, "[auth.jwt]", "/auth/jwt");
        let (limit_key, limit) = levels.first("rate_limit", |policies| policies.rate_limit);
        let limit = self.reference(&limit_key, limit, "rate limit", "/rate_limits");
        let (cors_key, cors) = levels.first("cors", |policies| policies.cors);
        let cors = cors.and_then(|cors| self.switch(&cors_key, cors, CorsLayer::new));
        let (security_key, security) = levels.first("security_headers", |policies| policies.security_headers);
        let security_headers =
            security.and_then(|security| self.switch(&security_key, security, SecurityHeadersLayer::new));
        let (closed_key, closed) = levels.first("maintenance", |policies| policies.maintenance);
        let maintenance = closed.and_then(|closed| self.switch(&closed_key, closed, MaintenanceLayer::new));
        let (most_key, most) = levels.first("concurrency", |policies| policies.concurrency);
        let concurrency = most.and_then(|most| self.switch(&most_key, most, ConcurrencyLimitLayer::new));
        let (fault_key, fault) = levels.first("fault", |policies| policies.fault);
        let fault = fault.and_then(|fault| self.switch(&fault_key, fault, FaultLayer::new));
        let (id_key, id) = levels.first("correlation_id", |policies| policies.correlation_id);
        let correlation_id = match id {
            Some(id) if !id_key.starts_with("defaults") => self.switch(&id_key, id, CorrelationIdLayer::new),
            _ => default_correlation.cloned(),
        };
        let mut headers = Vec::new();
        for (place, policies) in levels.outside_in() {
            headers.extend(self.headers(&format!("{place}.headers"), policies.headers));
        }

        let service = self.reference(&key("service"), route.service.as_deref(), "service", "/services");
        let answers_itself = route.redirect.is_some() || route.respond.is_some();
        if route.service.is_none() && !answers_itself {
            let place = format!("routes[{index}]");
            let message = format!("`service` is missing in {}", self.origin.original(&place));
            let mistake = self.origin.mistake(&place, message);
            self.mistakes.push(mistake.with_help("name one, or answer by `redirect` or `respond`"));
        }
        let mut methods = Vec::new();
        for (i, method) in route.methods.iter().enumerate() {
            let parsed =
                Method::from_bytes(method.as_bytes()).ok().filter(|m| *m.as_str() == method.to_uppercase());
            let parsed = parsed
                .ok_or_else(|| format!("`{method}` is not a method; expected GET, POST, … in capitals"));
            methods.extend(self.noted(&format!("routes[{index}].methods[{i}]"), parsed));
        }
        let strip = route.strip.as_ref().and_then(|strip| {
            let layer = self.noted(&key("strip"), StripPrefixLayer::from_settings(strip))?;
            Some((strip.prefix.clone(), layer.ignore_case(!route.case_sensitive)))
        });
        let rewrite = route.rewrite.as_ref();
        let rewrite = rewrite.and_then(|rewrite| self.noted(&key("rewrite"), RewriteLayer::new(rewrite)));
        let redirect = route.redirect.as_ref();
        let redirect = redirect.and_then(|to| self.noted(&key("redirect"), RedirectLayer::new(to)));
        let respond = route.respond.as_ref();
        let respond = respond.and_then(|answer| self.noted(&key("respond"), RespondLayer::new(answer)));
        Some(RoutePlan {
            name: route.name.clone().unwrap_or_else(|| route.path.as_str().to_owned()),
            matches: RouteMatch {
                hosts: route.hosts.clone(),
                ignore_case: !route.case_sensitive,
                methods,
                priority: route.priority,
                ..RouteMatch::new(route.path.clone()).with(&route.matches)
            },
            service: if answers_itself { service } else { Some(service?) },
            correlation_id,
            cors,
            security_headers,
            auth,
            rate_limit: limit.and_then(|name| Some((name.clone(), limits.get(&name)?.clone()))),
            max_body: levels
                .first("max_body", |policies| policies.max_body)
                .1
                .map(|most| BodyLimitLayer(most.bytes())),
            headers: HeadersLayer::in_turn(&headers),
            strip,
            rewrite,
            redirect,
            respond,
            maintenance,
            concurrency,
            fault,
        })
    }

    /// What is wrong with groups and defaults, whether or not any route takes it over.
    fn shared_policies(&mut self) {
        let settings = self.settings;
        let groups = settings.groups.iter().map(|(name, group)| (format!("groups.{name}"), group.policies()));
        for (place, set) in groups.chain([("defaults".to_owned(), settings.defaults.policies())]) {
            let key = |name: &str| format!("{place}.{name}");
            self.reference(&key("auth"), set.auth, "[auth.jwt]", "/auth/jwt");
            self.reference(&key("rate_limit"), set.rate_limit, "rate limit", "/rate_limits");
            set.cors.and_then(|on| self.switch(&key("cors"), on, CorsLayer::new));
            let security = set.security_headers;
            security.and_then(|on| self.switch(&key("security_headers"), on, SecurityHeadersLayer::new));
            set.maintenance.and_then(|on| self.switch(&key("maintenance"), on, MaintenanceLayer::new));
            set.concurrency.and_then(|on| self.switch(&key("concurrency"), on, ConcurrencyLimitLayer::new));
            set.fault.and_then(|on| self.switch(&key("fault"), on, FaultLayer::new));
            let correlation = set.correlation_id;
            correlation.and_then(|on| self.switch(&key("correlation_id"), on, CorrelationIdLayer::new));
            self.headers(&key("headers"), set.headers);
        }
    }

    fn conflicts(&mut self, routes: &[RoutePlan]) {
        if routes.len() != self.settings.routes.len() {
            // The places of those left are not those in the file, and there is enough to mend already.
            return;
        }
        let table = RouteTable::build(routes.iter().map(|route| (route.matches.clone(), ())).collect());
        for Conflict { first, second } in table.err().unwrap_or_default() {
            let path = routes[second].matches.path.as_str();
            let first = self.origin.original(&format!("routes[{first}]"));
            let message = format!("`{path}` takes the same requests as {first}, so this route is never used");
            let mistake = self.origin.mistake(&format!("routes[{second}].path"), message);
            self.mistakes.push(mistake.with_help("make one more specific, or give one a `priority`"));
        }
    }
}
