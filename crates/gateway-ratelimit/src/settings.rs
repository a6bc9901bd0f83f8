//! What an operator can say of a rate limit.

mod cost;
mod exempt;
mod lists;
mod tiers;

pub use cost::{CostSettings, CountWhat, SettleSettings};
pub use exempt::ExemptSettings;
pub use lists::{Limits, Quotas};
pub use tiers::{LimitFromSettings, MetaSource, Per, TierExpression, TierSettings};

use crate::{Algorithm, KeyBy, Limit, OnMissing, TimeZone};
use gateway_core::Mode;
use gateway_core::units::{Scalar, Short, ShortForm, Timespan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A rate limit. Short forms: `"100/min"` or `["10/s", "1000/h burst 50"]`, for all callers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitSettings {
    /// The limit of every caller: `"100/min"`, `"1000/h burst 50"`, or several that must all have room,
    /// `["10/s", "1000/h"]`. Excludes `anonymous`, `authenticated` and `api_key`.
    pub limit: Option<Limits>,
    /// The limit of callers who are not authenticated. Default: none, if another tier is given.
    pub anonymous: Option<Limits>,
    /// The limit of callers who are. Default: none, if another tier is given.
    pub authenticated: Option<Limits>,
    /// The limit of callers with an API key. Default: none, if another tier is given.
    pub api_key: Option<Limits>,
    /// Other limits for callers of whom a claim, a header or an expression says so. Default: none.
    pub tiers: Option<TierSettings>,
    /// A claim that holds the limit itself; goes before all others. Default: none.
    pub limit_from: Option<LimitFromSettings>,
    /// How many requests a day, week or month, by the calendar: `"10000/day"`, `"1000000/month"`. Counted beside the
    /// limits and answered with a code of its own, `quota-exceeded`. Default: none.
    pub quota: Option<Quotas>,
    /// By whose calendar quotas begin: `UTC` or an offset such as `"+02:00"`. Default `UTC`.
    pub timezone: TimeZone,
    /// A file that keeps the counts of quotas over restarts, where no Redis does. Written at most every 5 s and
    /// when the gateway ends. Default: none, so that quotas begin anew with the process.
    pub quota_file: Option<PathBuf>,
    /// `gcra`, `token_bucket`, `fixed_window`, `sliding_window` or `leaky_bucket`. Default `gcra`.
    pub algorithm: Algorithm,
    /// How long `leaky_bucket` makes a request wait before it rather refuses. Default `5s`.
    pub max_delay: Timespan,
    /// What is counted: one of `caller`, `client_ip` (IPv6 by /64), `principal`, `api_key`, `route`, `service`, `path`
    /// (without the query, as `normalize` leaves it), `method`, `all`, `{ header = "X-Tenant" }`, `{ claim = "org.id" }`,
    /// `{ cookie = "sid" }`, `{ query = "user" }`, `{ capture = "id" }` (of a route with the path `/users/{id}`), or a
    /// list of those, counted by all of them together. What clients write themselves (headers, cookies, paths, the
    /// query) they can also vary to escape the count. Default `caller`.
    pub key: KeyBy,
    /// A request that lacks a part of the key: `shared`, it counts with all others that lack it, or `skip`, it is
    /// not limited. Default `shared`.
    pub on_missing: OnMissing,
    /// What a request takes: a number, or `{ header = "X-Cost" }`. Default 1.
    pub cost: Short<CostSettings>,
    /// What the answer says that a request took in the end, such as the tokens of a language model; the difference to
    /// `cost` is settled then, if need be into debt. Default: none.
    pub settle: Option<SettleSettings>,
    /// `requests`, or `failures`: only answers with one of `statuses` count, and when they are too many, further
    /// requests are refused. Default `requests`.
    pub count: CountWhat,
    /// The statuses that `count = "failures"` counts. Default `[401, 403]`.
    pub statuses: Vec<u16>,
    /// For how long a caller who has come beyond the limit is refused, whatever room there is meanwhile: `"10m"`. It
    /// begins with the first request that is refused; further ones do not prolong it. Not with `leased`. Default: none.
    pub penalty: Option<Timespan>,
    /// Who is not limited. Default: nobody.
    pub exempt: ExemptSettings,
    /// Whether answers tell what is left in `RateLimit` and `RateLimit-Policy`. Default true.
    pub headers: bool,
    /// Whether they also do in `X-RateLimit-Limit`, `-Remaining` and `-Reset`. Default false.
    pub legacy_headers: bool,
    /// Whether refusals say in `Retry-After` when to come back. Default true.
    pub retry_after: bool,
    /// `enforce`, or `report` to refuse nobody and only say so. Default `enforce`.
    pub mode: Mode,
    /// How many callers are remembered at once; beyond it, those with most left are forgotten first, or,
    /// with `leased`, others wait for the store.
    /// Default 100 000, which takes about 9 MiB.
    pub max_keys: usize,
    /// How instances share the counts where there is a Redis: `exact`, one round trip per request; `leased`, shares
    /// are taken in the background; `local`, not at all. Default `exact`.
    pub shared: Shared,
    /// With `leased`, how many requests an instance takes at once. Instances together may let pass as much more than
    /// the limit, each. Default: a twentieth of the smallest limit that the caller has, or a fixed
    /// `cost` if that is more.
    pub lease: Option<u32>,
    /// After how long an unused share is given back. Default `1s`.
    pub lease_ttl: Timespan,
    /// While Redis is away or slower than its `timeout`: `local`, each instance counts for itself; `allow`, nothing is
    /// limited; `deny`, all is answered 503 `store-unavailable`. Default `local`.
    pub on_store_failure: OnStoreFailure,
    /// Among how many instances a limit is divided while each counts for itself. Default 1.
    pub replicas: u32,
}

impl Default for RateLimitSettings {
    fn default() -> Self {
        Self {
            limit: None,
            anonymous: None,
            authenticated: None,
            api_key: None,
            tiers: None,
            limit_from: None,
            quota: None,
            timezone: TimeZone::default(),
            quota_file: None,
            algorithm: Algorithm::default(),
            max_delay: Timespan::secs(5),
            key: KeyBy::default(),
            on_missing: OnMissing::default(),
            cost: Short::default(),
            settle: None,
            count: CountWhat::default(),
            statuses: vec![401, 403],
            penalty: None,
            exempt: ExemptSettings::default(),
            headers: true,
            legacy_headers: false,
            retry_after: true,
            mode: Mode::default(),
            max_keys: 100_000,
            shared: Shared::default(),
            lease: None,
            lease_ttl: Timespan::secs(1),
            on_store_failure: OnStoreFailure::default(),
            replicas: 1,
        }
    }
}

impl RateLimitSettings {
    /// The same limit for every caller.
    #[must_use]
    pub fn all(limit: Limit) -> Self {
        Self { limit: Some(limit.into()), ..Self::default() }
    }
}

impl ShortForm for RateLimitSettings {
    const EXPECTED: &'static str = "a rate such as \"100/min\", a list of rates, or a table";
    const TYPE: &'static str = "string";
    const ALSO: &'static [&'static str] = &["array"];
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Text(text) => Some(text.parse().map(Self::all)),
            Scalar::Number(_) | Scalar::Switch(_) => None,
        }
    }
    fn from_list(texts: Vec<String>) -> Option<Result<Self, String>> {
        Some(Limits::from_texts(&texts).map(|limits| Self { limit: Some(limits), ..Self::default() }))
    }
}

/// How instances share counts over a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shared {
    /// Each request asks the store, in one round trip.
    #[default]
    Exact,
    /// Shares of the limit are taken in the background; no request waits.
    Leased,
    /// Each instance counts for itself, even where there is a store.
    Local,
}

/// What happens while the store is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnStoreFailure {
    /// Each instance counts for itself.
    #[default]
    Local,
    /// Nothing is limited.
    Allow,
    /// All is refused.
    Deny,
}
