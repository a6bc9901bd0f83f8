//! A key that signs, and its public half as others are shown it.

use crate::assertion::settings::AssertionAlgorithm;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A public key as RFC 7517 writes it. Has no room for a private one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PublicKey {
    kty: String,
    crv: String,
    x: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    alg: String,
    r#use: String,
    pub(crate) kid: String,
}

pub(crate) struct SigningKey {
    pair: Pair,
    pub(crate) public: PublicKey,
    /// `{"alg":…,"kid":…,"typ":"JWT"}` and a dot, as they stand in a token.
    header: String,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// Without the private half.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl SigningKey {
    pub(crate) fn generate(algorithm: AssertionAlgorithm) -> Result<Self, Unspecified> {
        let pair = match algorithm {
            AssertionAlgorithm::ES256 => Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?),
            AssertionAlgorithm::EdDSA => Pair::Ed(Ed25519KeyPair::generate()?),
        };
        Ok(Self::new(pair))
    }

    /// The key of a PKCS #8 PEM; `None` where it is anything else.
    pub(crate) fn from_pem(pem: &str) -> Option<Self> {
        let text =
            pem.split("-----BEGIN PRIVATE KEY-----").nth(1)?.split("-----END PRIVATE KEY-----").next()?;
        let text: String = text.split_ascii_whitespace().collect();
        let der = STANDARD.decode(text).ok()?;
        let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).map(Pair::Ec);
        let pair = ec.or_else(|_| Ed25519KeyPair::from_pkcs8(&der).map(Pair::Ed)).ok()?;
        Some(Self::new(pair))
    }

    fn new(pair: Pair) -> Self {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (kty, crv, alg, x, y) = match &pair {
            Pair::Ec(pair) => {
                // An uncompressed point: one byte and two coordinates of 32.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                ("EC", "P-256", "ES256", text(x), Some(text(y)))
            }
            Pair::Ed(pair) => ("OKP", "Ed25519", "EdDSA", text(pair.public_key().as_ref()), None),
        };
        let y_member = y.as_ref().map_or(String::new(), |y| format!(",\"y\":\"{y}\""));
        // RFC 7638 §3: the needed members, sorted, without white space.
        let thumbprint = format!("{{\"crv\":\"{crv}\",\"kty\":\"{kty}\",\"x\":\"{x}\"{y_member}}}");
        let kid = text(digest(&SHA256, thumbprint.as_bytes()).as_ref());
        let header = format!(
            "{}.",
            text(format!("{{\"alg\":\"{alg}\",\"kid\":\"{kid}\",\"typ\":\"JWT\"}}").as_bytes())
        );
        let (kty, crv, alg) = (kty.to_owned(), crv.to_owned(), alg.to_owned());
        let public = PublicKey { kty, crv, x, y, alg, r#use: "sig".to_owned(), kid };
        Self { pair, public, header }
    }

    /// A token with these claims, which are JSON.
    pub(crate) fn token(&self, claims: &[u8]) -> Result<String, Unspecified> {
        let mut token = self.header.clone();
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = match &self.pair {
            Pair::Ec(pair) => pair.sign(&SystemRandom::new(), token.as_bytes())?,
            Pair::Ed(pair) => pair.try_sign(token.as_bytes())?,
        };
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_its_thumbprint() {
        // The example of RFC 8037 §A.1 to §A.3, as PKCS #8.
        let pem = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                   -----END PRIVATE KEY-----\n";
        let key = SigningKey::from_pem(pem).unwrap();
        assert_eq!(key.public.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(key.public.x, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert!(!format!("{key:?}").contains("nWGxne"), "the private half is shown");
    }

    #[test]
    fn what_is_no_private_key_is_none() {
        for pem in [
            "",
            "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----",
        ] {
            assert!(SigningKey::from_pem(pem).is_none(), "{pem}");
        }
    }
}
