//! Revocations told from instance to instance, and read again by whoever may have missed some.

use super::known::{Known, Revoked};
use super::marks::Mark;
use crate::jwt::check::Shared;
use crate::text::{unix_now, until};
use gateway_store::{Event, Store, StoreError};
use std::collections::HashMap;
use std::sync::Weak;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

const CHANNEL: &str = "revocations";
const PREFIX: &str = "revoked:";
/// How soon it is noticed that the store is away.
const BEAT: Duration = Duration::from_millis(500);
/// How many records are read at once.
const PAGE: usize = 500;

pub(super) fn record_key(mark: Mark) -> String {
    format!("{PREFIX}{:032x}", mark.0)
}

/// Writes a revocation down, then tells it: who hears it late finds it written.
pub(super) async fn tell(store: &Store, mark: Mark, revoked: Revoked, now: f64) -> Result<(), StoreError> {
    let record = revoked.record();
    store.set(&record_key(mark), record.as_bytes(), until(revoked.end, now)).await?;
    store.publish(CHANNEL, format!("{:032x} {record}", mark.0).as_bytes()).await
}

/// Follows what other instances revoke, until the last layer is gone.
pub(crate) async fn run(shared: Weak<Shared>, store: Store) {
    if !store.is_shared() {
        return;
    }
    let mut events = store.subscribe(CHANNEL);
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut behind = true;
    loop {
        let event = tokio::select! {
            event = events.next() => Some(event),
            _ = beat.tick() => None,
        };
        let Some(known) = shared.upgrade().map(|shared| shared.known.clone()) else { return };
        match event {
            Some(Event::Message(message)) => hear(&known, &message),
            Some(Event::Gap) => behind = true,
            None => behind |= matches!(store.probe().await, Err(StoreError::Away { .. })),
        }
        behind |= known.take_untold();
        if behind {
            match catch_up(&known, &store).await {
                Ok(count) => {
                    behind = false;
                    if known.set_behind(false) {
                        tracing::info!("revocations: {count} read from the store, and told from now on");
                    }
                }
                Err(error) => {
                    if known.set_behind(true) {
                        tracing::warn!("revocations: {error}; those known so far count");
                    }
                }
            }
        }
    }
}

/// What is not understood was not told by one of us.
fn hear(known: &Known, message: &[u8]) {
    let Some((mark, record)) = message.split_at_checked(32) else { return };
    let mark = std::str::from_utf8(mark).ok().and_then(|mark| u128::from_str_radix(mark, 16).ok());
    if let (Some(mark), Some(revoked)) = (mark, Revoked::read(record.trim_ascii_start())) {
        known.revoke(Mark(mark), revoked, unix_now());
    }
}

/// Reads what is written, and writes what is not: the store may have lost it, or was away when we were told.
async fn catch_up(known: &Known, store: &Store) -> Result<usize, StoreError> {
    let keys = store.scan(PREFIX).await?;
    let now = unix_now();
    let mut written = HashMap::with_capacity(keys.len());
    for page in keys.chunks(PAGE) {
        let page: Vec<&str> = page.iter().map(String::as_str).collect();
        for (key, record) in page.iter().zip(store.get(&page).await?) {
            let mark = key.strip_prefix(PREFIX).and_then(|mark| u128::from_str_radix(mark, 16).ok());
            if let (Some(mark), Some(record)) = (mark, record)
                && let Some(revoked) = Revoked::read(&record)
            {
                written.insert(Mark(mark), revoked);
            }
        }
    }
    for (mark, revoked) in &written {
        known.revoke(*mark, *revoked, now);
    }
    for (mark, revoked) in known.all(now) {
        if written.get(&mark) != Some(&revoked) {
            tell(store, mark, revoked, now).await?;
        }
    }
    Ok(written.len())
}
