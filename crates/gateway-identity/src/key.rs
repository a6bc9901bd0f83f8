//! One signing key: made, sealed for the database, and read again.

use crate::Secret;
use crate::SigningAlgorithm;
use crate::clock::Millis;
use crate::db::KeyRow;
use crate::secret::{base64, random, unbase64};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use aws_lc_rs::{hkdf, rsa};
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::Jwk;
use serde_json::{Value, json};
use std::fmt;

enum Pair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

/// A key that signs and verifies.
pub(crate) struct Key {
    pub(crate) kid: String,
    pub(crate) algorithm: SigningAlgorithm,
    pub(crate) signs_from: Millis,
    /// Its public part, as it is published.
    pub(crate) jwk: Value,
    pub(crate) decoding: DecodingKey,
    pair: Pair,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// A new private key in PKCS#8.
pub(crate) fn generate(algorithm: SigningAlgorithm) -> Result<Vec<u8>, &'static str> {
    const FAILED: &str = "a key could not be made";
    let der = match algorithm {
        SigningAlgorithm::ES256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .and_then(|pair| pair.to_pkcs8v1().map(|der| der.as_ref().to_vec())),
        SigningAlgorithm::EdDSA => Ed25519KeyPair::generate()
            .and_then(|pair| AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map(|der| der.as_ref().to_vec())),
        SigningAlgorithm::RS256 => rsa::KeyPair::generate(KeySize::Rsa2048)
            .and_then(|pair| AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map(|der| der.as_ref().to_vec())),
    };
    der.map_err(|_| FAILED)
}

/// A new row: a private key, sealed if there is a secret, under a random identifier.
pub(crate) fn new_row(
    algorithm: SigningAlgorithm,
    secret: Option<&Secret>,
    now: Millis,
) -> Result<KeyRow, &'static str> {
    let kid = base64(&random::<12>());
    let private = seal(&generate(algorithm)?, &kid, secret)?;
    Ok(KeyRow { kid, algorithm: algorithm.name().to_owned(), private, created_at: now, signs_from: now })
}

impl Key {
    pub(crate) fn read(row: &KeyRow, secret: Option<&Secret>) -> Result<Self, &'static str> {
        const BROKEN: &str = "it is damaged";
        let algorithm =
            SigningAlgorithm::from_name(&row.algorithm).ok_or("its algorithm is not known here")?;
        let der = open(&row.private, &row.kid, secret)?;
        let (pair, mut jwk) = match algorithm {
            SigningAlgorithm::ES256 => {
                let pair =
                    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).map_err(|_| BROKEN)?;
                // An uncompressed point: one byte, and two coordinates.
                let (x, y) = match pair.public_key().as_ref() {
                    [4, point @ ..] if point.len() == 64 => (base64(&point[..32]), base64(&point[32..])),
                    _ => return Err(BROKEN),
                };
                (Pair::Es256(pair), json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }))
            }
            SigningAlgorithm::EdDSA => {
                let pair = Ed25519KeyPair::from_pkcs8(&der).map_err(|_| BROKEN)?;
                let x = base64(pair.public_key().as_ref());
                (Pair::EdDsa(pair), json!({ "kty": "OKP", "crv": "Ed25519", "x": x }))
            }
            SigningAlgorithm::RS256 => {
                let pair = RsaKeyPair::from_pkcs8(&der).map_err(|_| BROKEN)?;
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                let jwk = json!({ "kty": "RSA", "n": base64(&public.n), "e": base64(&public.e) });
                (Pair::Rs256(pair), jwk)
            }
        };
        jwk["kid"] = row.kid.clone().into();
        jwk["alg"] = algorithm.name().into();
        jwk["use"] = "sig".into();
        let parsed: Jwk = serde_json::from_value(jwk.clone()).map_err(|_| BROKEN)?;
        let decoding = DecodingKey::from_jwk(&parsed).map_err(|_| BROKEN)?;
        Ok(Self { kid: row.kid.clone(), algorithm, signs_from: row.signs_from, jwk, decoding, pair })
    }

    /// Signs a text (RFC 7515 §5.1).
    pub(crate) fn sign(&self, text: &[u8]) -> Result<Vec<u8>, &'static str> {
        const FAILED: &str = "a token could not be signed";
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Es256(pair) => {
                pair.sign(&random, text).map(|signed| signed.as_ref().to_vec()).map_err(|_| FAILED)
            }
            Pair::EdDsa(pair) => Ok(pair.sign(text).as_ref().to_vec()),
            Pair::Rs256(pair) => {
                let mut signed = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut signed).map_err(|_| FAILED)?;
                Ok(signed)
            }
        }
    }
}

