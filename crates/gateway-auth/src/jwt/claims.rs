//! What the claims of a token must say, as a decision over them and a time: no clock, no I/O.

use crate::jwt::settings::{JwtSettings, OneOrMany};
use crate::refusal::Refusal;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What the claims must say.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    issuer: Option<OneOrMany>,
    audience: Option<OneOrMany>,
    leeway: f64,
    required: Vec<String>,
    values: BTreeMap<String, Value>,
    require_exp: bool,
    max_age: Option<MaxAge>,
    id: Vec<String>,
}

#[derive(Debug)]
struct MaxAge {
    claim: String,
    seconds: f64,
}

/// How far ahead of ours an issuer's clock may be where a token's age is measured: the largest leeway there is.
const MAX_AHEAD: f64 = 60.0;

impl Rules {
    pub(crate) fn new(settings: &JwtSettings) -> Self {
        let max_age = settings.max_age.map(|age| MaxAge {
            claim: settings.max_age_claim.clone().unwrap_or_else(|| "iat".to_owned()),
            seconds: age.as_secs_f64(),
        });
        Self {
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            leeway: settings.leeway.map_or(0.0, |leeway| leeway.as_secs_f64()),
            required: settings.required_claims.clone(),
            values: settings.required.clone(),
            require_exp: settings.require_exp.unwrap_or(true),
            max_age,
            id: match &settings.id_claim {
                None => vec!["sub".to_owned(), "email".to_owned()],
                Some(OneOrMany::One(name)) => vec![name.clone()],
                Some(OneOrMany::Many(names)) => names.clone(),
            },
        }
    }

    /// Whose token it is; empty if it does not say.
    pub(crate) fn id(&self, claims: &Map<String, Value>) -> String {
        let named = self.id.iter().find_map(|name| match claims.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        named.unwrap_or_default()
    }

    /// When a token was issued, as far as it says so.
    pub(crate) fn issued(&self, claims: &Map<String, Value>) -> Option<f64> {
        let other = self.max_age.as_ref().map(|age| age.claim.as_str());
        claims.get("iat").or_else(|| claims.get(other?))?.as_f64()
    }

    /// When a token ends, in seconds since 1970 and leeway included; infinite if it never does. Says nothing of
    /// whether it is good.
    pub(crate) fn end(&self, claims: &Map<String, Value>) -> f64 {
        let time = |name: &str| claims.get(name).and_then(Value::as_f64);
        let exp = time("exp").unwrap_or(f64::INFINITY);
        let old = self.max_age.as_ref().and_then(|age| Some(time(&age.claim)? + age.seconds));
        exp.min(old.unwrap_or(f64::INFINITY)) + self.leeway
    }

    /// Whether a token with these claims is good at this time.
    pub(crate) fn check(&self, claims: &Map<String, Value>, now: f64) -> Result<(), Refusal> {
        if let Some(issuer) = &self.issuer
            && !claims.get("iss").and_then(Value::as_str).is_some_and(|seen| issuer.contains(seen))
        {
            return Err(Refusal::Foreign("the token has another issuer"));
        }
        self.check_times(claims, now)?;
        if let Some(audience) = &self.audience
            && !is_for(claims.get("aud"), audience)
        {
            return Err(Refusal::Invalid("the token is for another audience"));
        }
        if self.required.iter().any(|name| !claims.contains_key(name)) {
            return Err(Refusal::Invalid("the token lacks a required claim"));
        }
        if self.values.iter().any(|(name, wanted)| !claims.get(name).is_some_and(|seen| says(seen, wanted))) {
            return Err(Refusal::Invalid("a claim of the token has another value than required"));
        }
        Ok(())
    }

    fn check_times(&self, claims: &Map<String, Value>, now: f64) -> Result<(), Refusal> {
        // RFC 7519 §2: seconds, not necessarily whole.
        let time = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(value) => {
                value.as_f64().map(Some).ok_or(Refusal::Invalid("a time in the token is no number"))
            }
        };
        match time("exp")? {
            None if self.require_exp => {
                return Err(Refusal::Invalid("the token never expires: it has no exp"));
            }
            Some(exp) if now >= exp + self.leeway => return Err(Refusal::Expired),
            _ => {}
        }
        time("iat")?;
        if time("nbf")?.is_some_and(|from| now < from - self.leeway) {
            return Err(Refusal::Invalid("the token is not valid yet"));
        }
        let Some(age) = &self.max_age else { return Ok(()) };
        let from = time(&age.claim)?.ok_or(Refusal::Invalid("the token does not say how old it is"))?;
        if from > now + MAX_AHEAD {
            return Err(Refusal::Invalid("the token comes from the future"));
        }
        if now >= from + age.seconds + self.leeway {
            return Err(Refusal::Expired);
        }
        Ok(())
    }
}

