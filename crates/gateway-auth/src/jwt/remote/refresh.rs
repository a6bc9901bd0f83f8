//! The task that reads an issuer's keys.

use super::read::Read;
use super::{Progress, Remote, Source};
use crate::jwt::key::{Key, KeyId};
use crate::jwt::settings::JwksSettings;
use gateway_core::units::Timespan;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// While the issuer is away, it is tried again after this time, then after twice that, …
const FIRST_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(60);

/// Reads the keys, and again, until the last layer that uses them is gone.
pub(crate) async fn run(remote: Weak<Remote>) {
    let Some(there) = remote.upgrade() else { return };
    let (only, hurry) = (there.only.clone(), there.hurry.clone());
    drop(there);
    let _only = only.lock().await;
    let mut task = Task { remote, hurry, found: None, failures: 0 };
    let mut next = Instant::now();
    while let Some(after) = task.turn(next).await {
        next = after;
    }
}

struct Task {
    remote: Weak<Remote>,
    hurry: Arc<Notify>,
    /// Where the issuer says that its keys are.
    found: Option<String>,
    failures: u32,
}

impl Task {
    /// Waits for its time or for somebody who wants it earlier, and reads once. Returns when the next is due.
    async fn turn(&mut self, due: Instant) -> Option<Instant> {
        let asked = loop {
            {
                let remote = self.remote.upgrade()?;
                let began = remote.progress.borrow().began;
                if remote.wanted.load(Ordering::Acquire) > began {
                    break true;
                }
            }
            tokio::select! {
                () = self.hurry.notified() => {}
                () = sleep_until(due) => break false,
            }
        };
        let remote = self.remote.upgrade()?;
        remote.progress.send_modify(|progress| progress.began += 1);
        let read = remote.read(&mut self.found).await;
        remote.away.store(read.is_err(), Ordering::Relaxed);
        let next = match read {
            Ok(read) => self.succeeded(&remote, read, asked),
            Err(why) => self.failed(&remote, &why, asked),
        };
        // An earlier task may have been dropped in the middle of its attempt.
        remote.progress.send_modify(|Progress { began, ended }| *ended = *began);
        Some(next)
    }

    fn succeeded(&mut self, remote: &Remote, Read { keys, max_age }: Read, asked: bool) -> Instant {
        let before = ids(&remote.keys());
        let after = ids(&keys);
        if self.failures > 0 || remote.last_good().is_none() || before != after {
            let new = after.iter().filter(|id| !before.contains(id)).count();
            tracing::info!("{}: {} keys, {new} of them new", remote.source, after.len());
        }
        if before == after {
            if asked {
                remote.pause(*remote.settings.pause);
            }
        } else {
            remote.keys.store(Arc::new(keys));
        }
        self.failures = 0;
        *remote.last_good() = Some(Instant::now());
        let refresh = remote.settings.refresh();
        let every = max_age.map_or(refresh, |age| refresh.min(age.max(JwksSettings::MIN_REFRESH)));
        Instant::now() + every.mul_f64(1.0 - fastrand::f64() / 10.0)
    }

    fn failed(&mut self, remote: &Remote, why: &str, asked: bool) -> Instant {
        self.found = None;
        let (source, kept) = (&remote.source, remote.keys().len());
        let age = remote.last_good().map(|at| at.elapsed());
        if let Some(age) = age.filter(|age| kept > 0 && *age >= *remote.settings.keep) {
            remote.keys.store(Arc::default());
            let age = Timespan(Duration::from_secs(age.as_secs()));
            tracing::error!("{source}: {why}; the last keys are {age} old, and no longer used");
        } else if self.failures == 0 {
            match age {
                Some(age) => {
                    let age = Timespan(Duration::from_secs(age.as_secs()));
                    tracing::warn!("{source}: {why}; keeping {kept} keys from {age} ago");
                }
                // They are opened after this task: whoever waits for them says so.
                None if remote.source == Source::Given => {}
                None => tracing::warn!("{source}: {why}; there are no keys yet"),
            }
        }
        let retry = FIRST_RETRY.saturating_mul(1 << self.failures.min(10)).min(MAX_RETRY);
        let retry = retry.min(remote.settings.refresh());
        self.failures = self.failures.saturating_add(1);
        if remote.keys().is_empty() {
            // To ask in this process costs nothing, and they may be there by the first token.
            if remote.source != Source::Given {
                remote.pause(FIRST_RETRY);
            }
        } else if asked {
            remote.pause(*remote.settings.pause);
        }
        Instant::now() + retry.mul_f64(1.0 - fastrand::f64() / 10.0)
    }
}

fn ids(keys: &[Key]) -> Vec<KeyId> {
    let mut ids: Vec<KeyId> = keys.iter().map(|key| key.id).collect();
    ids.sort_unstable();
    ids
}
