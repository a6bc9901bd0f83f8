//! What a configuration without mistakes is likely not meant to say.

use super::{balancing, danger, limiting, paths};
use crate::config::{Levels, Mistake, Origin, Plan, Settings, Severity, join, of_policies};
use gateway_auth::JwtSettings;
use gateway_balance::BalanceSettings;
use gateway_core::units::{Short, Switch, Timespan};
use gateway_core::{Endpoint, Scheme};
use gateway_ratelimit::{CountWhat, RateLimitSettings};
use gateway_routing::Unreachable;
use gateway_server::ListenAddress;
use gateway_transform::{CorsSettings, NormalizeSettings, TrailingSlash, normalize_path};
use gateway_upstream::Protocol;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Everything that is likely not what was meant: routes that no request reaches, names that nothing uses, times
/// that do not add up, and doors that stand open.
pub(crate) fn warnings(settings: &Settings, plan: &Plan, origin: &Origin) -> Vec<Mistake> {
    let reader = Reader { settings, plan, origin };
    let mut found = reader.unreachable();
    found.extend(reader.same_names());
    found.extend(reader.slashed());
    found.extend(reader.never_normal());
    found.extend(paths::without_prefix(settings, plan, origin));
    found.extend(paths::endless_redirects(plan, origin));
    found.extend(reader.without_http2());
    found.extend(reader.unused());
    found.extend(reader.drained());
    found.extend(super::asking::without_effect(settings, origin));
    found.extend(balancing::without_effect(settings, origin));
    found.extend(balancing::sticky_caches(settings, plan, origin));
    found.extend(reader.loops());
    found.extend(reader.times());
    found.extend(reader.retried_successes());
    found.extend(reader.cors());
    found.extend(reader.tokens());
    found.extend(reader.unlimited_keys());
    found.extend(reader.unlimited_others());
    found.extend(limiting::without_effect(settings, origin));
    found.extend(reader.policies());
    found.extend(reader.open_admin());
    found.extend(reader.trusts_everybody());
    found.extend(danger::dangers(settings, origin));
    found
}

struct Reader<'a> {
    settings: &'a Settings,
    plan: &'a Plan,
    origin: &'a Origin,
}

