//! What does what it says, and is seldom wanted where requests are real.

use crate::config::{Mistake, Origin, Settings, join};
use gateway_balance::RetrySettings;
use gateway_core::units::Switch;
use gateway_core::{Endpoint, Scheme};
use gateway_overload::FaultSettings;

/// Endpoints that may be anybody, failures on purpose for everybody, retries without an end, and services that are
/// never asked.
pub(super) fn dangers(settings: &Settings, origin: &Origin) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (name, service) in &settings.services {
        let key = join("services", name);
        let mut warn = |setting: &str, message: String, help: &str| {
            found.push(origin.warning(&format!("{key}.{setting}"), message).with_help(help));
        };
        let is_https =
            |url: &str| Endpoint::parse(url).is_ok_and(|endpoint| endpoint.scheme() == Scheme::Https);
        if !service.connection.tls.verify && service.endpoints.iter().any(|endpoint| is_https(&endpoint.url))
        {
            let message = format!(
                "nobody looks at the certificates of `{name}`: whoever is on the way there can read and change everything"
            );
            warn("connection.tls.verify", message, "name the authority that made them in `ca_file` instead");
        }
        let retry = &service.retry;
        // More attempts than by default are for services that seldom fail.
        if retry.attempts > RetrySettings::default().attempts && retry.budget.percent.get() == 100 {
            let message = format!(
                "every request may have another attempt, and up to {}: when `{name}` fails, it gets twice as many requests",
                retry.attempts
            );
            warn("retry.budget", message, "leave it at 20, or lower `attempts`");
        }
    }
    let Settings { defaults, groups, routes, .. } = settings;
    let groups = groups.iter().map(|(name, group)| (join("groups", name), group.fault.as_deref()));
    let of_routes =
        routes.iter().enumerate().map(|(i, route)| (format!("routes[{i}]"), route.fault.as_deref()));
    let all =
        std::iter::once(("defaults".to_owned(), defaults.fault.as_deref())).chain(groups).chain(of_routes);
    for (place, _) in all.filter(|(_, fault)| fault.and_then(Switch::on).is_some_and(fails_all)) {
        let message = "every request is answered with an error on purpose, and none comes to its service";
        let warning = origin.warning(&format!("{place}.fault.abort"), message);
        found.push(warning.with_help("set `percent`, or the `header` of requests that are to fail"));
    }
    for (i, route) in routes.iter().enumerate() {
        let answers =
            [("respond", route.respond.is_some()), ("identity", route.identity), ("jwks", route.jwks)];
        if let (Some(service), Some((by, _))) = (&route.service, answers.iter().find(|(_, answers)| *answers))
        {
            let message = format!("`{service}` is never asked: `{by}` answers every request of this route");
            let warning = origin.warning(&format!("routes[{i}].service"), message);
            found.push(warning.with_help(format!("take `service` or `{by}` out")));
        }
    }
    found
}

fn fails_all(fault: &FaultSettings) -> bool {
    fault.header.is_none() && fault.abort.as_ref().is_some_and(|abort| abort.percent >= 100.0)
}
