//! What a service says of hedges, health checks and TLS that changes nothing.

use crate::config::{Mistake, Origin, Settings, join};
use gateway_balance::{HealthCheck, HealthSettings, HedgeDelay};
use gateway_core::{Endpoint, Scheme};
use gateway_upstream::TlsSettings;

/// Hedges that never happen, what is said of checks of another kind, and certificates that nobody asks for.
pub(super) fn without_effect(settings: &Settings, origin: &Origin) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (name, service) in &settings.services {
        let mut warn = |key: &str, why: String| {
            let (_, last) = key.rsplit_once('.').unwrap_or(("", key));
            let message = format!("`{last}` changes nothing: {why}");
            found.push(origin.warning(&format!("{}.{key}", join("services", name)), message));
        };
        let timeout = &service.timeout;
        let limit = timeout.per_try.map_or(timeout.total, |per_try| per_try.min(timeout.total));
        let takers = service.endpoints.iter().filter(|endpoint| endpoint.weight > 0).count();
        match service.retry.hedge.as_ref().map(|hedge| hedge.delay) {
            Some(_) if takers == 1 => {
                warn("retry.hedge", format!("`{name}` has one endpoint, and a second is asked"));
            }
            Some(HedgeDelay::Fixed(delay)) if delay >= limit => {
                warn("retry.hedge", format!("an endpoint is given up after {limit}"));
            }
            _ => {}
        }
        for key in service.health.iter().flat_map(|health| of_other_kinds(health)) {
            warn(&format!("health.{key}"), "checks of this kind do not look at it".to_owned());
        }
        let is_https = |url: &str| Endpoint::parse(url).is_ok_and(|known| known.scheme() == Scheme::Https);
        if service.connection.tls != TlsSettings::default()
            && !service.endpoints.iter().any(|endpoint| is_https(&endpoint.url))
        {
            warn("connection.tls", format!("no endpoint of `{name}` is `https`"));
        }
    }
    found
}

/// What is set for checks of another kind.
fn of_other_kinds(health: &HealthSettings) -> impl Iterator<Item = &'static str> {
    let (default, kind) = (HealthSettings::default(), health.kind);
    let (http, tcp) = (kind == HealthCheck::Http, kind == HealthCheck::Tcp);
    [
        ("path", !http && health.path != default.path),
        ("method", !http && health.method != default.method),
        ("status", !http && health.status != default.status),
        ("body", !http && health.body.is_some()),
        ("host", tcp && health.host.is_some()),
        ("headers", tcp && !health.headers.is_empty()),
        ("send", !tcp && health.send.is_some()),
        ("expect", !tcp && health.expect.is_some()),
        ("service", kind != HealthCheck::Grpc && !health.service.is_empty()),
    ]
    .into_iter()
    .filter_map(|(key, is_unread)| is_unread.then_some(key))
}
