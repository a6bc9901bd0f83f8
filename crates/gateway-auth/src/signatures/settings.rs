use crate::OnStoreFailure;
use crate::jwt::settings::Algorithm;
use gateway_core::units::{ByteSize, Timespan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;
use std::path::{Path, PathBuf};

/// How callers sign their requests, and with which keys.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SignatureSettings {
    /// How requests are signed. Default `http_message_signatures`.
    pub protocol: SignatureProtocol,
    /// The keys. Several with the same `id` are all good: so a key is replaced without a gap.
    pub keys: Vec<SignatureKey>,
    /// What a signature must cover (RFC 9421 §2): `"@method"`, `"@target-uri"`, `"@authority"`, `"@path"`, `"@query"`,
    /// header names. Default: `@method`, and `@target-uri` or all of `@authority`, `@path` and `@query`.
    pub components: Vec<String>,
    /// Whether the signature of a request with a body must cover `Content-Digest` (RFC 9530). One that is covered is
    /// checked against the body in any case. Default `true`.
    pub content_digest: bool,
    /// How far the time of a signature may be from now, and how long one that was seen is remembered. Default `300s`.
    pub window: Timespan,
    /// Whether a signature must have a `nonce`. Default `false`.
    pub require_nonce: bool,
    /// Passes each signed request once within `window`: by its nonce, its `webhook-id`, or else by all that is signed,
    /// so that clients who repeat a request within one second need a nonce. Remembered in the store, for all instances
    /// where it is Redis. Default `true`.
    pub once: bool,
    /// What happens while the store is away: `local` remembers in this instance alone, `deny` answers 503. Default
    /// `local`.
    pub on_store_failure: OnStoreFailure,
    /// Looks only at signatures with this `tag`, which says what they are for. Default: at all.
    pub tag: Option<String>,
    /// The largest body of a signed request; a larger one is answered 413. It is read before the request passes.
    /// Default `1MiB`.
    pub max_body: ByteSize,
    /// What `WWW-Authenticate` calls the place. Default `gateway`.
    pub realm: String,
}

impl Default for SignatureSettings {
    fn default() -> Self {
        Self {
            protocol: SignatureProtocol::default(),
            keys: Vec::new(),
            components: Vec::new(),
            content_digest: true,
            window: Timespan::secs(300),
            require_nonce: false,
            once: true,
            on_store_failure: OnStoreFailure::default(),
            tag: None,
            max_body: ByteSize::kib(1024),
            realm: "gateway".to_owned(),
        }
    }
}

impl SignatureSettings {
    /// The files that are read once, when a method is made.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let files = self.keys.iter().flat_map(|key| [&key.secret_file, &key.public_key_file]);
        files.filter_map(|file| file.as_deref())
    }
}

/// How a request is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignatureProtocol {
    /// HTTP Message Signatures (RFC 9421): `Signature-Input` and `Signature`.
    #[default]
    HttpMessageSignatures,
    /// Standard Webhooks: `webhook-id`, `webhook-timestamp` and `webhook-signature`, over the body. The keys' ids are
    /// not in the request: each is tried.
    StandardWebhooks,
}

/// A key that signs requests, and whose it is. Exactly one of `secret`, `secret_file`, `public_key` and
/// `public_key_file`.
#[derive(Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SignatureKey {
    /// What signatures call it (`keyid`). Needed.
    pub id: String,
    /// A shared secret: its text, or `base64:…` or `whsec_…` for bytes. Write `"${NAME}"` to take it from the
    /// environment.
    pub secret: Option<String>,
    /// A file with such a secret; white space at its end does not count.
    pub secret_file: Option<PathBuf>,
    /// A public key as PEM: RSA, EC (P-256, P-384) or Ed25519; or an Ed25519 key as `whpk_…`.
    pub public_key: Option<String>,
    /// A file with such a key.
    pub public_key_file: Option<PathBuf>,
    /// What it signs with: the key decides, never the request. Default: by the key, `hmac-sha256`, `ed25519`,
    /// `ecdsa-p256-sha256`, `ecdsa-p384-sha384` or `rsa-pss-sha512`.
    pub algorithm: Option<SignatureAlgorithm>,
    /// Who signs with it: the principal's id. Default: `id`.
    pub owner: Option<String>,
    /// What its owner is, as the claim `roles`. Default: nothing.
    pub roles: Vec<String>,
    /// What its owner may do, as the claim `scope`. Default: nothing.
    pub scopes: Vec<String>,
    /// Further claims by name. Default: none.
    pub metadata: Map<String, Value>,
}

/// Without the secret.
impl fmt::Debug for SignatureKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureKey")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// What signatures are made with: the names of RFC 9421 §6.2.2, and two besides for RSA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum SignatureAlgorithm {
    /// HMAC with SHA-256.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// Ed25519.
    #[serde(rename = "ed25519")]
    Ed25519,
    /// ECDSA with P-256 and SHA-256.
    #[serde(rename = "ecdsa-p256-sha256")]
    EcdsaP256Sha256,
    /// ECDSA with P-384 and SHA-384.
    #[serde(rename = "ecdsa-p384-sha384")]
    EcdsaP384Sha384,
    /// RSASSA-PSS with SHA-512.
    #[serde(rename = "rsa-pss-sha512")]
    RsaPssSha512,
    /// RSASSA-PSS with SHA-256.
    #[serde(rename = "rsa-pss-sha256")]
    RsaPssSha256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "rsa-v1_5-sha256")]
    RsaV15Sha256,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    #[serde(rename = "rsa-v1_5-sha512")]
    RsaV15Sha512,
}

impl SignatureAlgorithm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::EcdsaP384Sha384 => "ecdsa-p384-sha384",
            Self::RsaPssSha512 => "rsa-pss-sha512",
            Self::RsaPssSha256 => "rsa-pss-sha256",
            Self::RsaV15Sha256 => "rsa-v1_5-sha256",
            Self::RsaV15Sha512 => "rsa-v1_5-sha512",
        }
    }

    /// What tokens call the same.
    pub(crate) fn of_tokens(self) -> Algorithm {
        match self {
            Self::HmacSha256 => Algorithm::HS256,
            Self::Ed25519 => Algorithm::EdDSA,
            Self::EcdsaP256Sha256 => Algorithm::ES256,
            Self::EcdsaP384Sha384 => Algorithm::ES384,
            Self::RsaPssSha512 => Algorithm::PS512,
            Self::RsaPssSha256 => Algorithm::PS256,
            Self::RsaV15Sha256 => Algorithm::RS256,
            Self::RsaV15Sha512 => Algorithm::RS512,
        }
    }
}
