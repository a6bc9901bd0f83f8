use super::{Bounds, Sample};

/// After so many windows times the limit, the shortest latency is measured anew (Netflix: `probeMultiplier`).
const PROBE: f64 = 30.0;

/// Keeps the queue that latency implies within bounds: after TCP Vegas and Netflix's `VegasLimit`.
///
/// With `l = max(1, log₁₀ limit)` and `queue = limit · (1 − shortest / now)`: a queue up to `l` adds `6 l`, one
/// below `3 l` adds `l`, one above `6 l`, or a drop, takes `l` away. Nothing changes while less than half of the
/// limit is used. The shortest latency is what a request takes without a queue; it is measured anew after
/// `30 · limit` windows. It reacts sooner than gradient2, and suits services whose requests all take about the
/// same time.
#[derive(Clone, Debug)]
pub struct Vegas {
    bounds: Bounds,
    limit: f64,
    /// Seconds; `None` before the first sample.
    shortest: Option<f64>,
    windows: u32,
}

impl Vegas {
    /// An algorithm that begins at `initial`.
    #[must_use]
    pub fn new(bounds: Bounds, initial: u32) -> Self {
        Self { bounds, limit: bounds.hold(initial.into()), shortest: None, windows: 0 }
    }

    /// The limit as it is.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// Learns from a window and says the new limit.
    pub fn update(&mut self, sample: Sample) -> u32 {
        let step = self.limit.log10().floor().max(1.0);
        if sample.dropped {
            self.limit = self.bounds.hold(self.limit - step);
            return self.limit();
        }
        // No latency is shorter than the clock can tell; the queue divides by it.
        let now = sample.rtt.as_secs_f64().max(1e-9);
        self.windows = self.windows.saturating_add(1);
        let probe = f64::from(self.windows) >= PROBE * self.limit;
        let shortest = match self.shortest {
            Some(shortest) if shortest <= now && !probe => shortest,
            _ => {
                self.windows = if probe { 0 } else { self.windows };
                self.shortest = Some(now);
                return self.limit();
            }
        };
        if f64::from(sample.in_flight) * 2.0 < self.limit {
            return self.limit();
        }
        let queue = (self.limit * (1.0 - shortest / now)).ceil();
        let next = if queue <= step {
            self.limit + 6.0 * step
        } else if queue < 3.0 * step {
            self.limit + step
        } else if queue > 6.0 * step {
            self.limit - step
        } else {
            self.limit
        };
        self.limit = self.bounds.hold(next);
        self.limit()
    }
}
