//! Keys that sign requests.

use crate::AuthError;
use crate::jwt::key::{Key, Material};
use crate::jwt::pem;
use crate::signatures::settings::{SignatureAlgorithm, SignatureKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_core::{AuthMethod, Principal};
use std::path::Path;

/// A key, and whose it is.
pub(crate) struct Signer {
    pub(crate) id: Box<str>,
    pub(crate) algorithm: SignatureAlgorithm,
    pub(crate) principal: Principal,
    key: Key,
}

/// Tried in this order where the settings do not say.
const BY_KEY: [SignatureAlgorithm; 4] = [
    SignatureAlgorithm::Ed25519,
    SignatureAlgorithm::EcdsaP256Sha256,
    SignatureAlgorithm::EcdsaP384Sha384,
    SignatureAlgorithm::RsaPssSha512,
];

impl Signer {
    pub(crate) fn new(at: usize, settings: &SignatureKey) -> Result<Self, AuthError> {
        let setting = |name: &str, why: String| AuthError::setting(format!("keys[{at}]{name}"), why);
        if settings.id.is_empty() {
            return Err(setting(".id", "it is empty; expected what signatures call the key".to_owned()));
        }
        let SignatureKey { secret, secret_file, public_key, public_key_file, .. } = settings;
        let given =
            [secret.is_some(), secret_file.is_some(), public_key.is_some(), public_key_file.is_some()];
        let given = given.into_iter().filter(|given| *given).count();
        if given != 1 {
            return Err(setting(
                "",
                format!(
                    "{given} of `secret`, `secret_file`, `public_key` and `public_key_file` are given; expected exactly one"
                ),
            ));
        }
        let text = |text: &Option<String>, file: &Option<std::path::PathBuf>| match (text, file) {
            (Some(text), _) => Ok(Some(text.clone())),
            (None, Some(path)) => read(path).map(Some),
            (None, None) => Ok(None),
        };
        let taken_from = |error: AuthError, name: &str, file: &Option<std::path::PathBuf>| {
            error.taken_from(&format!("keys[{at}].{name}"), file.as_deref())
        };
        let decoded = |text: &str| {
            let why = || setting("", "what follows the key's prefix is not base64".to_owned());
            STANDARD.decode(text.trim()).map_err(|_| why())
        };
        let (algorithm, key) = if let Some(secret) = text(secret, secret_file)? {
            let bytes = match secret.strip_prefix("whsec_").or_else(|| secret.strip_prefix("base64:")) {
                Some(encoded) => decoded(encoded)?,
                None => secret.into_bytes(),
            };
            if bytes.len() < 16 {
                return Err(taken_from(AuthError::ShortSecret(bytes.len()), "secret", secret_file));
            }
            let algorithm = settings.algorithm.unwrap_or(SignatureAlgorithm::HmacSha256);
            (algorithm, Key::new(0, None, &Material::Secret(&bytes), &[algorithm.of_tokens()])?)
        } else {
            let pem = text(public_key, public_key_file)?.unwrap_or_default();
            let make = |algorithm: SignatureAlgorithm| match pem.trim().strip_prefix("whpk_") {
                Some(encoded) => {
                    let bytes = decoded(encoded)?;
                    Key::new(0, None, &Material::Ed25519(&bytes), &[algorithm.of_tokens()])
                }
                None => pem::key(0, None, pem.as_bytes(), &[algorithm.of_tokens()]),
            };
            let made = match settings.algorithm {
                Some(algorithm) => make(algorithm).map(|key| (algorithm, key)),
                None => BY_KEY
                    .into_iter()
                    .find_map(|algorithm| Some((algorithm, make(algorithm).ok()?)))
                    .ok_or(AuthError::NotAKey),
            };
            made.map_err(|error| taken_from(error, "public_key", public_key_file))?
        };
        Ok(Self { id: settings.id.as_str().into(), algorithm, principal: principal(settings), key })
    }

    /// Whether this key made the signature.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify(self.algorithm.of_tokens(), message, signature)
    }
}

fn principal(settings: &SignatureKey) -> Principal {
    let mut claims = settings.metadata.clone();
    claims.insert("key_id".to_owned(), settings.id.clone().into());
    if !settings.scopes.is_empty() {
        claims.insert("scope".to_owned(), settings.scopes.join(" ").into());
    }
    if !settings.roles.is_empty() {
        claims.insert("roles".to_owned(), settings.roles.clone().into());
    }
    let id = settings.owner.as_ref().unwrap_or(&settings.id);
    Principal::new(id.as_str(), AuthMethod::Signature, claims)
}

fn read(path: &Path) -> Result<String, AuthError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| AuthError::File { path: path.to_owned(), source })?;
    Ok(text.trim_end().to_owned())
}
