use gateway_core::units::Timespan;
use schemars::JsonSchema;
use serde::Deserialize;

/// Where state is that instances share. Default: in memory, shared by nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// A Redis server.
    pub redis: Option<RedisSettings>,
}

/// A Redis server.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// `redis://[user:password@]HOST[:PORT][/DATABASE]`.
    pub url: String,
    /// How long one operation may take; requests wait for it. Default `20ms`.
    #[serde(default = "twenty_millis")]
    pub timeout: Timespan,
    /// How long a connection may take to be made. Default `1s`.
    #[serde(default = "one_second")]
    pub connect_timeout: Timespan,
    /// What all keys begin with. Default `gateway:`.
    #[serde(default = "gateway")]
    pub prefix: String,
    /// Whether the gateway refuses to start while the server is away. Default true.
    #[serde(default = "yes")]
    pub required: bool,
}

fn twenty_millis() -> Timespan {
    Timespan::millis(20)
}
fn one_second() -> Timespan {
    Timespan::secs(1)
}
fn gateway() -> String {
    "gateway:".to_owned()
}
fn yes() -> bool {
    true
}

impl RedisSettings {
    /// The server at this URL, everything else by default.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            timeout: twenty_millis(),
            connect_timeout: one_second(),
            prefix: gateway(),
            required: yes(),
        }
    }

    /// The URL without user and password.
    pub(crate) fn shown(&self) -> String {
        match (self.url.split_once("://"), self.url.rfind('@')) {
            (Some((scheme, _)), Some(at)) => format!("{scheme}://{}", &self.url[at + 1..]),
            _ => self.url.clone(),
        }
    }
}

/// Without the password.
impl std::fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSettings")
            .field("url", &self.shown())
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
