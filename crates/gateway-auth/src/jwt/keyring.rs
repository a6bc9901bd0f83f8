//! All keys of a layer: those of its settings, and those of an issuer.

use crate::AuthError;
use crate::jwt::key::{Key, KeyId, Material};
use crate::jwt::remote::{GivenKeys, Remote, Source};
use crate::jwt::settings::{JwtSettings, KeySettings};
use crate::jwt::token::Token;
use crate::jwt::{jwk, pem};
use std::path::Path;
use std::sync::Arc;

/// A token without a key name is tried with so many keys: each costs a signature check.
const MAX_TRIES: usize = 8;

pub(crate) struct Keyring {
    fixed: Vec<Key>,
    pub(crate) remote: Option<Arc<Remote>>,
    /// What the keys were made from: secrets, PEM, the URL.
    pub(crate) material: Vec<u8>,
}

/// Which key made a signature.
pub(crate) enum Signer {
    Known(KeyId),
    /// There are keys that could have, and none did.
    Nobody,
    /// No key goes with the token's name for it and its algorithm.
    Unknown,
}

impl Keyring {
    pub(crate) fn new(settings: &JwtSettings) -> Result<Self, AuthError> {
        let main = main_key(settings);
        let source = Source::of(settings)?;
        let given =
            main.sources() + usize::from(settings.jwks_url.is_some()) + usize::from(settings.discovery);
        if given > 1 || (given == 0 && settings.keys.is_empty()) {
            return Err(AuthError::Keys(given));
        }
        let (mut fixed, mut material) = (Vec::new(), Vec::new());
        if main.sources() == 1 {
            main.add_to("", &mut fixed, &mut material)?;
        }
        for (at, key) in settings.keys.iter().enumerate() {
            if key.sources() != 1 {
                return Err(AuthError::OneKey { at, given: key.sources() });
            }
            key.add_to(&format!("keys[{at}]."), &mut fixed, &mut material)?;
        }
        let remote = match source {
            None => None,
            Some(source) => {
                material.extend_from_slice(source.to_string().as_bytes());
                Some(Arc::new(Remote::new(source, settings)?))
            }
        };
        Ok(Self { fixed, remote, material })
    }

    /// The keys of an issuer in this process, and no others.
    pub(crate) fn given(keys: GivenKeys, settings: &JwtSettings) -> Result<Self, AuthError> {
        let remote = Some(Arc::new(Remote::given(keys, settings)?));
        Ok(Self { fixed: Vec::new(), remote, material: b"the keys of this process".to_vec() })
    }

    /// Whether this key still verifies tokens.
    pub(crate) fn has(&self, id: KeyId) -> bool {
        let is = |key: &Key| key.id == id;
        self.fixed.iter().any(is) || self.remote.as_ref().is_some_and(|remote| remote.keys().iter().any(is))
    }

    /// Whether there is an issuer whose keys we do not have, whatever other keys we have.
    pub(crate) fn lacks_issuer(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.keys().is_empty())
    }

    /// Whether the issuer may have signed this with a key that we have not read yet: with one of another name than we
    /// have of it. Of keys without a name nothing can be told, nor of those of the settings.
    pub(crate) fn may_be_new(&self, token: &Token<'_>) -> bool {
        let is_its = |key: &Key| {
            key.kid.is_some() && token.kid.is_some() && key.fits(token.algorithm, token.kid.as_deref())
        };
        self.remote.as_ref().is_some_and(|remote| !remote.keys().iter().any(is_its))
    }

    pub(crate) fn signer(&self, token: &Token<'_>) -> Signer {
        match signer(&self.fixed, token) {
            Signer::Known(id) => Signer::Known(id),
            fixed => match self.remote.as_ref().map(|remote| signer(&remote.keys(), token)) {
                None | Some(Signer::Unknown) => fixed,
                Some(remote) => remote,
            },
        }
    }
}

