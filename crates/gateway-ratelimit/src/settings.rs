use crate::Limit;
use gateway_core::units::{Scalar, ShortForm};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A rate limit. Short form: `"100/min"`, for all callers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitSettings {
    /// The limit of every caller. Excludes the tiers.
    pub limit: Option<Limit>,
    /// The limit of callers who are not authenticated. Default: none, if another tier is given.
    pub anonymous: Option<Limit>,
    /// The limit of callers who are. Default: none, if another tier is given.
    pub authenticated: Option<Limit>,
    /// The limit of callers with an API key. Default: none, if another tier is given.
    pub api_key: Option<Limit>,
    /// What is counted. Default `caller`.
    pub key: KeyBy,
    /// Whether answers tell what is left in `RateLimit` and `RateLimit-Policy`. Default true.
    pub headers: bool,
    /// Whether they also do in `X-RateLimit-Limit`, `-Remaining` and `-Reset`. Default false.
    pub legacy_headers: bool,
    /// `enforce`, or `report` to refuse nobody and only say so. Default `enforce`.
    pub mode: Mode,
    /// How many callers are remembered at once; beyond it, those with most left are forgotten first.
    /// Default 100 000, which takes about 5 MiB.
    pub max_keys: usize,
}

impl Default for RateLimitSettings {
    fn default() -> Self {
        Self {
            limit: None,
            anonymous: None,
            authenticated: None,
            api_key: None,
            key: KeyBy::default(),
            headers: true,
            legacy_headers: false,
            mode: Mode::default(),
            max_keys: 100_000,
        }
    }
}

impl RateLimitSettings {
    /// The same limit for every caller.
    #[must_use]
    pub fn all(limit: Limit) -> Self {
        Self { limit: Some(limit), ..Self::default() }
    }
}

impl ShortForm for RateLimitSettings {
    const EXPECTED: &'static str = "a rate such as \"100/min\", or a table";
    const TYPE: &'static str = "string";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Text(text) => Some(text.parse().map(Self::all)),
            Scalar::Number(_) | Scalar::Switch(_) => None,
        }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyBy {
    /// Who is authenticated; others by their address.
    #[default]
    Caller,
    /// The client's address; IPv6 by /64.
    ClientIp,
    /// Who is authenticated; all others together.
    Principal,
    /// All requests together.
    All,
}

/// Whether the limit refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// It only says in the answer's extensions that it would have.
    Report,
}
