use gateway_core::units::{Scalar, ShortForm, Timespan};
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;

/// The tokens that the gateway signs for services.
///
/// A text in place of the table is the `issuer`.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AssertionSettings {
    /// What `iss` says. Default `gateway`.
    pub issuer: String,
    /// What `aud` says. Default: the service's name.
    pub audience: Option<String>,
    /// The header that carries the token; a copy from outside never arrives. Default `X-Internal-Assertion`.
    pub header: String,
    /// How long a token is good. One that is sent is good for at least three quarters of that. Default `1m`.
    pub ttl: Timespan,
    /// How tokens are signed where the gateway makes its keys. Default `ES256`.
    pub algorithm: AssertionAlgorithm,
    /// Claims of the caller that are passed on under their names, besides `sub`: `["roles", "tenant"]`. Default: none.
    pub claims: Vec<String>,
    /// Whether requests of nobody get a token too, without `sub`: it says that they came through the gateway. Default
    /// `true`.
    pub anonymous: bool,
    /// The private key, P-256 or Ed25519, as PKCS #8 in PEM. Write `"${NAME}"` to take it from the environment. Default:
    /// the gateway makes keys itself and replaces them.
    pub key: Option<String>,
    /// A file with that key, read again when it changes. All instances can share one.
    pub key_file: Option<PathBuf>,
    /// How old a key of the gateway's own making gets. Default `1d`.
    pub rotate: Timespan,
    /// How long before its first use a key is published. Default `10m`.
    pub announce: Timespan,
    /// How long after its last use a key is published, the life of its tokens included. Default `1h`.
    pub overlap: Timespan,
    /// How many tokens are remembered, so that not each request costs a signature. Default 10 000.
    pub cache_entries: usize,
}

impl Default for AssertionSettings {
    fn default() -> Self {
        Self {
            issuer: "gateway".to_owned(),
            audience: None,
            header: "X-Internal-Assertion".to_owned(),
            ttl: Timespan::secs(60),
            algorithm: AssertionAlgorithm::default(),
            claims: Vec::new(),
            anonymous: true,
            key: None,
            key_file: None,
            rotate: Timespan::secs(86_400),
            announce: Timespan::secs(600),
            overlap: Timespan::secs(3600),
            cache_entries: 10_000,
        }
    }
}

/// Without the key.
impl fmt::Debug for AssertionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssertionSettings")
            .field("issuer", &self.issuer)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

impl ShortForm for AssertionSettings {
    const EXPECTED: &'static str =
        "the issuer of the tokens such as \"gateway\", true for all defaults, or a table";
    const TYPE: &'static str = "string";
    const ALSO: &'static [&'static str] = &["boolean"];

    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Text(issuer) => Some(Ok(Self { issuer: issuer.to_owned(), ..Self::default() })),
            Scalar::Switch(true) => Some(Ok(Self::default())),
            _ => None,
        }
    }
}

/// A signature that is quickly made and short (RFC 7518 §3.4, RFC 8037).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum AssertionAlgorithm {
    /// ECDSA with P-256.
    #[default]
    ES256,
    /// Ed25519.
    EdDSA,
}
