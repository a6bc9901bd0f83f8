use gateway_core::clock;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// The time in microseconds since the Unix epoch, as it was when the clock was made and evenly from then on: it never
/// goes back, and in tests it stands still with tokio's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    wall: u64,
}

impl Clock {
    pub(crate) fn at(now: SystemTime) -> Self {
        let wall = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        // Later than zero, which stands for "never seen".
        let wall = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX >> 12).max(1);
        Self { start: Instant::now(), wall }
    }

    pub(crate) fn now(&self) -> u64 {
        let now = clock::recent().map_or_else(Instant::now, Instant::from_std);
        self.wall + u64::try_from(now.duration_since(self.start).as_micros()).unwrap_or(u64::MAX >> 12)
    }
}
