use gateway_core::units::Timespan;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How tokens are verified.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JwtSettings {
    /// The secret for HS256, HS384 and HS512. Write `"${NAME}"` to take it from the environment.
    pub secret: Option<String>,
    /// A file with that secret; white space at its end does not count.
    pub secret_file: Option<PathBuf>,
    /// A public key in PEM, RSA, EC or Ed25519.
    pub public_key: Option<String>,
    /// A file with that key.
    pub public_key_file: Option<PathBuf>,
    /// The algorithms that are accepted, all of the key's own kind. Default: by the key, HS256, RS256, ES256 or
    /// ES384 by its curve, or EdDSA.
    pub algorithms: Vec<Algorithm>,
    /// What `iss` must be; one or a list. Default: anything.
    pub issuer: Option<OneOrMany>,
    /// What `aud` must hold; one or a list, of which one is enough. Default: anything.
    pub audience: Option<OneOrMany>,
    /// How far clocks may be apart. Default `0s`.
    pub leeway: Option<Timespan>,
    /// Claims that must be there besides `exp`. Default: none.
    pub required_claims: Vec<String>,
    /// What `WWW-Authenticate` calls the place. Default `gateway`.
    pub realm: Option<String>,
    /// How many verified tokens are remembered; 0 verifies each time. Default 100 000.
    pub cache_entries: Option<usize>,
    /// What happens while the store is away. Default `local`.
    pub on_store_failure: OnStoreFailure,
}

/// Without keys.
impl std::fmt::Debug for JwtSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtSettings")
            .field("algorithms", &self.algorithms)
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

/// One text or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn contains(&self, text: &str) -> bool {
        match self {
            Self::One(one) => one == text,
            Self::Many(many) => many.iter().any(|one| one == text),
        }
    }
}

/// What happens to requests while the store is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnStoreFailure {
    /// Tokens are verified by this instance alone, with the revocations it knows of.
    #[default]
    Local,
    /// Requests are refused with 503: nobody passes with a token that may have been revoked.
    Deny,
}

/// A signature algorithm (RFC 7518 §3.1, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
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
    EdDSA,
}

impl Algorithm {
    pub(crate) fn known(self) -> jsonwebtoken::Algorithm {
        use jsonwebtoken::Algorithm as A;
        match self {
            Self::HS256 => A::HS256,
            Self::HS384 => A::HS384,
            Self::HS512 => A::HS512,
            Self::RS256 => A::RS256,
            Self::RS384 => A::RS384,
            Self::RS512 => A::RS512,
            Self::PS256 => A::PS256,
            Self::PS384 => A::PS384,
            Self::PS512 => A::PS512,
            Self::ES256 => A::ES256,
            Self::ES384 => A::ES384,
            Self::EdDSA => A::EdDSA,
        }
    }
}
