//! Keys that sign tokens by which the gateway proves who it is.

use crate::Algorithm;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPairComponents;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, RsaEncoding, RsaKeyPair,
    RsaPublicKeyComponents,
};
use aws_lc_rs::{error::Unspecified, hmac};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;

pub(crate) enum SigningKey {
    Secret(Vec<u8>),
    Rsa(Box<RsaKeyPair>),
    Ec(Box<EcdsaKeyPair>, Algorithm),
    Ed(Box<Ed25519KeyPair>),
}

const CURVES: [(&str, &EcdsaSigningAlgorithm, Algorithm); 3] = [
    ("P-256", &signature::ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::ES256),
    ("P-384", &signature::ECDSA_P384_SHA384_FIXED_SIGNING, Algorithm::ES384),
    ("P-521", &signature::ECDSA_P521_SHA512_FIXED_SIGNING, Algorithm::ES512),
];

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(default)]
    crv: String,
    #[serde(flatten)]
    members: std::collections::BTreeMap<String, serde_json::Value>,
}

impl SigningKey {
    /// A private key in PEM or as a JSON Web Key, and what the latter calls it; `None` where it is neither.
    pub(crate) fn read(text: &str) -> Option<(Self, Option<String>)> {
        if text.trim_start().starts_with('{') {
            let jwk: Jwk = serde_json::from_str(text).ok()?;
            return Some((Self::of_jwk(&jwk)?, jwk.kid));
        }
        let (_, rest) = text.split_once("-----BEGIN ")?;
        let (label, rest) = rest.split_once("-----")?;
        let (body, _) = rest.split_once("-----END ")?;
        let der = STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok()?;
        let key = match label {
            "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&der)
                .map(|pair| Self::Rsa(Box::new(pair)))
                .or_else(|_| Ed25519KeyPair::from_pkcs8(&der).map(|pair| Self::Ed(Box::new(pair))))
                .ok()
                .or_else(|| Self::ec(|algorithm| EcdsaKeyPair::from_pkcs8(algorithm, &der).ok())),
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der).ok().map(|pair| Self::Rsa(Box::new(pair))),
            "EC PRIVATE KEY" => {
                Self::ec(|algorithm| EcdsaKeyPair::from_private_key_der(algorithm, &der).ok())
            }
            _ => None,
        };
        Some((key?, None))
    }

    fn ec(make: impl Fn(&'static EcdsaSigningAlgorithm) -> Option<EcdsaKeyPair>) -> Option<Self> {
        let curve = |(_, signing, algorithm): (_, &'static EcdsaSigningAlgorithm, _)| {
            Some(Self::Ec(Box::new(make(signing)?), algorithm))
        };
        CURVES.into_iter().find_map(curve)
    }

    fn of_jwk(jwk: &Jwk) -> Option<Self> {
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(jwk.members.get(name)?.as_str()?).ok();
        match jwk.kty.as_str() {
            "RSA" => {
                let components = KeyPairComponents {
                    public_key: RsaPublicKeyComponents { n: bytes("n")?, e: bytes("e")? },
                    d: bytes("d")?,
                    p: bytes("p")?,
                    q: bytes("q")?,
                    dP: bytes("dp")?,
                    dQ: bytes("dq")?,
                    qInv: bytes("qi")?,
                };
                Some(Self::Rsa(Box::new(RsaKeyPair::from_components(&components).ok()?)))
            }
            "EC" => {
                let (_, signing, algorithm) = CURVES.into_iter().find(|(name, ..)| *name == jwk.crv)?;
                let point = [vec![4], bytes("x")?, bytes("y")?].concat();
                let pair = EcdsaKeyPair::from_private_key_and_public_key(signing, &bytes("d")?, &point);
                Some(Self::Ec(Box::new(pair.ok()?), algorithm))
            }
            "OKP" if jwk.crv == "Ed25519" => {
                let pair = Ed25519KeyPair::from_seed_and_public_key(&bytes("d")?, &bytes("x")?);
                Some(Self::Ed(Box::new(pair.ok()?)))
            }
            _ => None,
        }
    }

    /// What it can sign with, the first where nobody says which.
    pub(crate) fn algorithms(&self) -> &'static [Algorithm] {
        use Algorithm as A;
        match self {
            Self::Secret(_) => &[A::HS256, A::HS384, A::HS512],
            Self::Rsa(_) => &[A::RS256, A::RS384, A::RS512, A::PS256, A::PS384, A::PS512],
            Self::Ec(_, A::ES256) => &[A::ES256],
            Self::Ec(_, A::ES384) => &[A::ES384],
            Self::Ec(..) => &[A::ES512],
            Self::Ed(_) => &[A::EdDSA],
        }
    }

    /// Signs; fails where the algorithm is none of its own.
    pub(crate) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        match self {
            Self::Secret(secret) => {
                let mac = match algorithm {
                    Algorithm::HS256 => hmac::HMAC_SHA256,
                    Algorithm::HS384 => hmac::HMAC_SHA384,
                    Algorithm::HS512 => hmac::HMAC_SHA512,
                    _ => return Err(Unspecified),
                };
                Ok(hmac::sign(&hmac::Key::new(mac, secret), message).as_ref().to_vec())
            }
            Self::Rsa(pair) => {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(padding(algorithm).ok_or(Unspecified)?, &SystemRandom::new(), message, &mut out)?;
                Ok(out)
            }
            Self::Ec(pair, _) => Ok(pair.sign(&SystemRandom::new(), message)?.as_ref().to_vec()),
            Self::Ed(pair) => Ok(pair.try_sign(message)?.as_ref().to_vec()),
        }
    }
}

fn padding(algorithm: Algorithm) -> Option<&'static dyn RsaEncoding> {
    Some(match algorithm {
        Algorithm::RS256 => &signature::RSA_PKCS1_SHA256,
        Algorithm::RS384 => &signature::RSA_PKCS1_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_SHA512,
        _ => return None,
    })
}
