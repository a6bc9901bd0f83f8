//! Counts that instances share over a Redis.

mod lease;
mod script;
mod settlements;
mod told;

pub(crate) use lease::Leases;
pub(crate) use script::{Call, Mode};
pub(crate) use settlements::{Settlement, Settlements};

use crate::algorithm::Decision;
use crate::facts::Scope;
use crate::key::Key;
use crate::limiter::{Limiter, Place, Standing, Verdict, remote_key};
use crate::plan::{MOST_RULES, Outcome, Plan};
use crate::settings::{OnStoreFailure, RateLimitSettings, Shared};
use crate::{Algorithm, RateLimitError};
use gateway_store::Store;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// What a layer needs to share its counts.
#[derive(Debug)]
pub(crate) struct State {
    mode: Shared,
    pub(super) on_failure: OnStoreFailure,
    pub(crate) leases: Leases,
    /// Whether this instance has ever counted for itself: then what it let pass is made good.
    fell_back: AtomicBool,
    /// Of whom the server is being told that.
    telling: Mutex<HashSet<Key>>,
    told: told::Told,
    /// Wakes the background task, for leases.
    pub(crate) work: Notify,
}

impl State {
    pub(crate) fn new(settings: &RateLimitSettings) -> Result<Self, RateLimitError> {
        if settings.shared == Shared::Leased && settings.algorithm == Algorithm::LeakyBucket {
            return Err(RateLimitError::LeasedQueue);
        }
        if settings.shared == Shared::Leased && settings.penalty.is_some() {
            return Err(RateLimitError::LeasedPenalty);
        }
        if settings.lease == Some(0) {
            return Err(RateLimitError::Zero("lease"));
        }
        Ok(Self {
            mode: settings.shared,
            on_failure: settings.on_store_failure,
            leases: Leases::new(settings),
            fell_back: AtomicBool::new(false),
            telling: Mutex::default(),
            told: told::Told::default(),
            work: Notify::new(),
        })
    }

    pub(crate) fn mode(&self) -> Shared {
        self.mode
    }

    fn telling(&self) -> MutexGuard<'_, HashSet<Key>> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes more than was, or gives back, of the share at hand; whether the caller has one.
    pub(crate) fn settle_share(&self, key: Key, difference: i64) -> bool {
        let news = self.leases.settle(key, difference);
        if news == Some(true) {
            self.work.notify_one();
        }
        news.is_some()
    }
}

/// What was counted here while the store was away, as whoever tells the server holds it: one at a time for a key, so
/// that it is told once, and it goes on to count here until that is done.
pub(crate) struct Owed<'a> {
    limiter: &'a Limiter,
    key: Key,
    /// What each rule is owed.
    each: Option<Vec<u64>>,
}

impl Owed<'_> {
    /// What each rule is owed; empty if nothing is.
    pub(crate) fn each(&self) -> &[u64] {
        self.each.as_deref().unwrap_or_default()
    }

    /// The server knows.
    pub(crate) fn paid(self) {
        if self.each.is_some() {
            self.limiter.counts.forget(self.key);
        }
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        if self.each.is_some() {
            self.limiter.shared.telling().remove(&self.key);
        }
    }
}

impl Limiter {
    /// What becomes of a request by the store, in one round trip.
    pub(crate) async fn ask(
        self: Arc<Self>,
        store: Store,
        plan: Arc<Plan>,
        (key, cost): (Key, u32),
        caller: String,
        scope: Arc<Scope>,
    ) -> Verdict {
        let standing = self.reach(&store, &plan, (key, cost), &caller).await;
        if let Standing::Found(outcome, Place::Server) = &standing
            && plan.has_quota()
        {
            self.mark(&store, &plan, &remote_key(&plan, &caller), outcome).await;
        }
        self.judge(&plan, (key, cost), standing, || caller, &scope.tally)
    }

