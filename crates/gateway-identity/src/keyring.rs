//! The signing keys of all instances: made once, replaced by age and by command, kept as long as a token of theirs lives.

use crate::clock::{Clock, Millis, millis};
use crate::db::{Database, KeyRow};
use crate::key::{self, Key};
use crate::{IdentityError, KeySettings};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};

/// How far the clocks of verifiers may be behind.
const LEEWAY: Millis = 60_000;
/// Unknown keys make the database be asked at most so often.
const MIN_PAUSE: Millis = 1_000;

/// How a key takes the place of another by command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The new key signs once it was published for `keys.publish_ahead`; the old one verifies until its last token
    /// has expired.
    Planned,
    /// The new key signs at once; the old one verifies until its last token has expired.
    Now,
    /// The new key signs at once, and the old ones are gone: all access tokens so far are worth nothing. For keys
    /// that somebody else may have.
    Compromised,
}

/// The keys at one time, the one that signs from the latest time last.
pub(crate) struct KeySet {
    pub(crate) keys: Vec<Key>,
    jwks: Arc<Value>,
}

impl KeySet {
    fn read(rows: &[KeyRow], settings: &KeySettings) -> Result<Self, (String, &'static str)> {
        let read =
            |row: &KeyRow| Key::read(row, settings.secret.as_ref()).map_err(|why| (row.kid.clone(), why));
        let keys = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let jwks = Arc::new(json!({ "keys": keys.iter().map(|key| &key.jwk).collect::<Vec<_>>() }));
        Ok(Self { keys, jwks })
    }

    /// The key that signs now.
    pub(crate) fn signing(&self, now: Millis) -> Option<&Key> {
        self.keys.iter().rev().find(|key| key.signs_from <= now).or(self.keys.first())
    }

    pub(crate) fn find(&self, kid: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.kid == kid)
    }
}

pub(crate) struct KeyRing {
    db: Database,
    clock: Clock,
    settings: KeySettings,
    /// How long an access token lives.
    lifetime: Millis,
    keys: watch::Sender<Arc<KeySet>>,
    jwks: watch::Sender<Arc<Value>>,
    /// When the database was asked last.
    asked: Mutex<Millis>,
}

/// What is to be done with the keys.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// A new key, and when it begins to sign.
    new: Option<Millis>,
    gone: Vec<String>,
}

impl KeyRing {
    pub(crate) async fn open(
        db: Database,
        clock: Clock,
        settings: KeySettings,
        lifetime: Duration,
    ) -> Result<Self, crate::OpenError> {
        let empty = Arc::new(KeySet { keys: Vec::new(), jwks: Arc::new(json!({ "keys": [] })) });
        let ring = Self {
            db,
            clock,
            settings,
            lifetime: millis(lifetime),
            jwks: watch::Sender::new(empty.jwks.clone()),
            keys: watch::Sender::new(empty),
            asked: Mutex::new(0),
        };
        let failed = |error: IdentityError| crate::OpenError::Database(error.to_string());
        let rows = ring.read().await.map_err(failed)?;
        ring.install(&rows).map_err(|(kid, why)| crate::OpenError::Key { kid, why })?;
        Ok(ring)
    }

    pub(crate) fn current(&self) -> Arc<KeySet> {
        self.keys.borrow().clone()
    }

    pub(crate) fn jwks(&self) -> watch::Receiver<Arc<Value>> {
        self.jwks.subscribe()
    }

    /// Reads the keys again, makes a new one where it is time, and removes those that nothing was signed with.
    pub(crate) async fn refresh(&self) -> Result<(), IdentityError> {
        let rows = self.read().await?;
        self.install_or_log(&rows)
    }

    async fn read(&self) -> Result<Vec<KeyRow>, IdentityError> {
        let rows = self.db.keys().await?;
        if self.plan(&rows, None) == Plan::default() { Ok(rows) } else { self.change(None).await }
    }

    /// Reads the keys again because of a token with an unknown one; not more often than makes sense.
    pub(crate) async fn refresh_for_unknown(&self) -> Result<(), IdentityError> {
        // Whoever comes meanwhile waits for the same answer.
        let mut asked = self.asked.lock().await;
        let now = self.clock.now();
        if now.saturating_sub(*asked) < MIN_PAUSE {
            return Ok(());
        }
        *asked = now;
        let rows = self.db.keys().await?;
        self.install_or_log(&rows)
    }

    pub(crate) async fn rotate(&self, rotation: Rotation) -> Result<(), IdentityError> {
        let rows = self.change(Some(rotation)).await?;
        self.install_or_log(&rows)
    }

    fn plan(&self, rows: &[KeyRow], command: Option<Rotation>) -> Plan {
        let overlap = self.lifetime + LEEWAY + millis(*self.settings.refresh);
        plan(rows, command, self.clock.now(), &self.settings, overlap)
    }

