//! What a token says, and what it is remembered by.

use gateway_core::{KeyedHash, Principal};
use serde_json::{Map, Value};
use std::hash::{Hash, Hasher};

/// Names that the gateway's own claims have.
pub(crate) const OWN: [&str; 9] = ["iss", "aud", "sub", "iat", "exp", "nbf", "jti", "route", "service"];

/// For whom a token is, and who calls.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) caller: Option<&'a Principal>,
    /// The caller's claims that are passed on.
    pub(crate) claims: &'a [String],
    pub(crate) route: &'a str,
    pub(crate) service: &'a str,
}

impl Subject<'_> {
    /// What it is remembered by.
    pub(crate) fn key(&self, hash: &KeyedHash) -> u128 {
        let mut hasher = hash.begin();
        self.hash(&mut hasher);
        hasher.whole()
    }

    /// The claims, as JSON.
    pub(crate) fn claims(&self, issuer: &str, audience: Option<&str>, now: u64, ttl: u64) -> Vec<u8> {
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
        put("iss", issuer.into());
        put("aud", audience.unwrap_or(self.service).into());
        put("iat", now.into());
        put("exp", (now + ttl).into());
        put("route", self.route.into());
        put("service", self.service.into());
        if let Some(caller) = self.caller {
            if !caller.id().is_empty() {
                put("sub", caller.id().into());
            }
            for name in self.claims {
                if let Some(claim) = caller.claim_at(name) {
                    put(name, claim.clone());
                }
            }
        }
        // Texts and numbers always serialise.
        serde_json::to_vec(&claims).unwrap_or_default()
    }
}

impl Hash for Subject<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.route, self.service, self.caller.map(Principal::id)).hash(state);
        if let Some(caller) = self.caller {
            self.claims.iter().for_each(|name| hash(caller.claim_at(name), state));
        }
    }
}

/// Without an allocation. What kind a value is goes in too, so that different values stay different.
fn hash(value: Option<&Value>, state: &mut impl Hasher) {
    match value {
        None => 0u8.hash(state),
        Some(Value::Null) => 1u8.hash(state),
        Some(Value::Bool(on)) => (2u8, on).hash(state),
        Some(Value::Number(number)) => (3u8, number).hash(state),
        Some(Value::String(text)) => (4u8, text).hash(state),
        Some(Value::Array(list)) => {
            (5u8, list.len()).hash(state);
            list.iter().for_each(|value| hash(Some(value), state));
        }
        Some(Value::Object(table)) => {
            (6u8, table.len()).hash(state);
            for (name, value) in table {
                name.hash(state);
                hash(Some(value), state);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::AuthMethod;
    use serde_json::json;

    #[test]
    fn subjects_are_the_same_only_if_a_token_would_say_the_same() {
        let hash = KeyedHash::default();
        let names = ["a".to_owned(), "b".to_owned()];
        let caller = |id: &str, claims: Value| {
            Some(Principal::new(id, AuthMethod::Jwt, claims.as_object().unwrap().clone()))
        };
        let callers = [
            None,
            caller("", json!({})),
            caller("x", json!({})),
            caller("x", json!({ "a": null })),
            caller("x", json!({ "a": "1" })),
            caller("x", json!({ "a": 1 })),
            caller("x", json!({ "b": 1 })),
            caller("x", json!({ "a": ["1", "2"] })),
            caller("x", json!({ "a": [["1", "2"]] })),
            caller("x", json!({ "a": ["12"] })),
            caller("x", json!({ "a": { "1": "2" } })),
        ];
        let mut seen = Vec::new();
        for (route, service) in [("r", "s"), ("rs", ""), ("r", "t")] {
            for caller in &callers {
                let subject = Subject { caller: caller.as_ref(), claims: &names, route, service };
                let key = subject.key(&hash);
                assert_eq!(key, subject.key(&hash));
                assert!(!seen.contains(&key), "{route} {service} {caller:?}");
                seen.push(key);
            }
        }
        let with = |claims| caller("x", claims).unwrap();
        let of = |caller: &Principal| {
            Subject { caller: Some(caller), claims: &names, route: "r", service: "s" }.key(&hash)
        };
        assert_eq!(
            of(&with(json!({ "a": 1 }))),
            of(&with(json!({ "a": 1, "exp": 7 }))),
            "not told, not compared"
        );
    }
}
