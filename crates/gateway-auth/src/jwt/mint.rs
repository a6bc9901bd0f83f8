use crate::jwt::key;
use crate::{Algorithm, AuthError, JwtSettings};
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

/// Signs a token with the secret of these settings: for tests and for trying things out.
///
/// # Errors
/// The settings have a public key, which cannot sign, or no usable secret.
pub fn mint(settings: &JwtSettings, claims: impl Serialize) -> Result<String, AuthError> {
    let secret = key::secret(settings)?.ok_or(AuthError::CannotSign)?;
    let algorithm = settings.algorithms.first().copied().unwrap_or(Algorithm::HS256);
    let header = Header::new(algorithm.known());
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&secret))
        .map_err(|error| AuthError::Mint(error.to_string()))
}