    /// Changes the keys under the lock that all instances share, so that one of them makes the key and the others
    /// find it.
    async fn change(&self, command: Option<Rotation>) -> Result<Vec<KeyRow>, IdentityError> {
        let (algorithm, secret) = (self.settings.algorithm, self.settings.secret.clone());
        let now = self.clock.now();
        // An RSA key takes a while: not under the lock, and not on a worker. Where another instance is faster, it
        // was for nothing.
        let new = tokio::task::spawn_blocking(move || key::new_row(algorithm, secret.as_ref(), now))
            .await
            .map_err(|_| IdentityError::Internal("a key could not be made".to_owned()))?
            .map_err(|why| IdentityError::Internal(why.to_owned()))?;
        self.db
            .change_keys(|rows| {
                let plan = self.plan(rows, command);
                for kid in &plan.gone {
                    tracing::info!(kid, "signing key removed");
                }
                let new = plan.new.map(|signs_from| {
                    tracing::info!(kid = new.kid, algorithm = new.algorithm, "signing key made");
                    KeyRow { signs_from, ..new }
                });
                (new, plan.gone)
            })
            .await
    }

    fn install(&self, rows: &[KeyRow]) -> Result<(), (String, &'static str)> {
        let set = Arc::new(KeySet::read(rows, &self.settings)?);
        let jwks = set.jwks.clone();
        self.keys.send_replace(set);
        self.jwks.send_if_modified(|published| {
            let changed = **published != *jwks;
            if changed {
                *published = jwks;
            }
            changed
        });
        Ok(())
    }

    fn install_or_log(&self, rows: &[KeyRow]) -> Result<(), IdentityError> {
        self.install(rows).map_err(|(kid, why)| {
            tracing::error!(kid, why, "a signing key cannot be read; the keys known so far stay");
            IdentityError::Internal(format!("signing key {kid} cannot be read: {why}"))
        })
    }
}

/// What is due: a new key where there is none, the newest is old, or a command says so; and the end of keys whose
/// successor has signed for longer than their last token may live.
fn plan(
    rows: &[KeyRow],
    command: Option<Rotation>,
    now: Millis,
    settings: &KeySettings,
    overlap: Millis,
) -> Plan {
    let ahead = millis(*settings.publish_ahead);
    let new = match (command, rows.last()) {
        (_, None) | (Some(Rotation::Now | Rotation::Compromised), _) => Some(now),
        (Some(Rotation::Planned), Some(newest)) => (newest.signs_from <= now).then_some(now + ahead),
        (None, Some(newest)) => {
            let old = now.saturating_sub(newest.created_at) >= millis(*settings.rotate_after);
            old.then_some(now + ahead)
        }
    };
    let gone = if command == Some(Rotation::Compromised) {
        rows.iter().map(|row| row.kid.clone()).collect()
    } else {
        let pairs = rows.iter().zip(rows.iter().skip(1));
        let over = pairs.filter(|(_, successor)| successor.signs_from.saturating_add(overlap) < now);
        over.map(|(row, _)| row.kid.clone()).collect()
    };
    Plan { new, gone }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Millis = 86_400_000;

    fn row(kid: &str, created_at: Millis, signs_from: Millis) -> KeyRow {
        let (algorithm, private) = ("ES256".to_owned(), String::new());
        KeyRow { kid: kid.to_owned(), algorithm, private, created_at, signs_from }
    }

    #[test]
    fn keys_come_and_go_as_the_table_says() {
        let settings = KeySettings::default();
        let minute = 60_000;
        let two = [row("a", 0, 0), row("b", 90 * DAY, 90 * DAY + minute)];
        let due = |rows: &[KeyRow], command, now| {
            let Plan { new, gone } = plan(rows, command, now, &settings, 10 * minute);
            (new, gone.join(","))
        };
        for (rows, command, now, new, gone) in [
            (&two[..0], None, 5, Some(5), ""),
            (&two[..1], None, 89 * DAY, None, ""),
            (&two[..1], None, 90 * DAY, Some(90 * DAY + minute), ""),
            (&two[..1], Some(Rotation::Planned), DAY, Some(DAY + minute), ""),
            (&two[..1], Some(Rotation::Now), DAY, Some(DAY), ""),
            (&two[..1], Some(Rotation::Compromised), DAY, Some(DAY), "a"),
            (&two, None, 90 * DAY + 11 * minute, None, ""),
            (&two, None, 90 * DAY + 11 * minute + 1, None, "a"),
            // One is on its way already.
            (&two, Some(Rotation::Planned), 90 * DAY, None, ""),
        ] {
            assert_eq!(due(rows, command, now), (new, gone.to_owned()), "{command:?} at {now}");
        }
    }
}
