use gateway_core::units::{ByteSize, Scalar, ShortForm, Timespan};
use gateway_core::{Mode, Network};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A shared cache of answers (RFC 9111). Short forms: `true`, which goes by what the answers say alone, or a length
/// of time such as `"30s"`, for those that say nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSettings {
    /// How long an answer is fresh that says nothing of it, if its status is one of `statuses`. Default: not at all.
    /// What came for a request with a `Cookie` is stored by this only if the cookie is in the key, or with
    /// `override`.
    pub ttl: Option<Timespan>,
    /// Whether `ttl` and `negative` come before what answers say of their freshness. Answers that forbid it
    /// (`no-store`, `private`, `Set-Cookie`, `Vary: *`) are not stored all the same. Default false.
    pub r#override: bool,
    /// The statuses that `ttl` is for. Default 200, 203, 301 and 308.
    pub statuses: Vec<u16>,
    /// How long failures are fresh that say nothing of it, by status: `{ 404 = "10s" }`. Default: not at all.
    pub negative: BTreeMap<String, Timespan>,
    /// The methods that are answered from the cache: `GET`, `HEAD` and, by choice, `QUERY`. With `POST`, which is never
    /// answered from it, what a `POST` that succeeds answers is kept for a `GET` of the same URL, if its
    /// `Content-Location` is that URL and it says how long it is fresh. Default `GET` and `HEAD`. All others pass.
    pub methods: Vec<CacheMethod>,
    /// The longest body of a `QUERY` that is answered from the cache; it is read before the service is asked. Longer
    /// ones, and those that do not say how long they are, pass. Default `64KiB`.
    pub max_query: ByteSize,
    /// What tells one answer from another, beyond the URL.
    pub key: KeySettings,
    /// Which requests go around the cache.
    pub bypass: BypassSettings,
    /// The largest body that is stored. Default `1MiB`.
    pub max_entry: ByteSize,
    /// Whether answers with `Set-Cookie` are stored, cookie and all. Default false: one client's cookie is not for
    /// another.
    pub set_cookie: bool,
    /// For how long a stale answer may be used while a new one is fetched in the background, where the answer does
    /// not say (RFC 5861). Default `0s`.
    pub stale_while_revalidate: Timespan,
    /// For how long a stale answer may be used while the upstream fails (500, 502, 503, 504, or no answer), where
    /// the answer does not say (RFC 5861). Default `0s`.
    pub stale_if_error: Timespan,
    /// Whether an answer that says only when it last changed is fresh for a tenth of the time since, at most a day
    /// (RFC 9111 §4.2.2). Default false.
    pub heuristic: bool,
    /// Whether callers who say who they are share answers. Default `principal`: they do not.
    pub isolation: Isolation,
    /// Whether `Cache-Control` of requests counts: with `no-cache`, `max-age` and the like a client reaches the
    /// upstream past the cache. Default true, as RFC 9111 has it.
    pub client_directives: bool,
    /// Whether requests for the same answer wait for the first of them, and share what it gets. Default true.
    pub collapse: bool,
    /// How long a request waits for the head of the first one's answer before it asks for itself. Default `5s`.
    pub collapse_timeout: Timespan,
    /// Whether answers tell in `Cache-Status` what the cache did (RFC 9211). Default true.
    pub status_header: bool,
    /// `enforce`, or `report` to answer nothing from the cache and only say in `Cache-Status` what would be a hit.
    /// Default `enforce`.
    pub mode: Mode,
    /// Who may remove answers by the method `PURGE`. Default: nobody, and `PURGE` passes to the upstream.
    pub purge: Option<PurgeSettings>,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            ttl: None,
            r#override: false,
            statuses: vec![200, 203, 301, 308],
            negative: BTreeMap::new(),
            methods: vec![CacheMethod::Get, CacheMethod::Head],
            max_query: ByteSize::kib(64),
            key: KeySettings::default(),
            bypass: BypassSettings::default(),
            max_entry: ByteSize::kib(1024),
            set_cookie: false,
            stale_while_revalidate: Timespan::secs(0),
            stale_if_error: Timespan::secs(0),
            heuristic: false,
            isolation: Isolation::default(),
            client_directives: true,
            collapse: true,
            collapse_timeout: Timespan::secs(5),
            status_header: true,
            mode: Mode::default(),
            purge: None,
        }
    }
}

impl CacheSettings {
    /// So long for answers that say nothing of their freshness, everything else by default.
    #[must_use]
    pub fn ttl(ttl: Timespan) -> Self {
        Self { ttl: Some(ttl), ..Self::default() }
    }
}

impl ShortForm for CacheSettings {
    const EXPECTED: &'static str = "true, a length of time such as \"30s\", or a table";
    const TYPE: &'static str = "string";
    const ALSO: &'static [&'static str] = &["boolean"];
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Text(text) => Some(text.parse().map(Self::ttl)),
            Scalar::Switch(true) => Some(Ok(Self::default())),
            Scalar::Number(_) | Scalar::Switch(false) => None,
        }
    }
}

