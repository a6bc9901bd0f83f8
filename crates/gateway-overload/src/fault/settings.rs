use gateway_core::units::{ByteSize, Scalar, Short, ShortForm, Timespan};
use schemars::JsonSchema;
use serde::Deserialize;

/// Faults that are injected on purpose: requests are delayed or answered with an error, answers are slowed down.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FaultSettings {
    /// Requests wait before they go on. Default: none.
    pub delay: Option<Short<DelayFault>>,
    /// Requests are answered with an error, after their delay if they have one. Default: none.
    pub abort: Option<Short<AbortFault>>,
    /// Answers are sent slowly. Default: none.
    pub rate: Option<Short<RateFault>>,
    /// Only requests that carry this header have faults; any client may send it. Default: all have.
    pub header: Option<String>,
    /// At most so many requests are delayed or slowed down at once; others pass untouched. Default 100.
    pub max_active: u32,
}

impl Default for FaultSettings {
    fn default() -> Self {
        Self { delay: None, abort: None, rate: None, header: None, max_active: 100 }
    }
}

/// None but `false`, where a switch takes one: what fails on purpose is always spelled out.
impl ShortForm for FaultSettings {
    const EXPECTED: &'static str = "`false`, or a table with `delay`, `abort` or `rate`";
    const TYPE: &'static str = "boolean";
    fn from_short(_: Scalar<'_>) -> Option<Result<Self, String>> {
        None
    }
}

/// Requests wait. Short form: how long, for all.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DelayFault {
    /// How long. Default `100ms`.
    pub time: Timespan,
    /// How many of a hundred requests, 0 to 100. Default 100.
    pub percent: f64,
}

impl Default for DelayFault {
    fn default() -> Self {
        Self { time: Timespan::millis(100), percent: 100.0 }
    }
}

impl ShortForm for DelayFault {
    const EXPECTED: &'static str = "a length of time such as \"100ms\", or a table";
    const TYPE: &'static str = "string";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Text(text) => Some(text.parse().map(|time| Self { time, ..Self::default() })),
            Scalar::Number(_) | Scalar::Switch(_) => None,
        }
    }
}

/// Requests are answered with an error. Short form: its status, for all.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AbortFault {
    /// The status, 200 to 599. Default 503.
    pub status: u16,
    /// How many of a hundred requests, 0 to 100. Default 100.
    pub percent: f64,
}

impl Default for AbortFault {
    fn default() -> Self {
        Self { status: 503, percent: 100.0 }
    }
}

impl ShortForm for AbortFault {
    const EXPECTED: &'static str = "a status such as 503, or a table";
    const TYPE: &'static str = "integer";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Number(status) => Some(
                u16::try_from(status)
                    .map(|status| Self { status, ..Self::default() })
                    .map_err(|_| format!("{status} is no status; expected 200 to 599")),
            ),
            Scalar::Text(_) | Scalar::Switch(_) => None,
        }
    }
}

/// Answers are sent slowly. Short form: how much a second, for all.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateFault {
    /// How much of an answer's body is sent in a second. Default `64KiB`.
    pub per_second: ByteSize,
    /// How many of a hundred answers, 0 to 100. Default 100.
    pub percent: f64,
}

impl Default for RateFault {
    fn default() -> Self {
        Self { per_second: ByteSize::kib(64), percent: 100.0 }
    }
}

impl ShortForm for RateFault {
    const EXPECTED: &'static str = "a size such as \"64KiB\", for each second, or a table";
    const TYPE: &'static str = "string";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Text(text) => Some(text.parse().map(|per_second| Self { per_second, ..Self::default() })),
            Scalar::Number(_) | Scalar::Switch(_) => None,
        }
    }
}
