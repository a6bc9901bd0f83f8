//! What policies see of a request.

use crate::Head;
use crate::cedar::attributes::Attributes;
use crate::cedar::settings::CedarSettings;
use cedar_policy::{
    Context, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression as Expression,
};
use gateway_core::{Captures, ClientAddr, Principal};
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
    shown: &Shown,
) -> Result<Entity, String> {
    let mut attributes = HashMap::with_capacity(OWN.len() + claims.len());
    let mut put = |name: &str, value: &dyn Fn() -> Expression| {
        if shown.attributes.have(name) {
            attributes.insert(name.to_owned(), value());
        }
    };
    put("id", &|| text(caller.map_or("", Principal::id)));
    put("method", &|| text(caller.map_or("", |caller| caller.method().name())));
    put("roles", &|| Expression::new_set(caller.into_iter().flat_map(Principal::roles).map(text)));
    put("scopes", &|| Expression::new_set(caller.into_iter().flat_map(Principal::scopes).map(text)));
    for name in claims {
        let Some(claim) = caller.and_then(|caller| caller.claim_at(name)) else { continue };
        if let Some(value) =
            value(claim).map_err(|why| format!("the claim `{name}` cannot be judged: {why}"))?
        {
            attributes.insert(name.clone(), value);
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
    shown: &Shown,
) -> Result<Entity, String> {
    let host = head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let host = head.uri.host().or(host).unwrap_or_default();
    let attributes = [("path", head.uri.path()), ("service", service), ("host", host)];
    let attributes = attributes.into_iter().filter(|(name, _)| shown.attributes.have(name));
    let attributes = attributes.map(|(name, value)| (name.to_owned(), text(value)));
    Entity::new(uid, attributes.collect(), parents).map_err(|error| error.to_string())
}

/// What of a request the settings have shown in the context.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// With what policies call them.
    headers: Vec<(HeaderName, String)>,
    params: Vec<String>,
    /// Those of caller, route and context that any policy may look at.
    pub(crate) attributes: Attributes,
}

impl Shown {
    /// Without what cannot name a header.
    pub(crate) fn of(settings: &CedarSettings) -> Self {
        let headers = settings.headers.iter().filter_map(|name| {
            let header: HeaderName = name.parse().ok()?;
            let shown = header.as_str().replace('-', "_");
            Some((header, shown))
        });
        Self { headers: headers.collect(), params: settings.params.clone(), attributes: Attributes::any() }
    }
}

/// `ip`, where it is known, `time` in seconds since 1970, `headers`, and `params` if there are any to be shown.
pub(crate) fn context(head: Head<'_>, shown: &Shown, now: i64) -> Result<Context, String> {
    let mut pairs = Vec::with_capacity(4);
    let mut put = |name: &str, value: &dyn Fn() -> Result<Option<Expression>, String>| {
        if shown.attributes.have(name) {
            pairs.extend(value()?.map(|value| (name.to_owned(), value)));
        }
        Ok::<_, String>(())
    };
    put("time", &|| Ok(Some(Expression::new_long(now))))?;
    put("headers", &|| {
        let headers = shown.headers.iter().filter_map(|(name, shown)| {
            let value = head.headers.get(name)?.to_str().ok()?;
            Some((shown.clone(), text(value)))
        });
        record(headers).map(Some)
    })?;
    put("params", &|| {
        if shown.params.is_empty() {
            return Ok(None);
        }
        let found = head.extensions.get::<Captures>();
        record(shown.params.iter().filter_map(|name| Some((name.clone(), text(found?.get(name)?))))).map(Some)
    })?;
    put("ip", &|| {
        let client = head.extensions.get::<ClientAddr>();
        Ok(client.map(|client| Expression::new_ip(client.ip().to_string())))
    })?;
    Context::from_pairs(pairs).map_err(|error| error.to_string())
}

fn record(pairs: impl IntoIterator<Item = (String, Expression)>) -> Result<Expression, String> {
    Expression::new_record(pairs).map_err(|error| error.to_string())
}

fn text(text: &str) -> Expression {
    Expression::new_string(text.to_owned())
}

/// A claim in Cedar's terms; `null` is none. Cedar has neither fractions nor numbers of more than 64 bits: a claim with
/// one cannot be judged, which is not as if it were not there.
fn value(claim: &Value) -> Result<Option<Expression>, String> {
    Ok(Some(match claim {
        Value::Null => return Ok(None),
        Value::Bool(on) => Expression::new_bool(*on),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Expression::new_long(number),
            None => return Err("it has a fraction, or more than 64 bits".to_owned()),
        },
        Value::String(words) => text(words),
        Value::Array(list) => {
            let values = list.iter().filter_map(|claim| value(claim).transpose());
            Expression::new_set(values.collect::<Result<Vec<_>, _>>()?)
        }
        Value::Object(table) => {
            let pairs = table.iter();
            let pairs =
                pairs.filter_map(|(name, claim)| Some(value(claim).transpose()?.map(|v| (name.clone(), v))));
            record(pairs.collect::<Result<Vec<_>, _>>()?)?
        }
    }))
}
