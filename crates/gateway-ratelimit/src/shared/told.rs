//! Who of all instances tells of a quota that nears its end.

use crate::algorithm::Kind;
use crate::limiter::Limiter;
use crate::plan::{Outcome, Plan};
use gateway_store::Store;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// More are not remembered here: then the store is asked once more, and knows.
const MOST: usize = 10_000;
const HALF_A_DAY: Duration = Duration::from_secs(12 * 3600);

/// What is known to have been told, by somebody, and until when its period lasts.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<HashMap<String, u64>>);

impl Told {
    /// Whether it is new here.
    fn claim(&self, key: &str, now: u64, until: u64) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.contains_key(key) {
            return false;
        }
        if told.len() >= MOST {
            told.retain(|_, until| *until > now);
        }
        if told.len() >= MOST {
            told.clear();
        }
        told.insert(key.to_owned(), until);
        true
    }

    fn release(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

impl Limiter {
    /// Tells of quotas that have come to a mark by what the store says: once in a period, by the instance that sets
    /// the mark's key first. Whatever brought them there, a request, a share, a settlement or another instance.
    pub(crate) async fn mark(&self, store: &Store, plan: &Plan, remote: &str, outcome: &Outcome) {
        for (index, percent) in plan.marks_at(outcome) {
            let Some(Kind::Calendar(calendar)) = plan.rules.get(index).map(|rule| rule.kind) else {
                continue;
            };
            let left = Duration::from_secs(outcome.told[index].reset.into());
            // The end is by the server's clock. Half a day before it is in the period, by whoever's clock.
            let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX >> 12);
            let now = self.clock.now();
            let end = now + micros(left);
            let (start, _) = calendar.period(end.saturating_sub(micros(HALF_A_DAY)));
            let key = format!("{remote}:told:{index}:{percent}:{}", start / 1_000_000);
            if !self.shared.told.claim(&key, now, end) {
                continue;
            }
            match store.set_new(&key, b"1", left + HALF_A_DAY).await {
                Ok(true) => self.say(plan, &[(index, percent)], caller_of(plan, remote)),
                Ok(false) => {}
                // Whoever comes next tries again.
                Err(_) => self.shared.told.release(&key),
            }
        }
    }
}

/// Whom a key on the server counts.
fn caller_of<'a>(plan: &Plan, remote: &'a str) -> &'a str {
    let inner = remote.strip_prefix("rate_limit:{").and_then(|rest| rest.strip_suffix(plan.label.as_str()));
    inner.and_then(|rest| rest.strip_suffix("}:")).unwrap_or(remote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_new_once_and_room_is_made_for_more() {
        let told = Told::default();
        assert!(told.claim("a", 0, 10) && !told.claim("a", 5, 10));
        told.release("a");
        assert!(told.claim("a", 5, 10));
        for i in 0..MOST {
            assert!(told.claim(&format!("k{i}"), 20, 30), "{i}");
        }
        assert!(told.0.lock().unwrap().len() <= MOST, "bounded");
    }
}