/// A text, or a list of texts of which one is enough. One that is no text makes the claim malformed, whatever else
/// it holds (RFC 7519 §4.1.3).
fn is_for(claim: Option<&Value>, audience: &OneOrMany) -> bool {
    match claim {
        Some(Value::String(one)) => audience.contains(one),
        Some(Value::Array(many)) if many.iter().all(Value::is_string) => {
            many.iter().filter_map(Value::as_str).any(|one| audience.contains(one))
        }
        _ => false,
    }
}

/// Whether a claim is this, or a list with it; of several wanted, one is enough.
fn says(seen: &Value, wanted: &Value) -> bool {
    let one = |wanted: &Value| match seen {
        Value::Array(many) => many.contains(wanted),
        seen => seen == wanted,
    };
    match wanted {
        Value::Array(any) => any.iter().any(one),
        wanted => one(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(settings: Value) -> Rules {
        Rules::new(&serde_json::from_value(settings).unwrap())
    }

    fn check(rules: &Rules, claims: &Value, now: f64) -> Result<(), Refusal> {
        rules.check(claims.as_object().unwrap(), now)
    }

    #[test]
    fn times_are_exact_to_the_second() {
        let (plain, lenient) = (rules(json!({})), rules(json!({ "leeway": "10s" })));
        for (rules, leeway) in [(&plain, 0.0), (&lenient, 10.0)] {
            for (claims, from, to) in [
                (json!({ "exp": 1000 }), 0.0, 1000.0 + leeway),
                (json!({ "exp": 1000, "nbf": 500 }), 500.0 - leeway, 1000.0 + leeway),
                (json!({ "exp": 1000.5, "nbf": 500.5 }), 500.5 - leeway, 1000.5 + leeway),
            ] {
                assert_eq!(check(rules, &claims, from), Ok(()), "{claims} at {from}");
                assert_eq!(check(rules, &claims, to - 0.001), Ok(()), "{claims} before {to}");
                assert_eq!(check(rules, &claims, to), Err(Refusal::Expired), "{claims} at {to}");
                if from > 0.0 {
                    let early = check(rules, &claims, from - 0.001);
                    assert_eq!(early, Err(Refusal::Invalid("the token is not valid yet")), "{claims}");
                }
                let object = claims.as_object().unwrap();
                assert_eq!(rules.end(object), to, "it is remembered for just as long");
            }
        }
    }

    #[test]
    fn s0_19_the_age_is_measured_from_a_claim_of_any_name() {
        let rules =
            rules(json!({ "max_age": "604800s", "max_age_claim": "timestamp", "require_exp": false }));
        for (claims, expected) in [
            (json!({ "timestamp": 1_000_000 }), Ok(())),
            (json!({ "timestamp": 1_000_000 - 604_799 }), Ok(())),
            (json!({ "timestamp": 1_000_000 - 604_800 }), Err(Refusal::Expired)),
            (json!({ "timestamp": 1_000_000, "exp": 999_999 }), Err(Refusal::Expired)),
            (json!({ "timestamp": 1_000_060 }), Ok(())),
            (json!({ "timestamp": 1_000_061 }), Err(Refusal::Invalid("the token comes from the future"))),
            (json!({ "timestamp": "1000000" }), Err(Refusal::Invalid("a time in the token is no number"))),
            (json!({ "iat": 1_000_000 }), Err(Refusal::Invalid("the token does not say how old it is"))),
        ] {
            assert_eq!(check(&rules, &claims, 1_000_000.0), expected, "{claims}");
        }
        let both = json!({ "timestamp": 10, "exp": 20 });
        assert_eq!(rules.end(both.as_object().unwrap()), 20.0, "what comes first ends it");
    }

    #[test]
    fn required_claims_may_have_to_have_a_value() {
        let rules = rules(json!({
            "require_exp": false,
            "required": { "email_verified": true, "role": ["admin", "owner"] },
        }));
        for (claims, good) in [
            (json!({ "email_verified": true, "role": "admin" }), true),
            (json!({ "email_verified": true, "role": ["user", "owner"] }), true),
            (json!({ "email_verified": true, "role": ["user"] }), false),
            (json!({ "email_verified": true }), false),
            (json!({ "email_verified": "true", "role": "admin" }), false),
            (json!({ "email_verified": 1, "role": "admin" }), false),
            (json!({ "role": "admin" }), false),
        ] {
            assert_eq!(check(&rules, &claims, 0.0).is_ok(), good, "{claims}");
        }
    }
}
