//! Whether a token is good at a time: no clock, no I/O.

use crate::jwt::key::Key;
use crate::jwt::settings::{JwtSettings, OneOrMany};
use crate::refusal::Refusal;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_core::{AuthMethod, Principal};
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Map, Value};
use std::sync::atomic::{AtomicU64, Ordering};

/// A good token is far smaller, and whoever sends a larger one wants us to hash it.
const MAX_TOKEN: usize = 16 * 1024;

pub(crate) struct Verifier {
    key: DecodingKey,
    validation: Validation,
    rules: Rules,
    /// How many signatures were checked.
    pub(crate) verifications: AtomicU64,
}

/// What the claims must say.
#[derive(Debug, Default)]
struct Rules {
    issuer: Option<OneOrMany>,
    audience: Option<OneOrMany>,
    leeway: f64,
    required: Vec<String>,
}

/// Who a good token stands for, and until when, in seconds since 1970.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    pub(crate) principal: Principal,
    pub(crate) expires: f64,
}

impl Verifier {
    pub(crate) fn new(settings: &JwtSettings, Key { key, algorithms, .. }: Key) -> Self {
        let mut validation = Validation { algorithms, ..Validation::default() };
        // Times, issuer and audience are checked below, against a time that is given.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        let rules = Rules {
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            leeway: settings.leeway.map_or(0.0, |leeway| leeway.as_secs_f64()),
            required: settings.required_claims.clone(),
        };
        Self { key, validation, rules, verifications: AtomicU64::new(0) }
    }

    /// Checks the signature and the claims.
    pub(crate) fn verify(&self, token: &str, now: f64) -> Result<Verified, Refusal> {
        self.verifications.fetch_add(1, Ordering::Relaxed);
        check_header(token)?;
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &self.key, &self.validation)
            .map_err(|error| Refusal::Invalid(plain(error.kind())))?
            .claims;
        self.accept(claims, now)
    }

    /// Checks claims whose signature was good: of this token, or as another instance left them.
    pub(crate) fn accept(&self, claims: Map<String, Value>, now: f64) -> Result<Verified, Refusal> {
        let expires = self.rules.check(&claims, now)? + self.rules.leeway;
        let id = ["sub", "email"]
            .iter()
            .find_map(|name| claims.get(*name)?.as_str())
            .unwrap_or_default()
            .to_owned();
        Ok(Verified { principal: Principal::new(id, AuthMethod::Jwt, claims), expires })
    }
}

/// The one token of a request.
pub(crate) fn bearer(headers: &http::HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(http::header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Err(Refusal::Missing),
        (Some(_), Some(_)) => return Err(Refusal::Invalid("there are several Authorization headers")),
        (Some(value), None) => {
            value.to_str().map_err(|_| Refusal::Invalid("the token holds strange characters"))?
        }
    };
    let Some((scheme, token)) = value.split_once(' ') else {
        return Err(Refusal::Invalid("the Authorization header is not `Bearer` and a token"));
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::Invalid("the authentication scheme is not Bearer"));
    }
    let token = token.trim_matches(' ');
    if token.is_empty() || token.len() > MAX_TOKEN {
        return Err(Refusal::Invalid("the token is empty or over 16 KiB"));
    }
    Ok(token)
}

/// A token that names extensions we must understand is refused, for we understand none (RFC 7515 §4.1.11). Keys
/// that it brings along (`jwk`, `jku`, `x5c`, `x5u`) are never looked at.
fn check_header(token: &str) -> Result<(), Refusal> {
    let malformed = || Refusal::Invalid("the token is not made of three parts of base64url");
    let header = token.split('.').next().ok_or_else(malformed)?;
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| malformed())?;
    let header: Map<String, Value> = serde_json::from_slice(&header).map_err(|_| malformed())?;
    if header.contains_key("crit") {
        return Err(Refusal::Invalid("the token has critical extensions"));
    }
    Ok(())
}

impl Rules {
    /// Returns when the token expires, leeway not counted.
    fn check(&self, claims: &Map<String, Value>, now: f64) -> Result<f64, Refusal> {
        // RFC 7519 §2: seconds, not necessarily whole.
        let time = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(value) => {
                value.as_f64().map(Some).ok_or(Refusal::Invalid("a time in the token is no number"))
            }
        };
        let expires = time("exp")?.ok_or(Refusal::Invalid("the token never expires: it has no exp"))?;
        if now >= expires + self.leeway {
            return Err(Refusal::Expired);
        }
        time("iat")?;
        if time("nbf")?.is_some_and(|from| now < from - self.leeway) {
            return Err(Refusal::Invalid("the token is not valid yet"));
        }
        if let Some(issuer) = &self.issuer
            && !claims.get("iss").and_then(Value::as_str).is_some_and(|seen| issuer.contains(seen))
        {
            return Err(Refusal::Invalid("the token has another issuer"));
        }
        if let Some(audience) = &self.audience {
            let meant = match claims.get("aud") {
                Some(Value::String(one)) => audience.contains(one),
                // One that is no text makes the claim malformed, whatever else it holds (RFC 7519 §4.1.3).
                Some(Value::Array(many)) if many.iter().all(Value::is_string) => {
                    many.iter().filter_map(Value::as_str).any(|one| audience.contains(one))
                }
                _ => false,
            };
            if !meant {
                return Err(Refusal::Invalid("the token is for another audience"));
            }
        }
        if self.required.iter().any(|name| !claims.contains_key(name)) {
            return Err(Refusal::Invalid("the token lacks a required claim"));
        }
        Ok(expires)
    }
}

fn plain(kind: &jsonwebtoken::errors::ErrorKind) -> &'static str {
    use jsonwebtoken::errors::ErrorKind as E;
    match kind {
        E::InvalidSignature => "the signature does not match",
        E::InvalidAlgorithm | E::InvalidAlgorithmName => "the algorithm is not the one of the key",
        _ => "the token is malformed",
    }
}

/// What a token says of its end, without a look at its signature.
pub(crate) fn unverified_expiry(token: &str) -> Option<f64> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Map<String, Value>>(&claims).ok()?.get("exp")?.as_f64()
}
