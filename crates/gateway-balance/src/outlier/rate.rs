//! Endpoints that fail more often than the others, though not always: Envoy's success rate and failure percentage.

use super::{Cause, OutlierMode, OutlierSettings};
use crate::Percent;
use crate::member::millis;
use crate::retry::Verdict;
use gateway_core::units::{Scalar, ShortForm};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Ejects endpoints that succeed clearly less often than the others. Short form: `true`, for the defaults.
///
/// An endpoint is ejected when its share of successes is below the mean of all by more than so many standard
/// deviations. 5xx answers are compared with all answers, and requests without an answer with all requests, each for
/// itself (Envoy: `split_external_local_origin_errors`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SuccessRateSettings {
    /// With fewer endpoints than this that had enough requests, none is ejected. Default 5.
    pub minimum_hosts: u32,
    /// How many requests are enough, within `interval`. Default 100.
    pub request_volume: u32,
    /// How many thousandths of a standard deviation below the mean is too low. Default 1900, which is 1.9.
    pub stdev_factor: u32,
}

/// Ejects endpoints by their share of failures alone, whatever the others do. Short form: `true`, or the threshold.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FailurePercentageSettings {
    /// The share of failures from which an endpoint is ejected. Default 85.
    pub threshold: Percent,
    /// With fewer endpoints than this that had enough requests, none is ejected. Default 5.
    pub minimum_hosts: u32,
    /// How many requests are enough, within `interval`. Default 50.
    pub request_volume: u32,
}

impl Default for SuccessRateSettings {
    fn default() -> Self {
        Self { minimum_hosts: 5, request_volume: 100, stdev_factor: 1900 }
    }
}

impl Default for FailurePercentageSettings {
    fn default() -> Self {
        Self { threshold: Percent::new(85), minimum_hosts: 5, request_volume: 50 }
    }
}

impl ShortForm for SuccessRateSettings {
    const EXPECTED: &'static str = "true, false or a table";
    const TYPE: &'static str = "boolean";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        matches!(value, Scalar::Switch(true)).then(|| Ok(Self::default()))
    }
}

impl ShortForm for FailurePercentageSettings {
    const EXPECTED: &'static str = "true, false, a percentage or a table";
    const TYPE: &'static str = "boolean";
    const ALSO: &'static [&'static str] = &["integer"];
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Switch(true) => Some(Ok(Self::default())),
            Scalar::Number(number) => {
                let percent = u8::try_from(number).ok().filter(|percent| (1..=100).contains(percent));
                let wrong = || format!("`{number}` is no threshold; expected a percentage from 1 to 100");
                let threshold = percent.map(Percent::new).ok_or_else(wrong);
                Some(threshold.map(|threshold| Self { threshold, ..Self::default() }))
            }
            Scalar::Switch(false) | Scalar::Text(_) => None,
        }
    }
}

/// What is counted of the endpoints between two looks at them all. A request costs one addition.
#[derive(Debug)]
pub(crate) struct Sweep {
    interval: u64,
    due: AtomicU64,
    counts: Box<[Counts]>,
}

#[derive(Debug, Default)]
struct Counts {
    /// All answers above, those with a 5xx status below.
    answers: AtomicU64,
    /// Requests without an answer.
    unanswered: AtomicU32,
}

const ANSWER: u64 = 1 << 32;

/// What one endpoint did within an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) answers: u32,
    pub(crate) errors: u32,
    pub(crate) unanswered: u32,
}

impl Sweep {
    /// `None` where so many endpoints are too few to be compared, or nobody asks for it.
    pub(crate) fn new(settings: &OutlierSettings, endpoints: usize, now: u64) -> Option<Self> {
        let hosts = [
            settings.success_rate.on().map(|rate| rate.minimum_hosts),
            settings.failure_percentage.on().map(|rate| rate.minimum_hosts),
        ];
        let fewest = hosts.into_iter().flatten().min()?;
        let interval = millis(*settings.interval).max(1);
        let wanted = settings.mode != OutlierMode::Off && endpoints >= fewest as usize;
        let counts = || (0..endpoints).map(|_| Counts::default()).collect();
        wanted.then(|| Self { interval, due: AtomicU64::new(now.saturating_add(interval)), counts: counts() })
    }

