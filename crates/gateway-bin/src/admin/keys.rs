//! API keys, managed while the gateway runs.

use super::{Admin, Answer, body, json, not_allowed, refused};
use gateway_auth::{ApiKey, ApiKeyEntry, KeyRing};
use gateway_core::{Code, Problem, percent};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What the keys begin with whose maker says nothing else.
const PREFIX: &str = "gw";

/// A key that is asked for: an entry without a hash.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    prefix: Option<String>,
    #[serde(flatten)]
    entry: Map<String, Value>,
}

impl Admin {
    /// `GET /keys`, `POST /keys/RING`, `DELETE /keys/RING/ID`.
    pub(super) async fn keys(&self, request: Request<Incoming>) -> Answer {
        let rings = self.view.load().plan.auth.rings();
        let path = request.uri().path().to_owned();
        // Decoded part by part: an id may hold a slash.
        let parts = path.trim_start_matches("/keys").split('/').filter(|part| !part.is_empty());
        let mut parts = parts.map(|part| String::from_utf8_lossy(&percent::decoded(part)).into_owned());
        let (first, second, third) = (parts.next(), parts.next(), parts.next());
        match (request.method(), first.as_deref(), second.as_deref(), third) {
            (&Method::GET, None, ..) => list(&rings),
            (&Method::POST, Some(name), None, _) => match rings.get(name) {
                Some(ring) => add(ring, request).await,
                None => no_ring(name, &rings),
            },
            (&Method::DELETE, Some(name), Some(id), None) => match rings.get(name) {
                Some(ring) => revoke(ring, id).await,
                None => no_ring(name, &rings),
            },
            (_, None, ..) => not_allowed("GET"),
            (_, Some(_), None, _) => not_allowed("POST"),
            (_, Some(_), Some(_), None) => not_allowed("DELETE"),
            _ => refused(Code::NoRoute, "there are /keys, /keys/NAME and /keys/NAME/ID"),
        }
    }
}

fn list(rings: &BTreeMap<String, KeyRing>) -> Answer {
    let shown = rings.iter().map(|(name, ring)| {
        let keys = ring.list().into_iter().map(|key| {
            let mut shown = serde_json::to_value(&key.entry).unwrap_or_default();
            shown["last_used"] = json!(key.last_used);
            shown
        });
        (name.clone(), Value::Array(keys.collect()))
    });
    json(StatusCode::OK, &Value::Object(shown.collect()))
}

/// Makes a key, and tells it this once.
async fn add(ring: &KeyRing, request: Request<Incoming>) -> Answer {
    let asked: Asked = match body(request).await {
        Ok(asked) => asked,
        Err(problem) => return problem.into_response(),
    };
    let key = ApiKey::generate(asked.prefix.as_deref().unwrap_or(PREFIX));
    let mut entry = asked.entry;
    entry.insert("hash".to_owned(), json!(key.hash()));
    let entry: ApiKeyEntry = match serde_json::from_value(Value::Object(entry)) {
        Ok(entry) => entry,
        Err(error) => return refused(Code::BadRequest, &format!("the body is not a key: {error}")),
    };
    if let Err(why) = entry.check_id() {
        return refused(Code::BadRequest, &format!("the body is not a key: `id`: {why}"));
    }
    match ring.add(&entry).await {
        Ok(()) => {
            json(StatusCode::CREATED, &json!({ "id": entry.id, "key": key.as_str(), "hash": entry.hash }))
        }
        Err(error) => refused(Code::StoreUnavailable, &error.to_string()),
    }
}

async fn revoke(ring: &KeyRing, id: &str) -> Answer {
    match ring.revoke(id).await {
        Ok(0) => refused(Code::NotFound, &format!("no key that is good has the id `{id}`")),
        Ok(revoked) => json(StatusCode::OK, &json!({ "revoked": revoked })),
        Err(error) => refused(Code::StoreUnavailable, &error.to_string()),
    }
}

fn no_ring(name: &str, rings: &BTreeMap<String, KeyRing>) -> Answer {
    let known: Vec<&str> = rings.keys().map(String::as_str).collect();
    let detail = match known.as_slice() {
        [] => "no [auth.api_keys] is configured".to_owned(),
        known => format!("there is no [auth.api_keys] `{name}`; there are {}", known.join(", ")),
    };
    Problem::new(Code::NotFound).with_detail(detail).into_response()
}
