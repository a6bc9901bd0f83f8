//! Settings made into parts that can run: every layer, endpoint and route, or what is wrong with them.

use super::load::{Mistake, Origin, nearest};
use super::settings::{RouteDefaults, RouteSettings, ServiceSettings, Settings};
use gateway_auth::JwtLayer;
use gateway_balance::{BalanceSettings, EndpointSet, HealthSettings};
use gateway_core::{Code, Endpoint, Override, Overrides, ProblemLayer};
use gateway_ratelimit::RateLimitLayer;
use gateway_routing::{Conflict, RouteMatch, RouteTable};
use gateway_store::Store;
use gateway_transform::{
    CorrelationIdLayer, CorsLayer, ForwardedLayer, HeaderRules, HeadersLayer, NormalizeSettings,
    SecurityHeadersLayer, StripPrefixLayer,
};
use gateway_upstream::UpstreamSettings;
use http::{HeaderName, Method, StatusCode};
use std::collections::BTreeMap;
use std::fmt::Display;

/// What runs, shared by all workers.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) store: Store,
    pub(crate) problems: ProblemLayer,
    pub(crate) forwarded: ForwardedLayer,
    pub(crate) normalize: NormalizeSettings,
    pub(crate) max_head: usize,
    pub(crate) correlation_id: Option<CorrelationIdLayer>,
    pub(crate) services: BTreeMap<String, ServicePlan>,
    pub(crate) jwt: BTreeMap<String, JwtLayer>,
    pub(crate) routes: Vec<RoutePlan>,
}

#[derive(Clone)]
pub(crate) struct ServicePlan {
    pub(crate) set: EndpointSet,
    pub(crate) balancing: BalanceSettings,
    pub(crate) connection: UpstreamSettings,
    pub(crate) health: Option<HealthSettings>,
}

/// One route's match and layers.
#[derive(Clone)]
pub(crate) struct RoutePlan {
    pub(crate) name: String,
    pub(crate) matches: RouteMatch,
    pub(crate) service: String,
    pub(crate) correlation_id: Option<CorrelationIdLayer>,
    pub(crate) cors: Option<CorsLayer>,
    pub(crate) security_headers: Option<SecurityHeadersLayer>,
    pub(crate) auth: Option<String>,
    pub(crate) rate_limit: Option<(String, RateLimitLayer)>,
    pub(crate) default_headers: Option<HeadersLayer>,
    pub(crate) headers: Option<HeadersLayer>,
    pub(crate) strip: Option<(String, StripPrefixLayer)>,
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
    pub(crate) fn new(settings: &Settings, origin: &Origin, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let before = mistakes.len();
        let mut planner = Planner { settings, origin, mistakes };
        let services = planner.services();
        let store = planner.noted("store.redis.url", Store::open(&settings.store));
        let jwt = planner.jwt(&store.clone().unwrap_or_else(Store::memory));
        let limits = planner.rate_limits();
        let problems = planner.problems();
        let RouteDefaults { correlation_id, headers, .. } = &settings.defaults;
        let correlation_id = correlation_id
            .on()
            .and_then(|on| planner.noted("defaults.correlation_id", CorrelationIdLayer::new(on)));
        let default_headers = planner.headers("defaults.headers", headers);
        let routes: Vec<_> = settings
            .routes
            .iter()
            .enumerate()
            .filter_map(|(i, route)| {
                planner.route(i, route, &limits, correlation_id.as_ref(), default_headers.as_ref())
            })
            .collect();
        planner.conflicts(&routes);
        if settings.routes.is_empty() && mistakes.len() == before {
            let hint = "add at least one, such as\n\n    [[routes]]\n    path = \"/api/users/*\"\n    service = \"users\"\n";
            mistakes.push(origin.mistake("routes", "there are no routes").with_help(hint));
        }
        (mistakes.len() == before).then_some(())?;
        Some(Self {
            store: store?,
            problems,
            forwarded: ForwardedLayer::new(&settings.forwarded),
            normalize: settings.normalize,
            max_head: usize::try_from(settings.server.max_head.bytes()).unwrap_or(usize::MAX),
            correlation_id,
            services,
            jwt,
            routes,
        })
    }

    pub(crate) fn identity_headers() -> Vec<HeaderName> {
        IDENTITY_HEADERS.into_iter().map(HeaderName::from_static).collect()
    }
}