    /// Counts how a request to an endpoint ended.
    pub(crate) fn record(&self, index: usize, verdict: Verdict) {
        let counts = &self.counts[index];
        match verdict {
            Verdict::Good => counts.answers.fetch_add(ANSWER, Relaxed),
            Verdict::ServerError | Verdict::GatewayError => counts.answers.fetch_add(ANSWER + 1, Relaxed),
            Verdict::LocalFailure => u64::from(counts.unanswered.fetch_add(1, Relaxed)),
            Verdict::Unknown => 0,
        };
    }

    /// What was counted in the interval that is over, once; nothing before its end.
    pub(crate) fn take(&self, now: u64) -> Option<Vec<Counted>> {
        let due = self.due.load(Relaxed);
        let next = now.saturating_add(self.interval);
        // Of many who notice at once, one does it.
        if now < due || self.due.compare_exchange(due, next, Relaxed, Relaxed).is_err() {
            return None;
        }
        let take = |counts: &Counts| {
            let answers = counts.answers.swap(0, Relaxed);
            let unanswered = counts.unanswered.swap(0, Relaxed);
            Counted { answers: (answers >> 32) as u32, errors: answers as u32, unanswered }
        };
        let counted = self.counts.iter().map(take).collect();
        // After a pause it says how things were, not how they are.
        (now < due.saturating_add(self.interval)).then_some(counted)
    }
}

impl OutlierSettings {
    /// Which endpoints are to be ejected for what was counted, and why, the worst first. Those that are `None` are
    /// ejected already. Pure.
    pub(crate) fn condemned(&self, counted: &[Option<Counted>]) -> Vec<(usize, Cause)> {
        let mut found: Vec<(f64, usize, Cause)> = Vec::new();
        for kind in [Kind::Answers, Kind::Requests] {
            let (rate_cause, share_cause) = kind.causes();
            let rates = |volume: u32| -> Vec<(usize, f64)> {
                let rate =
                    |(i, counted): (usize, &Option<Counted>)| Some((i, kind.success((*counted)?, volume)?));
                counted.iter().enumerate().filter_map(rate).collect()
            };
            if let Some(settings) = self.success_rate.on() {
                let rates = rates(settings.request_volume);
                if rates.len() >= settings.minimum_hosts.max(1) as usize {
                    let least = least_rate(&rates, f64::from(settings.stdev_factor) / 1000.0);
                    let low = rates.into_iter().filter(|(_, rate)| *rate < least);
                    found.extend(low.map(|(i, rate)| (rate, i, rate_cause)));
                }
            }
            if let Some(settings) = self.failure_percentage.on() {
                let rates = rates(settings.request_volume);
                if rates.len() >= settings.minimum_hosts.max(1) as usize {
                    let most = f64::from(settings.threshold.get());
                    let high = rates.into_iter().filter(|(_, rate)| 100.0 - rate >= most);
                    found.extend(high.map(|(i, rate)| (rate, i, share_cause)));
                }
            }
        }
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut condemned: Vec<(usize, Cause)> = Vec::new();
        for (_, index, cause) in found {
            if condemned.iter().all(|(other, _)| *other != index) {
                condemned.push((index, cause));
            }
        }
        condemned
    }
}

/// What is compared with what.
#[derive(Clone, Copy)]
enum Kind {
    /// 5xx answers with all answers.
    Answers,
    /// Requests without an answer with all requests.
    Requests,
}

impl Kind {
    /// Successes in percent, if there was enough to tell.
    fn success(self, counted: Counted, volume: u32) -> Option<f64> {
        let (all, bad) = match self {
            Self::Answers => (counted.answers, counted.errors),
            Self::Requests => (counted.answers.saturating_add(counted.unanswered), counted.unanswered),
        };
        (all >= volume.max(1)).then(|| 100.0 - 100.0 * f64::from(bad) / f64::from(all))
    }

    fn causes(self) -> (Cause, Cause) {
        match self {
            Self::Answers => (Cause::ErrorRate, Cause::ErrorPercentage),
            Self::Requests => (Cause::LocalFailureRate, Cause::LocalFailurePercentage),
        }
    }
}

