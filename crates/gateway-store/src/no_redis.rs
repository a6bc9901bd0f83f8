//! In place of Redis where the feature `redis` is off: there is none, so that nothing is ever asked of it.

use crate::{Event, Health, RedisSettings, Script, StoreError};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;

/// Values by key with an expiry, on Redis. There are none without the feature `redis`.
#[derive(Clone, Debug)]
pub struct RedisStore(Infallible);

impl RedisStore {
    /// Tells that there is no Redis here.
    ///
    /// # Errors
    /// Settings that contradict each other, else [`StoreError::NoRedis`].
    pub fn new(settings: &RedisSettings) -> Result<Self, StoreError> {
        settings.topology()?;
        Err(StoreError::NoRedis { url: settings.shown() })
    }

    /// The same servers over a connection of its own.
    #[must_use]
    pub fn per_worker(&self) -> Self {
        match self.0 {}
    }

    pub(crate) async fn get(&self, _: &[&str]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        match self.0 {}
    }

    pub(crate) async fn set(&self, _: &str, _: &[u8], _: Duration) -> Result<(), StoreError> {
        match self.0 {}
    }

    pub(crate) async fn set_new(&self, _: &str, _: &[u8], _: Duration) -> Result<bool, StoreError> {
        match self.0 {}
    }

    pub(crate) async fn delete(&self, _: &[&str]) -> Result<(), StoreError> {
        match self.0 {}
    }

    pub(crate) async fn run(&self, _: &Script, _: &[&str], _: &[&[u8]]) -> Result<Vec<i64>, StoreError> {
        match self.0 {}
    }

    pub(crate) async fn publish(&self, _: &str, _: &[u8]) -> Result<(), StoreError> {
        match self.0 {}
    }

    pub(crate) fn subscribe(&self, _: &str) -> RedisSubscription {
        match self.0 {}
    }

    pub(crate) async fn scan(&self, _: &str) -> Result<Vec<String>, StoreError> {
        match self.0 {}
    }

    pub(crate) async fn evicts(&self) -> Option<String> {
        match self.0 {}
    }

    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        match self.0 {}
    }

    pub(crate) async fn probe(&self) -> Result<(), StoreError> {
        match self.0 {}
    }

    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        match self.0 {}
    }

    pub(crate) fn is_away(&self) -> bool {
        match self.0 {}
    }
}

#[derive(Debug)]
pub(crate) struct RedisSubscription(Infallible);

impl RedisSubscription {
    pub(crate) async fn next(&mut self) -> Event {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use crate::{RedisSettings, Store, StoreError, StoreSettings};

    #[test]
    fn a_redis_is_refused_where_there_is_none() {
        let open = |redis| {
            Store::open(&StoreSettings { redis, ..StoreSettings::default() }).map(|store| store.is_shared())
        };
        assert_eq!(open(None), Ok(false));
        let at = RedisSettings::new("redis://ada:secret@127.0.0.1:6379");
        assert_eq!(open(Some(at)), Err(StoreError::NoRedis { url: "redis://127.0.0.1:6379".to_owned() }));
    }
}
