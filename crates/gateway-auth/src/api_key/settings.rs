use crate::api_key::key::KeyHash;
use gateway_core::units::Timespan;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How API keys are recognised, and which there are.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApiKeySettings {
    /// The header that carries the key; empty for none. Default `X-API-Key`.
    pub header: String,
    /// A query parameter that may carry it. Such keys end up in logs and histories. Default: none.
    pub query: Option<String>,
    /// A cookie that may carry it. Default: none.
    pub cookie: Option<String>,
    /// Takes the key out of requests before they reach the service. Default `true`.
    pub hide_credentials: bool,
    /// What `WWW-Authenticate` calls the place. Default `gateway`.
    pub realm: String,
    /// The keys. Several with the same `id` are all good: so a key is replaced without a gap.
    pub keys: Vec<ApiKeyEntry>,
    /// A file with further keys, as TOML (`[[keys]]`, if its name ends in `.toml`) or JSON (`{"keys": […]}`), read
    /// again when it changes. One that cannot be read leaves the last good keys. Default: none.
    pub keys_file: Option<PathBuf>,
    /// How often the file is looked at. Default `5s`.
    pub reload: Timespan,
}

impl Default for ApiKeySettings {
    fn default() -> Self {
        Self {
            header: "X-API-Key".to_owned(),
            query: None,
            cookie: None,
            hide_credentials: true,
            realm: "gateway".to_owned(),
            keys: Vec::new(),
            keys_file: None,
            reload: Timespan::secs(5),
        }
    }
}

/// An API key, of which only the hash is known.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyEntry {
    /// What the key is called in lists and logs. The keys of an id are revoked together.
    pub id: String,
    /// The key's SHA-256: `sha256:` and the output of `printf %s "$KEY" | sha256sum`.
    pub hash: KeyHash,
    /// Whose key it is: the principal's id. Default: `id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The tier, as the claim `tier`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// What the key is for, as the claim `scope`. Default: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// What its owner is, as the claim `roles`. Default: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// From when on it is good: `"2026-12-31"` or `"2026-12-31T23:59:59Z"`. Default: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Date>,
    /// From when on it is no longer good. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Date>,
    /// Refused all the same. Default `false`.
    #[serde(default)]
    pub disabled: bool,
    /// Further claims by name. Default: none.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

impl ApiKeyEntry {
    /// A key that is good for ever and says nothing more of its owner.
    #[must_use]
    pub fn new(id: impl Into<String>, hash: KeyHash) -> Self {
        Self {
            id: id.into(),
            hash,
            owner: None,
            tier: None,
            scopes: Vec::new(),
            roles: Vec::new(),
            not_before: None,
            expires: None,
            disabled: false,
            metadata: Map::new(),
        }
    }

    /// Whether it has a name, without which nobody could revoke it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_id(&self) -> Result<(), &'static str> {
        match self.id.is_empty() {
            true => Err("it is empty; expected what the key is called in lists and logs"),
            false => Ok(()),
        }
    }
}

/// A point in time as of RFC 3339, in UTC; a day is its first second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(pub SystemTime);

impl Date {
    /// In seconds since 1970.
    pub(crate) fn unix(self) -> f64 {
        self.0.duration_since(UNIX_EPOCH).as_ref().map_or(0.0, Duration::as_secs_f64)
    }
}

const EXPECTED: &str = "a day or time in UTC such as `2026-12-31` or `2026-12-31T23:59:59Z`";

impl FromStr for Date {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let day = text.len() == "2026-12-31".len();
        let whole = if day { Cow::Owned(format!("{text}T00:00:00Z")) } else { Cow::Borrowed(text) };
        humantime::parse_rfc3339(&whole)
            .map(Self)
            .map_err(|_| format!("`{text}` is no time; expected {EXPECTED}"))
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&humantime::format_rfc3339_seconds(self.0))
    }
}

impl JsonSchema for Date {
    fn schema_name() -> Cow<'static, str> {
        "Date".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": EXPECTED })
    }
    fn inline_schema() -> bool {
        true
    }
}

/// The file of `keys_file`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeysFile {
    pub(crate) keys: Vec<ApiKeyEntry>,
}
