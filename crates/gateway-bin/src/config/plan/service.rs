//! Services: endpoints, how they are connected to, and what protects them.

use super::RoutePlan;
use super::contents::Contents;
use super::planner::Planner;
use crate::config::load::nearest;
use crate::config::settings::ServiceSettings;
use gateway_auth::{OutboundCredentialsLayer, OutboundSettings};
use gateway_balance::{BalanceSettings, EndpointSet, HealthSettings};
use gateway_core::units::Switch;
use gateway_core::{Endpoint, Scheme};
use gateway_overload::{AdaptiveLimitLayer, AdmissionLayer};
use gateway_upstream::{ConnectionLimit, UpstreamSettings, UpstreamTls};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

#[derive(Clone)]
pub(crate) struct ServicePlan {
    pub(crate) set: EndpointSet,
    /// How long streams go on with endpoints that are gone.
    pub(crate) drain_timeout: Duration,
    pub(crate) balancing: BalanceSettings,
    pub(crate) connection: UpstreamSettings,
    /// By endpoint, where that is limited: what the clients of all workers share.
    limits: BTreeMap<String, ConnectionLimit>,
    /// Only where an endpoint is `https`.
    pub(crate) tls: Option<UpstreamTls>,
    pub(crate) health: Option<HealthSettings>,
    pub(crate) adaptive: Option<AdaptiveLimitLayer>,
    pub(crate) admission: Option<AdmissionLayer>,
    /// Its tokens live on as long as the settings and their files are the same.
    pub(crate) outbound: Option<OutboundCredentialsLayer>,
    /// What was in the files of `outbound`.
    outbound_files: Contents,
    pub(crate) assertion: bool,
}

impl ServicePlan {
    /// One without policies.
    pub(crate) fn plain(set: EndpointSet, balancing: BalanceSettings) -> Self {
        Self {
            set,
            drain_timeout: Duration::ZERO,
            balancing,
            connection: UpstreamSettings::default(),
            tls: None,
            health: None,
            adaptive: None,
            admission: None,
            outbound: None,
            outbound_files: Contents::default(),
            limits: BTreeMap::new(),
            assertion: false,
        }
    }

    /// The limit on the connections to an endpoint.
    pub(crate) fn limit_of(&self, endpoint: &Endpoint) -> Option<ConnectionLimit> {
        self.limits.get(&endpoint.to_string()).cloned()
    }

    /// Whether connections that were made with these are still made as they would be now.
    pub(crate) fn has_certificates_of(&self, before: Option<&UpstreamTls>) -> bool {
        match (&self.tls, before) {
            (None, None) => true,
            (Some(now), Some(before)) => now.has_files_of(before),
            _ => false,
        }
    }
}

