pub use crate::jwt::algorithm::Algorithm;
use gateway_core::units::Timespan;
use gateway_fetch::FetchSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How tokens are verified.
///
/// Exactly one of `secret`, `secret_file`, `public_key`, `public_key_file`, `jwks_file`, `jwks_url` and `discovery`
/// says where the key is; `keys` adds further ones, or stands alone.
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
    /// A file with a key set (RFC 7517).
    pub jwks_file: Option<PathBuf>,
    /// The URL of a key set, read again and again; secrets in it are not believed.
    pub jwks_url: Option<String>,
    /// Whether the key set is found by the `issuer`, which then is a URL: its `/.well-known/openid-configuration`
    /// names it (OpenID Connect Discovery 1.0 §4). Default false.
    pub discovery: bool,
    /// Further keys, such as the one before the present one. Default: none.
    pub keys: Vec<KeySettings>,
    /// How a `jwks_url` or a discovered key set is read.
    pub jwks: JwksSettings,
    /// The algorithms that are accepted, all of the key's own kind. Default: by the key, HS256, RS256, ES256, ES384
    /// or ES512 by its curve, or EdDSA; of a key set, what each key's `alg` says, or all that go with it.
    pub algorithms: Vec<Algorithm>,
    /// What `iss` must be; one or a list. Default: anything.
    pub issuer: Option<OneOrMany>,
    /// What `aud` must hold; one or a list, of which one is enough. Default: anything.
    pub audience: Option<OneOrMany>,
    /// How far clocks may be apart, at most `60s`. Default `0s`.
    pub leeway: Option<Timespan>,
    /// What `typ` in the token's header must be, such as `at+jwt` (RFC 9068); whatever its case, and with or without
    /// `application/`. Default: anything.
    pub typ: Option<String>,
    /// Whether a token must say when it ends (`exp`). Where it does, that counts in any case. Default true.
    pub require_exp: Option<bool>,
    /// How long a token is good after it was issued, besides `exp`. Default: for ever.
    pub max_age: Option<Timespan>,
    /// The claim that says when it was issued, in seconds since 1970. Default `iat`.
    pub max_age_claim: Option<String>,
    /// Claims that must be there besides `exp`. Default: none.
    pub required_claims: Vec<String>,
    /// Claims that must have a value: `{ email_verified = true, role = ["admin", "owner"] }`. Of a list one is enough,
    /// and a claim that is a list must hold it. Default: none.
    pub required: BTreeMap<String, serde_json::Value>,
    /// The claim that says who it is; of a list, the first that is there. Default `["sub", "email"]`.
    pub id_claim: Option<OneOrMany>,
    /// Where the token may be: `"header"`, `{ header = "X-Token", scheme = "Token" }`, `{ cookie = "access" }`,
    /// `{ query = "access_token" }`. The first place that holds something counts. Default `["header"]`.
    #[serde(rename = "from")]
    pub places: Vec<Place>,
    /// Takes the token out of requests before they reach the service, wherever `from` says that it may be. Default
    /// `false`.
    pub hide_credentials: bool,
    /// What `WWW-Authenticate` calls the place. Default `gateway`.
    pub realm: Option<String>,
    /// How many verified tokens are remembered; 0 verifies each time. Default 100 000.
    pub cache_entries: Option<usize>,
    /// How a revocation comes to the other instances. Default: `strict` on Redis, where it takes effect at once and
    /// each request costs a round trip; without Redis there are no others.
    pub revocation: Option<RevocationMode>,
    /// Which layers have their revoked sessions, subjects and token ids in common. Default: those with the same
    /// `issuer`.
    pub revocation_group: Option<String>,
    /// How long a token may be good at most: that long are revocations kept whose end nobody says. Default:
    /// `max_age`, or else `24h`.
    pub max_lifetime: Option<Timespan>,
    /// What happens while the store is away. Default `local`.
    pub on_store_failure: OnStoreFailure,
}

/// One of several keys: one of the secrets, keys and files.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeySettings {
    /// A secret for HS256, HS384 and HS512.
    pub secret: Option<String>,
    /// A file with a secret; white space at its end does not count.
    pub secret_file: Option<PathBuf>,
    /// A public key in PEM, RSA, EC or Ed25519.
    pub public_key: Option<String>,
    /// A file with such a key.
    pub public_key_file: Option<PathBuf>,
    /// A file with a key set.
    pub jwks_file: Option<PathBuf>,
    /// What tokens call the key. Default: it is tried for every token. Keys of a set have their own.
    pub kid: Option<String>,
    /// The algorithms that are accepted with it. Default: by the key.
    pub algorithms: Vec<Algorithm>,
}

/// How a key set is read from its URL.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JwksSettings {
    /// How often it is read, `10s` at least; more often where its `Cache-Control: max-age` says so. Each instance a
    /// little earlier, by chance, so that they do not come all at once. Default `5m`.
    pub refresh: Timespan,
    /// How long after a token with an unknown key made it read the set in vain, the next such token may. Default
    /// `10s`.
    pub pause: Timespan,
    /// How long the last keys are used while the set cannot be read. Default `24h`.
    pub keep: Timespan,
    /// How long a request waits for keys, at most. Default `5s`.
    pub wait: Timespan,
    /// How the server is asked.
    pub fetch: FetchSettings,
}

impl JwksSettings {
    /// However short the settings or the issuer say: whoever reads without a pause is soon shut out.
    pub(crate) const MIN_REFRESH: Duration = Duration::from_secs(10);

    pub(crate) fn refresh(&self) -> Duration {
        (*self.refresh).max(Self::MIN_REFRESH)
    }
}

impl Default for JwksSettings {
    fn default() -> Self {
        Self {
            refresh: Timespan::secs(300),
            pause: Timespan::secs(10),
            keep: Timespan::secs(86_400),
            wait: Timespan::secs(5),
            fetch: FetchSettings::default(),
        }
    }
}

/// Where a token is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected \"header\", or a table with `header`, `cookie` or `query`")]
pub enum Place {
    /// `"header"`: `Authorization: Bearer TOKEN`.
    Standard(Standard),
    /// `{ header = "X-Token" }`: a header of any name.
    Header(HeaderPlace),
    /// `{ cookie = "access" }`
    Cookie(CookiePlace),
    /// `{ query = "access_token" }`. Targets stand in logs and browsers' histories: better not.
    Query(QueryPlace),
}

/// The usual place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standard {
    /// `Authorization: Bearer TOKEN`.
    Header,
}

/// A header with a token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderPlace {
    /// Its name.
    pub header: String,
    /// What stands before the token, whatever its case. Default: nothing.
    #[serde(default)]
    pub scheme: Option<String>,
}

/// A cookie with a token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CookiePlace {
    /// Its name.
    pub cookie: String,
}

/// A query parameter with a token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryPlace {
    /// Its name.
    pub query: String,
}

/// How a revocation comes to the other instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RevocationMode {
    /// They are told, within a second, and requests ask nobody.
    Push,
    /// They ask the store at each request.
    Strict,
}

/// Without keys.
impl std::fmt::Debug for KeySettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySettings")
            .field("kid", &self.kid)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
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
