//! How long a client may keep the reader of its body waiting: arithmetic.

use std::time::Duration;
use tokio::time::Instant;

/// What a client has of the time that it may be waited for.
///
/// It may be silent for a while, but not again and again: waiting uses the time up, and what is sent earns it back. So
/// a client that sends a byte now and then does not hold its request for ever (Apache's `RequestReadTimeout`, Kestrel's
/// `MinRequestBodyDataRate`). Time in which nobody wants more of the body does not count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How long at a time.
    limit: Duration,
    /// Bytes that earn a second; 0 where silence alone counts.
    rate: u64,
    left: Duration,
    since: Option<Instant>,
}

impl Patience {
    pub(crate) fn new(limit: Duration, rate: u64) -> Self {
        Self { limit, rate, left: limit, since: None }
    }

    /// How long silence may last.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// The reader waits. Says for how long it may, from the beginning of this wait.
    pub(crate) fn wait(&mut self) -> Duration {
        if self.rate > 0 && self.since.is_none() {
            self.since = Some(Instant::now());
        }
        self.left
    }

    /// So many bytes came.
    pub(crate) fn came(&mut self, bytes: usize) {
        if self.rate == 0 {
            return;
        }
        if let Some(since) = self.since.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        if self.left < self.limit {
            let earned = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
            self.left = (self.left + earned).min(self.limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_uses_time_up_and_what_comes_earns_it_back() {
        let mut patience = Patience::new(secs(30), 100);
        assert_eq!(patience.wait(), secs(30));
        advance(secs(20)).await;
        assert_eq!(patience.wait(), secs(30), "it is the same wait");
        patience.came(500);
        assert_eq!(patience.wait(), secs(15));
        patience.came(1_000_000);
        assert_eq!(patience.wait(), secs(30), "never more than at first");
        advance(secs(60)).await;
        patience.came(0);
        assert_eq!(patience.wait(), secs(0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_at_the_rate_is_waited_for_for_ever() {
        let mut patience = Patience::new(secs(30), 240);
        for _ in 0..10_000 {
            assert!(patience.wait() > secs(29));
            advance(secs(1)).await;
            patience.came(240);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_only_silence_counts() {
        let mut patience = Patience::new(secs(30), 0);
        for _ in 0..100 {
            assert_eq!(patience.wait(), secs(30));
            advance(secs(29)).await;
            patience.came(1);
        }
    }
}
