use super::codel::CodelSettings;
use super::key::ConcurrencyKey;
use gateway_core::Mode;
use gateway_core::units::{Scalar, Short, ShortForm, Switch, Timespan};
use schemars::JsonSchema;
use serde::Deserialize;

/// How many requests may be in progress at once, from their start to the last byte of their answer. Short form:
/// a number, for all requests together.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConcurrencySettings {
    /// How many: of all together, or of each `key`; 1 to 1 000 000. Default 1024, as Envoy's.
    pub max: u32,
    /// What is counted: `all`, `caller` (who is authenticated, else the address), `client_ip` (IPv6 by /64),
    /// `principal`, or `header:NAME`. Default `all`. With any other, who has too many is answered 429 instead
    /// of 503.
    pub key: ConcurrencyKey,
    /// How many more may wait for their turn, first come, first served. Default 0: nobody waits.
    pub queue: Short<QueueSettings>,
    /// How many different keys may have requests in progress at once; the next is refused with 503.
    /// Default 16 384, which takes 256 KiB.
    pub max_keys: u32,
    /// `enforce`, or `report` to refuse nobody and only say so of who comes on top of `max`; nobody waits then.
    /// Default `enforce`.
    pub mode: Mode,
}

impl Default for ConcurrencySettings {
    fn default() -> Self {
        Self {
            max: 1024,
            key: ConcurrencyKey::All,
            queue: Short::default(),
            max_keys: 16_384,
            mode: Mode::Enforce,
        }
    }
}

impl ConcurrencySettings {
    /// So many of all requests together.
    #[must_use]
    pub fn all(max: u32) -> Self {
        Self { max, ..Self::default() }
    }
}

impl ShortForm for ConcurrencySettings {
    const EXPECTED: &'static str = "a number of requests, or a table";
    const TYPE: &'static str = "integer";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Number(max) => Some(count(max).map(Self::all)),
            Scalar::Text(_) | Scalar::Switch(_) => None,
        }
    }
}

/// Who waits. Short form: how many.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSettings {
    /// How many may wait: in all, or for each key. Default 0.
    pub length: u32,
    /// How long one waits before it is refused. Default `1s`.
    pub timeout: Timespan,
    /// Whether a queue that only stands is worked off from its end, and those who have waited for long are refused:
    /// `true`, `false` or a table. Default `false`: first come, first served.
    pub codel: Switch<CodelSettings>,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { length: 0, timeout: Timespan::secs(1), codel: Switch::Off }
    }
}

impl ShortForm for QueueSettings {
    const EXPECTED: &'static str = "how many requests may wait, or a table";
    const TYPE: &'static str = "integer";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Number(length) => Some(count(length).map(|length| Self { length, ..Self::default() })),
            Scalar::Text(_) | Scalar::Switch(_) => None,
        }
    }
}

fn count(number: i64) -> Result<u32, String> {
    u32::try_from(number)
        .map_err(|_| format!("{number} is no number of requests; expected 0 to {}", u32::MAX))
}
