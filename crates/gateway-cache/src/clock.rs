use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// How often the time of day is looked at again.
const LOOK: Duration = Duration::from_secs(1);
/// By less than this the two clocks may differ: whoever reads one after the other finds some difference.
const TOLERANCE: Duration = Duration::from_millis(100);

/// The time of day, counted on by tokio's clock, so that a paused one stands still.
///
/// Where the system's clock was set, or the machine was asleep, it follows within a second: what services write into
/// `Date`, and what other instances note of their purges, is of that clock.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// The same by the system's own clock, which no test stops.
    began: std::time::Instant,
    /// The time of day at the start, in nanoseconds, as far as is known by now.
    then: AtomicU64,
    /// When it was last looked at, in seconds since the start.
    looked: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        let (start, began) = (Instant::now(), std::time::Instant::now());
        Self { start, began, then: AtomicU64::new(nanos(SystemTime::now())), looked: AtomicU64::new(0) }
    }
}

impl Clock {
    pub(crate) fn now(&self) -> SystemTime {
        self.now_by(|| SystemTime::now() - self.began.elapsed())
    }

    /// `then` is what the time of day was at the start, by what is known of it now.
    fn now_by(&self, then: impl FnOnce() -> SystemTime) -> SystemTime {
        let elapsed = self.start.elapsed();
        let second = elapsed.as_secs() / LOOK.as_secs();
        if self.looked.load(Ordering::Relaxed) != second
            && self.looked.swap(second, Ordering::Relaxed) != second
        {
            let then = nanos(then());
            if then.abs_diff(self.then.load(Ordering::Relaxed)) > nanos(UNIX_EPOCH + TOLERANCE) {
                self.then.store(then, Ordering::Relaxed);
            }
        }
        UNIX_EPOCH + Duration::from_nanos(self.then.load(Ordering::Relaxed)) + elapsed
    }
}

/// Enough for the next five hundred years.
fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_follows_the_systems_clock_and_otherwise_counts_on() {
        let clock = Clock::default();
        let start = clock.now();
        let hour = Duration::from_secs(3600);
        tokio::time::advance(hour).await;
        assert!(clock.now() - hour < start + TOLERANCE, "a paused clock");
        for set in [start + 3 * hour, start] {
            let before = clock.now();
            assert_eq!(clock.now_by(|| set), before, "not more than once a second");
            tokio::time::advance(LOOK).await;
            let elapsed = clock.start.elapsed();
            assert_eq!(clock.now_by(|| set), set + elapsed);
            tokio::time::advance(LOOK / 2).await;
            assert_eq!(clock.now_by(|| panic!("it was just looked at")), set + elapsed + LOOK / 2);
            tokio::time::advance(LOOK / 2).await;
            let near = set + TOLERANCE / 2;
            assert_eq!(clock.now_by(|| near), set + elapsed + LOOK, "a small difference is none");
        }
    }
}
