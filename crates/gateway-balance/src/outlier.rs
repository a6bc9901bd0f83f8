//! Passive health: an endpoint that keeps failing is left alone for a while (Envoy: outlier detection).

mod rate;

pub(crate) use rate::Sweep;
pub use rate::{FailurePercentageSettings, SuccessRateSettings};

use crate::Percent;
use crate::retry::Verdict;
use gateway_core::units::{Scalar, ShortForm, Switch, Timespan};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// When an endpoint is ejected for how it answers, without health checks of its own. Short form: the mode.
///
/// The numbers are Envoy's. An ejected endpoint returns by itself when its time is over. The last endpoint that
/// can take requests is never ejected: requests that may fail are better than none.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutlierSettings {
    /// Whether endpoints are ejected, only counted and logged, or not watched. Default `eject`.
    pub mode: OutlierMode,
    /// Answers in a row with a 5xx status until an endpoint is ejected; 0 means never. Default 5.
    pub consecutive_5xx: u32,
    /// Failures in a row to get any answer (no connection, connection broken, not HTTP, no answer in time) until
    /// an endpoint is ejected; 0 means never. Default 5.
    pub consecutive_local_failures: u32,
    /// Answers in a row with 502, 503 or 504 until an endpoint is ejected; 0 means never. Default 0.
    pub consecutive_gateway_failures: u32,
    /// How long is counted until endpoints are compared by `success_rate` and `failure_percentage`. Default `10s`.
    pub interval: Timespan,
    /// Ejects those that succeed clearly less often than the others, where there are at least five: `true`, `false`
    /// or a table. Default true.
    pub success_rate: Switch<SuccessRateSettings>,
    /// Ejects those with too large a share of failures, where there are at least five endpoints: `true` for 85
    /// percent, the percentage, or a table. Default false.
    pub failure_percentage: Switch<FailurePercentageSettings>,
    /// How long the first ejection lasts; each further one lasts this much longer, and each `interval` without
    /// one takes back a step. Default `30s`.
    pub ejection_time: Timespan,
    /// The longest ejection, but for the jitter. Default `300s`.
    pub max_ejection_time: Timespan,
    /// Up to how much is added at random, so that endpoints do not return all at once. Default `1s`.
    pub jitter: Timespan,
    /// How many of the endpoints may be ejected at once. One always may, unless this is 0. Default 10.
    pub max_ejected: Percent,
}

/// What is done about an endpoint that keeps failing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutlierMode {
    /// It gets no requests for a while.
    #[default]
    Eject,
    /// It is counted and logged as if it were ejected, and goes on getting requests.
    Report,
    /// Nothing.
    Off,
}

impl Default for OutlierSettings {
    fn default() -> Self {
        Self {
            mode: OutlierMode::Eject,
            consecutive_5xx: 5,
            consecutive_local_failures: 5,
            consecutive_gateway_failures: 0,
            interval: Timespan::secs(10),
            success_rate: Switch::On(SuccessRateSettings::default()),
            failure_percentage: Switch::Off,
            ejection_time: Timespan::secs(30),
            max_ejection_time: Timespan::secs(300),
            jitter: Timespan::secs(1),
            max_ejected: Percent::new(10),
        }
    }
}

impl ShortForm for OutlierSettings {
    const EXPECTED: &'static str = "\"eject\", \"report\", \"off\" or a table";
    const TYPE: &'static str = "string";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        let Scalar::Text(text) = value else { return None };
        let mode = match text {
            "eject" => OutlierMode::Eject,
            "report" => OutlierMode::Report,
            "off" => OutlierMode::Off,
            _ => return Some(Err(format!("`{text}` is no mode; expected {}", Self::EXPECTED))),
        };
        Some(Ok(Self { mode, ..Self::default() }))
    }
}

impl OutlierSettings {
    /// How often an endpoint counts as ejected, and for how long it now is: `times` before, and well since
    /// `well_for`. Pure.
    pub(crate) fn ejection(&self, times: u32, well_for: Duration, random: f64) -> (u32, Duration) {
        // As Envoy does with each sweep that finds nothing.
        let intervals = well_for.as_millis() / self.interval.as_millis().max(1);
        let forgiven = u32::try_from(intervals).unwrap_or(u32::MAX);
        let times = times.saturating_sub(forgiven).saturating_add(1);
        let longest = (*self.max_ejection_time).max(*self.ejection_time);
        let time = self.ejection_time.saturating_mul(times).min(longest);
        (times, time + self.jitter.mul_f64(random.clamp(0.0, 1.0)))
    }

    /// Whether one more of `all` endpoints may be ejected when `ejected` already are. Pure.
    pub(crate) fn has_room(&self, ejected: usize, all: usize) -> bool {
        let most = usize::from(self.max_ejected.get());
        most > 0 && (ejected == 0 || (ejected + 1) * 100 <= all * most)
    }
}

/// Why an endpoint is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    ServerErrors,
    GatewayErrors,
    LocalFailures,
    ErrorRate,
    LocalFailureRate,
    ErrorPercentage,
    LocalFailurePercentage,
}

impl Cause {
    /// Whether it failed at every request lately; other causes come of comparing it with others.
    pub(crate) fn is_in_a_row(self) -> bool {
        matches!(self, Self::ServerErrors | Self::GatewayErrors | Self::LocalFailures)
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ServerErrors => "answers with a 5xx status in a row",
            Self::GatewayErrors => "answers with 502, 503 or 504 in a row",
            Self::LocalFailures => "failures to answer in a row",
            Self::ErrorRate => "many more answers with a 5xx status than the others",
            Self::LocalFailureRate => "many more failures to answer than the others",
            Self::ErrorPercentage => "too large a share of answers with a 5xx status",
            Self::LocalFailurePercentage => "too large a share of failures to answer",
        })
    }
}

