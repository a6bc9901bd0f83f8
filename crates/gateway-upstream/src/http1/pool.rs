use super::connection::Connection;
use crate::settings::UpstreamSettings;
use gateway_core::clock;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// Idle connections, the youngest on top. The lock is only ever taken by the worker that owns the pool, by the threads
/// of a multi-threaded runtime, or by a worker for which one is closed at a limit: it is held for a push or a pop.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Vec<Idle>>);

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    since: Instant,
}

/// Idle times need not be told to the millisecond.
fn recent() -> Instant {
    clock::recent().map_or_else(Instant::now, Instant::from_std)
}

impl Pool {
    /// A connection that names this client, or none where none is named.
    pub(crate) fn take(
        &self,
        settings: &UpstreamSettings,
        client: Option<SocketAddr>,
    ) -> Option<Box<Connection>> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = if idle.is_empty() { return None } else { recent() };
        let is_for = |kept: &Idle| kept.connection.client == client;
        // Mostly all are for everyone, and this finds the last.
        while let Some(at) = idle.iter().rposition(is_for) {
            let Idle { mut connection, since } = idle.remove(at);
            if now.duration_since(since) > *settings.idle_timeout {
                // All below are older.
                idle.drain(..at);
                return None;
            }
            let worn = settings.is_worn(|| now.duration_since(connection.opened), connection.answered);
            if !worn && connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection that has answered, unless it has served long enough.
    pub(crate) fn give(&self, mut connection: Box<Connection>, settings: &UpstreamSettings) {
        // Let go only after the connection is there to be taken: whoever waits for it shall not open another.
        let _permit = connection.permit.take();
        connection.answered = connection.answered.saturating_add(1);
        self.put(connection, settings);
    }

    /// Keeps a connection that was not used yet.
    pub(crate) fn put(&self, connection: Box<Connection>, settings: &UpstreamSettings) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = recent();
        // The oldest are at the bottom, where light traffic never looks.
        if idle.first().is_some_and(|oldest| now.duration_since(oldest.since) > *settings.idle_timeout) {
            idle.retain(|kept| now.duration_since(kept.since) <= *settings.idle_timeout);
        }
        let worn = settings.is_worn(|| now.duration_since(connection.opened), connection.answered);
        if settings.proxy_protocol.is_some() && idle.len() >= settings.max_idle && !idle.is_empty() {
            // Nobody may ever come back for the oldest.
            idle.remove(0);
        }
        if !worn && idle.len() < settings.max_idle {
            idle.push(Idle { connection, since: now });
        }
    }

    /// Lets go of the connection that has been idle for longest, for another to be opened elsewhere.
    pub(crate) fn take_oldest(&self) -> Option<Box<Connection>> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.is_empty() { None } else { Some(idle.remove(0).connection) }
    }

    /// Closes those that have been idle for too long, and those that the other side has closed.
    pub(crate) fn close_idle(&self, settings: &UpstreamSettings) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = if idle.is_empty() { return } else { Instant::now() };
        idle.retain_mut(|kept| {
            now.duration_since(kept.since) <= *settings.idle_timeout && kept.connection.is_quiet()
        });
        if idle.is_empty() {
            // After a burst that may be much.
            idle.shrink_to_fit();
        }
    }

    /// Closes all: after one turned out closed, the others that a limit counts are likely to be as well.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