impl Reader<'_> {
    /// Routes that another one always comes before.
    fn unreachable(&self) -> Vec<Mistake> {
        let mut by_route: BTreeMap<usize, Vec<Unreachable>> = BTreeMap::new();
        for unreachable in self.plan.table.lint() {
            by_route.entry(unreachable.route).or_default().push(unreachable);
        }
        let warning = |(route, before): (usize, Vec<Unreachable>)| {
            let path = self.plan.routes[route].matches.path.as_str();
            let share = if before.len() == 1 { "takes all" } else { "takes some" };
            let before: Vec<String> = before
                .iter()
                .map(|Unreachable { by, because, .. }| {
                    let by = self.origin.original(&format!("routes[{by}]"));
                    format!("{by} {share} of its requests and {because}")
                })
                .collect();
            let message = format!("`{path}` is never used: {}", before.join(", "));
            let warning = self.origin.warning(&format!("routes[{route}].path"), message);
            warning.with_help("take it out, make it more specific, or give it a higher `priority`")
        };
        by_route.into_iter().map(warning).collect()
    }

    /// Routes that are called the same.
    fn same_names(&self) -> Vec<Mistake> {
        let mut known = BTreeMap::new();
        let mut found = Vec::new();
        for (i, route) in self.settings.routes.iter().enumerate() {
            let Some(name) = route.name.as_deref() else { continue };
            let first = *known.entry(name).or_insert(i);
            if first < i {
                let first = self.origin.original(&format!("routes[{first}]"));
                let message = format!(
                    "{first} is called `{name}`, too: logs and metrics do not tell them apart, and limits by `route` count them together"
                );
                found.push(self.origin.warning(&format!("routes[{i}].name"), message));
            }
        }
        found
    }

    /// Routes for paths that end with a slash, where none does.
    fn slashed(&self) -> Vec<Mistake> {
        let rule = match self.plan.normalize.trailing_slash {
            TrailingSlash::Keep => return Vec::new(),
            TrailingSlash::Strip => "strip",
            TrailingSlash::Redirect => "redirect",
        };
        let paths = self.plan.routes.iter().map(|route| route.matches.path.as_str()).enumerate();
        let slashed =
            paths.filter(|(_, path)| path.len() > 1 && path.ends_with('/') && !path.starts_with('~'));
        let warning = |(route, path)| {
            let message = format!(
                "`{path}` is never used: `normalize.trailing_slash` is `{rule}`, so that no path ends with a slash"
            );
            let warning = self.origin.warning(&format!("routes[{route}].path"), message);
            warning.with_help("take the slash at its end away")
        };
        slashed.map(warning).collect()
    }

    /// Routes for paths that no request has once it is normal: with two slashes in a row, or with what is refused.
    fn never_normal(&self) -> Vec<Mistake> {
        let rules = NormalizeSettings { trailing_slash: TrailingSlash::Keep, ..self.plan.normalize };
        let mut found = Vec::new();
        for (i, route) in self.plan.routes.iter().enumerate() {
            let path = route.matches.path.as_str();
            if path.starts_with('~') {
                continue;
            }
            let sample = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
            let sample = sample.collect::<Vec<_>>().join("/");
            let (why, help) = match normalize_path(&sample, &rules) {
                Err(error) => (
                    format!("requests for it are answered 400, as {error}"),
                    "`normalize` says what is refused",
                ),
                Ok(_) if rules.merge_slashes && sample.contains("//") => (
                    "`normalize.merge_slashes` is on, so that no path has two slashes in a row".to_owned(),
                    "write one slash, or set `normalize.merge_slashes = false`",
                ),
                Ok(_) => continue,
            };
            let message = format!("`{path}` is never used: {why}");
            found.push(self.origin.warning(&format!("routes[{i}].path"), message).with_help(help));
        }
        found
    }

    /// Routes and checks that speak gRPC to services over HTTP/1.1, in which no server of gRPC answers.
    fn without_http2(&self) -> Vec<Mistake> {
        let spoken = |name: &str| {
            let service = self.settings.services.get(name)?;
            let plain =
                |url: &str| Endpoint::parse(url).is_ok_and(|endpoint| endpoint.scheme() == Scheme::Http);
            let (protocol, set) = match service.connection.protocol {
                Protocol::Http2 => return None,
                Protocol::Http1 => ("http1", true),
                Protocol::Auto => ("auto", service.endpoints.iter().any(|endpoint| plain(&endpoint.url))),
            };
            set.then_some(protocol)
        };
        let help = |name: &str| format!("set `services.{name}.connection.protocol = \"http2\"`");
        let mut found = Vec::new();
        for (i, route) in self.plan.routes.iter().enumerate().filter(|(_, route)| route.grpc_web) {
            let Some(name) = route.service.as_deref() else { continue };
            let Some(protocol) = spoken(name) else { continue };
            let message = format!(
                "`grpc_web` makes gRPC of what browsers send, but `{name}` is spoken to in HTTP/1.1: its `connection.protocol` is `{protocol}`"
            );
            let warning = self.origin.warning(&format!("routes[{i}].service"), message);
            found.push(warning.with_help(help(name)));
        }
        for (name, service) in &self.settings.services {
            let is_grpc = service
                .health
                .as_ref()
                .is_some_and(|health| health.kind == gateway_balance::HealthCheck::Grpc);
            let Some(protocol) = spoken(name).filter(|_| is_grpc) else { continue };
            let message = format!(
                "every check fails: `grpc` needs HTTP/2, and `connection.protocol` of `{name}` is `{protocol}`"
            );
            let warning = self.origin.warning(&format!("{}.health.kind", join("services", name)), message);
            found.push(warning.with_help(help(name)));
        }
        found
    }

    /// What is defined by name and named by no route.
    fn unused(&self) -> Vec<Mistake> {
        let Self { settings, plan, .. } = self;
        let routes = &plan.routes;
        let named = routes.iter().filter_map(|route| route.service.as_deref());
        let instead = routes.iter().filter_map(|route| route.fallback.as_ref()?.service.as_deref());
        let services = named.chain(instead).collect();
        let auth = routes.iter().filter_map(|route| route.auth.as_ref());
        let auth = auth.flat_map(|auth| auth.names.iter().map(String::as_str)).collect();
        let limits = routes.iter().flat_map(|route| &route.rate_limits);
        let limits = limits.map(|limit| limit.name.as_str()).collect();
        let groups = settings.routes.iter().filter_map(|route| route.group.as_deref()).collect();
        let policies = routes.iter().filter_map(|route| route.cedar.as_ref());
        let policies = policies.map(|cedar| cedar.name.as_str()).collect();
        let mut found =
            self.idle("services", "service", settings.services.keys().map(String::as_str), &services);
        for (kind, names) in settings.auth.kinds() {
            let table = format!("auth.{kind}");
            found.extend(self.idle(&table, &format!("[{table}]"), names.into_iter(), &auth));
        }
        found.extend(self.idle(
            "rate_limits",
            "rate limit",
            settings.rate_limits.keys().map(String::as_str),
            &limits,
        ));
        found.extend(self.idle("cedar", "[cedar]", settings.cedar.keys().map(String::as_str), &policies));
        found.extend(self.idle("groups", "group", settings.groups.keys().map(String::as_str), &groups));
        found
    }

    fn idle<'n>(
        &self,
        table: &str,
        what: &str,
        names: impl Iterator<Item = &'n str>,
        used: &BTreeSet<&str>,
    ) -> Vec<Mistake> {
        let unused = names.filter(|name| !used.contains(name));
        let warning = |name: &str| {
            self.origin.warning_of(&join(table, name), format!("no route uses the {what} `{name}`"))
        };
        unused.map(warning).collect()
    }

    /// Policies that can never apply, and the like.
    fn policies(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        for (name, cedar) in &self.plan.cedar {
            let key = join("cedar", name);
            let of = |wrong| of_policies(self.origin, &key, wrong).with_severity(Severity::Warning);
            found.extend(cedar.warnings().iter().map(of));
        }
        found
    }

    /// Times of services that cannot all come true.
    fn times(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        let services = self.settings.services.iter();
        let of_services = services.map(|(name, service)| (join("services", name), service.balancing()));
        let of_routes = self.plan.routes.iter().enumerate().filter_map(|(i, route)| {
            let levels = Levels::of(self.settings, i, &self.settings.routes[i]);
            let (key, _) = levels.first("timeout", |policies| policies.timeout);
            Some((key.strip_suffix(".timeout")?.to_owned(), (**route.balancing.as_ref()?).clone()))
        });
        for (key, BalanceSettings { timeout, retry, .. }) in of_services.chain(of_routes) {
            let (total, attempts) = (timeout.total, retry.attempts);
            if let Some(per_try) = timeout.per_try {
                let sum = Timespan(per_try.saturating_mul(attempts));
                let message = if per_try >= total {
                    Some(format!(
                        "`per_try` of {per_try} never ends an attempt: all of them together may take {total}"
                    ))
                } else if sum > total {
                    Some(format!(
                        "{attempts} attempts of {per_try} may take {sum}, but all of them together only {total}"
                    ))
                } else {
                    None
                };
                let warning = |message| {
                    let warning = self.origin.warning(&format!("{key}.timeout.per_try"), message);
                    warning.with_help("raise `total`, or lower `per_try` or `retry.attempts`")
                };
                found.extend(message.map(warning));
            }
        }
        for (name, service) in &self.settings.services {
            let key = join("services", name);
            if let Some(health) = &service.health
                && health.timeout > health.interval
            {
                let message = format!(
                    "a health check may take {}, and the next one is due after {}",
                    health.timeout, health.interval
                );
                let warning = self.origin.warning(&format!("{key}.health"), message);
                found.push(warning.with_help("set a `timeout` that is no longer than `interval`"));
            }
        }
        found
    }

    /// Retries of what did not fail: the request may be carried out twice.
    fn retried_successes(&self) -> Vec<Mistake> {
        let Settings { services, groups, routes, .. } = self.settings;
        let services =
            services.iter().map(|(name, service)| (join("services", name), Some(&service.retry.statuses)));
        let groups = groups.iter().map(|(name, group)| (join("groups", name), group.retry.as_deref()));
        let routes =
            routes.iter().enumerate().map(|(i, route)| (format!("routes[{i}]"), route.retry.as_deref()));
        let own = groups.chain(routes).map(|(place, retry)| (place, retry.and_then(|r| r.statuses.as_ref())));
        let mut found = Vec::new();
        for (place, statuses) in services.chain(own) {
            let statuses = statuses.into_iter().flatten().enumerate();
            for (i, status) in statuses.filter(|(_, status)| **status < 400) {
                let key = format!("{place}.retry.statuses[{i}]");
                let message = format!("requests answered {status} are repeated, though they did not fail");
                found.push(self.origin.warning(&key, message).with_help("name statuses of at least 400"));
            }
        }
        found
    }

    /// Any site acts as the user of any browser.
    fn cors(&self) -> Vec<Mistake> {
        let Settings { defaults, groups, routes, .. } = self.settings;
        let groups = groups.iter().map(|(name, group)| (join("groups", name), group.cors.as_deref()));
        let routes =
            routes.iter().enumerate().map(|(i, route)| (format!("routes[{i}]"), route.cors.as_deref()));
        let all =
            std::iter::once(("defaults".to_owned(), defaults.cors.as_deref())).chain(groups).chain(routes);
        let is_open = |cors: &CorsSettings| cors.credentials && cors.origins.iter().any(|o| o == "*");
        let open = all.filter(|(_, cors)| cors.and_then(Switch::on).is_some_and(is_open));
        let warning = |(place, _)| {
            let message = "any site may send requests with its visitors' cookies and read the answers";
            let warning = self.origin.warning(&format!("{place}.cors.credentials"), message);
            warning.with_help("name the `origins` that may, or leave `credentials` out")
        };
        open.map(warning).collect()
    }

    fn tokens(&self) -> Vec<Mistake> {
        let anybodys =
            self.settings.auth.jwt.iter().filter(|(_, jwt)| jwt.audience.is_none() && jwt.issuer.is_none());
        let warning = |(name, _): (&String, &JwtSettings)| {
            let message = format!("`{name}` takes tokens from any issuer and for any audience");
            let warning = self.origin.warning_of(&join("auth.jwt", name), message);
            warning.with_help("set `audience` or `issuer`, so that tokens meant for others are refused")
        };
        anybodys.map(warning).collect()
    }

    /// A limit for those who are authenticated says nothing of those with an API key.
    fn unlimited_keys(&self) -> Vec<Mistake> {
        let Self { settings, plan, .. } = self;
        let forgets = |limit: &RateLimitSettings| {
            limit.authenticated.is_some()
                && limit.api_key.is_none()
                && limit.tiers.is_none()
                && limit.limit_from.is_none()
                && limit.quota.is_none()
                && limit.count == CountWhat::Requests
        };
        let forgetful = settings.rate_limits.iter().filter(|(_, limit)| forgets(&limit.0));
        let warning = |(name, _): (&String, &Short<RateLimitSettings>)| {
            let route = plan.routes.iter().find(|route| {
                let mut methods = route.auth.iter().flat_map(|auth| &auth.names);
                methods.any(|method| settings.auth.api_keys.contains_key(method))
                    && route.rate_limits.iter().any(|limit| limit.name == *name)
            })?;
            let message = format!(
                "callers with an API key are not limited on `{}`: `{name}` says nothing of `api_key`",
                route.name
            );
            let warning = self.origin.warning_of(&join("rate_limits", name), message);
            Some(warning.with_help("give `api_key` too, or `limit` for every caller"))
        };
        forgetful.filter_map(warning).collect()
    }

    /// A limit for some of whom a claim says something, and none for all others.
    fn unlimited_others(&self) -> Vec<Mistake> {
        let forgets = |limit: &RateLimitSettings| {
            let some = limit.tiers.is_some() || limit.limit_from.is_some();
            let kinds = [&limit.limit, &limit.anonymous, &limit.authenticated, &limit.api_key];
            let has_default = limit.tiers.as_ref().is_some_and(|tiers| tiers.default.is_some());
            some && !has_default && limit.quota.is_none() && kinds.iter().all(|kind| kind.is_none())
        };
        let forgetful = self.settings.rate_limits.iter().filter(|(_, limit)| forgets(&limit.0));
        let warning = |(name, limit): (&String, &Short<RateLimitSettings>)| {
            let (key, whom) = match limit.0.tiers {
                Some(_) => ("tiers", "callers of no tier"),
                None => ("limit_from", "callers without the claim"),
            };
            let message = format!("`{name}` does not limit {whom}, such as all who are not authenticated");
            let warning = self.origin.warning_of(&join(&join("rate_limits", name), key), message);
            warning.with_help("give `limit` too, for all others")
        };
        forgetful.map(warning).collect()
    }

    /// Services that answer nothing, for all of their endpoints are drained.
    fn drained(&self) -> Vec<Mistake> {
        let drained = self
            .settings
            .services
            .iter()
            .filter(|(_, service)| service.endpoints.iter().all(|e| e.weight == 0));
        let warning = |(name, _): (&String, _)| {
            let message =
                format!("every endpoint of `{name}` has the weight 0: its requests are answered 503");
            self.origin.warning(&format!("{}.endpoints", join("services", name)), message)
        };
        drained.map(warning).collect()
    }

    /// Endpoints at which the gateway itself listens.
    fn loops(&self) -> Vec<Mistake> {
        let ListenAddress::Tcp(own) = &self.settings.server.listen else { return Vec::new() };
        let is_own = |endpoint: &Endpoint| {
            let address = endpoint.host().trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
            endpoint.port() == own.port()
                && address.is_ok_and(|ip| ip == own.ip() || (own.ip().is_unspecified() && ip.is_loopback()))
        };
        let mut found = Vec::new();
        for (name, service) in &self.settings.services {
            for (i, endpoint) in service.endpoints.iter().enumerate() {
                if Endpoint::parse(&endpoint.url).is_ok_and(|endpoint| is_own(&endpoint)) {
                    let message = format!("the gateway itself listens at {}", endpoint.url);
                    let key = format!("{}.endpoints[{i}]", join("services", name));
                    found
                        .push(self.origin.warning(&key, message).with_help("name the service's own address"));
                }
            }
        }
        found
    }

    fn open_admin(&self) -> Option<Mistake> {
        let admin = self.settings.admin.as_ref().filter(|admin| !admin.listen.ip().is_loopback())?;
        let message = format!(
            "the admin listener on {} asks nobody who they are, and is not only for this machine",
            admin.listen
        );
        let warning = self.origin.warning("admin.listen", message);
        Some(warning.with_help("listen on 127.0.0.1, or let only operators reach it"))
    }

    fn trusts_everybody(&self) -> Vec<Mistake> {
        let forwarded = &self.settings.forwarded;
        let unnamed = forwarded.depth.filter(|_| forwarded.trusted_proxies.is_empty()).map(|_| {
            let message =
                "whoever connects is taken for a proxy: any client that can may say that it is somebody else";
            let warning = self.origin.warning("forwarded.depth", message.to_owned());
            warning.with_help("name the networks of your own proxies in `trusted_proxies`, if they are known")
        });
        let lists = [
            ("forwarded.trusted_proxies", &forwarded.trusted_proxies),
            ("server.proxy_protocol", &self.settings.server.proxy_protocol),
        ];
        let networks = lists.into_iter().flat_map(|(key, list)| {
            list.iter().enumerate().map(move |(i, network)| (format!("{key}[{i}]"), network))
        });
        let everybody = networks.filter(|(_, network)| network.0.prefix_len() == 0);
        let warning = |(key, network): (String, _)| {
            let message = format!("{network} is everybody: any client may say that it is somebody else");
            self.origin.warning(&key, message).with_help("name the networks of your own proxies")
        };
        everybody.map(warning).chain(unnamed).collect()
    }
}
