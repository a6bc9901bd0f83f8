//! How fast an endpoint has been lately, with slow answers remembered and fast ones believed bit by bit.

use crate::member::millis;
use gateway_core::units::Timespan;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How `peak_ewma` judges the speed of an endpoint; the numbers are those of linkerd2 and tower.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EwmaSettings {
    /// What an endpoint is taken for before its first answer. Default `30ms`.
    pub default_rtt: Timespan,
    /// How long a slow answer is remembered: after this time a little more than a third of it counts.
    /// Default `10s`.
    pub decay: Timespan,
    /// A failed request, however quick, counts as at least this slow: an endpoint that refuses at once is not
    /// the fastest. Default `1s`.
    pub penalty: Timespan,
}

impl Default for EwmaSettings {
    fn default() -> Self {
        Self { default_rtt: Timespan::millis(30), decay: Timespan::secs(10), penalty: Timespan::secs(1) }
    }
}

impl EwmaSettings {
    /// The share that remains of what was known `elapsed` milliseconds ago.
    fn remains(&self, elapsed: u32) -> f64 {
        (-f64::from(elapsed) / millis(*self.decay).max(1) as f64).exp()
    }
}

/// An estimate and its time in one atomic: microseconds as the bits of an `f32`, then milliseconds, which may
/// wrap around.
#[derive(Debug)]
pub(crate) struct Ewma(AtomicU64);

impl Ewma {
    pub(crate) fn new(settings: &EwmaSettings) -> Self {
        Self(AtomicU64::new(pack(settings.default_rtt.as_secs_f64() * 1e6, 0)))
    }

    /// Takes over what another knows whose times are of the same clock.
    pub(crate) fn learn_from(&self, known: &Self) {
        self.0.store(known.0.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The estimate in microseconds; it fades while nothing is heard of the endpoint, so that it is tried again.
    pub(crate) fn estimate(&self, now: u64, settings: &EwmaSettings) -> f64 {
        let (estimate, elapsed) = unpack(self.0.load(Ordering::Relaxed), now as u32);
        estimate * settings.remains(elapsed)
    }

    /// Learns how long an answer took.
    pub(crate) fn observe(&self, rtt: Duration, now: u64, settings: &EwmaSettings) {
        let rtt = rtt.as_secs_f64() * 1e6;
        let learn = |packed| {
            let (estimate, elapsed) = unpack(packed, now as u32);
            let remains = settings.remains(elapsed);
            // A peak counts at once.
            Some(pack(rtt.max(estimate * remains + rtt * (1.0 - remains)), now as u32))
        };
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, learn);
    }
}

fn pack(micros: f64, at: u32) -> u64 {
    u64::from((micros as f32).to_bits()) << 32 | u64::from(at)
}

/// The estimate, and how many milliseconds it is old.
fn unpack(packed: u64, now: u32) -> (f64, u32) {
    let elapsed = now.wrapping_sub(packed as u32);
    // Another thread may have read the clock a little later and stored first.
    let elapsed = if elapsed > u32::MAX / 2 { 0 } else { elapsed };
    (f64::from(f32::from_bits((packed >> 32) as u32)), elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_counts_at_once_and_fades_over_the_decay() {
        let settings = EwmaSettings::default();
        let ewma = Ewma::new(&settings);
        assert_eq!(ewma.estimate(0, &settings).round(), 30_000.0);
        ewma.observe(Duration::from_secs(1), 0, &settings);
        assert_eq!(ewma.estimate(0, &settings), 1e6);
        // One fast answer at the same moment does not make it fast.
        ewma.observe(Duration::from_millis(1), 0, &settings);
        assert_eq!(ewma.estimate(0, &settings), 1e6);
        let later = ewma.estimate(10_000, &settings);
        assert!((367_000.0..369_000.0).contains(&later), "{later}");
        ewma.observe(Duration::from_millis(1), 10_000, &settings);
        let believed = ewma.estimate(10_000, &settings);
        assert!((368_000.0..369_000.0).contains(&believed), "{believed}");
    }

    #[test]
    fn clocks_that_wrap_around_or_disagree_a_little_do_no_harm() {
        let settings = EwmaSettings::default();
        let ewma = Ewma::new(&settings);
        ewma.observe(Duration::from_secs(1), u64::from(u32::MAX), &settings);
        let wrapped = ewma.estimate(u64::from(u32::MAX) + 10_000, &settings);
        assert!((367_000.0..369_000.0).contains(&wrapped), "{wrapped}");
        assert_eq!(ewma.estimate(u64::from(u32::MAX) - 3, &settings), 1e6);
    }
}
