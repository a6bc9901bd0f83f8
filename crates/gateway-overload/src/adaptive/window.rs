//! Samples of all workers, gathered into one per window without a lock on the way.

use super::{Algorithm, Sample};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A window needs so many answers to say something (Netflix: `windowSize`).
const ENOUGH: u64 = 10;
/// More than one drop in so many answers makes a window one with drops.
const DROPS: u64 = 20;

/// One request's outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// It was answered after so long.
    Answered(Duration),
    /// It was dropped. How long that took says nothing: a refusal is fast.
    Dropped,
}

/// The window that is being filled, and the algorithm that learns from full ones. The counters are independent:
/// a sample may fall in part into the next window, which moves a mean by less than the noise it has.
#[derive(Debug)]
pub(crate) struct Window {
    length: u64,
    ends: AtomicU64,
    answered: AtomicU64,
    nanos: AtomicU64,
    dropped: AtomicU64,
    in_flight: AtomicU32,
    algorithm: Mutex<Algorithm>,
}

impl Window {
    pub(crate) fn new(length: Duration, algorithm: Algorithm) -> Self {
        let length = nanos(length);
        Self {
            length,
            ends: AtomicU64::new(length),
            answered: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            algorithm: Mutex::new(algorithm),
        }
    }

    /// Adds an outcome at `now`, nanoseconds since the start. Says the new limit if this ended a window.
    pub(crate) fn add(&self, outcome: Outcome, in_flight: u32, now: u64) -> Option<u32> {
        match outcome {
            Outcome::Answered(rtt) => {
                self.answered.fetch_add(1, Relaxed);
                self.nanos.fetch_add(nanos(rtt), Relaxed);
            }
            Outcome::Dropped => {
                self.dropped.fetch_add(1, Relaxed);
            }
        }
        self.in_flight.fetch_max(in_flight, Relaxed);
        let ends = self.ends.load(Relaxed);
        if now < ends || self.answered.load(Relaxed) + self.dropped.load(Relaxed) < ENOUGH {
            return None;
        }
        // One worker ends the window.
        self.ends.compare_exchange(ends, now + self.length, Relaxed, Relaxed).ok()?;
        let (answered, dropped) = (self.answered.swap(0, Relaxed), self.dropped.swap(0, Relaxed));
        let sample = Sample {
            rtt: Duration::from_nanos(self.nanos.swap(0, Relaxed).checked_div(answered).unwrap_or(0)),
            in_flight: self.in_flight.swap(0, Relaxed),
            dropped: dropped * DROPS > answered + dropped,
        };
        Some(self.algorithm.lock().unwrap_or_else(PoisonError::into_inner).update(sample))
    }
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adaptive::{Aimd, Bounds};

    fn window() -> Window {
        let aimd = Aimd::new(Bounds { min: 1, max: 100 }, 50, 0.9, Duration::from_millis(20));
        Window::new(Duration::from_nanos(100), Algorithm::Aimd(aimd))
    }

    fn fill(window: &Window, answers: usize, drops: usize, rtt: Duration) -> Option<u32> {
        for _ in 1..answers {
            assert_eq!(window.add(Outcome::Answered(rtt), 50, 0), None);
        }
        for _ in 0..drops {
            assert_eq!(window.add(Outcome::Dropped, 50, 0), None);
        }
        window.add(Outcome::Answered(rtt), 50, 100)
    }

    #[test]
    fn a_window_ends_after_its_time_and_with_ten_answers() {
        let fast = Duration::from_millis(1);
        assert_eq!(fill(&window(), 9, 0, fast), None);
        assert_eq!(fill(&window(), 10, 0, fast), Some(51));
        assert_eq!(fill(&window(), 20, 0, Duration::from_millis(21)), Some(45), "the mean is too slow");
    }

    #[test]
    fn more_than_one_drop_in_twenty_makes_a_window_one_with_drops() {
        let fast = Duration::from_millis(1);
        assert_eq!(fill(&window(), 19, 1, fast), Some(51));
        assert_eq!(fill(&window(), 18, 2, fast), Some(45));
    }
}
