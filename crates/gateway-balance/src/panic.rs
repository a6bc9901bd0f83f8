use crate::Percent;
use gateway_core::units::{Scalar, ShortForm};
use schemars::JsonSchema;
use serde::Deserialize;

/// What happens when too few endpoints are left (Envoy: panic threshold). Short form: the threshold, `50`.
///
/// If fewer than this share are available, it is likelier that health is judged wrongly, or that the load of all
/// would bury the few, than that those left can cope: endpoints are then used in spite of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PanicSettings {
    /// The share of the endpoints that must be available; 0 means never to panic. Default 50.
    pub threshold: Percent,
    /// What is ignored then. Default `ejections`.
    pub ignore: Ignored,
}

/// What a panic ignores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ignored {
    /// Ejections only, and the threshold is a share of the endpoints that pass their active health checks.
    /// Without any such endpoint the answer is 503 `no-endpoint`.
    #[default]
    Ejections,
    /// Ejections and active health checks, and the threshold is a share of all endpoints: Envoy's way.
    Health,
}

impl Default for PanicSettings {
    fn default() -> Self {
        Self { threshold: Percent::new(50), ignore: Ignored::Ejections }
    }
}

impl ShortForm for PanicSettings {
    const EXPECTED: &'static str = "a percentage such as 50, or a table";
    const TYPE: &'static str = "integer";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        let Scalar::Number(number) = value else { return None };
        let threshold = u8::try_from(number).ok().filter(|percent| *percent <= 100).map(Percent::new);
        let wrong = || format!("`{number}` is no percentage; expected a number from 0 to 100");
        Some(threshold.map(|threshold| Self { threshold, ..Self::default() }).ok_or_else(wrong))
    }
}
