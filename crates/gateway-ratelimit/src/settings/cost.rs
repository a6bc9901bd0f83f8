use gateway_core::units::{ByteSize, Scalar, ShortForm};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a request takes. Short form: a number.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CostSettings {
    /// A request header that says it. Only where a trusted service sets it: a client would always say little.
    /// Default: none.
    pub header: Option<String>,
    /// What a request takes that does not say. Default 1.
    pub default: u32,
    /// What a request takes at least, whatever it says. Default 0.
    pub min: u32,
    /// What a request takes at most, whatever it says. Default 1000.
    pub max: u32,
}

impl Default for CostSettings {
    fn default() -> Self {
        Self { header: None, default: 1, min: 0, max: 1000 }
    }
}

impl ShortForm for CostSettings {
    const EXPECTED: &'static str = "a number of at least 1, or a table";
    const TYPE: &'static str = "integer";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        let Scalar::Number(number) = value else { return None };
        let cost = u32::try_from(number).ok().filter(|cost| *cost > 0);
        let cost = cost.ok_or_else(|| format!("a request cannot cost {number}; expected {}", Self::EXPECTED));
        Some(cost.map(|default| Self { default, ..Self::default() }))
    }
}

/// Where the answer says what the request took: one of `header` and `json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SettleSettings {
    /// A header of the answer.
    pub header: Option<String>,
    /// A JSON pointer (RFC 6901) into the answer's body, such as `/usage/total_tokens`. The body passes unhindered;
    /// a copy is read when it ends. In an event stream, the last event that has it counts. Requests are sent on with
    /// `Accept-Encoding: identity`, as a compressed body cannot be read.
    pub json: Option<String>,
    /// How much of the body is kept for that; of longer ones, the end. Default `64KiB`.
    pub max_body: ByteSize,
    /// What a request took whose answer succeeds but does not say it, or breaks off before it does, as when the client
    /// hangs up: the most that one may take, so that nobody gains by it. Default: what `cost` says.
    pub missing: Option<u32>,
}

impl Default for SettleSettings {
    fn default() -> Self {
        Self { header: None, json: None, max_body: ByteSize::kib(64), missing: None }
    }
}

/// Which requests are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CountWhat {
    /// All that pass.
    #[default]
    Requests,
    /// Those that fail, such as logins with a wrong password. Requests that are on their way at the same time are
    /// let through together; their failures are counted all the same.
    Failures,
}
