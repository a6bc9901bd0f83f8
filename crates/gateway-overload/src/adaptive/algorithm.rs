use super::{Aimd, Gradient2, Vegas};
use std::time::Duration;

/// What was seen in one window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// How long it took until the head of the answer: the mean of the window.
    pub rtt: Duration,
    /// The most requests that were in progress at once.
    pub in_flight: u32,
    /// Whether the service dropped requests: 503, 504, no answer.
    pub dropped: bool,
}

/// Where a limit may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Never less; at least 1.
    pub min: u32,
    /// Never more; at least `min`.
    pub max: u32,
}

impl Bounds {
    /// The nearest limit within. What is no number becomes the lowest.
    pub(crate) fn hold(self, limit: f64) -> f64 {
        let min = f64::from(self.min.max(1));
        // `max` passes over a value that is no number.
        limit.max(min).min(f64::from(self.max)).max(min)
    }
}

/// An algorithm and what it remembers. All of them are arithmetic on [`Sample`]s: no clock, no chance.
#[derive(Clone, Debug)]
pub enum Algorithm {
    /// The gradient of latency.
    Gradient2(Gradient2),
    /// Additive increase, multiplicative decrease.
    Aimd(Aimd),
    /// The length of the queue that latency implies.
    Vegas(Vegas),
}

impl Algorithm {
    /// Learns from a sample and says the new limit.
    pub fn update(&mut self, sample: Sample) -> u32 {
        match self {
            Self::Gradient2(algorithm) => algorithm.update(sample),
            Self::Aimd(algorithm) => algorithm.update(sample),
            Self::Vegas(algorithm) => algorithm.update(sample),
        }
    }

    /// The limit as it is.
    #[must_use]
    pub fn limit(&self) -> u32 {
        match self {
            Self::Gradient2(algorithm) => algorithm.limit(),
            Self::Aimd(algorithm) => algorithm.limit(),
            Self::Vegas(algorithm) => algorithm.limit(),
        }
    }
}