const PLAIN: &str = "plain.";
const SEALED: &str = "a256gcm.";

fn sealing_key(secret: &Secret) -> Result<RandomizedNonceKey, &'static str> {
    const FAILED: &str = "no key can be made of `keys.secret`";
    let mut key = [0; 32];
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"gateway-identity");
    let extracted = salt.extract(secret.expose().as_bytes());
    let expanded = extracted.expand(&[b"signing keys"], hkdf::HKDF_SHA256).map_err(|_| FAILED)?;
    expanded.fill(&mut key).map_err(|_| FAILED)?;
    RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(|_| FAILED)
}

/// As it stands in the database. The identifier is bound to it: rows cannot be exchanged.
fn seal(private: &[u8], kid: &str, secret: Option<&Secret>) -> Result<String, &'static str> {
    let Some(secret) = secret else { return Ok(format!("{PLAIN}{}", base64(private))) };
    let mut sealed = private.to_vec();
    let nonce = sealing_key(secret)?
        .seal_in_place_append_tag(Aad::from(kid.as_bytes()), &mut sealed)
        .map_err(|_| "a key could not be encrypted")?;
    Ok(format!("{SEALED}{}", base64(&[nonce.as_ref().as_slice(), &sealed].concat())))
}

fn open(stored: &str, kid: &str, secret: Option<&Secret>) -> Result<Vec<u8>, &'static str> {
    if let Some(plain) = stored.strip_prefix(PLAIN) {
        return unbase64(plain).ok_or("it is damaged");
    }
    let sealed = stored.strip_prefix(SEALED).ok_or("it is kept in a way that is not known here")?;
    let secret = secret.ok_or("it is encrypted and there is no `keys.secret`")?;
    let mut sealed = unbase64(sealed).filter(|bytes| bytes.len() > NONCE_LEN).ok_or("it is damaged")?;
    let mut sealed_part = sealed.split_off(NONCE_LEN);
    let nonce = Nonce::try_assume_unique_for_key(&sealed).map_err(|_| "it is damaged")?;
    let opened = sealing_key(secret)?.open_in_place(nonce, Aad::from(kid.as_bytes()), &mut sealed_part);
    opened.map(|plain| plain.to_vec()).map_err(|_| "it was encrypted with another `keys.secret`")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [SigningAlgorithm; 3] =
        [SigningAlgorithm::ES256, SigningAlgorithm::EdDSA, SigningAlgorithm::RS256];

    #[test]
    fn a_sealed_key_opens_with_its_secret_and_identifier_only() {
        let secret = Secret::new("a secret of 16 bytes or more");
        for algorithm in ALL {
            let row = new_row(algorithm, Some(&secret), 0).unwrap();
            assert!(row.private.starts_with(SEALED));
            assert!(Key::read(&row, Some(&secret)).is_ok(), "{algorithm:?}");
            let other = Secret::new("another secret of 16 bytes");
            for (row, secret, why) in [
                (&row, Some(&other), "it was encrypted with another `keys.secret`"),
                (&row, None, "it is encrypted and there is no `keys.secret`"),
                (
                    &KeyRow { kid: "other".to_owned(), ..row.clone() },
                    Some(&secret),
                    "it was encrypted with another `keys.secret`",
                ),
            ] {
                assert_eq!(Key::read(row, secret).unwrap_err(), why);
            }
        }
    }

    #[test]
    fn what_is_published_has_no_private_part() {
        for algorithm in ALL {
            let key = Key::read(&new_row(algorithm, None, 0).unwrap(), None).unwrap();
            for name in ["d", "p", "q", "dp", "dq", "qi", "k"] {
                assert!(key.jwk.get(name).is_none(), "{algorithm:?} publishes {name}");
            }
            assert_eq!(key.jwk["alg"], algorithm.name());
        }
    }
}
