use crate::Secret;
use gateway_core::units::Timespan;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How access tokens are signed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeySettings {
    /// The algorithm of new keys: `ES256`, `EdDSA` or `RS256`. Keys of another one go on to verify until they are
    /// replaced. Default `ES256`, which is small, fast and known to every verifier.
    pub algorithm: SigningAlgorithm,
    /// What the private keys are encrypted with in the database (AES-256-GCM), at least 16 bytes. Write `"${NAME}"`
    /// to take it from the environment. Default: they are not, and who can read the database can sign.
    pub secret: Option<Secret>,
    /// How old a key grows before another takes its place. Default `90days`.
    pub rotate_after: Timespan,
    /// How long a new key is published before it signs, so that verifiers have it by then. Default `1m`.
    pub publish_ahead: Timespan,
    /// How often the database is asked for keys that other instances made, and old rows are cleared away. At most
    /// half of `publish_ahead` is wise. Default `30s`.
    pub refresh: Timespan,
}

impl Default for KeySettings {
    fn default() -> Self {
        Self {
            algorithm: SigningAlgorithm::default(),
            secret: None,
            rotate_after: Timespan::secs(90 * 86_400),
            publish_ahead: Timespan::secs(60),
            refresh: Timespan::secs(30),
        }
    }
}

impl KeySettings {
    pub(super) fn check(&self) -> Result<(), String> {
        let short = self.secret.as_ref().map(|secret| secret.expose().len()).filter(|length| *length < 16);
        if let Some(length) = short {
            return Err(format!("`keys.secret` is {length} bytes long; expected at least 16"));
        }
        if self.refresh.is_zero() {
            return Err("`keys.refresh` is 0s; expected at least 1s".to_owned());
        }
        if self.rotate_after.as_secs() < 60 {
            return Err(format!("`keys.rotate_after` is {}; expected at least 1m", self.rotate_after));
        }
        Ok(())
    }
}

/// What access tokens can be signed with (RFC 7518 §3.1, RFC 8037).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub enum SigningAlgorithm {
    #[default]
    ES256,
    EdDSA,
    RS256,
}

impl SigningAlgorithm {
    /// As it stands in a token's `alg`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
            Self::RS256 => "RS256",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::ES256, Self::EdDSA, Self::RS256].into_iter().find(|algorithm| algorithm.name() == name)
    }
}
