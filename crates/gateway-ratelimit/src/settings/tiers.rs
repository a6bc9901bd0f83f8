use super::{Limits, Quotas};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Limits by what is known of the caller: `{ by = { claim = "plan" }, values = { free = "100/h", pro = ["10000/h",
/// "50/s"] }, default = "50/h" }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TierSettings {
    /// What tells the tier: `{ claim = "plan" }`, `{ header = "X-Plan" }`, or `{ expressions = [{ tier = "pro", when =
    /// "'eu' in principal.lists.regions" }] }`, of which the first that holds counts (in CEL; in gateways built with the
    /// feature `cel`).
    pub by: MetaSource,
    /// The limits of each tier.
    pub values: BTreeMap<String, Limits>,
    /// The quotas of each tier, instead of `quota`. Default: none.
    #[serde(default)]
    pub quotas: BTreeMap<String, Quotas>,
    /// The limit of callers of no tier. Default: that of the settings around.
    #[serde(default)]
    pub default: Option<Limits>,
}

/// Something that is known of a caller.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetaSource {
    /// A claim of the token, or metadata of the API key; dots lead into tables: `org.plan`. Numbers and `true` are
    /// compared as they are written; of a list, the first that is a tier counts.
    Claim(String),
    /// A request header. Only where a trusted service sets it.
    Header(String),
    /// Expressions over the request and who sends it: the first that holds tells the tier.
    Expressions(Vec<TierExpression>),
}

/// A tier, and for whom it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TierExpression {
    /// One of `values` or `quotas`; more than one expression may name it.
    pub tier: String,
    /// What must hold, in CEL: `"principal.claims.plan == 'pro' && 'eu' in principal.lists.regions"`. What cannot be
    /// evaluated, such as a claim that is not there, does not hold.
    pub when: String,
}

/// A limit that the caller's claims hold.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitFromSettings {
    /// The claim: a text such as `"500/min"` or `"10/s, 1000/h"`, or a number. Dots lead into tables. A claim that is
    /// no limit is passed over.
    pub claim: String,
    /// In what time a mere number is meant. Default `min`.
    #[serde(default)]
    pub per: Per,
}

/// The period of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Per {
    /// A second.
    #[serde(rename = "s")]
    Second,
    /// A minute.
    #[default]
    #[serde(rename = "min")]
    Minute,
    /// An hour.
    #[serde(rename = "h")]
    Hour,
    /// A day.
    #[serde(rename = "d")]
    Day,
}

impl Per {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "h",
            Self::Day => "d",
        }
    }
}
