//! When a second endpoint is asked because the first is slow: pure decisions.

mod latency;

pub(crate) use latency::Latencies;

use gateway_core::Upgrade;
use gateway_core::units::{Scalar, ShortForm, Timespan};
use http::request::Parts;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::str::FromStr;

/// Asks another endpoint too when the first has not answered for a while, and takes whichever answers first; the
/// other is cancelled. Short form: the delay, `"200ms"` or `"p95"`.
///
/// For idempotent methods only (RFC 9110 §9.2.2; an `Idempotency-Key` is not enough, as the two would be processed at
/// the same time), and while the body is empty or has arrived whole within `body_limit`. There is at most one hedge
/// for a request, within the same budget as retries; it is none of the `attempts`. It does not happen for a client
/// that its cookie keeps at an endpoint, nor for a change of protocol such as a WebSocket. A request that is cancelled
/// does not count as a failure of its endpoint: take active checks to find those that never answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HedgeSettings {
    /// How long the first endpoint may take: `"200ms"`, or `"p95"`, the time within which 95 % of the service's
    /// requests of this kind were lately answered.
    pub delay: HedgeDelay,
    /// The shortest delay, whatever the observed one. Default `10ms`.
    #[serde(default = "shortest")]
    pub min: Timespan,
    /// With fewer observed requests than this there is no observed delay, and no hedge. Default 100.
    #[serde(default = "enough")]
    pub min_requests: u32,
}

/// Shorter than this, a second request costs more than it may gain.
fn shortest() -> Timespan {
    Timespan::millis(10)
}

/// As many as a 99th percentile needs to mean anything.
fn enough() -> u32 {
    100
}

impl From<HedgeDelay> for HedgeSettings {
    fn from(delay: HedgeDelay) -> Self {
        Self { delay, min: shortest(), min_requests: enough() }
    }
}

impl ShortForm for HedgeSettings {
    const EXPECTED: &'static str = "a delay such as \"200ms\" or \"p95\", or a table";
    const TYPE: &'static str = "string";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        let Scalar::Text(text) = value else { return None };
        Some(text.parse::<HedgeDelay>().map(Self::from))
    }
}

/// When a second endpoint is asked: written `"200ms"`, or `"p95"`, `"p99.9"` for an observed quantile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeDelay {
    /// After this time.
    Fixed(Timespan),
    /// After the time within which so many of a thousand requests were answered: 950 for `"p95"`.
    Quantile(u16),
}

impl FromStr for HedgeDelay {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no delay; expected a time such as \"200ms\", or \"p95\"");
        match text.strip_prefix('p') {
            None => text.parse().map(Self::Fixed).map_err(|_| wrong()),
            Some(percent) => permille(percent).map(Self::Quantile).ok_or_else(wrong),
        }
    }
}

/// `95` is 950 and `99.9` is 999; what is not between 0 and 100 is nothing.
fn permille(text: &str) -> Option<u16> {
    let (whole, tenth) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(tenth) || tenth.len() > 1 {
        return None;
    }
    let permille = whole.parse::<u16>().ok()?.checked_mul(10)? + tenth.parse::<u16>().ok()?;
    (1..1000).contains(&permille).then_some(permille)
}

impl<'de> Deserialize<'de> for HedgeDelay {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for HedgeDelay {
    fn schema_name() -> Cow<'static, str> {
        "HedgeDelay".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "a length of time such as \"200ms\", or a quantile such as \"p95\"",
            "examples": ["200ms", "p95"],
        })
    }
    fn inline_schema() -> bool {
        true
    }
}

/// Whether the request is one that may be processed twice at the same time.
pub(crate) fn is_hedgeable(head: &Parts) -> bool {
    head.method.is_idempotent() && head.extensions.get::<Upgrade>().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::units::Short;

    #[test]
    fn a_delay_is_a_time_or_a_quantile_and_mistakes_are_named() {
        let read = |text: &str| {
            serde_json::from_str::<Short<HedgeSettings>>(text).map(|s| s.0).map_err(|e| e.to_string())
        };
        for (text, delay) in [
            ("\"200ms\"", HedgeDelay::Fixed(Timespan::millis(200))),
            ("\"p95\"", HedgeDelay::Quantile(950)),
            ("\"p99.9\"", HedgeDelay::Quantile(999)),
            (r#"{"delay": "p5"}"#, HedgeDelay::Quantile(50)),
        ] {
            assert_eq!(read(text).unwrap(), delay.into(), "{text}");
        }
        let full = read(r#"{"delay": "p90", "min": "5ms", "min_requests": 20}"#).unwrap();
        assert_eq!((full.min.as_millis(), full.min_requests), (5, 20));
        for (text, part) in [
            ("\"p0\"", "`p0` is no delay; expected a time such as \"200ms\", or \"p95\""),
            ("\"p100\"", "`p100` is no delay"),
            ("\"p99.99\"", "is no delay"),
            ("\"p+5\"", "is no delay"),
            ("\"soon\"", "`soon` is no delay"),
            ("200", "expected a delay such as"),
            (r#"{"after": "p95"}"#, "unknown field `after`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn only_idempotent_methods_are_hedged() {
        for (method, expected) in [
            ("GET", true),
            ("HEAD", true),
            ("PUT", true),
            ("DELETE", true),
            ("POST", false),
            ("PATCH", false),
        ] {
            let request = http::Request::builder().method(method).header("idempotency-key", "1");
            assert_eq!(is_hedgeable(&request.body(()).unwrap().into_parts().0), expected, "{method}");
        }
    }
}
