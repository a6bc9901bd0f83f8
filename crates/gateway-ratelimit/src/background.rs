use crate::limiter::Limiter;
use crate::settings::Shared;
use crate::shared::{Call, Mode, Settlement};
use crate::snapshot::Snapshots;
use crate::{RateLimitLayer, cost::Settle};
use futures_util::future::join_all;
use gateway_store::Store;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How often unused shares are looked for.
const SWEEP: Duration = Duration::from_millis(250);
/// How often quotas are written, if they have changed.
const WRITE: Duration = Duration::from_secs(5);
/// After the store did not answer.
const PAUSE: Duration = Duration::from_millis(100);
/// So many callers are asked for at once.
const AT_ONCE: usize = 64;

/// The work of a layer that no request waits for: taking and giving back shares (`shared = "leased"`), telling
/// Redis of final costs, writing the quota file. Once for each layer, however many clones there are.
#[derive(Debug)]
#[must_use = "it does nothing unless it is run"]
pub struct Background {
    limiter: Arc<Limiter>,
    store: Option<Store>,
    snapshots: Option<Snapshots>,
}

impl RateLimitLayer {
    /// The work that is to be done beside the requests; `None` where there is none.
    #[must_use]
    pub fn background(&self) -> Option<Background> {
        let limiter = self.limiter.clone();
        let settles = !matches!(limiter.settle, Settle::Never);
        let store = self.store.clone().filter(|_| settles || limiter.shared.mode() == Shared::Leased);
        let snapshots = self.snapshots();
        (store.is_some() || snapshots.is_some()).then_some(Background { limiter, store, snapshots })
    }
}

impl Background {
    /// Works until the end, then gives everything back and writes what is to be kept.
    pub async fn run(mut self, end: impl Future<Output = ()>) {
        let (mut sweep, mut write) = (interval(SWEEP), interval(WRITE));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        write.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let limiter = self.limiter.clone();
        let mut end = pin!(end);
        loop {
            tokio::select! {
                biased;
                () = &mut end => break,
                _ = write.tick() => self.write().await,
                _ = sweep.tick() => self.give_back(false).await,
                () = limiter.shared.work.notified() => self.work().await,
                () = limiter.settlements.work.notified() => self.work().await,
            }
        }
        self.work().await;
        self.give_back(true).await;
        self.write().await;
    }

    async fn write(&mut self) {
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.write().await;
        }
    }

    async fn work(&self) {
        let Some(store) = &self.store else { return };
        let shared = &self.limiter.shared;
        if !self.settle(store, self.limiter.settlements.take()).await {
            sleep(PAUSE).await;
        }
        for asked in shared.leases.asked().chunks(AT_ONCE) {
            let asking = asked.iter().map(async |asking| {
                let owed = self.limiter.owed(asking.key, &asking.plan);
                let now = self.limiter.clock.now();
                let mut owes = owed.each().to_vec();
                owes.resize(asking.plan.rules.len(), 0);
                for rule in &mut owes {
                    *rule += asking.debt;
                }
                let want = i64::try_from(asking.want).unwrap_or(i64::MAX);
                let call = Call { key: &asking.name, mode: Mode::Lease, cost: want, owed: &owes, now: None };
                let answer = call.run(store, &asking.plan, now).await.ok();
                if let Some(answer) = &answer {
                    owed.paid();
                    if asking.plan.has_quota() {
                        self.limiter.mark(store, &asking.plan, &asking.name, &answer.outcome).await;
                    }
                }
                shared.leases.answered(asking, answer, self.limiter.clock.now());
                answer.is_some()
            });
            if !join_all(asking).await.into_iter().all(|answered| answered) {
                sleep(PAUSE).await;
            }
        }
    }

    async fn give_back(&self, all: bool) {
        let Some(store) = &self.store else { return };
        if self.limiter.shared.mode() == Shared::Leased {
            let back = self.limiter.shared.leases.expired(self.limiter.clock.now(), all);
            let back = back.into_iter().map(|(key, plan, unused)| Settlement {
                key: key.to_string(),
                plan,
                difference: -unused,
            });
            self.settle(store, back.collect()).await;
            // Who owes has been asked for again, with or without a request.
            if self.limiter.shared.leases.has_asked() {
                self.limiter.shared.work.notify_one();
            }
        }
    }

    /// Tells the store; whether it listened.
    async fn settle(&self, store: &Store, all: Vec<Settlement>) -> bool {
        let now = self.limiter.clock.now();
        let mut failed = Vec::new();
        for some in all.chunks(AT_ONCE) {
            let telling = some.iter().map(async |settlement| {
                let Settlement { key, plan, difference } = settlement;
                let call = Call { key, mode: Mode::Force, cost: *difference, owed: &[], now: None };
                let Ok(answer) = call.run(store, plan, now).await else { return false };
                if plan.has_quota() && *difference > 0 {
                    self.limiter.mark(store, plan, key, &answer.outcome).await;
                }
                true
            });
            let told = join_all(telling).await;
            failed.extend(some.iter().zip(told).filter(|(_, told)| !told).map(|(one, _)| one.clone()));
        }
        let listened = failed.is_empty();
        if !listened {
            self.limiter.settlements.put_back(failed);
        }
        listened
    }
}
