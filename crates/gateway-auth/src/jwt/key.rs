//! The key that tokens are verified with, and the algorithms it allows.

use crate::{Algorithm, AuthError, JwtSettings};
use jsonwebtoken::DecodingKey;
use std::path::Path;

pub(crate) struct Key {
    pub(crate) key: DecodingKey,
    pub(crate) algorithms: Vec<jsonwebtoken::Algorithm>,
    /// What the key was made from: the secret, or the PEM.
    pub(crate) material: Vec<u8>,
}

struct Family {
    name: &'static str,
    expected: &'static str,
    allowed: &'static [Algorithm],
    default: Algorithm,
}

use Algorithm as A;
const SECRET: Family = Family {
    name: "a secret",
    expected: "HS256, HS384 or HS512",
    allowed: &[A::HS256, A::HS384, A::HS512],
    default: A::HS256,
};
const RSA: Family = Family {
    name: "an RSA key",
    expected: "RS256, RS384, RS512, PS256, PS384 or PS512",
    allowed: &[A::RS256, A::RS384, A::RS512, A::PS256, A::PS384, A::PS512],
    default: A::RS256,
};
const P256: Family =
    Family { name: "a P-256 key", expected: "ES256", allowed: &[A::ES256], default: A::ES256 };
const P384: Family =
    Family { name: "a P-384 key", expected: "ES384", allowed: &[A::ES384], default: A::ES384 };
const ED25519: Family =
    Family { name: "an Ed25519 key", expected: "EdDSA", allowed: &[A::EdDSA], default: A::EdDSA };

impl Key {
    pub(crate) fn new(settings: &JwtSettings) -> Result<Self, AuthError> {
        let (key, family, material) = match secret(settings)? {
            Some(secret) => (DecodingKey::from_secret(&secret), SECRET, secret),
            None => {
                let pem = public_pem(settings)?.into_bytes();
                let (key, family) = public_key(&pem)?;
                (key, family, pem)
            }
        };
        let wrong = settings.algorithms.iter().find(|algorithm| !family.allowed.contains(algorithm));
        if let Some(algorithm) = wrong {
            return Err(AuthError::Algorithm {
                algorithm: format!("{algorithm:?}"),
                key: family.name,
                expected: family.expected,
            });
        }
        let algorithms = match settings.algorithms.as_slice() {
            [] => vec![family.default.known()],
            some => some.iter().map(|algorithm| algorithm.known()).collect(),
        };
        Ok(Self { key, algorithms, material })
    }
}

/// The shared secret, if that is what the settings have.
pub(crate) fn secret(settings: &JwtSettings) -> Result<Option<Vec<u8>>, AuthError> {
    let given = [
        settings.secret.is_some(),
        settings.secret_file.is_some(),
        settings.public_key.is_some(),
        settings.public_key_file.is_some(),
    ];
    let given = given.into_iter().filter(|given| *given).count();
    if given != 1 {
        return Err(AuthError::Keys(given));
    }
    let secret = match (&settings.secret, &settings.secret_file) {
        (Some(secret), _) => secret.as_bytes().to_vec(),
        (None, Some(path)) => read(path)?.trim_end().as_bytes().to_vec(),
        (None, None) => return Ok(None),
    };
    if secret.len() < 16 {
        return Err(AuthError::ShortSecret(secret.len()));
    }
    Ok(Some(secret))
}

/// The public key's text.
fn public_pem(settings: &JwtSettings) -> Result<String, AuthError> {
    match (&settings.public_key, &settings.public_key_file) {
        (Some(pem), _) => Ok(pem.clone()),
        (None, Some(path)) => read(path),
        (None, None) => Err(AuthError::Keys(0)),
    }
}

fn public_key(pem: &[u8]) -> Result<(DecodingKey, Family), AuthError> {
    if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
        return Ok((key, RSA));
    }
    if let Ok(key) = DecodingKey::from_ed_pem(pem) {
        return Ok((key, ED25519));
    }
    if let Ok(key) = DecodingKey::from_ec_pem(pem) {
        // An uncompressed point: one byte and two coordinates.
        return match key.try_get_as_bytes().map(<[u8]>::len) {
            Ok(65) => Ok((key, P256)),
            Ok(97) => Ok((key, P384)),
            _ => Err(AuthError::NotAKey),
        };
    }
    Err(AuthError::NotAKey)
}

fn read(path: &Path) -> Result<String, AuthError> {
    std::fs::read_to_string(path).map_err(|source| AuthError::File { path: path.to_owned(), source })
}
