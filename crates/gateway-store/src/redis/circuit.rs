use crate::Health;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long after a failure nobody waits for the server.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Whether the servers answer, as all workers know it.
///
/// After a failure nobody asks for a [pause](PAUSE); then one operation tries, and the others go on without until it
/// has succeeded. Each connection belongs to an epoch, which ends with the failure of any of its connections: so what
/// remained in flight on it says nothing about the next.
#[derive(Debug)]
pub(super) struct Circuit {
    /// Where the servers are, for the log.
    at: String,
    start: Instant,
    /// Milliseconds after `start` before which nobody asks; 0 while the servers answer.
    until: AtomicU64,
    epoch: AtomicU64,
    health: watch::Sender<Health>,
    /// Why they are away; nobody asks for it but who tells that they are.
    reasons: Mutex<Reasons>,
}

/// Whoever broke off may stay away for another reason: a password that has changed, a server that is gone for good.
#[derive(Debug, Default)]
struct Reasons {
    told: String,
    last: String,
}

impl Reasons {
    /// Returns whether a reason is to be told: when it is the first, or another one that came twice in a row, so that
    /// reasons which take turns make no flood.
    fn are_news(&mut self, why: &str, first: bool) -> bool {
        let news = first || (why == self.last && why != self.told);
        if news {
            why.clone_into(&mut self.told);
        }
        why.clone_into(&mut self.last);
        news
    }
}

impl Circuit {
    pub(super) fn new(at: String) -> Self {
        Self {
            at,
            start: Instant::now(),
            until: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            health: watch::Sender::new(Health::Up),
            reasons: Mutex::default(),
        }
    }

    /// Whether an operation may ask the servers now. While they are away, one may after each pause.
    pub(super) fn admits(&self) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        // The clock is read only while they are away.
        until == 0 || {
            let now = self.now();
            now >= until
                && self
                    .until
                    .compare_exchange(until, now + millis(PAUSE), Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The servers answered on a connection of this epoch.
    pub(super) fn answered(&self, epoch: u64) {
        if self.until.load(Ordering::Relaxed) == 0 || epoch != self.epoch() {
            return;
        }
        self.until.store(0, Ordering::Relaxed);
        if self.becomes(Health::Up) {
            tracing::info!("Redis at {} answers again", self.at);
        }
    }

    /// They did all that was asked of them, on a connection of this epoch.
    pub(super) fn works(&self, epoch: u64) {
        let refused = *self.health.borrow() == Health::Refuses;
        self.answered(epoch);
        if refused && epoch == self.epoch() && self.becomes(Health::Up) {
            tracing::info!("Redis at {} does what it is asked again", self.at);
        }
    }

    /// They answered, and refused what was asked of them, on a connection of this epoch.
    pub(super) fn refuses(&self, epoch: u64, why: &str) {
        if epoch != self.epoch() {
            return;
        }
        self.until.store(0, Ordering::Relaxed);
        if self.becomes(Health::Refuses) {
            tracing::warn!("Redis at {} refuses what it is asked: {why}", self.at);
        }
    }

    /// They did not, on a connection of this epoch, or none could be made.
    pub(super) fn failed(&self, epoch: Option<u64>, why: &str) {
        if let Some(epoch) = epoch {
            let ended = self.epoch.compare_exchange(epoch, epoch + 1, Ordering::AcqRel, Ordering::Acquire);
            if ended.is_err() {
                return;
            }
        }
        self.until.store(self.now() + millis(PAUSE), Ordering::Relaxed);
        let first = self.becomes(Health::Away);
        if self.reasons.lock().unwrap_or_else(PoisonError::into_inner).are_news(why, first) {
            tracing::warn!("Redis at {}: {why}; tried again every second", self.at);
        }
    }

    /// A connection was made: whoever comes next may try at once.
    pub(super) fn connected(&self) {
        if self.until.load(Ordering::Relaxed) != 0 {
            self.until.store(1, Ordering::Relaxed);
        }
    }

    pub(super) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    pub(super) fn is_away(&self) -> bool {
        *self.health.borrow() == Health::Away
    }

    /// Returns whether that is news.
    fn becomes(&self, health: Health) -> bool {
        self.health.send_if_modified(|old| std::mem::replace(old, health) != health)
    }

    /// Never 0.
    fn now(&self) -> u64 {
        millis(self.start.elapsed()) + 1
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[test]
    fn another_reason_is_told_once_it_lasts() {
        let mut reasons = Reasons::default();
        assert!(reasons.are_news("broken pipe", true));
        let told: Vec<_> = ["NOAUTH", "NOAUTH", "NOAUTH", "refused", "NOAUTH", "refused", "refused"]
            .map(|why| reasons.are_news(why, false))
            .to_vec();
        assert_eq!(told, [false, true, false, false, false, false, true]);
        assert!(reasons.are_news("refused", true), "they were back meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_one_operation_tries_each_second() {
        let circuit = Circuit::new("redis://a".to_owned());
        assert!(circuit.admits() && circuit.admits() && !circuit.is_away());
        circuit.failed(Some(0), "");
        assert!(!circuit.admits() && circuit.is_away());
        advance(PAUSE).await;
        assert!(circuit.admits(), "one tries");
        assert!(!circuit.admits(), "the others do not wait for it");
        circuit.failed(None, "");
        advance(PAUSE - Duration::from_millis(1)).await;
        assert!(!circuit.admits());
        advance(Duration::from_millis(1)).await;
        assert!(circuit.admits());
        circuit.answered(1);
        assert!(circuit.admits() && circuit.admits() && !circuit.is_away());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_in_flight_on_a_failed_connection_says_nothing_any_more() {
        let circuit = Circuit::new("redis://a".to_owned());
        circuit.failed(Some(0), "");
        circuit.answered(0);
        assert!(circuit.is_away(), "a late answer");
        circuit.answered(circuit.epoch());
        assert!(!circuit.is_away());
        circuit.failed(Some(0), "");
        assert!(circuit.admits() && !circuit.is_away(), "a late failure");
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_after_a_connection_was_made_tries_at_once() {
        let circuit = Circuit::new("redis://a".to_owned());
        circuit.connected();
        circuit.failed(None, "");
        circuit.connected();
        assert!(circuit.admits());
        assert!(!circuit.admits());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_is_asked_again_and_only_what_does_it_all_is_up() {
        let circuit = Circuit::new("redis://a".to_owned());
        circuit.refuses(0, "OOM");
        assert!(circuit.admits() && circuit.admits() && !circuit.is_away());
        circuit.answered(0);
        assert_eq!(*circuit.health().borrow(), Health::Refuses, "reads may still be done");
        circuit.works(1);
        assert_eq!(*circuit.health().borrow(), Health::Refuses, "over another connection");
        circuit.works(0);
        assert_eq!(*circuit.health().borrow(), Health::Up);
        circuit.failed(Some(0), "");
        circuit.refuses(0, "OOM");
        assert!(circuit.is_away(), "a late refusal");
        circuit.refuses(1, "OOM");
        assert!(circuit.admits() && *circuit.health().borrow() == Health::Refuses);
        circuit.failed(Some(1), "");
        assert!(!circuit.admits() && circuit.is_away());
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_told() {
        let circuit = Circuit::new("redis://a".to_owned());
        let mut health = circuit.health();
        circuit.failed(None, "");
        circuit.failed(None, "");
        health.changed().await.unwrap();
        assert_eq!(*health.borrow_and_update(), Health::Away);
        circuit.answered(0);
        health.changed().await.unwrap();
        assert_eq!(*health.borrow_and_update(), Health::Up);
    }
}
