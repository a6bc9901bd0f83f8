use crate::jwt::keyring::main_key;
use crate::{Algorithm, AuthError, JwtSettings};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

/// Signs a token with the secret of these settings, with the `typ` that they ask for: for tests and for trying things out.
///
/// # Errors
/// The settings have a public key, which cannot sign, or no usable secret.
pub fn mint(settings: &JwtSettings, claims: impl Serialize) -> Result<String, AuthError> {
    let mut own = vec![main_key(settings)];
    own.extend(settings.keys.iter().cloned());
    for key in own {
        let Some(secret) = key.read_secret("")? else { continue };
        let (algorithm, name) = match key.algorithms.first() {
            Some(Algorithm::HS384) => (hmac::HMAC_SHA384, "HS384"),
            Some(Algorithm::HS512) => (hmac::HMAC_SHA512, "HS512"),
            _ => (hmac::HMAC_SHA256, "HS256"),
        };
        let kid = key.kid.map_or(String::new(), |kid| format!(",\"kid\":{}", serde_json::Value::from(kid)));
        let typ = serde_json::Value::from(settings.typ.as_deref().unwrap_or("JWT"));
        let header = format!("{{\"typ\":{typ},\"alg\":\"{name}\"{kid}}}");
        let claims = serde_json::to_vec(&claims).map_err(|error| AuthError::Mint(error.to_string()))?;
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = hmac::sign(&hmac::Key::new(algorithm, &secret), text.as_bytes());
        return Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)));
    }
    Err(AuthError::CannotSign)
}
