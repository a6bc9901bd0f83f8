use gateway_core::units::{Scalar, ShortForm, Timespan};
use schemars::JsonSchema;
use serde::Deserialize;

/// Requests wait for an endpoint rather than fail (Caddy: `lb_try_duration`; linkerd: its queue). Short form: the time,
/// `"5s"`.
///
/// A request waits while no endpoint can take it, and while those that are tried refuse the connection, which is then
/// tried again every 250 ms. It has not been sent to anyone: any method may wait.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HoldSettings {
    /// How long a request waits at most, and never longer than its `timeout`. Default `3s` (linkerd).
    pub time: Timespan,
    /// How many requests of the service wait at most; the next ones are answered at once as if there were no `hold`.
    /// Default 10000 (linkerd).
    pub max_waiting: usize,
}

impl Default for HoldSettings {
    fn default() -> Self {
        Self { time: Timespan::secs(3), max_waiting: 10_000 }
    }
}

impl ShortForm for HoldSettings {
    const EXPECTED: &'static str = "a length of time such as \"5s\", or a table";
    const TYPE: &'static str = "string";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        let Scalar::Text(text) = value else { return None };
        Some(text.parse().map(|time| Self { time, ..Self::default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::units::Short;

    #[test]
    fn a_time_is_enough_and_mistakes_are_named() {
        let read = |text: &str| serde_json::from_str::<Short<HoldSettings>>(text).map_err(|e| e.to_string());
        let five = read("\"5s\"").unwrap();
        assert_eq!((five.time, five.max_waiting), (Timespan::secs(5), 10_000));
        assert_eq!(read(r#"{"max_waiting": 7}"#).unwrap().time, Timespan::secs(3));
        for (text, part) in [
            ("5", "expected a length of time such as"),
            ("\"soon\"", "soon"),
            (r#"{"queue": 7}"#, "unknown field `queue`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
