//! A public key from its PEM.

use crate::AuthError;
use crate::jwt::algorithm::Algorithm;
use crate::jwt::key::{Key, KeyId, Material};
use jsonwebtoken::DecodingKey;

/// An RSA, EC (P-256, P-384, P-521) or Ed25519 public key.
pub(crate) fn key(
    id: KeyId,
    kid: Option<&str>,
    pem: &[u8],
    algorithms: &[Algorithm],
) -> Result<Key, AuthError> {
    let bytes =
        |key: &DecodingKey| key.try_get_as_bytes().map(<[u8]>::to_vec).map_err(|_| AuthError::NotAKey);
    if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
        return Key::new(id, kid, &Material::RsaDer(&bytes(&key)?), algorithms);
    }
    if let Ok(key) = DecodingKey::from_ed_pem(pem) {
        return Key::new(id, kid, &Material::Ed25519(&bytes(&key)?), algorithms);
    }
    let key = DecodingKey::from_ec_pem(pem).map_err(|_| AuthError::NotAKey)?;
    Key::new(id, kid, &Material::Point(&bytes(&key)?), algorithms)
}
