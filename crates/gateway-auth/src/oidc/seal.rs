//! Values that a browser keeps for us and cannot read, change, or use for something else.

use crate::AuthError;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// As many bytes as the key that is made of it.
const MIN_SECRET: usize = 32;

/// Encrypts with the first of several keys (AES-256-GCM), and decrypts with any.
pub(crate) struct Sealer {
    keys: Vec<RandomizedNonceKey>,
    /// Whose values these are: of another client or issuer with the same secret they are nothing here.
    owner: String,
}

/// What a sealed value is for. One kind is never taken for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Login,
    Session,
}

/// A value that was sealed by us.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) value: Vec<u8>,
    /// Whether with a key that is on its way out.
    pub(crate) old_key: bool,
}

impl Sealer {
    pub(crate) fn new(secrets: &[Vec<u8>], owner: String) -> Result<Self, AuthError> {
        let wrong = |why: String| AuthError::Oidc { key: "cookie_secret", why };
        if secrets.is_empty() {
            return Err(wrong(
                "is missing; expected 32 random bytes or more, such as those of `openssl rand -base64 32`"
                    .to_owned(),
            ));
        }
        let keys = secrets.iter().map(|secret| {
            if secret.len() < MIN_SECRET {
                return Err(wrong(format!("is {} bytes long; expected at least {MIN_SECRET}", secret.len())));
            }
            key(secret).ok_or_else(|| wrong("makes no key".to_owned()))
        });
        Ok(Self { keys: keys.collect::<Result<_, _>>()?, owner })
    }

    pub(crate) fn seal(&self, purpose: Purpose, value: &[u8]) -> Option<String> {
        let mut sealed = value.to_vec();
        let nonce = self.keys.first()?.seal_in_place_append_tag(self.aad(purpose), &mut sealed).ok()?;
        let whole = [nonce.as_ref().as_slice(), &sealed].concat();
        Some(URL_SAFE_NO_PAD.encode(whole))
    }

    pub(crate) fn open(&self, purpose: Purpose, sealed: &str) -> Option<Opened> {
        let whole = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = whole.split_first_chunk::<NONCE_LEN>()?;
        self.keys.iter().enumerate().find_map(|(at, key)| {
            let mut value = sealed.to_vec();
            let length = key.open_in_place(nonce.into(), self.aad(purpose), &mut value).ok()?.len();
            value.truncate(length);
            Some(Opened { value, old_key: at > 0 })
        })
    }

    fn aad(&self, purpose: Purpose) -> Aad<Vec<u8>> {
        let purpose = match purpose {
            Purpose::Login => "login",
            Purpose::Session => "session",
        };
        Aad::from(format!("{purpose} {}", self.owner).into_bytes())
    }
}

/// RFC 5869: the secret may be of any form and length.
fn key(secret: &[u8]) -> Option<RandomizedNonceKey> {
    let pseudorandom = Salt::new(HKDF_SHA256, b"gateway-auth oidc").extract(secret);
    let mut key = [0; 32];
    pseudorandom.expand(&[b"cookies 1"], &AES_256_GCM).ok()?.fill(&mut key).ok()?;
    RandomizedNonceKey::new(&AES_256_GCM, &key).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(secrets: &[&str], owner: &str) -> Sealer {
        let secrets: Vec<_> = secrets.iter().map(|secret| secret.repeat(32).into_bytes()).collect();
        Sealer::new(&secrets, owner.to_owned()).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_for_its_owner_and_purpose_only_and_not_with_one_bit_changed() {
        let ours = sealer(&["a"], "shop");
        let sealed = ours.seal(Purpose::Session, b"hello").unwrap();
        assert_ne!(sealed, ours.seal(Purpose::Session, b"hello").unwrap(), "no two are the same");
        let opened = Opened { value: b"hello".to_vec(), old_key: false };
        assert_eq!(ours.open(Purpose::Session, &sealed), Some(opened));
        assert_eq!(ours.open(Purpose::Login, &sealed), None);
        assert_eq!(sealer(&["a"], "bank").open(Purpose::Session, &sealed), None);
        assert_eq!(sealer(&["b"], "shop").open(Purpose::Session, &sealed), None);
        let bytes = URL_SAFE_NO_PAD.decode(&sealed).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ours.open(Purpose::Session, &URL_SAFE_NO_PAD.encode(changed)), None, "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(ours.open(Purpose::Session, &sealed[..length]), None, "{length}");
        }
    }

    #[test]
    fn keys_are_turned_over_without_a_lost_value() {
        let (before, after) = (sealer(&["a"], "shop"), sealer(&["b", "a"], "shop"));
        let sealed = before.seal(Purpose::Session, b"x").unwrap();
        assert!(after.open(Purpose::Session, &sealed).unwrap().old_key);
        let sealed = after.seal(Purpose::Session, b"x").unwrap();
        assert!(!after.open(Purpose::Session, &sealed).unwrap().old_key);
        assert_eq!(before.open(Purpose::Session, &sealed), None, "the first key seals");
    }

    #[test]
    fn a_short_secret_is_refused() {
        for (secrets, expected) in [
            (vec![], "`cookie_secret` is missing"),
            (vec![vec![0; 31]], "`cookie_secret` is 31 bytes long; expected at least 32"),
            (vec![vec![0; 32], vec![0; 3]], "`cookie_secret` is 3 bytes long"),
        ] {
            let error = Sealer::new(&secrets, String::new()).err().unwrap().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