impl Planner<'_> {
    pub(super) fn services(&mut self) -> BTreeMap<String, ServicePlan> {
        let settings = self.settings;
        settings
            .services
            .iter()
            .filter_map(|(name, service)| Some((name.clone(), self.service(name, service)?)))
            .collect()
    }

    pub(super) fn service(&mut self, name: &str, service: &ServiceSettings) -> Option<ServicePlan> {
        let (same, earlier) =
            self.kept(name, service, |config| (&config.settings.services, &config.plan.services));
        if let Some(same) = same {
            return self.with_files_read_again(name, service, same);
        }
        let mut endpoints = Vec::new();
        for (i, endpoint) in service.endpoints.iter().enumerate() {
            let key = format!("services.{name}.endpoints[{i}]");
            let Some(parsed) = self.noted(&key, Endpoint::parse(&endpoint.url)) else { continue };
            let parsed = parsed.with_weight(endpoint.weight).with_priority(endpoint.priority);
            let parsed = parsed.with_metadata(endpoint.metadata.clone());
            let parsed = endpoint.zone.as_ref().map_or_else(|| parsed.clone(), |zone| parsed.with_zone(zone));
            if let Some(known) = endpoints.iter().find(|known: &&Endpoint| known.is_at(&parsed)) {
                let message = match known.name() == parsed.name() {
                    true => format!("{parsed} is listed twice"),
                    false => format!("{parsed} is listed twice, the first time as {known}"),
                };
                self.mistakes.push(self.origin.mistake(&key, message));
            }
            endpoints.push(parsed);
        }
        let key = format!("services.{name}.endpoints");
        if service.endpoints.is_empty() && !self.origin.is_known_wrong(&key) {
            self.mistakes.push(self.origin.mistake(&key, format!("the service `{name}` has no endpoints")));
        }
        if let Some(health) = &service.health
            && !(health.path.starts_with('/') && health.path.parse::<http::Uri>().is_ok())
        {
            let key = format!("services.{name}.health");
            let message = format!("`{}` is no path; expected something like \"/health\"", health.path);
            self.mistakes.push(self.origin.mistake(&key, message));
        }
        let times = service.health.iter().flat_map(|h| [("interval", h.interval), ("timeout", h.timeout)]);
        for (time, _) in times.filter(|(_, time)| time.is_zero()) {
            let key = format!("services.{name}.health.{time}");
            let mistake =
                self.origin.mistake(&key, format!("`{time}` is 0s; expected a time such as \"5s\""));
            self.mistakes.push(mistake.with_help("without checks there is no `health`"));
        }
        let tls = if endpoints.iter().any(|endpoint| endpoint.scheme() == Scheme::Https) {
            let key = format!("services.{name}.connection.tls");
            Some(self.noted(&key, UpstreamTls::load(&service.connection))?)
        } else {
            None
        };
        if let Some(mistake) = service.connection.mistake() {
            let key = format!("services.{name}.connection");
            self.mistakes.push(self.origin.mistake(&key, mistake.to_string()));
        }
        if name == "none" {
            let key = "services.none".to_owned();
            let mistake = self.origin.mistake(&key, "`none` is what routes say for nothing at all");
            self.mistakes.push(mistake.with_help("choose another name"));
        }
        let outbound_files = outbound_files(service);
        let outbound = self.outbound(name, service)?;
        if service.assertion && self.settings.assertion.on().is_none() {
            let key = format!("services.{name}.assertion");
            let mistake = self.origin.mistake(&key, "there is nothing to sign with: [assertion] is missing");
            self.mistakes.push(mistake.with_help("`assertion = true` at the top signs with keys of its own"));
        }
        self.service_has_limits(name, service);
        let max_connections = service.connection.max_connections;
        // Connections to an endpoint that stays live on, and with them what counts them.
        let known = earlier.as_ref().filter(|earlier| earlier.connection.max_connections == max_connections);
        let limit = |endpoint: &Endpoint| {
            let known = known.and_then(|earlier| earlier.limit_of(endpoint));
            Some((endpoint.to_string(), known.or_else(|| max_connections.map(ConnectionLimit::new))?))
        };
        let limits = endpoints.iter().filter_map(limit).collect();
        let policy = service.balance.0.clone();
        let set = match &earlier {
            Some(earlier) => earlier.set.renewed(endpoints, policy),
            None => EndpointSet::new(name, endpoints, policy),
        };
        let before = self.previous.and_then(|previous| previous.settings.services.get(name));
        let before = before.zip(earlier.as_ref());
        let adaptive = self.lives_on(
            &format!("services.{name}.adaptive"),
            &service.adaptive,
            before.map(|(settings, plan)| (&settings.adaptive, plan.adaptive.as_ref())),
            AdaptiveLimitLayer::new,
            AdaptiveLimitLayer::count_on_from,
        );
        let admission = self.lives_on(
            &format!("services.{name}.admission"),
            &service.admission,
            before.map(|(settings, plan)| (&settings.admission, plan.admission.as_ref())),
            AdmissionLayer::new,
            AdmissionLayer::count_on_from,
        );
        Some(ServicePlan {
            set,
            drain_timeout: *service.drain_timeout,
            outbound,
            outbound_files,
            assertion: service.assertion,
            balancing: service.balancing(),
            connection: service.connection.clone(),
            limits,
            tls,
            health: service.health.as_ref().map(|health| health.0.clone()),
            adaptive,
            admission,
        })
    }

    /// The layer of a policy. With the same settings as before it is the same, with all that it has found out of the
    /// service, whatever else of the service has changed; with others it goes on counting.
    fn lives_on<T: PartialEq, L: Clone, E: Display>(
        &mut self,
        key: &str,
        switch: &Switch<T>,
        before: Option<(&Switch<T>, Option<&L>)>,
        make: fn(&T) -> Result<L, E>,
        count_on_from: fn(&L, &L),
    ) -> Option<L> {
        if let Some((settings, same)) = before
            && settings == switch
        {
            return same.cloned();
        }
        let layer = self.switch(key, switch, make)?;
        if let Some(earlier) = before.and_then(|(_, layer)| layer) {
            count_on_from(&layer, earlier);
        }
        Some(layer)
    }

    /// What the balancing of these services tells requests apart by that their routes capture.
    pub(super) fn hash_params<'n>(&self, names: impl Iterator<Item = &'n str>) -> impl Iterator<Item = &str> {
        names
            .filter_map(|name| self.settings.services.get(name))
            .filter(|service| service.balance.strategy.hashes())
            .flat_map(|service| service.balance.hash_on.params())
    }

    /// What a service is balanced by must be captured by one of its routes at least.
    pub(super) fn captured(&mut self, routes: &[RoutePlan]) {
        for (name, service) in &self.settings.services {
            let leads_here = |route: &&RoutePlan| {
                let other = route.fallback.as_ref().and_then(|to| to.service.as_ref());
                route.service.as_ref() == Some(name) || other == Some(name)
            };
            for param in service.balance.hash_on.params() {
                let mut known: Vec<&str> = routes
                    .iter()
                    .filter(leads_here)
                    .flat_map(|route| route.matches.capture_names())
                    .collect();
                if known.contains(&param) {
                    continue;
                }
                let key = format!("services.{name}.balance.hash_on");
                let mistake = self.origin.mistake(&key, format!("no route to `{name}` captures `{param}`"));
                known.sort_unstable();
                known.dedup();
                self.mistakes.push(mistake.with_help(match nearest(param, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if known.is_empty() => format!("a path such as `/users/{{{param}}}` does"),
                    None => format!("captured are {}", known.join(", ")),
                }));
            }
        }
    }

    fn outbound(
        &mut self,
        name: &str,
        service: &ServiceSettings,
    ) -> Option<Option<OutboundCredentialsLayer>> {
        let outbound = service.outbound.as_ref().map(OutboundCredentialsLayer::new).transpose();
        self.noted(format_args!("services.{name}.outbound"), outbound)
    }

    /// What is kept of a service, but for certificates and secrets that have been renewed meanwhile.
    fn with_files_read_again(
        &mut self,
        name: &str,
        service: &ServiceSettings,
        mut kept: ServicePlan,
    ) -> Option<ServicePlan> {
        let outbound_files = outbound_files(service);
        if kept.outbound_files != outbound_files {
            kept = ServicePlan { outbound: self.outbound(name, service)?, outbound_files, ..kept };
        }
        let Some(before) = &kept.tls else { return Some(kept) };
        let key = format!("services.{name}.connection.tls");
        let now = self.noted(&key, UpstreamTls::load(&service.connection))?;
        if now.has_files_of(before) {
            return Some(kept);
        }
        Some(ServicePlan { tls: Some(now), ..kept })
    }
}

fn outbound_files(service: &ServiceSettings) -> Contents {
    Contents::of(service.outbound.iter().flat_map(OutboundSettings::files))
}
