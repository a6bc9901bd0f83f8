use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A signature algorithm (RFC 7518 §3.1, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
}

impl Algorithm {
    /// Its name as tokens and key sets have it: exactly so, for `hs256` is none.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The algorithm of this name. RFC 9864 calls EdDSA with this curve `Ed25519`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        if name == "Ed25519" {
            return Some(Self::EdDSA);
        }
        ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

use Algorithm as A;
const ALL: [Algorithm; 13] = [
    A::HS256,
    A::HS384,
    A::HS512,
    A::RS256,
    A::RS384,
    A::RS512,
    A::PS256,
    A::PS384,
    A::PS512,
    A::ES256,
    A::ES384,
    A::ES512,
    A::EdDSA,
];
