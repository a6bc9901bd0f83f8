use super::{Bounds, Sample};

/// How much of a new estimate is taken over at once (Netflix: `smoothing`).
const SMOOTHING: f64 = 0.2;
/// A gradient is no steeper than this: one outlier takes at most a tenth off the limit.
const STEEPEST: f64 = 0.5;
/// What is left of the limit after a window with drops.
const BACKOFF: f64 = 0.9;
/// How fast the limit grows as long as no queue was ever seen.
const SLOW_START: f64 = 1.25;
/// Over how many windows the baseline is averaged (Netflix: `longWindow`).
const LONG: f64 = 600.0;
/// For so many windows the baseline is their plain mean (Netflix: `ExpAvgMeasurement`'s warm-up).
const WARM_UP: u32 = 10;
/// How much slower the baseline learns upwards while the latency says that there is a queue.
const RELUCTANCE: f64 = 0.1;

/// Follows the gradient between the latency of now and that of the long run, after Netflix's
/// `Gradient2Limit`.
///
/// Every window: `gradient = clamp(tolerance · long / now, 0.5, 1)`, `estimate = limit · gradient + √limit`,
/// `limit = 0.8 · limit + 0.2 · estimate`. Nothing changes while less than half of the limit is used.
///
/// It departs from Netflix's in three ways. Until the first sign of a queue the limit grows by a quarter each
/// window, so that it can begin low, where the baseline is true, and is soon out of the way. The baseline learns
/// a tenth as fast from a latency above its tolerance, or it would get used to the overload within minutes.
/// And a window with drops takes a tenth off the limit, however fast the drops were.
#[derive(Clone, Debug)]
pub struct Gradient2 {
    bounds: Bounds,
    tolerance: f64,
    limit: f64,
    /// Seconds; 0 before the first sample.
    baseline: f64,
    windows: u32,
    slow_start: bool,
}

impl Gradient2 {
    /// An algorithm that begins at `initial`. A tolerance of 1.5 takes latencies up to half above the baseline
    /// for no queue.
    #[must_use]
    pub fn new(bounds: Bounds, initial: u32, tolerance: f64) -> Self {
        let limit = bounds.hold(initial.into());
        Self { bounds, tolerance: tolerance.max(1.0), limit, baseline: 0.0, windows: 0, slow_start: true }
    }

    /// The limit as it is.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// Learns from a window and says the new limit.
    pub fn update(&mut self, sample: Sample) -> u32 {
        if sample.dropped {
            self.slow_start = false;
            self.limit = self.bounds.hold(self.limit * BACKOFF);
            return self.limit();
        }
        // No latency is shorter than the clock can tell; the gradient divides by it.
        let now = sample.rtt.as_secs_f64().max(1e-9);
        self.learn(now);
        let gradient = (self.tolerance * self.baseline / now).clamp(STEEPEST, 1.0);
        self.slow_start &= gradient >= 1.0;
        if f64::from(sample.in_flight) >= self.limit / 2.0 {
            let next = if self.slow_start {
                self.limit * SLOW_START + 1.0
            } else {
                let estimate = self.limit * gradient + self.limit.sqrt();
                self.limit * (1.0 - SMOOTHING) + estimate * SMOOTHING
            };
            self.limit = self.bounds.hold(next);
        }
        self.limit()
    }

    fn learn(&mut self, now: f64) {
        self.windows = self.windows.saturating_add(1);
        let factor = if self.windows <= WARM_UP { 1.0 / f64::from(self.windows) } else { 2.0 / (LONG + 1.0) };
        let queue = self.windows > 1 && now > self.baseline * self.tolerance;
        self.baseline += (now - self.baseline) * factor * if queue { RELUCTANCE } else { 1.0 };
        // After a long overload the baseline is far too high, and would take as long to come down.
        if self.baseline > 2.0 * now {
            self.baseline *= 0.9;
        }
    }
}
