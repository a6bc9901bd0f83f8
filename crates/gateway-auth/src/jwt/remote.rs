//! The keys of an issuer: read from its URL again and again by one task, which requests may hurry.

mod read;
mod refresh;

pub(crate) use refresh::run as refresh;

use crate::AuthError;
use crate::jwt::algorithm::Algorithm;
use crate::jwt::key::Key;
use crate::jwt::settings::{JwksSettings, JwtSettings, OneOrMany};
use arc_swap::ArcSwap;
use gateway_fetch::Fetch;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

/// The last keys of an issuer. They are looked at without a lock.
pub(crate) struct Remote {
    source: Source,
    given: Option<GivenKeys>,
    settings: JwksSettings,
    algorithms: Vec<Algorithm>,
    fetch: Fetch,
    keys: ArcSwap<Vec<Key>>,
    /// When they were read last.
    last_good: Mutex<Option<Instant>>,
    /// Whether the last attempt was in vain.
    away: AtomicBool,
    progress: watch::Sender<Progress>,
    /// The number of the attempt that somebody waits for.
    wanted: AtomicU64,
    hurry: Arc<Notify>,
    /// Milliseconds after `start` until which nobody may hurry the task.
    paused_until: AtomicU64,
    start: Instant,
    /// Held by the one task that refreshes.
    only: Arc<tokio::sync::Mutex<()>>,
}

/// Where the keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Url(String),
    /// The URL of an issuer that says where.
    Issuer(String),
    /// In this process.
    Given,
}

/// The key set of an issuer in this process, in JSON; nothing while it is not there yet.
pub(crate) type GivenKeys = Arc<dyn Fn() -> Option<Value> + Send + Sync>;

/// How many attempts to read the keys began and ended: at most one more began.
#[derive(Clone, Copy, Default)]
struct Progress {
    began: u64,
    ended: u64,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // A query may hold a secret.
            Self::Url(url) => write!(f, "JWKS at {}", url.split('?').next().unwrap_or_default()),
            Self::Issuer(issuer) => write!(f, "JWKS of {issuer}"),
            Self::Given => f.write_str("the keys of this process"),
        }
    }
}

impl Source {
    /// Where the settings say the keys are, if they are not at hand.
    pub(crate) fn of(settings: &JwtSettings) -> Result<Option<Self>, AuthError> {
        let url = |url: &str| {
            let good = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme))
                && url.parse::<http::Uri>().is_ok_and(|uri| uri.authority().is_some());
            if good { Ok(url.to_owned()) } else { Err(AuthError::Url(url.to_owned())) }
        };
        if let Some(jwks) = &settings.jwks_url {
            return Ok(Some(Self::Url(url(jwks)?)));
        }
        if !settings.discovery {
            return Ok(None);
        }
        match &settings.issuer {
            Some(OneOrMany::One(issuer)) => Ok(Some(Self::Issuer(url(issuer)?))),
            _ => Err(AuthError::Discovery),
        }
    }
}

impl Remote {
    pub(crate) fn new(source: Source, settings: &JwtSettings) -> Result<Self, AuthError> {
        let jwks = settings.jwks.clone();
        Ok(Self {
            source,
            given: None,
            algorithms: settings.algorithms.clone(),
            fetch: Fetch::new(&jwks.fetch)?,
            settings: jwks,
            keys: ArcSwap::default(),
            last_good: Mutex::default(),
            away: AtomicBool::new(false),
            progress: watch::Sender::default(),
            wanted: AtomicU64::new(0),
            hurry: Arc::default(),
            paused_until: AtomicU64::new(0),
            start: Instant::now(),
            only: Arc::default(),
        })
    }

    pub(crate) fn given(keys: GivenKeys, settings: &JwtSettings) -> Result<Self, AuthError> {
        let mut remote = Self::new(Source::Given, settings)?;
        remote.given = Some(keys);
        Ok(remote)
    }

    /// Starts with the keys of one that read the same, for the issuer may be away.
    pub(crate) fn succeed(&self, before: &Self) {
        if self.source == before.source && self.algorithms == before.algorithms {
            self.keys.store(before.keys.load_full());
            *self.last_good() = *before.last_good();
            self.away.store(before.away.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn last_good(&self) -> MutexGuard<'_, Option<Instant>> {
        self.last_good.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its keys could be read last time; nothing where they are those of this process.
    pub(crate) fn answered(&self) -> Option<bool> {
        (self.source != Source::Given).then(|| !self.away.load(Ordering::Relaxed))
    }

    /// The keys of now.
    pub(crate) fn keys(&self) -> arc_swap::Guard<Arc<Vec<Key>>> {
        self.keys.load()
    }

    /// Has the keys read again, together with whoever else asks meanwhile, until `found` finds what it looks for in
    /// them, and at most once where it does not.
    pub(crate) async fn wait_for<T>(&self, mut found: impl FnMut() -> Option<T>) -> Option<T> {
        let waiting = async {
            let mut progress = self.progress.subscribe();
            let first = progress.borrow_and_update().began;
            loop {
                let Progress { began, ended } = *progress.borrow_and_update();
                if began == ended {
                    if let Some(found) = found() {
                        return Some(found);
                    }
                    // One that began after we came was in vain, or nobody may ask now.
                    if ended > first || self.is_paused() {
                        return None;
                    }
                    self.wanted.fetch_max(began + 1, Ordering::AcqRel);
                    self.hurry.notify_one();
                }
                // The sender is our own.
                progress.changed().await.ok()?;
            }
        };
        timeout(*self.settings.wait, waiting).await.ok().flatten()
    }

    fn is_paused(&self) -> bool {
        self.millis() < self.paused_until.load(Ordering::Acquire)
    }

    fn pause(&self, length: Duration) {
        let until = self.millis().saturating_add(u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
        self.paused_until.store(until, Ordering::Release);
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The task ends with the last layer.
impl Drop for Remote {
    fn drop(&mut self) {
        self.hurry.notify_one();
    }
}
