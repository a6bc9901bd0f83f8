use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, as times stand in the database.
pub(crate) type Millis = i64;

/// What time it is: the system's, or one that a test sets.
///
/// Sessions, keys and throttles live for minutes to months, in a database that may be shared: no runtime's clock fits.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands still until it is [advanced](Self::advance), and begins at the system's time.
    #[must_use]
    pub fn manual() -> Self {
        Self(Some(Arc::new(AtomicI64::new(system_now()))))
    }

    /// Moves a manual clock, and all clones of it; the system's clock does not move.
    pub fn advance(&self, by: Duration) {
        if let Some(manual) = &self.0 {
            manual.fetch_add(millis(by), Ordering::Relaxed);
        }
    }

    pub(crate) fn now(&self) -> Millis {
        self.0.as_ref().map_or_else(system_now, |manual| manual.load(Ordering::Relaxed))
    }
}

fn system_now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

/// A length of time in the database's unit.
pub(crate) fn millis(duration: Duration) -> Millis {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}