/// What tells one answer from another, beyond scheme, host, path and query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeySettings {
    /// The query parameters that count; all others are ignored. `utm_*` stands for all that begin so. Default: all.
    pub query: Option<Vec<String>>,
    /// The query parameters that do not count. Excludes `query`. Default: none.
    pub ignore_query: Vec<String>,
    /// Whether the order of query parameters of different names does not count. Default false.
    pub sort_query: bool,
    /// Which differences between two queries do not count, in the words of the header `No-Vary-Search`
    /// (draft-ietf-httpbis-no-vary-search): `key-order`, `params`, `params=("utm_source" "fbclid")`,
    /// `params, except=("q")`. Names and values are compared as they are meant: `%7E` is `~`, `+` a space. Excludes
    /// `query`, `ignore_query` and `sort_query`. Default: all count.
    pub no_vary_search: Option<String>,
    /// Whether the header `No-Vary-Search` of answers says so, each for its path: the last answer of a path that is
    /// stored says what counts of the path's queries. Of 1024 paths it is remembered. Excludes all other ways to say
    /// what of the query counts. Default false: the header is left to the client's cache.
    pub learn_no_vary_search: bool,
    /// Headers that count, whether the answer names them in `Vary` or not. Default: none.
    pub headers: Vec<String>,
    /// Cookies that count. Default: none.
    pub cookies: Vec<String>,
}

/// Which requests go around the cache: not answered from it, and their answers not stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BypassSettings {
    /// Those with one of these headers. Default: none.
    pub headers: Vec<String>,
    /// Those with one of these cookies. Default: none.
    pub cookies: Vec<String>,
}

/// Who may remove answers by the method `PURGE`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PurgeSettings {
    /// The networks of those who may: `["10.0.0.0/8"]`. All others are answered 403.
    pub networks: Vec<Network>,
}

/// A method that can be answered from the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum CacheMethod {
    /// `GET`
    Get,
    /// `HEAD`, beside `GET`: answered from what that left.
    Head,
    /// `QUERY` (RFC 10008): its body is part of the key, with the headers that say how to read it.
    Query,
    /// `POST`, beside `GET`: its answer is kept for that where it says that it may be (RFC 9110 §9.3.3).
    Post,
}

/// Whether callers who say who they are share answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// They do not: each principal, and each value of `Authorization`, has answers of its own, even of those that
    /// say `public`.
    #[default]
    Principal,
    /// They share those that allow it by `public`, `must-revalidate` or `s-maxage` (RFC 9111 §3.5); others are not
    /// stored.
    Shared,
}

/// Why the settings make no cache.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// Not a status that can be stored.
    #[error(
        "`{key}`: `{found}` is no status of an answer that can be stored; expected a number from 200 to 599 other than 206, 304, 412 and 416"
    )]
    Status {
        /// Where.
        key: &'static str,
        /// What was found.
        found: String,
    },
    /// Not the name of a header.
    #[error("`{key}`: `{found}` is not the name of a header")]
    Header {
        /// Where.
        key: &'static str,
        /// What was found.
        found: String,
    },
    /// Both lists of query parameters.
    #[error("`key.query` already names all parameters that count; leave out `key.ignore_query`")]
    Query,
    /// Not a value of `No-Vary-Search`.
    #[error(
        "`key.no_vary_search`: `{found}` is no rule of `No-Vary-Search`; expected such as `key-order`, \
         `params=(\"utm_source\")` or `params, except=(\"q\")`"
    )]
    NoVarySearch {
        /// What was found.
        found: String,
    },
    /// Two ways to say which parameters count.
    #[error(
        "`key.no_vary_search` already says what of the query counts; leave out `key.query`, `key.ignore_query` and \
         `key.sort_query`"
    )]
    NoVarySearchBesides,
    /// Two ways to say which parameters count.
    #[error(
        "`key.learn_no_vary_search` has answers say what of the query counts; leave out `key.query`, \
         `key.ignore_query`, `key.sort_query` and `key.no_vary_search`"
    )]
    LearnBesides,
    /// Nothing would be answered from the cache.
    #[error(
        "`methods` is empty, so that nothing would be answered from the cache; leave the cache out instead"
    )]
    NoMethods,
    /// A method that is nothing without `GET`.
    #[error(
        "`methods` has `{found}` but not `GET`; `HEAD` is answered from what a `GET` left, and what a `POST` answers is \
         kept for `GET`: expected `GET` besides"
    )]
    NoGet {
        /// `HEAD` or `POST`.
        found: &'static str,
    },
    /// No entry fits.
    #[error("`max_entry` is {max_entry}, but the store holds no more than {memory}")]
    TooLarge {
        /// The largest entry.
        max_entry: ByteSize,
        /// The store's memory.
        memory: ByteSize,
    },
    /// No entry fits.
    #[error("`max_entry` is 0, so that nothing would be stored; leave the cache out instead")]
    NoRoom,
    /// Nobody may purge.
    #[error("`purge.networks` is empty, so that nobody could purge; leave `purge` out instead")]
    NoNetworks,
    /// The ttl has nothing to come before.
    #[error("`override` has no `ttl` or `negative` to put before what answers say")]
    OverrideOfNothing,
}
