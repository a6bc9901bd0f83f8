//! Shares of a limit that an instance takes in the background, so that no request waits.
//!
//! A request takes from the share at hand. Where it is used up, up to one lease more passes on credit until the store
//! has been asked; once it has said that nothing is left, nothing passes until there is some. Credit is taken from the
//! store as debt, so that it is missing later. All instances together thus are never ahead of the limit by more than
//! one lease each. A request that costs more than a lease and what is at hand waits until so much has been taken.
//!
//! Nobody is forgotten to make room for another: who owes, or has been found to have nothing left, would come back to
//! fresh credit. Who finds no room for a share is decided by the store.

use crate::algorithm::Decision;
use crate::key::Key;
use crate::limiter::{Case, Limiter, Place, Standing};
use crate::plan::{Outcome, Plan, Told};
use crate::settings::RateLimitSettings;
use crate::shared::Answer;
use hashbrown::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const SHARDS: usize = 16;
/// What a request is told that came while the store was being asked.
const SOON: Duration = Duration::from_millis(100);
/// How long a share that was taken for such a request is kept at least, in microseconds: it comes back when it was
/// told to, after [`SOON`] in whole seconds.
const HELD: u64 = 3_000_000;

#[derive(Debug)]
pub(crate) struct Leases {
    shards: Box<[Mutex<HashMap<Key, Lease>>]>,
    max_per_shard: usize,
    ttl: u64,
    asked: Mutex<Vec<Key>>,
    /// Whether the store did not answer the last time.
    pub(super) away: AtomicBool,
}

#[derive(Debug)]
struct Lease {
    /// What is left of the share; below zero what was let pass on credit.
    balance: i64,
    /// When what is left is given back.
    until: u64,
    /// Until when the store has nothing.
    empty_until: u64,
    asking: bool,
    /// The most that was refused because it is more than a lease: so much is to be at hand.
    wanted: i64,
    /// How things stood when the store was last asked.
    outcome: Option<Outcome>,
    plan: Arc<Plan>,
    name: Arc<str>,
}

/// What is to be asked of the store for one caller.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) key: Key,
    pub(crate) name: Arc<str>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) debt: u64,
    pub(crate) want: u64,
}

enum Found {
    Pass(Outcome),
    Refuse(Outcome),
    /// The share is used up, and the store is away.
    Nothing,
    /// There is no room for another share.
    NoRoom,
}

impl Leases {
    pub(crate) fn new(settings: &RateLimitSettings) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            max_per_shard: settings.max_keys.div_ceil(SHARDS).max(1),
            ttl: u64::try_from(settings.lease_ttl.as_micros()).unwrap_or(u64::MAX >> 12),
            asked: Mutex::default(),
            away: AtomicBool::new(false),
        }
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, HashMap<Key, Lease>> {
        self.shards[(key >> 64) as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, key: Key, lease: &mut Lease) -> bool {
        if std::mem::replace(&mut lease.asking, true) {
            return false;
        }
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(key);
        true
    }

    /// Decides by the share at hand; whether the background task has something new to do.
    fn decide(
        &self,
        case: &Case<'_>,
        now: u64,
        name: impl FnOnce() -> Arc<str>,
        taking: bool,
    ) -> (Found, bool) {
        let (size, cost) = (i64::from(case.plan.lease), i64::from(case.cost));
        let mut shard = self.shard(case.key);
        if shard.len() >= self.max_per_shard && !shard.contains_key(&case.key) {
            return (Found::NoRoom, false);
        }
        let lease = shard.entry(case.key).or_insert_with(|| Lease {
            balance: 0,
            until: now + self.ttl,
            empty_until: 0,
            asking: false,
            wanted: 0,
            outcome: None,
            plan: case.plan.clone(),
            name: name(),
        });
        if !Arc::ptr_eq(&lease.plan, &case.plan) {
            lease.plan = case.plan.clone();
        }
        let empty = now < lease.empty_until;
        let away = self.away.load(Ordering::Relaxed);
        let floor = if empty || away { 0 } else { -size };
        if lease.balance - cost < floor {
            let mut news = false;
            // What fits nowhere is not asked for, or others would lack it meanwhile.
            if cost > size && case.plan.rules.iter().all(|rule| u64::from(case.cost) <= rule.burst) {
                lease.wanted = lease.wanted.max(cost);
            }
            if !empty || lease.balance < 0 {
                news = self.ask(case.key, lease);
            }
            if away {
                return (Found::Nothing, news);
            }
            let wait = if empty { Duration::from_micros(lease.empty_until - now) } else { SOON };
            return (Found::Refuse(lease.refuse(wait)), news);
        }
        if taking {
            lease.balance -= cost;
        }
        let news = !empty && lease.balance * 2 < size.max(lease.wanted) && self.ask(case.key, lease);
        (Found::Pass(lease.pass(case)), news)
    }

    /// Takes more than was, or gives back; whether the background task has something new to do. `None` if the caller
    /// is not known here.
    pub(super) fn settle(&self, key: Key, difference: i64) -> Option<bool> {
        let mut shard = self.shard(key);
        let lease = shard.get_mut(&key)?;
        lease.balance -= difference;
        Some(lease.balance < 0 && self.ask(key, lease))
    }

    /// Whether the store is to be asked for somebody.
    pub(crate) fn has_asked(&self) -> bool {
        !self.asked.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Those for whom the store is to be asked.
    pub(crate) fn asked(&self) -> Vec<Asking> {
        let keys = std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner));
        let asking = keys.into_iter().filter_map(|key| {
            let shard = self.shard(key);
            let lease = shard.get(&key)?;
            let size = i64::from(lease.plan.lease);
            Some(Asking {
                key,
                name: lease.name.clone(),
                plan: lease.plan.clone(),
                debt: u64::try_from(-lease.balance).unwrap_or(0),
                want: u64::try_from(size.max(lease.wanted) - lease.balance.max(0)).unwrap_or(0),
            })
        });
        asking.collect()
    }

    /// The store's answer; without one, it is asked again later.
    pub(crate) fn answered(&self, asking: &Asking, answer: Option<Answer>, now: u64) {
        self.away.store(answer.is_none(), Ordering::Relaxed);
        let mut shard = self.shard(asking.key);
        let Some(lease) = shard.get_mut(&asking.key) else { return };
        lease.asking = false;
        let Some(answer) = answer else { return };
        lease.balance += i64::try_from(asking.debt).unwrap_or(i64::MAX) + answer.taken;
        lease.until = now + if lease.wanted > 0 { self.ttl.max(HELD) } else { self.ttl };
        lease.outcome = Some(answer.outcome);
        lease.empty_until = match answer.outcome.decision {
            Decision::Refuse { retry_after, .. } => {
                now + u64::try_from(retry_after.as_micros()).unwrap_or(u64::MAX >> 12)
            }
            _ => 0,
        };
    }

    /// Unused shares that have expired, to be given back; who owes is asked for again. At the end all, and what is owed.
    pub(crate) fn expired(&self, now: u64, all: bool) -> Vec<(Arc<str>, Arc<Plan>, i64)> {
        let mut back = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|key, lease| {
                if !all && (lease.asking || now < lease.until.max(lease.empty_until)) {
                    return true;
                }
                if !all && lease.balance < 0 {
                    self.ask(*key, lease);
                    return true;
                }
                if lease.balance != 0 {
                    back.push((lease.name.clone(), lease.plan.clone(), lease.balance));
                }
                false
            });
        }
        back
    }
}