fn signer(keys: &[Key], token: &Token<'_>) -> Signer {
    let mut fitting = keys.iter().filter(|key| key.fits(token.algorithm, token.kid.as_deref())).peekable();
    if fitting.peek().is_none() {
        return Signer::Unknown;
    }
    let mut tried = fitting.take(MAX_TRIES);
    match tried.find(|key| key.verify(token.algorithm, token.message, &token.signature)) {
        Some(key) => Signer::Known(key.id),
        None => Signer::Nobody,
    }
}

/// The one key of the settings themselves.
pub(crate) fn main_key(settings: &JwtSettings) -> KeySettings {
    KeySettings {
        secret: settings.secret.clone(),
        secret_file: settings.secret_file.clone(),
        public_key: settings.public_key.clone(),
        public_key_file: settings.public_key_file.clone(),
        jwks_file: settings.jwks_file.clone(),
        kid: None,
        algorithms: settings.algorithms.clone(),
    }
}

impl JwtSettings {
    /// The files that are read once, when a method is made.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let own = [&self.secret_file, &self.public_key_file, &self.jwks_file];
        let further =
            self.keys.iter().flat_map(|key| [&key.secret_file, &key.public_key_file, &key.jwks_file]);
        own.into_iter().chain(further).filter_map(|file| file.as_deref()).chain(self.jwks.fetch.files())
    }
}

impl KeySettings {
    fn sources(&self) -> usize {
        let Self { secret, secret_file, public_key, public_key_file, jwks_file, .. } = self;
        let given = [
            secret.is_some(),
            secret_file.is_some(),
            public_key.is_some(),
            public_key_file.is_some(),
            jwks_file.is_some(),
        ];
        given.into_iter().filter(|given| *given).count()
    }

    /// The secret, if that is what it is. `of` stands before the names of the settings in messages.
    pub(crate) fn read_secret(&self, of: &str) -> Result<Option<Vec<u8>>, AuthError> {
        let (secret, file) = match (&self.secret, &self.secret_file) {
            (Some(secret), _) => (secret.as_bytes().to_vec(), None),
            (None, Some(path)) => (read(path)?.trim_end().as_bytes().to_vec(), Some(path.as_path())),
            (None, None) => return Ok(None),
        };
        if secret.len() < 16 {
            return Err(AuthError::ShortSecret(secret.len()).taken_from(&format!("{of}secret"), file));
        }
        Ok(Some(secret))
    }

    fn add_to(&self, of: &str, keys: &mut Vec<Key>, material: &mut Vec<u8>) -> Result<(), AuthError> {
        // Whoever has the same keys has them in the same order.
        let id = keys.len() as KeyId;
        let kid = self.kid.as_deref();
        material.extend_from_slice(kid.unwrap_or_default().as_bytes());
        if let Some(secret) = self.read_secret(of)? {
            keys.push(Key::new(id, kid, &Material::Secret(&secret), &self.algorithms)?);
            material.extend_from_slice(&secret);
            return Ok(());
        }
        if let Some(path) = &self.jwks_file {
            let text = read(path)?;
            let wrong = |why: String| AuthError::KeySet { path: path.clone(), why };
            let found = jwk::read(text.as_bytes(), jwk::Origin::File, &self.algorithms).map_err(wrong)?;
            if found.is_empty() {
                return Err(wrong("holds no key that verifies tokens".to_owned()));
            }
            keys.extend(found);
            material.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        let (pem, file) = match (&self.public_key, &self.public_key_file) {
            (Some(pem), _) => (pem.clone(), None),
            (None, Some(path)) => (read(path)?, Some(path.as_path())),
            (None, None) => return Err(AuthError::Keys(0)),
        };
        let key = pem::key(id, kid, pem.as_bytes(), &self.algorithms);
        keys.push(key.map_err(|error| error.taken_from(&format!("{of}public_key"), file))?);
        material.extend_from_slice(pem.as_bytes());
        Ok(())
    }
}

fn read(path: &Path) -> Result<String, AuthError> {
    std::fs::read_to_string(path).map_err(|source| AuthError::File { path: path.to_owned(), source })
}
