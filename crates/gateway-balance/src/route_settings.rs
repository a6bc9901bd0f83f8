//! What some of a service's requests have otherwise: those of a route.

use crate::{Backoff, RetryHeader, RetryOn, RetrySettings, TimeoutSettings};
use gateway_core::units::{Scalar, ShortForm, Timespan};
use schemars::JsonSchema;
use serde::Deserialize;

/// How long an answer may take on a route, until its head. Short form: `"2m"`, the total.
///
/// What it does not say is what the service's `timeout` says, but for the service's `per_try` where a `total` is said:
/// who gives a slow answer more time does not want it asked for again after the time of the quick ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteTimeoutSettings {
    /// All attempts and the waits between them. Default: the service's.
    pub total: Option<Timespan>,
    /// One attempt; an endpoint too slow for it is left for another. Default: none but the `total`, or where that is the
    /// service's, the service's.
    pub per_try: Option<Timespan>,
}

impl RouteTimeoutSettings {
    /// What holds for the requests of the route, where this is what holds for the others.
    #[must_use]
    pub fn over(&self, service: &TimeoutSettings) -> TimeoutSettings {
        TimeoutSettings {
            total: self.total.unwrap_or(service.total),
            per_try: self.per_try.or(if self.total.is_some() { None } else { service.per_try }),
            ..service.clone()
        }
    }
}

impl ShortForm for RouteTimeoutSettings {
    const EXPECTED: &'static str = TimeoutSettings::EXPECTED;
    const TYPE: &'static str = TimeoutSettings::TYPE;
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        let Scalar::Text(text) = value else { return None };
        Some(text.parse().map(|total| Self { total: Some(total), per_try: None }))
    }
}

/// What is tried again on a route, and how often. Short form: `1`, the number of attempts.
///
/// What it does not say is what the service's `retry` says. So is what protects the service, or is agreed with it:
/// `budget`, `body_limit`, `retry_after` and `attempt_header`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteRetrySettings {
    /// Attempts in all; 1 means no retry. Default: the service's.
    pub attempts: Option<u32>,
    /// The wait between them: `"100ms"` (exponential with jitter), `"linear 100ms"` or `"none"`. Default: the service's.
    pub backoff: Option<Backoff>,
    /// What is retried, beside some statuses, as in the service's. Default: the service's.
    pub on: Option<Vec<RetryOn>>,
    /// Answers that are retried. Default: the service's.
    pub statuses: Option<Vec<u16>>,
    /// Answers that are retried whatever their status, by a header: what it says, or `true` for anything. Default: the
    /// service's.
    #[serde(deserialize_with = "some_headers")]
    #[schemars(schema_with = "RetryHeader::schema")]
    pub headers: Option<Vec<RetryHeader>>,
    /// Whether slow requests are hedged as the service's `hedge` says. Default true.
    pub hedge: Option<bool>,
}

fn some_headers<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Vec<RetryHeader>>, D::Error> {
    RetryHeader::by_name(d).map(Some)
}

impl RouteRetrySettings {
    /// What holds for the requests of the route, where this is what holds for the others.
    #[must_use]
    pub fn over(&self, service: &RetrySettings) -> RetrySettings {
        let Self { attempts, backoff, on, statuses, headers, hedge } = self.clone();
        let service = service.clone();
        RetrySettings {
            attempts: attempts.unwrap_or(service.attempts),
            backoff: backoff.unwrap_or(service.backoff),
            on: on.unwrap_or(service.on),
            statuses: statuses.unwrap_or(service.statuses),
            headers: headers.unwrap_or(service.headers),
            hedge: service.hedge.filter(|_| hedge != Some(false)),
            ..service
        }
    }
}

impl ShortForm for RouteRetrySettings {
    const EXPECTED: &'static str = RetrySettings::EXPECTED;
    const TYPE: &'static str = RetrySettings::TYPE;
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        let settings = RetrySettings::from_short(value)?;
        Some(settings.map(|settings| Self { attempts: Some(settings.attempts), ..Self::default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::units::Short;

    fn span(text: &str) -> Timespan {
        text.parse().unwrap()
    }

    #[test]
    fn a_total_of_its_own_is_not_cut_short_by_the_services_attempts() {
        let service = TimeoutSettings {
            total: span("5s"),
            per_try: Some(span("1s")),
            deadline_header: Some("x-timeout".parse().unwrap()),
            ..TimeoutSettings::default()
        };
        for (text, total, per_try) in [
            ("\"2m\"", "2m", None),
            ("{}", "5s", Some("1s")),
            (r#"{"per_try": "3s"}"#, "5s", Some("3s")),
            (r#"{"total": "2m", "per_try": "30s"}"#, "2m", Some("30s")),
        ] {
            let own: Short<RouteTimeoutSettings> = serde_json::from_str(text).unwrap();
            let expected =
                TimeoutSettings { total: span(total), per_try: per_try.map(span), ..service.clone() };
            assert_eq!(own.over(&service), expected, "{text}");
        }
    }

    #[test]
    fn what_a_route_does_not_say_of_retries_is_the_services() {
        let service = RetrySettings {
            attempts: 3,
            statuses: vec![503],
            body_limit: gateway_core::units::ByteSize(1),
            hedge: Some(serde_json::from_str("\"p95\"").unwrap()),
            ..RetrySettings::default()
        };
        for (text, expected) in [
            ("1", RetrySettings { attempts: 1, ..service.clone() }),
            ("{}", service.clone()),
            (r#"{"hedge": true}"#, service.clone()),
            (r#"{"hedge": false, "on": []}"#, RetrySettings { hedge: None, on: vec![], ..service.clone() }),
            (r#"{"statuses": [500], "backoff": "none"}"#, {
                let backoff = "none".parse().unwrap();
                RetrySettings { statuses: vec![500], backoff, ..service.clone() }
            }),
        ] {
            let own: Short<RouteRetrySettings> = serde_json::from_str(text).unwrap();
            assert_eq!(own.over(&service), expected, "{text}");
        }
        let error = serde_json::from_str::<Short<RouteRetrySettings>>(r#"{"budget": 50}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `budget`"), "{error}");
    }
}