/// The mean less so many standard deviations.
fn least_rate(rates: &[(usize, f64)], factor: f64) -> f64 {
    let n = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / n;
    let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / n;
    // Where all are alike, none is worse: not even by how the sum is rounded.
    (mean - factor * variance.sqrt()).min(mean - 1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::units::Switch;
    use proptest::prelude::*;

    fn answered(answers: u32, errors: u32) -> Option<Counted> {
        Some(Counted { answers, errors, unanswered: 0 })
    }

    #[test]
    fn an_endpoint_far_below_the_mean_is_condemned_if_there_is_enough_to_compare() {
        let settings = OutlierSettings::default();
        let good = answered(100, 1);
        for (counted, expected) in [
            (vec![good, good, good, good, answered(100, 40)], vec![(4, Cause::ErrorRate)]),
            (vec![good, good, good, answered(100, 40)], vec![]),
            (vec![good, good, good, good, answered(99, 40)], vec![]),
            (vec![good, good, good, None, answered(100, 40)], vec![]),
            (vec![good; 9], vec![]),
            (vec![answered(100, 50); 9], vec![]),
            (
                vec![good, good, good, good, Some(Counted { answers: 60, errors: 0, unanswered: 40 })],
                vec![(4, Cause::LocalFailureRate)],
            ),
        ] {
            assert_eq!(settings.condemned(&counted), expected, "{counted:?}");
        }
    }

    #[test]
    fn a_failure_percentage_looks_at_each_alone_and_is_off_at_first() {
        let mut settings =
            OutlierSettings { failure_percentage: Switch::On(Default::default()), ..Default::default() };
        let counted =
            vec![answered(50, 43), answered(50, 50), answered(50, 42), answered(50, 0), answered(50, 0)];
        let expected = [(1, Cause::ErrorPercentage), (0, Cause::ErrorPercentage)];
        assert_eq!(settings.condemned(&counted), expected, "the worst first");
        settings.failure_percentage = OutlierSettings::default().failure_percentage;
        assert!(settings.condemned(&counted).is_empty());
    }

    #[test]
    fn what_is_counted_is_taken_once_an_interval_and_forgotten_after_a_pause() {
        let sweep = Sweep::new(&OutlierSettings::default(), 5, 1).unwrap();
        for verdict in [Verdict::Good, Verdict::ServerError, Verdict::GatewayError, Verdict::LocalFailure] {
            sweep.record(3, verdict);
        }
        sweep.record(3, Verdict::Unknown);
        assert_eq!(sweep.take(10_000), None);
        let taken = sweep.take(10_001).unwrap();
        assert_eq!(taken[3], Counted { answers: 3, errors: 2, unanswered: 1 });
        assert_eq!((taken[0], sweep.take(10_001)), (Counted::default(), None));
        sweep.record(3, Verdict::Good);
        assert_eq!(sweep.take(60_000), None, "that was long ago");
        assert_eq!(sweep.take(70_000).unwrap()[3], Counted::default());
        let off = OutlierSettings { mode: OutlierMode::Off, ..OutlierSettings::default() };
        assert!(Sweep::new(&OutlierSettings::default(), 4, 1).is_none());
        assert!(Sweep::new(&off, 5, 1).is_none());
    }

    #[test]
    fn short_forms_are_read_and_mistakes_are_named() {
        let read =
            |text: &str| serde_json::from_str::<OutlierSettings>(text).map_err(|error| error.to_string());
        let settings =
            read(r#"{"success_rate": false, "failure_percentage": 60, "interval": "5s"}"#).unwrap();
        assert_eq!(settings.success_rate, Switch::Off);
        assert_eq!(settings.failure_percentage.on().unwrap().threshold.get(), 60);
        let table = read(r#"{"success_rate": {"stdev_factor": 3000}}"#).unwrap();
        assert_eq!(table.success_rate.on().unwrap().request_volume, 100);
        for (text, part) in [
            (r#"{"failure_percentage": 0}"#, "`0` is no threshold; expected a percentage"),
            (r#"{"success_rate": 3}"#, "expected true, false or a table"),
            (r#"{"success_rate": {"factor": 3}}"#, "unknown field `factor`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn the_best_are_never_condemned_for_their_rate(errors in prop::collection::vec(0u32..=200, 5..20)) {
            let counted: Vec<_> = errors.iter().map(|errors| answered(200, *errors)).collect();
            let best = errors.iter().min().unwrap();
            let condemned = OutlierSettings::default().condemned(&counted);
            prop_assert!(condemned.iter().all(|(i, _)| errors[*i] > *best), "{condemned:?} of {errors:?}");
            prop_assert!(condemned.len() * 2 <= errors.len());
        }
    }
}
