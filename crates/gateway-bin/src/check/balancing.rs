//! What a service's balancing says that changes nothing.

use crate::config::{Mistake, Origin, Plan, RoutePlan, Settings, join};
use gateway_balance::{HashOn, PolicySettings, RequestBias, Strategy, SubsetFallback};

/// Settings that the strategy does not look at, and names that no endpoint has.
pub(super) fn without_effect(settings: &Settings, origin: &Origin) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (name, service) in &settings.services {
        let policy = &service.balance.0;
        let mut warn = |key: &str, message: String| {
            found.push(origin.warning(&format!("{}.balance.{key}", join("services", name)), message));
        };
        for (key, why) in unread(policy) {
            warn(key, format!("`{key}` changes nothing: {why}"));
        }
        if let Some(zone) = &policy.zone
            && service.endpoints.iter().all(|endpoint| endpoint.zone.as_ref() != Some(zone))
        {
            warn("zone", format!("no endpoint of `{name}` is in the zone `{zone}`: none is preferred"));
        }
        let Some(subset) = &policy.subset else { continue };
        if subset.from.is_none() && subset.value.is_none() {
            warn("subset", "no request is for any label: give `from`, `value` or both".to_owned());
        }
        let fallback = match &subset.fallback {
            SubsetFallback::Default(value) => Some(value),
            SubsetFallback::Any | SubsetFallback::None => None,
        };
        for (key, value) in [("subset.value", subset.value.as_ref()), ("subset.fallback", fallback)] {
            if let Some(value) = value
                && service.endpoints.iter().all(|endpoint| endpoint.metadata.get(&subset.key) != Some(value))
            {
                warn(key, format!("no endpoint of `{name}` has the label `{} = \"{value}\"`", subset.key));
            }
        }
    }
    found
}

/// Services whose answers come with a cookie of the gateway's own, which are not for a cache.
pub(super) fn sticky_caches(settings: &Settings, plan: &Plan, origin: &Origin) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (name, service) in &settings.services {
        if service.balance.0.sticky.is_none() {
            continue;
        }
        let of_service = |(i, route): (usize, &RoutePlan)| {
            let cache = route.cache.as_ref().filter(|_| route.service.as_ref() == Some(name))?;
            Some((origin.original(&format!("routes[{i}]")), cache.stores_cookies()))
        };
        let Some((route, stores)) = plan.routes.iter().enumerate().find_map(of_service) else { continue };
        let message = if stores {
            format!(
                "the cache of {route} gives the cookie of one client to all, so that all come to one endpoint"
            )
        } else {
            format!(
                "the cache of {route} stores no answer that comes with its cookie, and by `ttl` none to clients that have it"
            )
        };
        let warning = origin.warning(&format!("{}.balance.sticky", join("services", name)), message);
        found.push(warning.with_help("take `sticky` or `cache` out, or cache at a service of its own"));
    }
    found
}

/// What is set and not looked at, and why.
fn unread(policy: &PolicySettings) -> impl Iterator<Item = (&'static str, &'static str)> {
    const NO_HASH: &str = "only the strategies `ring_hash` and `maglev` hash";
    let hashes = policy.strategy.hashes();
    let biased = policy.request_bias != RequestBias::default();
    [
        ("hash_on", !hashes && policy.hash_on != HashOn::default(), NO_HASH),
        ("bounded_load", !hashes && policy.bounded_load.is_some(), NO_HASH),
        (
            "slow_start",
            hashes && policy.slow_start.is_some(),
            "a share that grows would move keys again and again",
        ),
        (
            "request_bias",
            biased && policy.strategy != Strategy::LeastRequest,
            "only `least_request` has a bias",
        ),
    ]
    .into_iter()
    .filter(|(_, is_unread, _)| *is_unread)
    .map(|(key, _, why)| (key, why))
}
