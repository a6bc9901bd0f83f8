//! What the server is yet to be told.

use crate::plan::Plan;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// So many wait; when there are more, the oldest are given up.
const MOST: usize = 10_000;

/// A difference that the server is to be told.
#[derive(Clone, Debug)]
pub(crate) struct Settlement {
    pub(crate) key: String,
    pub(crate) plan: Arc<Plan>,
    pub(crate) difference: i64,
}

/// Those that wait. A layer that learns from an earlier one has the same, so that what becomes of requests which are
/// under way at a reload finds whoever sends it.
#[derive(Debug, Default)]
pub(crate) struct Settlements {
    all: Mutex<Vec<Settlement>>,
    /// Wakes the background task.
    pub(crate) work: Notify,
}

impl Settlements {
    /// One more.
    pub(super) fn add(&self, settlement: Settlement) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.drain(..MOST / 10);
        }
        all.push(settlement);
        drop(all);
        self.work.notify_one();
    }

    /// What waits to be sent.
    pub(crate) fn take(&self) -> Vec<Settlement> {
        std::mem::take(&mut *self.all.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Those that the server has not heard wait on.
    pub(crate) fn put_back(&self, mut earlier: Vec<Settlement>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        earlier.append(&mut all);
        earlier.truncate(MOST);
        *all = earlier;
        drop(all);
        self.work.notify_one();
    }
}
