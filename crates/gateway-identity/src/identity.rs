use crate::clock::{Clock, Millis, millis};
use crate::db::{Database, Rotation as Used, SessionRow};
use crate::keyring::KeyRing;
use crate::password::{Hasher, Verdict};
use crate::secret::{self, fingerprint, new_id};
use crate::throttle::{Attempt, Policy, network};
use crate::token::{self, Checked};
use crate::{
    Caller, IdentityError, IdentitySettings, NewUser, OpenError, Origin, RevocationSink, Revoked, Rotation,
    Secret, Session, Tokens, User,
};
use serde_json::Value;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tracing::Instrument;

mod accounts;
mod open;
mod sessions;
mod upkeep;
pub use open::Builder;
pub use upkeep::Upkeep;

/// Accounts, sessions and tokens: all that the HTTP face does, as plain functions. Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    settings: IdentitySettings,
    db: Database,
    clock: Clock,
    hasher: Hasher,
    keys: KeyRing,
    sink: Option<Arc<dyn RevocationSink>>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("issuer", &self.0.settings.issuer).finish_non_exhaustive()
    }
}

impl Identity {
    /// The settings it was opened with.
    #[must_use]
    pub fn settings(&self) -> &IdentitySettings {
        &self.0.settings
    }

    /// The keys that tokens are verified with, as a JWK set (RFC 7517 §5).
    #[must_use]
    pub fn jwks(&self) -> Arc<Value> {
        self.0.keys.jwks().borrow().clone()
    }

    /// The same, and word of every change: for a verifier in the same process.
    #[must_use]
    pub fn watch_jwks(&self) -> watch::Receiver<Arc<Value>> {
        self.0.keys.jwks()
    }

    /// Reads the keys again, if that was not done within the last second: for a verifier that met an unknown `kid`.
    ///
    /// # Errors
    /// The database is away, or a key cannot be read; the keys known so far stay.
    pub async fn refresh_keys(&self) -> Result<(), IdentityError> {
        self.0.keys.refresh_for_unknown().await
    }

    /// Puts a new signing key in the place of the current one.
    ///
    /// # Errors
    /// The database is away.
    pub async fn rotate_keys(&self, rotation: Rotation) -> Result<(), IdentityError> {
        self.0.keys.rotate(rotation).await
    }

    /// How many passwords were hashed so far, by this instance.
    #[must_use]
    pub fn hashes_computed(&self) -> u64 {
        self.0.hasher.computed()
    }

    /// Whether the database did not do what it was asked last.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.0.db.is_away()
    }

    fn now(&self) -> Millis {
        self.0.clock.now()
    }

    /// Does something to its end, though whoever asked goes away: what is changed in the database and what others are
    /// told of it belong together.
    async fn whole<T, F>(&self, work: impl FnOnce(Self) -> F) -> Result<T, IdentityError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, IdentityError>> + Send + 'static,
    {
        let task = tokio::spawn(work(self.clone()).in_current_span());
        task.await.unwrap_or_else(|error| Err(IdentityError::Internal(error.to_string())))
    }

    /// How long an access token lives.
    fn lifetime(&self) -> Duration {
        *self.0.settings.access_token_lifetime()
    }
}