struct Planner<'a> {
    settings: &'a Settings,
    origin: &'a Origin,
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

    fn service(&mut self, name: &str, service: &ServiceSettings) -> Option<ServicePlan> {
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
        Some(ServicePlan {
            set: EndpointSet::new(name, endpoints, service.balance.0.clone()),
            balancing: service.balancing(),
            connection: service.connection.clone(),
            health: service.health.as_ref().map(|health| health.0.clone()),
        })
    }

    fn jwt(&mut self, store: &Store) -> BTreeMap<String, JwtLayer> {
        let settings = self.settings;
        let layers = settings.auth.jwt.iter().filter_map(|(name, jwt)| {
            let layer = self.noted(&format!("auth.jwt.{name}"), JwtLayer::new(jwt, store.clone()))?;
            Some((name.clone(), layer))
        });
        layers.collect()
    }

    fn rate_limits(&mut self) -> BTreeMap<String, RateLimitLayer> {
        let settings = self.settings;
        let layers = settings.rate_limits.iter().filter_map(|(name, limit)| {
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
        ProblemLayer::with_overrides(self.settings.errors.format, overrides)
    }

    fn headers(&mut self, key: &str, rules: &HeaderRules) -> Option<HeadersLayer> {
        if rules.is_empty() {
            return None;
        }
        self.noted(key, HeadersLayer::new(rules))
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
        default_headers: Option<&HeadersLayer>,
    ) -> Option<RoutePlan> {
        let key = |name: &str| format!("routes[{index}].{name}");
        let defaults = &self.settings.defaults;
        let inherited = |own: &Option<String>, name: &str, default: &Option<String>| match own {
            Some(own) => (key(name), Some(own.clone())),
            None => (format!("defaults.{name}"), default.clone()),
        };
        let (auth_key, auth) = inherited(&route.auth, "auth", &defaults.auth);
        let (limit_key, limit) = inherited(&route.rate_limit, "rate_limit", &defaults.rate_limit);
        let service = self.reference(&key("service"), Some(&route.service), "service", "/services");
        let auth = self.reference(&auth_key, auth.as_deref(), "[auth.jwt]", "/auth/jwt");
        let limit = self.reference(&limit_key, limit.as_deref(), "rate limit", "/rate_limits");

        let mut methods = Vec::new();
        for (i, method) in route.methods.iter().enumerate() {
            let parsed =
                Method::from_bytes(method.as_bytes()).ok().filter(|m| *m.as_str() == method.to_uppercase());
            let parsed = parsed
                .ok_or_else(|| format!("`{method}` is not a method; expected GET, POST, … in capitals"));
            methods.extend(self.noted(&format!("routes[{index}].methods[{i}]"), parsed));
        }
        let correlation_id = match &route.correlation_id {
            None => default_correlation.cloned(),
            Some(own) => {
                own.on().and_then(|on| self.noted(&key("correlation_id"), CorrelationIdLayer::new(on)))
            }
        };
        let cors = route.cors.as_ref().unwrap_or(&defaults.cors).on();
        let cors = cors.and_then(|on| self.noted(&key("cors"), CorsLayer::new(on)));
        let security = route.security_headers.as_ref().unwrap_or(&defaults.security_headers).on();
        let security_headers =
            security.and_then(|on| self.noted(&key("security_headers"), SecurityHeadersLayer::new(on)));
        let headers = self.headers(&key("headers"), &route.headers);
        let strip = route.strip.as_ref().and_then(|prefix| {
            let layer = self.noted(&key("strip"), StripPrefixLayer::new(prefix))?;
            Some((prefix.clone(), layer.ignore_case(!route.case_sensitive)))
        });
        Some(RoutePlan {
            name: route.name.clone().unwrap_or_else(|| route.path.as_str().to_owned()),
            matches: RouteMatch {
                hosts: route.hosts.clone(),
                path: route.path.clone(),
                ignore_case: !route.case_sensitive,
                methods,
                priority: route.priority,
                ..RouteMatch::new(route.path.clone()).with(&route.matches)
            },
            service: service?,
            correlation_id,
            cors,
            security_headers,
            auth,
            rate_limit: limit.and_then(|name| Some((name.clone(), limits.get(&name)?.clone()))),
            default_headers: default_headers.cloned(),
            headers,
            strip,
        })
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
