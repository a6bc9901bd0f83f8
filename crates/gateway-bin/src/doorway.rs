//! How many clients may be connected, of all workers together and of each address.
//!
//! At the limit on all, no more connections are accepted: they wait in the system's queue until a client leaves, as with
//! HAProxy, so that a burst costs time and no client its connection. One address that has its share already would keep
//! all others waiting there, so that its connections are accepted and closed.

use gateway_core::client_network;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What has not been so for this long is news.
const QUIET: Duration = Duration::from_secs(10);

/// Where all clients come in. Cheap to clone; clones share the counts.
#[derive(Clone, Debug)]
pub(crate) struct Doorway(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Unless the configuration says otherwise.
    usual: usize,
    most: AtomicUsize,
    inside: AtomicUsize,
    /// Told when there is room again, or more of it.
    room: Notify,
    /// How often the last place was taken.
    times_full: AtomicU64,
    full: News,
    /// 0 for any number.
    most_of_address: AtomicUsize,
    /// Only of those that are limited. Locked once as a connection begins and once as it ends.
    addresses: Mutex<HashMap<IpAddr, usize>>,
    refused: AtomicU64,
    failing: News,
}

/// A client's connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Inside(Doorway);

/// The same among those of its address.
#[derive(Debug)]
pub(crate) struct OfAddress(Doorway, IpAddr);

impl Doorway {
    /// For so many clients, as long as the configuration says nothing else.
    pub(crate) fn new(usual: usize) -> Self {
        Self(Arc::new(Shared {
            usual,
            most: AtomicUsize::new(usual),
            inside: AtomicUsize::new(0),
            room: Notify::new(),
            times_full: AtomicU64::new(0),
            full: News::default(),
            most_of_address: AtomicUsize::new(0),
            addresses: Mutex::default(),
            refused: AtomicU64::new(0),
            failing: News::default(),
        }))
    }

    /// What the configuration says. Those who are inside stay.
    pub(crate) fn allow(&self, most: Option<usize>, of_address: Option<usize>) {
        self.0.most.store(most.unwrap_or(self.0.usual), SeqCst);
        self.0.most_of_address.store(of_address.unwrap_or(0), SeqCst);
        self.0.room.notify_waiters();
    }

    /// Lets one in, if there is room.
    pub(crate) fn enter(&self) -> Option<Inside> {
        let most = self.most();
        let more = |inside| (inside < most).then_some(inside + 1);
        let before = self.0.inside.fetch_update(SeqCst, SeqCst, more).ok()?;
        if before + 1 == most {
            self.0.times_full.fetch_add(1, SeqCst);
        }
        if before + 1 == most && self.0.full.is() {
            tracing::warn!(
                "as many clients are connected as may be ({most}, `server.max_connections`): the next wait until one leaves"
            );
        }
        Some(Inside(self.clone()))
    }

    /// Waits until there is room.
    pub(crate) async fn room(&self) {
        loop {
            // From here on it is told, whatever happens before it listens.
            let told = self.0.room.notified();
            if self.0.inside.load(SeqCst) < self.most() {
                return;
            }
            told.await;
        }
    }

    /// Counts a connection of this address; `Err` if it has as many as it may.
    pub(crate) fn enter_from(&self, address: IpAddr) -> Result<Option<OfAddress>, TooMany> {
        let most = self.0.most_of_address.load(SeqCst);
        if most == 0 {
            return Ok(None);
        }
        let network = client_network(address);
        let mut addresses = self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(network).or_default();
        if *count >= most {
            self.0.refused.fetch_add(1, SeqCst);
            return Err(TooMany(most));
        }
        *count += 1;
        Ok(Some(OfAddress(self.clone(), network)))
    }

    /// Tells that no connection can be accepted, once for as long as that lasts.
    pub(crate) fn failed(&self, error: &io::Error) {
        if self.0.failing.is() {
            tracing::warn!("cannot accept connections: {error}; tried again until it can");
        }
    }

    /// How many may be inside.
    pub(crate) fn most(&self) -> usize {
        self.0.most.load(SeqCst)
    }

    /// How often the last place was taken, so that the next had to wait.
    pub(crate) fn times_full(&self) -> u64 {
        self.0.times_full.load(SeqCst)
    }

    /// How many connections were closed because their addresses had as many as they may.
    pub(crate) fn refused(&self) -> u64 {
        self.0.refused.load(SeqCst)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let shared = &*self.0.0;
        if shared.inside.fetch_sub(1, SeqCst) >= self.0.most() {
            shared.room.notify_waiters();
        }
    }
}

impl Drop for OfAddress {
    fn drop(&mut self) {
        let mut addresses = self.0.0.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.1);
            }
        }
    }
}

/// An address has as many connections as it may.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has {0} connections already (`server.max_connections_per_address`)")]
pub(crate) struct TooMany(usize);

/// What may be so again and again, and is told once.
#[derive(Debug, Default)]
pub(crate) struct News(Mutex<Option<Instant>>);

impl News {
    /// It is so now; returns whether that is to be told.
    pub(crate) fn is(&self) -> bool {
        let now = Instant::now();
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        last.is_none_or(|last| now.duration_since(last) > QUIET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn at_the_limit_the_next_waits_until_one_leaves_or_more_are_allowed() {
        let doorway = Doorway::new(2);
        let (first, _second) = (doorway.enter().unwrap(), doorway.enter().unwrap());
        assert!(doorway.enter().is_none());
        let waiting = tokio::spawn({
            let doorway = doorway.clone();
            async move { doorway.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
        let _third = doorway.enter().unwrap();
        let waiting = tokio::spawn({
            let doorway = doorway.clone();
            async move { doorway.room().await }
        });
        tokio::task::yield_now().await;
        doorway.allow(Some(3), None);
        waiting.await.unwrap();
        assert!(doorway.enter().is_some());
    }

    #[test]
    fn what_goes_on_is_told_once_and_counted_each_time() {
        let doorway = Doorway::new(1);
        for _ in 0..5 {
            assert!(doorway.enter().is_some());
        }
        assert_eq!(doorway.times_full(), 5);
        assert!(!doorway.0.full.is() && News::default().is());
    }

    #[test]
    fn an_address_has_its_share_and_the_64_of_ipv6_has_it_together() {
        let doorway = Doorway::new(100);
        doorway.allow(None, Some(1));
        let enter = |address: &str| doorway.enter_from(address.parse().unwrap());
        let first = enter("192.0.2.7").unwrap();
        for (address, refused) in [("::ffff:192.0.2.7", true), ("192.0.2.8", false), ("2001:db8::1", false)] {
            assert_eq!(enter(address).is_err(), refused, "{address}");
        }
        let _six = enter("2001:db8::1").unwrap();
        assert!(enter("2001:db8::2:1").is_err() && enter("2001:db8:0:1::1").is_ok());
        assert_eq!(doorway.refused(), 2);
        drop(first);
        assert!(enter("192.0.2.7").is_ok());
    }
}
