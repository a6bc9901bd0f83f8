use crate::algorithm::{Decision, Rule};
use crate::clock::Clock;
use crate::store::Counts;
use gateway_core::KeyedHash;
use std::time::SystemTime;

/// A limit on what is no HTTP request: messages of a WebSocket, mails to send, attempts at a password. Each key has a
/// count of its own, in this process; [`RateLimitLayer`](crate::RateLimitLayer) does the same for requests, by who
/// sends them.
///
/// Keys are kept as hashes under a secret, so that nobody can choose one that shares another's count. To be shared
/// between threads by reference.
///
/// ```
/// use gateway_ratelimit::{Algorithm, Decision, KeyedLimit, Rule};
/// use std::time::Duration;
///
/// let rule = Rule::new(&"2/min".parse()?, Algorithm::Gcra, Duration::ZERO);
/// let limit = KeyedLimit::new(rule, 100_000);
/// assert_eq!(limit.decide(b"ada", 1).remaining(), 1);
/// assert_eq!(limit.decide(b"ada", 1).remaining(), 0);
/// assert!(matches!(limit.decide(b"ada", 1), Decision::Refuse { .. }));
/// assert!(!limit.decide(b"bob", 1).is_refusal());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug)]
pub struct KeyedLimit {
    rule: Rule,
    hash: KeyedHash,
    counts: Counts,
    clock: Clock,
}

impl KeyedLimit {
    /// A limit that remembers about so many keys, at least one. When there are more, those whose limit is whole again
    /// are forgotten first, then those with the most left.
    #[must_use]
    pub fn new(rule: Rule, max_keys: usize) -> Self {
        let (hash, counts) = (KeyedHash::default(), Counts::new(max_keys));
        Self { rule, hash, counts, clock: Clock::at(SystemTime::now()) }
    }

    /// Decides about one that costs so much, and takes the cost unless it is refused. Cost 0 asks how things stand.
    #[must_use]
    pub fn decide(&self, key: &[u8], cost: u32) -> Decision {
        let rules = std::slice::from_ref(&self.rule);
        self.counts.decide(self.hash.of(key), self.clock.now(), cost, rules, true).decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;
    use std::time::Duration;

    fn limit(text: &str, max_keys: usize) -> KeyedLimit {
        KeyedLimit::new(Rule::new(&text.parse().unwrap(), Algorithm::Gcra, Duration::ZERO), max_keys)
    }

    #[tokio::test(start_paused = true)]
    async fn each_key_has_its_own_count_and_time_gives_back() {
        let limit = limit("2/min", 100);
        for key in [b"ada", b"bob"] {
            assert_eq!([1, 1, 1].map(|cost| limit.decide(key, cost).is_refusal()), [false, false, true]);
        }
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!([1, 1].map(|cost| limit.decide(b"ada", cost).is_refusal()), [false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cost_that_does_not_fit_takes_nothing_and_zero_only_asks() {
        let limit = limit("10/min", 100);
        assert_eq!(limit.decide(b"ada", 7).remaining(), 3);
        assert!(limit.decide(b"ada", 4).is_refusal());
        assert_eq!(limit.decide(b"ada", 0).remaining(), 3);
        assert_eq!(limit.decide(b"ada", 3).remaining(), 0);
    }
}
