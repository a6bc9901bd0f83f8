use super::*;
use tokio::time::{MissedTickBehavior, interval};

/// What must be done now and then: to be spawned by whoever opened the [`Identity`].
#[derive(Debug)]
#[must_use = "keys are not rotated and old sessions are not removed unless it runs"]
pub struct Upkeep {
    identity: Identity,
}

impl Upkeep {
    pub(super) fn new(identity: Identity) -> Self {
        Self { identity }
    }

    /// Runs for good, every `keys.refresh`. Dropping the future ends it.
    pub async fn run(self) {
        let mut ticks = interval(*self.identity.0.settings.keys.refresh);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut away = false;
        loop {
            ticks.tick().await;
            let done = self.once().await;
            match &done {
                Ok(()) if away => tracing::info!("the upkeep of accounts works again"),
                // What is away is told where that is noticed.
                Err(IdentityError::Unavailable(_)) => continue,
                Err(error) if !away => {
                    tracing::warn!(%error, "the upkeep of accounts failed; it is tried again")
                }
                Ok(()) | Err(_) => {}
            }
            away = done.is_err();
        }
    }

    /// Does it once: reads and rotates keys, and removes sessions, tokens and throttles that no answer depends on.
    ///
    /// # Errors
    /// The database is away.
    pub async fn once(&self) -> Result<(), IdentityError> {
        let Inner { keys, db, settings, clock, .. } = &*self.identity.0;
        keys.refresh().await?;
        let now = clock.now();
        // What was ended is kept while its access tokens live, and a refresh token a day, to tell "expired" from
        // "unknown".
        let kept = millis(self.identity.lifetime()).max(86_400_000);
        db.purge(now.saturating_sub(kept)).await?;
        let forgotten = millis(*settings.throttle.forget_after).max(millis(*settings.throttle.max_backoff));
        db.purge_throttles(now.saturating_sub(forgotten)).await
    }
}
