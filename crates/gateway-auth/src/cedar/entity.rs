//! What policies see of a request.

use crate::Head;
use cedar_policy::{
    Context, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression as Expression,
};
use gateway_core::{ClientAddr, Principal};
use http::HeaderName;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Attributes of the principal that are not claims.
pub(crate) const OWN: [&str; 4] = ["id", "roles", "scopes", "method"];

pub(crate) fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

/// Who calls, with `id`, `roles`, `scopes`, `method` and these claims as attributes, and in the groups that the
/// entities' file has it in.
pub(crate) fn principal(
    uid: EntityUid,
    parents: HashSet<EntityUid>,
    caller: Option<&Principal>,
    claims: &[String],
) -> Result<Entity, String> {
    let mut attributes = HashMap::with_capacity(OWN.len() + claims.len());
    let mut put = |name: &str, value| drop(attributes.insert(name.to_owned(), value));
    let id = caller.map_or("", Principal::id);
    let method = caller.map_or("", |caller| caller.method().name());
    put("id", text(id));
    put("method", text(method));
    put("roles", Expression::new_set(caller.into_iter().flat_map(Principal::roles).map(text)));
    put("scopes", Expression::new_set(caller.into_iter().flat_map(Principal::scopes).map(text)));
    for name in claims {
        if let Some(value) = caller.and_then(|caller| caller.claim_at(name)).and_then(value) {
            put(name, value);
        }
    }
    Entity::new(uid, attributes, parents).map_err(|error| error.to_string())
}

/// Where the request goes, with `path`, `service` and `host` as attributes.
pub(crate) fn resource(
    uid: EntityUid,
    parents: HashSet<EntityUid>,
    service: &str,
    head: Head<'_>,
) -> Result<Entity, String> {
    let host = head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let host = head.uri.host().or(host).unwrap_or_default();
    let attributes = [("path", head.uri.path()), ("service", service), ("host", host)];
    let attributes = attributes.map(|(name, value)| (name.to_owned(), text(value)));
    Entity::new(uid, attributes.into(), parents).map_err(|error| error.to_string())
}

/// `ip`, where it is known, `time` in seconds since 1970, and `headers`.
pub(crate) fn context(head: Head<'_>, headers: &[(HeaderName, String)], now: i64) -> Result<Context, String> {
    let shown = headers.iter().filter_map(|(name, shown)| {
        let value = head.headers.get(name)?.to_str().ok()?;
        Some((shown.clone(), text(value)))
    });
    let shown = Expression::new_record(shown).map_err(|error| error.to_string())?;
    let ip = head.extensions.get::<ClientAddr>().map(|client| Expression::new_ip(client.ip().to_string()));
    let pairs = [("time", Some(Expression::new_long(now))), ("headers", Some(shown)), ("ip", ip)];
    let pairs = pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Context::from_pairs(pairs).map_err(|error| error.to_string())
}

fn text(text: &str) -> Expression {
    Expression::new_string(text.to_owned())
}

/// A claim in Cedar's terms, which has neither `null` nor fractions.
fn value(claim: &Value) -> Option<Expression> {
    match claim {
        Value::Null => None,
        Value::Bool(on) => Some(Expression::new_bool(*on)),
        Value::Number(number) => number.as_i64().map(Expression::new_long),
        Value::String(words) => Some(text(words)),
        Value::Array(list) => Some(Expression::new_set(list.iter().filter_map(value))),
        Value::Object(table) => {
            let pairs = table.iter().filter_map(|(name, claim)| Some((name.clone(), value(claim)?)));
            Expression::new_record(pairs).ok()
        }
    }
}
