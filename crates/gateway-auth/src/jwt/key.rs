//! A key, and the algorithms it verifies: the key decides, never the token.

use crate::AuthError;
use crate::jwt::algorithm::Algorithm;
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};

/// What a key is called within its settings, so that what it verified can be forgotten with it. The same in every
/// process, and tells nothing of a secret.
pub(crate) type KeyId = u64;

/// What tokens are verified with.
pub(crate) struct Key {
    pub(crate) id: KeyId,
    /// What tokens call it. A key without a name is tried for every token.
    pub(crate) kid: Option<Box<str>>,
    /// By algorithm: few.
    verifiers: Vec<(Algorithm, Verify)>,
}

enum Verify {
    Mac(Box<hmac::Key>),
    Signature(ParsedPublicKey),
}

/// What a key is made from.
pub(crate) enum Material<'m> {
    Secret(&'m [u8]),
    /// PKCS #1.
    RsaDer(&'m [u8]),
    RsaNumbers {
        modulus: &'m [u8],
        exponent: &'m [u8],
    },
    /// An uncompressed point: one byte and two coordinates.
    Point(&'m [u8]),
    Ed25519(&'m [u8]),
}

struct Family {
    name: &'static str,
    expected: &'static str,
    allowed: &'static [Algorithm],
}

use Algorithm as A;
const SECRET: Family =
    Family { name: "a secret", expected: "HS256, HS384 or HS512", allowed: &[A::HS256, A::HS384, A::HS512] };
const RSA: Family = Family {
    name: "an RSA key",
    expected: "RS256, RS384, RS512, PS256, PS384 or PS512",
    allowed: &[A::RS256, A::RS384, A::RS512, A::PS256, A::PS384, A::PS512],
};
const P256: Family = Family { name: "a P-256 key", expected: "ES256", allowed: &[A::ES256] };
const P384: Family = Family { name: "a P-384 key", expected: "ES384", allowed: &[A::ES384] };
const P521: Family = Family { name: "a P-521 key", expected: "ES512", allowed: &[A::ES512] };
const ED25519: Family = Family { name: "an Ed25519 key", expected: "EdDSA", allowed: &[A::EdDSA] };

impl Material<'_> {
    fn family(&self) -> Option<Family> {
        Some(match self {
            Self::Secret(_) => SECRET,
            Self::RsaDer(_) | Self::RsaNumbers { .. } => RSA,
            Self::Point(point) => match point.len() {
                65 => P256,
                97 => P384,
                133 => P521,
                _ => return None,
            },
            Self::Ed25519(_) => ED25519,
        })
    }

    /// The algorithms that go with it, the first of them where nobody says which.
    pub(crate) fn algorithms(&self) -> &'static [Algorithm] {
        self.family().map_or(&[], |family| family.allowed)
    }

    fn verify(&self, algorithm: Algorithm) -> Option<Verify> {
        Some(match self {
            Self::Secret(secret) => Verify::Mac(Box::new(hmac::Key::new(mac(algorithm)?, secret))),
            Self::RsaDer(der) => Verify::Signature(ParsedPublicKey::new(rsa(algorithm)?, der).ok()?),
            Self::RsaNumbers { modulus, exponent } => {
                let numbers = RsaPublicKeyComponents { n: *modulus, e: *exponent };
                Verify::Signature(numbers.to_parsed_public_key(rsa(algorithm)?).ok()?)
            }
            Self::Point(point) => Verify::Signature(ParsedPublicKey::new(curve(algorithm)?, point).ok()?),
            Self::Ed25519(key) => Verify::Signature(ParsedPublicKey::new(&signature::ED25519, key).ok()?),
        })
    }
}

impl Key {
    /// A key for these algorithms, or for the first that goes with it.
    pub(crate) fn new(
        id: KeyId,
        kid: Option<&str>,
        material: &Material<'_>,
        algorithms: &[Algorithm],
    ) -> Result<Self, AuthError> {
        let family = material.family().ok_or(AuthError::NotAKey)?;
        if let Some(algorithm) = algorithms.iter().find(|algorithm| !family.allowed.contains(algorithm)) {
            return Err(AuthError::Algorithm {
                algorithm: algorithm.name().to_owned(),
                key: family.name,
                expected: family.expected,
            });
        }
        let algorithms = if algorithms.is_empty() { &family.allowed[..1] } else { algorithms };
        let verifiers = algorithms.iter().map(|algorithm| {
            let verify = material.verify(*algorithm).ok_or(AuthError::NotAKey)?;
            Ok((*algorithm, verify))
        });
        Ok(Self { id, kid: kid.map(Box::from), verifiers: verifiers.collect::<Result<_, AuthError>>()? })
    }

    /// Whether it may be the key of a token with this algorithm and key name.
    pub(crate) fn fits(&self, algorithm: Algorithm, kid: Option<&str>) -> bool {
        let named = match (self.kid.as_deref(), kid) {
            (Some(own), Some(asked)) => own == asked,
            _ => true,
        };
        named && self.verifiers.iter().any(|(own, _)| *own == algorithm)
    }

    /// Whether it made this signature.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match self.verifiers.iter().find(|(own, _)| *own == algorithm) {
            Some((_, Verify::Mac(key))) => hmac::verify(key, message, signature).is_ok(),
            Some((_, Verify::Signature(key))) => key.verify_sig(message, signature).is_ok(),
            None => false,
        }
    }
}

fn mac(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        A::HS256 => Some(hmac::HMAC_SHA256),
        A::HS384 => Some(hmac::HMAC_SHA384),
        A::HS512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

/// RFC 7518 §3.3: of 2048 bits or more.
fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        A::RS256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        A::RS384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        A::RS512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        A::PS256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        A::PS384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        A::PS512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

/// With signatures of fixed length, as RFC 7518 §3.4 has them.
fn curve(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    match algorithm {
        A::ES256 => Some(&signature::ECDSA_P256_SHA256_FIXED),
        A::ES384 => Some(&signature::ECDSA_P384_SHA384_FIXED),
        A::ES512 => Some(&signature::ECDSA_P521_SHA512_FIXED),
        _ => None,
    }
}
