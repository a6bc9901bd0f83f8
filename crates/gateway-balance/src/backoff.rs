use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

/// How long to wait between attempts.
///
/// Written `"100ms"` (exponential with full jitter from that base, at most ten times it: Envoy's way),
/// `"linear 100ms"` (100, 200, 300 ms: S3-12) or `"none"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// No wait.
    None,
    /// The base times the number of the attempt that failed.
    Linear(Duration),
    /// A random time below `base · (2ⁿ − 1)`, capped at ten times the base.
    Exponential(Duration),
}

impl Backoff {
    /// The wait after failed attempt number `attempt` (from 1), given a random number from 0 to 1.
    #[must_use]
    pub fn delay(self, attempt: u32, random: f64) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Linear(base) => base.saturating_mul(attempt),
            Self::Exponential(base) => {
                let factor = 2u32.saturating_pow(attempt).saturating_sub(1).min(10);
                base.saturating_mul(factor).mul_f64(random.clamp(0.0, 1.0))
            }
        }
    }
}

impl FromStr for Backoff {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let time = |text: &str| text.parse::<gateway_core::units::Timespan>().map(|t| t.0);
        let wrong = |_| format!("`{text}` is no backoff; expected \"100ms\", \"linear 100ms\" or \"none\"");
        match text.trim().split_once(char::is_whitespace) {
            None if text.trim() == "none" => Ok(Self::None),
            Some(("linear", rest)) => time(rest.trim()).map(Self::Linear).map_err(wrong),
            Some(("exponential", rest)) => time(rest.trim()).map(Self::Exponential).map_err(wrong),
            _ => time(text).map(Self::Exponential).map_err(wrong),
        }
    }
}

impl<'de> Deserialize<'de> for Backoff {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Backoff {
    fn schema_name() -> Cow<'static, str> {
        "Backoff".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "\"100ms\", \"linear 100ms\" or \"none\"" })
    }
    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_12_linear_backoff_waits_100_200_300_ms() {
        let backoff: Backoff = "linear 100ms".parse().unwrap();
        let waits: Vec<_> = (1..=3).map(|n| backoff.delay(n, 0.5).as_millis()).collect();
        assert_eq!(waits, [100, 200, 300]);
    }

    #[test]
    fn exponential_backoff_grows_is_capped_and_jitters() {
        let backoff: Backoff = "25ms".parse().unwrap();
        let most: Vec<_> = (1..=6).map(|n| backoff.delay(n, 1.0).as_millis()).collect();
        assert_eq!(most, [25, 75, 175, 250, 250, 250]);
        assert_eq!(backoff.delay(3, 0.0), Duration::ZERO);
        assert_eq!(backoff.delay(u32::MAX, 1.0).as_millis(), 250);
    }

    #[test]
    fn a_backoff_that_is_none_says_what_would_be() {
        for text in ["", "100", "linear", "linear x", "cubic 1s"] {
            let error = text.parse::<Backoff>().unwrap_err();
            assert!(error.contains("linear 100ms"), "{text}: {error}");
        }
    }
}
