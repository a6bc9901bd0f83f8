//! Whether a schema describes what the gateway shows to policies. Where it does not, policies that fit the schema would
//! be wrong of every request.

use crate::cedar::entity::{Shown, context, principal, resource, uid};
use crate::cedar::mistake::CedarMistake;
use crate::cedar::settings::CedarSettings;
use crate::cedar::source::{Source, said, wrong_setting};
use cedar_policy::{Entities, Entity, Schema};
use gateway_core::{AuthMethod, Captures, ClientAddr, Principal};
use http::{HeaderName, HeaderValue, Request};
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

const USER: &str = "expected `entity User { id: String, method: String, roles: Set<String>, scopes: Set<String>, … };`, with `?` after the names of claims";
const ROUTE: &str = "expected `entity Route { path: String, service: String, host: String };`";
const CONTEXT: &str =
    "expected `context: { ip?: ipaddr, time: Long, headers: { … } }`, with `?` after the names of headers";

/// What does not.
pub(crate) fn fits(schema: &Schema, source: &Source, settings: &CedarSettings) -> Vec<CedarMistake> {
    sample(schema, source, settings).unwrap_or_else(|error| vec![source.wrong_at(None, error)])
}

fn sample(schema: &Schema, source: &Source, settings: &CedarSettings) -> Result<Vec<CedarMistake>, String> {
    let kind = |name: &str| name.parse().map_err(|error: cedar_policy::ParseErrors| error.to_string());
    let (user, route) = (kind("User")?, kind("Route")?);
    let claims = [("roles", "role"), ("scope", "scope")].map(|(name, value)| (name.to_owned(), value.into()));
    let caller = Principal::new("id", AuthMethod::Jwt, claims.into_iter().collect());
    let mut request = Request::new(());
    request.extensions_mut().insert(ClientAddr(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
    let params = settings.params.iter().map(|name| (Arc::from(name.as_str()), String::new()));
    request.extensions_mut().insert(params.collect::<Captures>());
    for name in settings.headers.iter().filter_map(|name| name.parse::<HeaderName>().ok()) {
        request.headers_mut().insert(name, HeaderValue::from_static(""));
    }
    let (head, shown) = (crate::Head::of(&request), Shown::of(settings));

    let mut mistakes = Vec::new();
    let mut check = |name: &str, entity: Entity, help: &str| {
        if let Err(error) = Entities::from_entities([entity], Some(schema)) {
            let place = place_of_entity(&source.text, name);
            let error = said(&error);
            let message = format!("`{name}` is not what the gateway shows to policies: {error}");
            mistakes.push(CedarMistake { help: Some(help.to_owned()), ..source.wrong_at(place, message) });
        }
    };
    let none = HashSet::new;
    check("User", principal(uid(&user, "id"), none(), Some(&caller), &[], &shown)?, USER);
    check("Route", resource(uid(&route, "name"), none(), "service", head, &shown)?, ROUTE);

    let actions: Vec<_> = schema.actions_for_principal_and_resource(&user, &route).collect();
    if actions.is_empty() {
        let message = "no action applies to callers and routes, so that nobody could pass";
        let help =
            "expected `action GET, POST appliesTo { principal: User, resource: Route, context: { … } };`";
        mistakes.push(CedarMistake { help: Some(help.to_owned()), ..source.wrong_at(None, message) });
    }
    for action in &actions {
        if let Err(error) = context(head, &shown, 0)?.validate(schema, action) {
            let place = source.text.find("context");
            let place = place.map(|at| at..at + "context".len());
            let error = said(&error);
            let message =
                format!("the context of {action} is not what the gateway shows to policies: {error}");
            mistakes.push(CedarMistake { help: Some(CONTEXT.to_owned()), ..source.wrong_at(place, message) });
        }
    }
    if let Some(named) = &settings.action
        && !actions.iter().any(|action| action.id().unescaped() == named)
    {
        let message =
            format!("the schema has no action `{named}` of callers on routes; expected one that it has");
        mistakes.push(wrong_setting("action", message));
    }
    Ok(mistakes)
}

/// Where an entity of this name is declared.
fn place_of_entity(text: &str, name: &str) -> Option<std::ops::Range<usize>> {
    let declared = format!("entity {name}");
    text.find(&declared).map(|at| at + "entity ".len()..at + declared.len())
}