impl Lease {
    /// What a client is told: what the store had left and what is at hand.
    fn pass(&self, case: &Case<'_>) -> Outcome {
        let at_hand = u32::try_from(self.balance.max(0)).unwrap_or(u32::MAX);
        let known = self.outcome.unwrap_or_else(|| {
            let rules = case.plan.rules.iter();
            Outcome::join(rules.map(|rule| {
                let remaining = u32::try_from(rule.burst).unwrap_or(u32::MAX).saturating_sub(case.cost);
                (Decision::Allow { remaining, reset: Duration::ZERO }, remaining)
            }))
        });
        let told = known.told.map(|told| Told { remaining: told.remaining.saturating_add(at_hand), ..told });
        let tightest = usize::from(known.tightest);
        let decision = Decision::Allow { remaining: told[tightest].remaining, reset: known.decision.reset() };
        Outcome { decision, told, ..known }
    }

    fn refuse(&self, wait: Duration) -> Outcome {
        let Some(mut outcome) = self.outcome else { return Outcome::refused(wait) };
        let decision = Decision::Refuse { retry_after: wait, reset: outcome.decision.reset() };
        let tightest = usize::from(outcome.tightest);
        let seconds = u32::try_from(crate::headers::whole_seconds(wait)).unwrap_or(u32::MAX);
        outcome.told[tightest] = Told { remaining: 0, reset: seconds };
        outcome.decision = decision;
        outcome
    }
}

impl Outcome {
    fn refused(wait: Duration) -> Self {
        Self::join(std::iter::once((Decision::Refuse { retry_after: wait, reset: wait }, 0)))
    }

    /// Refuses for as long as it takes to ask the store.
    pub(crate) fn soon() -> Self {
        Self::refused(SOON)
    }
}

impl Limiter {
    /// Decides by the share at hand, without waiting; `None` if the caller has none and there is no room for another.
    pub(crate) fn lease(
        &self,
        case: &Case<'_>,
        caller: impl FnOnce() -> String + Copy,
        taking: bool,
    ) -> Option<Standing> {
        let leases = &self.shared.leases;
        let name = || crate::limiter::remote_key(&case.plan, &caller()).into();
        let (found, news) = leases.decide(case, self.clock.now(), name, taking);
        if news {
            self.shared.work.notify_one();
        }
        match found {
            Found::Pass(outcome) | Found::Refuse(outcome) => Some(Standing::Found(outcome, Place::Server)),
            Found::Nothing => Some(self.fall_back(&case.plan, (case.key, case.cost), taking)),
            Found::NoRoom => None,
        }
    }
}

#[cfg(test)]
mod tests;
