//! Where a key belongs that stands in the wrong table.

use crate::config::Settings;
use std::sync::LazyLock;

/// Tables whose keys are looked for in others, the likeliest first, and what they are called.
const TABLES: [(&str, &str); 8] = [
    ("services.NAME", "a service, [services.NAME]"),
    ("server", "[server]"),
    ("services.NAME.balance", "[services.NAME.balance]"),
    ("services.NAME.connection", "[services.NAME.connection]"),
    ("services.NAME.endpoints[]", "an endpoint, { url = \"…\" } in `endpoints`"),
    ("routes[]", "a route, [[routes]]"),
    ("auth", "[auth]"),
    ("", "the file itself, before its first table"),
];

/// The keys of each of them.
static KEYS: LazyLock<Vec<Vec<String>>> = LazyLock::new(|| {
    let reference = crate::reference::keys(schemars::schema_for!(Settings).as_value());
    let of = |table: &str| {
        let below = reference.iter().filter_map(|key| match table {
            "" => Some(key.as_str()),
            _ => key.strip_prefix(table)?.strip_prefix('.'),
        });
        below.filter(|key| !key.contains(['.', '['])).map(str::to_owned).collect()
    };
    TABLES.iter().map(|(table, _)| of(table)).collect()
});

/// What to say of a key that its table does not have: where it belongs, or what it is called there.
pub(super) fn hint(table: &str, name: &str) -> Option<String> {
    if name == "tls" && !table.starts_with("services.") {
        return Some("TLS is ended in front of the gateway, not by it: see docs/deployment.md".to_owned());
    }
    let general = general(table);
    let mut found = TABLES
        .iter()
        .zip(&*KEYS)
        .filter(|((other, _), keys)| *other != general && keys.iter().any(|key| key == name));
    let own = TABLES.iter().position(|(other, _)| *other == general).map(|own| &KEYS[own]);
    let longer = own.into_iter().flatten().find(|key| {
        let rest = name.strip_prefix(key.as_str()).or_else(|| key.strip_prefix(name));
        rest.is_some_and(|rest| rest.starts_with('_'))
    });
    match (longer, found.next()) {
        (Some(key), _) => Some(format!("did you mean `{key}`?")),
        (None, Some(((_, called), _))) => Some(format!("it is a key of {called}")),
        (None, None) => None,
    }
}

/// What to say of a key that is no table and stands where a table of some name does, as `secret` in `[auth.jwt]`, or for
/// tables of some names, as `[[services]]`.
pub(super) fn nameless(key: &str) -> Option<String> {
    let Some((table, _)) = key.rsplit_once('.') else {
        return matches!(key, "services" | "groups").then(|| format!("each has a name: [{key}.NAME]"));
    };
    let kind = table.strip_prefix("auth.").filter(|kind| !kind.contains('.'));
    let named = kind.is_some() || matches!(table, "services" | "groups");
    named.then(|| format!("a name stands before it: [{table}.NAME]"))
}

/// A table as the reference calls it. What all routes may have is told of a route.
fn general(table: &str) -> String {
    match table.split(['.', '[']).collect::<Vec<_>>()[..] {
        ["defaults"] | ["groups", _] | ["routes", _] => "routes[]".to_owned(),
        ["services", _] => "services.NAME".to_owned(),
        ["services", _, part] => format!("services.NAME.{part}"),
        ["services", _, "endpoints", _] => "services.NAME.endpoints[]".to_owned(),
        _ => table.to_owned(),
    }
}
