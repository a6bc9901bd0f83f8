use crate::Percent;
use gateway_core::units::{Scalar, ShortForm, Timespan};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// An endpoint that comes back, or that a reload adds to others, gets its full share of the requests only bit by bit
/// (Envoy: slow start). Short form: the window, `"30s"`.
///
/// For all strategies but those that hash: there a share that grows would move clients again and again.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SlowStartSettings {
    /// How long it takes until an endpoint has its full weight again. Default `30s`.
    pub window: Timespan,
    /// How the share grows: 1 is in a straight line, more is faster at first. Default 1.0.
    pub aggression: f64,
    /// The share it begins with, in hundredths of its weight. Default 10.
    pub min_weight: Percent,
}

impl Default for SlowStartSettings {
    fn default() -> Self {
        Self { window: Timespan::secs(30), aggression: 1.0, min_weight: Percent::new(10) }
    }
}

impl ShortForm for SlowStartSettings {
    const EXPECTED: &'static str = "a length of time such as \"30s\", or a table";
    const TYPE: &'static str = "string";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        let Scalar::Text(text) = value else { return None };
        Some(text.parse().map(|window| Self { window, ..Self::default() }))
    }
}

/// Shares grow in this many steps: fine enough to be smooth, few enough to make a round for each.
pub(crate) const FULL: u32 = 20;

impl SlowStartSettings {
    /// The share of its weight, in steps of [`FULL`], that an endpoint has which came back `elapsed` ago. Pure.
    pub(crate) fn share(&self, elapsed: Duration) -> u32 {
        if elapsed >= *self.window {
            return FULL;
        }
        let time = elapsed.as_secs_f64() / self.window.as_secs_f64();
        let aggression = if self.aggression > 0.0 { self.aggression } else { 1.0 };
        let share = time.powf(1.0 / aggression).max(f64::from(self.min_weight.get()) / 100.0);
        ((share * f64::from(FULL)) as u32).clamp(1, FULL)
    }

    /// The time from one step to the next.
    pub(crate) fn step(&self) -> Duration {
        (*self.window / FULL).max(Duration::from_millis(50))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_grows_from_a_tenth_to_the_whole_within_the_window() {
        let settings = SlowStartSettings::default();
        let shares = [0, 1, 6, 15, 29, 30, 99].map(|secs| settings.share(Duration::from_secs(secs)));
        assert_eq!(shares, [2, 2, 4, 10, 19, 20, 20]);
        let eager = SlowStartSettings { aggression: 2.0, ..settings };
        assert_eq!(
            eager.share(Duration::from_millis(7500)),
            10,
            "half the share after a quarter of the time"
        );
    }

    #[test]
    fn no_window_is_no_slow_start() {
        let settings = SlowStartSettings { window: Timespan::secs(0), ..SlowStartSettings::default() };
        assert_eq!(settings.share(Duration::ZERO), FULL);
    }
}
