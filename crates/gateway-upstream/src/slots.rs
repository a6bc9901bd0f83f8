//! How many connections there may be, counted over all clients that share the count.

use crate::client::Shared;
use gateway_core::Slot;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many connections there may be, in use or idle, of all the [`HttpUpstream`](crate::HttpUpstream)s that share it,
/// such as those of all workers to one endpoint. Cheap to clone; clones share the count.
///
/// Requests that find all in use wait, first come, first served, wherever they are. One that gets its turn where no
/// connection is idle has an idle one elsewhere closed for its own.
#[derive(Clone, Debug)]
pub struct ConnectionLimit(Arc<Count>);

#[derive(Debug)]
struct Count {
    max: usize,
    /// A permit for each connection in use. There are no more of them than there may be connections: whoever has one
    /// and no connection knows that another is idle, or may be opened.
    in_use: Arc<Semaphore>,
    /// In use or idle.
    open: AtomicUsize,
    waiting: AtomicUsize,
    /// Whose idle connections may be closed for others. Locked only where there is no room.
    clients: Mutex<Vec<Weak<Shared>>>,
}

impl ConnectionLimit {
    /// No more than this.
    #[must_use]
    pub fn new(max: NonZeroUsize) -> Self {
        let max = max.get().min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Count {
            max,
            in_use: Arc::new(Semaphore::new(max)),
            open: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            clients: Mutex::default(),
        }))
    }

    /// How many connections there are, in use or idle.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    fn join(&self, client: &Arc<Shared>) {
        let mut clients = self.0.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.retain(|client| client.strong_count() > 0);
        clients.push(Arc::downgrade(client));
    }

    fn try_permit(&self) -> Option<OwnedSemaphorePermit> {
        self.0.in_use.clone().try_acquire_owned().ok()
    }

    /// Counts a connection that is about to be opened; where there are enough, an idle one is closed.
    fn count(&self) -> Counted {
        let before = self.0.open.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(self.clone());
        if before >= self.0.max {
            let clients = self.0.clients.lock().unwrap_or_else(PoisonError::into_inner);
            let closed =
                clients.iter().filter_map(Weak::upgrade).find_map(|client| client.pool.take_oldest());
            drop(clients);
            drop(closed);
        }
        counted
    }
}

/// The limits of one client.
#[derive(Clone, Debug, Default)]
pub struct ConnectionLimits {
    /// On the connections to its endpoint.
    pub endpoint: Option<ConnectionLimit>,
    /// On those to many endpoints together.
    pub total: Option<ConnectionLimit>,
}

/// No connection became free in time, or too many requests wait for one already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Time,
    Queue,
}

impl ConnectionLimits {
    pub(crate) fn are_some(&self) -> bool {
        self.endpoint.is_some() || self.total.is_some()
    }

    fn each(&self) -> impl Iterator<Item = &ConnectionLimit> {
        self.endpoint.iter().chain(&self.total)
    }

    pub(crate) fn join(&self, client: &Arc<Shared>) {
        self.each().for_each(|limit| limit.join(client));
    }

    /// The right to have one more connection in use, if that is to be had at once.
    pub(crate) fn try_permit(&self) -> Option<Permit> {
        let one = |limit: &Option<ConnectionLimit>| match limit {
            None => Some(None),
            Some(limit) => limit.try_permit().map(Some),
        };
        Some(Permit { _endpoint: one(&self.endpoint)?, _total: one(&self.total)? })
    }

    /// The same, after a wait if need be.
    pub(crate) async fn permit(&self, time: Duration, most: usize) -> Result<Permit, Full> {
        let Some(first) = self.each().next() else { return Ok(Permit::default()) };
        let _waiting = Slot::take(&first.0.waiting, most).ok_or(Full::Queue)?;
        let wait = async |limit: &Option<ConnectionLimit>| match limit {
            // Not reached: it is never closed.
            Some(limit) => limit.0.in_use.clone().acquire_owned().await.map(Some).map_err(|_| Full::Time),
            None => Ok(None),
        };
        let both =
            async { Ok(Permit { _endpoint: wait(&self.endpoint).await?, _total: wait(&self.total).await? }) };
        tokio::time::timeout(time, both).await.unwrap_or(Err(Full::Time))
    }

    /// Counts a connection that whoever has a permit is about to open.
    pub(crate) fn count(&self) -> Open {
        let one = |limit: &Option<ConnectionLimit>| limit.as_ref().map(ConnectionLimit::count);
        Open { _endpoint: one(&self.endpoint), _total: one(&self.total) }
    }
}

/// The right to have a connection in use, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Permit {
    _endpoint: Option<OwnedSemaphorePermit>,
    _total: Option<OwnedSemaphorePermit>,
}

/// A connection that is counted, in use or idle, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Open {
    _endpoint: Option<Counted>,
    _total: Option<Counted>,
}

#[derive(Debug)]
struct Counted(ConnectionLimit);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
