//! Access tokens: signed by the key of the moment, verified by any that is kept.

use crate::clock::{Millis, millis};
use crate::keyring::KeySet;
use crate::secret::{base64, new_id};
use crate::{IdentityError, IdentitySettings, Secret, SigningAlgorithm, User};
use jsonwebtoken::{Algorithm, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What a token says of its bearer, as far as this crate asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) sub: String,
    pub(crate) sid: String,
    pub(crate) jti: String,
    pub(crate) iat: i64,
    pub(crate) exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) aud: Option<Value>,
    #[serde(default)]
    pub(crate) roles: Vec<String>,
    #[serde(default)]
    pub(crate) email: String,
    #[serde(flatten)]
    pub(crate) more: Map<String, Value>,
}

/// Signs a token for a session.
pub(crate) fn issue(
    keys: &KeySet,
    settings: &IdentitySettings,
    user: &User,
    session: &str,
    now: Millis,
) -> Result<Secret, IdentityError> {
    let internal = |why: &str| IdentityError::Internal(why.to_owned());
    let key = keys.signing(now).ok_or_else(|| internal("there is no signing key"))?;
    let issued = now / 1000;
    let claims = Claims {
        iss: settings.issuer.clone(),
        sub: user.id.clone(),
        sid: session.to_owned(),
        jti: new_id(now),
        iat: issued,
        exp: issued + millis(*settings.access_token_lifetime()) / 1000,
        aud: settings.audience.clone().map(Value::from),
        roles: user.roles.clone(),
        email: user.email.clone(),
        more: further(settings, user),
    };
    let header = json!({ "alg": key.algorithm.name(), "kid": key.kid, "typ": "JWT" });
    let claims = serde_json::to_vec(&claims).map_err(|_| internal("a token could not be written"))?;
    let mut token = format!("{}.{}", base64(header.to_string().as_bytes()), base64(&claims));
    let signature = key.sign(token.as_bytes()).map_err(internal)?;
    token.push('.');
    token.push_str(&base64(&signature));
    Ok(Secret::new(token))
}

/// The configured claims that the account has a value for.
fn further(settings: &IdentitySettings, user: &User) -> Map<String, Value> {
    let value = |source: &str| match source {
        "email" => Some(user.email.clone().into()),
        "username" => user.username.clone().map(Value::from),
        field => user.profile.get(field.strip_prefix("profile.")?).cloned(),
    };
    settings.claims.iter().filter_map(|(claim, source)| Some((claim.clone(), value(source)?))).collect()
}

/// What a token turned out to be.
pub(crate) enum Checked {
    Good(Box<Claims>),
    /// Signed by a key that is not known, perhaps not yet.
    UnknownKey,
    /// Well signed, and over.
    Expired(Box<Claims>),
    Bad(&'static str),
}

/// Checks a token. The key decides the algorithm, never the token.
pub(crate) fn check(keys: &KeySet, settings: &IdentitySettings, token: &str, now: Millis) -> Checked {
    let Ok(header) = jsonwebtoken::decode_header(token) else { return Checked::Bad("it is no token") };
    let Some(key) = header.kid.as_deref().and_then(|kid| keys.find(kid)) else {
        return Checked::UnknownKey;
    };
    let algorithm = match key.algorithm {
        SigningAlgorithm::ES256 => Algorithm::ES256,
        SigningAlgorithm::EdDSA => Algorithm::EdDSA,
        SigningAlgorithm::RS256 => Algorithm::RS256,
    };
    let mut rules = Validation::new(algorithm);
    // By our own clock, below.
    rules.validate_exp = false;
    rules.set_issuer(&[&settings.issuer]);
    match &settings.audience {
        Some(audience) => rules.set_audience(&[audience]),
        None => rules.validate_aud = false,
    }
    match jsonwebtoken::decode::<Claims>(token, &key.decoding, &rules) {
        Err(_) => Checked::Bad("it is not one of ours"),
        Ok(token) if token.claims.exp.saturating_mul(1000) <= now => Checked::Expired(Box::new(token.claims)),
        Ok(token) => Checked::Good(Box::new(token.claims)),
    }
}
