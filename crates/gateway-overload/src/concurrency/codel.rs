//! When a queue has stood for too long: controlled delay.

use crate::settings::OverloadError;
use gateway_core::units::{Scalar, ShortForm, Timespan};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::Instant;

/// When a queue no longer works off a burst but only makes everybody wait. Short form: `true`, the defaults.
///
/// A queue whose first has waited for longer than `target` at every turn for a whole `interval` is a standing one (the
/// measure of CoDel, RFC 8289). Then the newest goes first, whose client is the least likely to have given up, and all
/// who have waited for longer than `target` are refused at once (adaptive LIFO and controlled delay, as at Facebook).
/// The first turn at which nobody has waited for that long ends it: first come, first served again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CodelSettings {
    /// The longest wait that a good queue leaves behind. Default `5ms`.
    pub target: Timespan,
    /// For how long the wait must stay above that. Default `100ms`.
    pub interval: Timespan,
}

impl Default for CodelSettings {
    fn default() -> Self {
        Self { target: Timespan::millis(5), interval: Timespan::millis(100) }
    }
}

impl CodelSettings {
    pub(crate) fn checked(self) -> Result<Self, OverloadError> {
        for (key, found) in [("queue.codel.target", self.target), ("queue.codel.interval", self.interval)] {
            if found.is_zero() {
                return Err(OverloadError::Range { key, found: found.to_string(), expected: "more than 0s" });
            }
        }
        Ok(self)
    }
}

impl ShortForm for CodelSettings {
    const EXPECTED: &'static str = "`true`, or a table";
    const TYPE: &'static str = "boolean";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        (value == Scalar::Switch(true)).then(|| Ok(Self::default()))
    }
}

/// What one line has come to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delay {
    /// Since when each turn has found a wait above the target.
    above_since: Option<Instant>,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Who came first.
    Oldest,
    /// Who came last; and who has waited for longer than this is refused.
    Newest { too_long: Duration },
}

impl Delay {
    /// Whose turn it is, when the first in line has waited for so long.
    pub(crate) fn turn(&mut self, settings: &CodelSettings, waited: Duration, now: Instant) -> Turn {
        if waited <= *settings.target {
            self.above_since = None;
            return Turn::Oldest;
        }
        let since = *self.above_since.get_or_insert(now);
        if now.duration_since(since) >= *settings.interval {
            Turn::Newest { too_long: *settings.target }
        } else {
            Turn::Oldest
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_above_the_target_for_an_interval_turns_the_line_around_until_one_is_below() {
        let settings = CodelSettings::default();
        let newest = Turn::Newest { too_long: Duration::from_millis(5) };
        let start = Instant::now();
        let mut delay = Delay::default();
        for (at, waited, expected) in [
            (0, 5, Turn::Oldest),
            (10, 6, Turn::Oldest),
            (109, 50, Turn::Oldest),
            (110, 6, newest),
            (120, 500, newest),
            (121, 5, Turn::Oldest),
            (122, 6, Turn::Oldest),
            (221, 6, Turn::Oldest),
            (222, 6, newest),
        ] {
            let now = start + Duration::from_millis(at);
            assert_eq!(delay.turn(&settings, Duration::from_millis(waited), now), expected, "at {at} ms");
        }
    }
}