    /// Asks the store.
    pub(crate) async fn reach(
        &self,
        store: &Store,
        plan: &Plan,
        (key, cost): (Key, u32),
        caller: &str,
    ) -> Standing {
        let mode = if self.takes_at_once() { Mode::Take } else { Mode::Peek };
        let owed = self.owed(key, plan);
        let call = script::Call {
            key: &remote_key(plan, caller),
            mode,
            cost: i64::from(cost),
            owed: owed.each(),
            now: None,
        };
        match call.run(store, plan, self.clock.now()).await {
            Ok(answer) => {
                owed.paid();
                Standing::Found(answer.outcome, Place::Server)
            }
            Err(error) => {
                drop(owed);
                tracing::debug!(limit = &*self.name, "decided without the store: {error}");
                self.fall_back(plan, (key, cost), self.takes_at_once())
            }
        }
    }

    /// Takes more than was, or gives back, when the background task comes to it.
    pub(crate) fn settle_later(&self, local: Key, key: String, plan: &Arc<Plan>, difference: i64) {
        if self.shared.mode != Shared::Leased || !self.shared.settle_share(local, difference) {
            self.settlements.add(Settlement { key, plan: plan.clone(), difference });
        }
    }

    /// Gives back what was taken from the store a moment ago.
    pub(crate) async fn return_to(&self, store: &Store, plan: &Plan, cost: u32, caller: &str) {
        let (key, cost) = (&*remote_key(plan, caller), -i64::from(cost));
        let call = script::Call { key, mode: Mode::Force, cost, owed: &[], now: None };
        if let Err(error) = call.run(store, plan, self.clock.now()).await {
            tracing::debug!(limit = &*self.name, "nothing was given back: {error}");
        }
    }

    /// What is to be made good for a caller, unless somebody is about to.
    pub(crate) fn owed(&self, key: Key, plan: &Plan) -> Owed<'_> {
        let used = || self.counts.used(key, self.clock.now(), &plan.shares);
        let used = self.shared.fell_back.load(Ordering::Relaxed).then(used).flatten();
        Owed { limiter: self, key, each: used.filter(|_| self.shared.telling().insert(key)) }
    }

    /// Decides without the store.
    pub(crate) fn fall_back(&self, plan: &Plan, (key, cost): (Key, u32), taking: bool) -> Standing {
        match self.shared.on_failure {
            OnStoreFailure::Allow => Standing::Passed,
            OnStoreFailure::Deny => Standing::Away,
            OnStoreFailure::Local => {
                self.shared.fell_back.store(true, Ordering::Relaxed);
                let outcome = self.counts.decide(key, self.clock.now(), cost, &plan.shares, taking);
                Standing::Found(outcome, Place::Share)
            }
        }
    }
}

/// What the script answers of one rule.
fn decision(kind: i64, wait: i64, reset: i64, remaining: i64) -> (Decision, u32) {
    let time = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    let remaining = u32::try_from(remaining).unwrap_or(if remaining < 0 { 0 } else { u32::MAX });
    let decision = match kind {
        0 => Decision::Allow { remaining, reset: time(reset) },
        1 => Decision::Delay { delay: time(wait), remaining, reset: time(reset) },
        _ => Decision::Refuse { retry_after: time(wait), reset: time(reset) },
    };
    (decision, remaining)
}

/// What the script answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) taken: i64,
    pub(crate) outcome: Outcome,
}

impl Answer {
    fn read(numbers: &[i64]) -> Option<Self> {
        let (&[taken, _], rules) = numbers.split_first_chunk::<2>()?;
        let (each, rest) = rules.as_chunks::<4>();
        if !rest.is_empty() || each.is_empty() || each.len() > MOST_RULES {
            return None;
        }
        let each = each.iter().map(|&[kind, wait, reset, remaining]| decision(kind, wait, reset, remaining));
        Some(Self { taken, outcome: Outcome::join(each) })
    }
}
