use std::time::SystemTime;
use tokio::time::Instant;

/// The time of day, counted on by tokio's clock: it does not jump, and a paused one stands still.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    time: SystemTime,
}

impl Default for Clock {
    fn default() -> Self {
        Self { start: Instant::now(), time: SystemTime::now() }
    }
}

impl Clock {
    pub(crate) fn now(&self) -> SystemTime {
        self.time + self.start.elapsed()
    }
}