/// Failures in a row, by kind. A request that succeeds only reads.
#[derive(Debug, Default)]
pub(crate) struct Streaks {
    server: AtomicU32,
    gateway: AtomicU32,
    local: AtomicU32,
}

impl Streaks {
    /// Counts how a request ended; the cause if the endpoint is to be ejected for it.
    pub(crate) fn record(&self, verdict: Verdict, settings: &OutlierSettings) -> Option<Cause> {
        match verdict {
            Verdict::Good => {
                self.clear();
                None
            }
            Verdict::ServerError => {
                reset(&self.gateway);
                reset(&self.local);
                reaches(&self.server, settings.consecutive_5xx).then_some(Cause::ServerErrors)
            }
            Verdict::GatewayError => {
                reset(&self.local);
                let server = reaches(&self.server, settings.consecutive_5xx);
                let gateway = reaches(&self.gateway, settings.consecutive_gateway_failures);
                match (server, gateway) {
                    (_, true) => Some(Cause::GatewayErrors),
                    (true, _) => Some(Cause::ServerErrors),
                    _ => None,
                }
            }
            Verdict::LocalFailure => {
                reaches(&self.local, settings.consecutive_local_failures).then_some(Cause::LocalFailures)
            }
            Verdict::Unknown => None,
        }
    }

    pub(crate) fn clear(&self) {
        reset(&self.server);
        reset(&self.gateway);
        reset(&self.local);
    }
}

fn reset(streak: &AtomicU32) {
    if streak.load(Ordering::Relaxed) != 0 {
        streak.store(0, Ordering::Relaxed);
    }
}

fn reaches(streak: &AtomicU32, limit: u32) -> bool {
    streak.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= limit && limit > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(streaks: &Streaks, verdicts: &[Verdict], settings: &OutlierSettings) -> Vec<Option<Cause>> {
        verdicts.iter().map(|verdict| streaks.record(*verdict, settings)).collect()
    }

    #[test]
    fn five_failures_in_a_row_eject_and_a_success_begins_anew() {
        use Verdict::{GatewayError, Good, LocalFailure, ServerError, Unknown};
        let settings = OutlierSettings::default();
        for (verdicts, expected) in [
            (vec![ServerError; 5], Some(Cause::ServerErrors)),
            (vec![ServerError; 4], None),
            (
                vec![ServerError, GatewayError, ServerError, GatewayError, ServerError],
                Some(Cause::ServerErrors),
            ),
            (vec![LocalFailure; 5], Some(Cause::LocalFailures)),
            (vec![ServerError, ServerError, ServerError, ServerError, Good, ServerError], None),
            (vec![LocalFailure, LocalFailure, LocalFailure, LocalFailure, ServerError, LocalFailure], None),
            (vec![Unknown; 9], None),
        ] {
            let seen = ends(&Streaks::default(), &verdicts, &settings);
            assert_eq!(seen.last().copied().flatten(), expected, "{verdicts:?}");
            assert!(seen[..seen.len() - 1].iter().all(Option::is_none), "{verdicts:?}: {seen:?}");
        }
    }

    #[test]
    fn gateway_errors_have_their_own_limit_which_is_off_at_first() {
        let settings = OutlierSettings { consecutive_gateway_failures: 2, ..OutlierSettings::default() };
        let seen = ends(&Streaks::default(), &[Verdict::GatewayError; 2], &settings);
        assert_eq!(seen, [None, Some(Cause::GatewayErrors)]);
        let never = OutlierSettings { consecutive_5xx: 0, ..OutlierSettings::default() };
        assert!(ends(&Streaks::default(), &[Verdict::GatewayError; 50], &never).iter().all(Option::is_none));
    }

    #[test]
    fn ejections_last_longer_each_time_up_to_a_limit_and_are_forgiven_with_time() {
        let settings = OutlierSettings::default();
        let secs = |times, well| {
            let (times, time) = settings.ejection(times, Duration::from_secs(well), 0.0);
            (times, time.as_secs())
        };
        assert_eq!(secs(0, 0), (1, 30));
        assert_eq!(secs(1, 5), (2, 60));
        assert_eq!(secs(9, 0), (10, 300));
        assert_eq!(secs(50, 0), (51, 300));
        assert_eq!(secs(3, 25), (2, 60), "two steps were taken back");
        assert_eq!(secs(3, 3600), (1, 30));
        let (_, jittered) = settings.ejection(0, Duration::ZERO, 1.0);
        assert_eq!(jittered.as_secs(), 31);
    }

    #[test]
    fn a_tenth_may_be_ejected_and_one_always_unless_none_may() {
        let settings = OutlierSettings::default();
        for (ejected, all, room) in [(0, 1, true), (0, 3, true), (1, 3, false), (1, 19, false), (1, 20, true)]
        {
            assert_eq!(settings.has_room(ejected, all), room, "{ejected} of {all}");
        }
        let none = OutlierSettings { max_ejected: Percent::new(0), ..settings };
        assert!(!none.has_room(0, 3));
    }

    #[test]
    fn the_short_form_is_the_mode() {
        use gateway_core::units::Short;
        let read = |text| serde_json::from_str::<Short<OutlierSettings>>(text);
        assert_eq!(read("\"report\"").unwrap().mode, OutlierMode::Report);
        assert_eq!(read(r#"{"consecutive_5xx": 3}"#).unwrap().consecutive_5xx, 3);
        assert!(read("\"loud\"").unwrap_err().to_string().contains("`loud` is no mode; expected \"eject\""));
    }
}
