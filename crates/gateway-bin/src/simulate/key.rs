//! What a request is counted under, so far as logs tell.

use crate::config::{Origin, RoutePlan, join};
use crate::explain::Logged;
use gateway_core::client_network;
use gateway_ratelimit::KeyPart;
use serde::Deserialize;
use serde_json::Value;
use std::net::IpAddr;

/// The parts of a limit's key as it is written.
pub(super) fn parts(origin: &Origin, limit: &str) -> Vec<KeyPart> {
    let written = origin.written(&join(&join("rate_limits", limit), "key"));
    let part = |value: &Value| KeyPart::deserialize(value).ok();
    match written {
        Some(Value::Array(parts)) => parts.iter().filter_map(part).collect(),
        Some(one) => part(one).into_iter().collect(),
        None => vec![KeyPart::Caller],
    }
}

/// A key, and whether the request had all parts of it.
pub(super) fn key(parts: &[KeyPart], logged: &Logged, route: &RoutePlan) -> (String, bool) {
    let (mut key, mut whole) = (String::new(), true);
    for part in parts {
        if !key.is_empty() {
            key.push('|');
        }
        match text(part, logged, route) {
            Some(text) => key.push_str(&text),
            None if *part == KeyPart::All => key.push_str("all"),
            None => {
                whole = false;
                key.push_str("nobody");
            }
        }
    }
    (key, whole)
}

fn text(part: &KeyPart, logged: &Logged, route: &RoutePlan) -> Option<String> {
    let principal = || logged.user.as_ref().map(|user| format!("principal={user}"));
    match part {
        KeyPart::Caller => principal().or_else(|| address(logged.client)),
        KeyPart::ClientIp => address(logged.client),
        KeyPart::Principal => principal(),
        KeyPart::Route => Some(format!("route={}", route.name)),
        KeyPart::Service => route.service.as_ref().map(|service| format!("service={service}")),
        KeyPart::Query(name) => {
            let mut pairs = logged.url.split_once('?')?.1.split('&');
            let value = pairs.find_map(|pair| pair.strip_prefix(name.as_str())?.strip_prefix('='));
            value.map(|value| format!("query={value}"))
        }
        KeyPart::Path => Some(format!("path={}", logged.url.split('?').next().unwrap_or_default())),
        KeyPart::Method => Some(format!("method={}", logged.method)),
        KeyPart::ApiKey
        | KeyPart::All
        | KeyPart::Header(_)
        | KeyPart::Claim(_)
        | KeyPart::Cookie(_)
        | KeyPart::Capture(_) => None,
    }
}

/// As limits count it: IPv6 by /64.
fn address(client: Option<IpAddr>) -> Option<String> {
    Some(match client_network(client?) {
        IpAddr::V4(ip) => format!("ip={ip}"),
        IpAddr::V6(network) => format!("ip={network}/64"),
    })
}

/// What a part needs that logs do not tell.
pub(super) fn untold(part: &KeyPart) -> Option<String> {
    Some(match part {
        KeyPart::Header(name) => format!("the header `{name}`"),
        KeyPart::Claim(path) => format!("the claim `{path}`"),
        KeyPart::Cookie(name) => format!("the cookie `{name}`"),
        KeyPart::Capture(name) => format!("what routes capture as `{name}`"),
        KeyPart::ApiKey => "who has an API key".to_owned(),
        _ => return None,
    })
}
