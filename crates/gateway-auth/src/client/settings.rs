use crate::Algorithm;
use gateway_core::units::Timespan;
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;

/// How a client proves who it is (RFC 6749 §2.3.1, RFC 7523 §2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// With `client_secret` in `Authorization`, as HTTP Basic.
    #[default]
    Basic,
    /// With `client_secret` in the form.
    Post,
    /// With a token that the key of `client_assertion` signs: no secret is sent, and none is known to the other side.
    PrivateKeyJwt,
    /// With a token that `client_secret` signs: the secret is not sent.
    ClientSecretJwt,
}

/// The token by which a client proves who it is (RFC 7523 §3), made anew for each request.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientAssertion {
    /// The private key for `private_key_jwt`: PEM (PKCS #8, PKCS #1, SEC 1) or a JSON Web Key; RSA of 2048 bits or more,
    /// EC (P-256, P-384, P-521) or Ed25519. Write `"${NAME}"` to take it from the environment.
    pub key: Option<String>,
    /// A file with that key.
    pub key_file: Option<PathBuf>,
    /// What the other side calls the key. Default: the `kid` of a JSON Web Key, else nothing.
    pub kid: Option<String>,
    /// What it signs with. Default: by the key, `RS256`, `ES256`, `ES384`, `ES512` or `EdDSA`; `HS256` for a secret.
    pub algorithm: Option<Algorithm>,
    /// Whom the token is for. Some want their issuer's name. Default: the URL that is asked.
    pub audience: Option<String>,
    /// How long the token is good. Default `60s`.
    pub lifetime: Timespan,
}

impl Default for ClientAssertion {
    fn default() -> Self {
        Self {
            key: None,
            key_file: None,
            kid: None,
            algorithm: None,
            audience: None,
            lifetime: Timespan::secs(60),
        }
    }
}

impl ClientAssertion {
    pub(crate) fn has_key(&self) -> bool {
        self.key.is_some() || self.key_file.is_some()
    }
}

/// Without the key.
impl fmt::Debug for ClientAssertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAssertion")
            .field("kid", &self.kid)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}
