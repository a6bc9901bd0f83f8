use super::{Bounds, Sample};
use std::time::Duration;

/// One more for each window that went well, a share less for each that did not: after TCP and Netflix's
/// `AIMDLimit`.
///
/// A window went badly if the service dropped requests, or if the mean latency was over a threshold. Nothing
/// changes while less than half of the limit is used. Choose it where an acceptable latency can be named; it
/// needs no baseline.
#[derive(Clone, Debug)]
pub struct Aimd {
    bounds: Bounds,
    backoff: f64,
    slow: Duration,
    limit: f64,
}

impl Aimd {
    /// An algorithm that begins at `initial`, keeps the share `backoff` of its limit after a bad window, and
    /// calls a window bad when it is slower than `slow`.
    #[must_use]
    pub fn new(bounds: Bounds, initial: u32, backoff: f64, slow: Duration) -> Self {
        Self { bounds, backoff, slow, limit: bounds.hold(initial.into()) }
    }

    /// The limit as it is.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// Learns from a window and says the new limit.
    pub fn update(&mut self, sample: Sample) -> u32 {
        let next = if sample.dropped || sample.rtt > self.slow {
            // At least one less, also where the share rounds to nothing.
            (self.limit * self.backoff).floor().min(self.limit - 1.0)
        } else if f64::from(sample.in_flight) * 2.0 >= self.limit {
            self.limit + 1.0
        } else {
            self.limit
        };
        self.limit = self.bounds.hold(next);
        self.limit()
    }
}
