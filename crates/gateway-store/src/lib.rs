//! State shared between instances of a gateway: values by key with an expiry, counters by script, and messages, in
//! memory or on Redis. What rate limits, caches and revocations stand on.
//!
//! One process needs no server: [`Store::memory`]. Several share a Redis (or Valkey): [`Store::open`] with its
//! settings, and the feature `redis`, which is on by default; without it, the crate has half as many dependencies and
//! [`Store::open`] refuses settings with a Redis ([`StoreError::NoRedis`]).
//!
//! ```
//! use gateway_store::Store;
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), gateway_store::StoreError> {
//! let store = Store::memory();
//! store.set("token:1", b"valid", Duration::from_secs(60)).await?;
//! assert_eq!(store.get(&["token:1", "token:2"]).await?, [Some(b"valid".to_vec()), None]);
//! # Ok(()) }
//! ```
//!
//! In an axum handler, keep a [`Store`] in the state: it is cheap to clone. A thread with its own runtime takes
//! [`Store::per_worker`], so that its connection lives there.
//!
//! # Operations
//!
//! | operation | does | on Redis | in a cluster |
//! |---|---|---|---|
//! | [`get`](Store::get) | the values of keys | `MGET` | one request to each node, at once |
//! | [`set`](Store::set) | a value for a time | `SET PX` | |
//! | [`set_new`](Store::set_new) | the same, unless there is one: of many callers one succeeds | `SET PX NX` | |
//! | [`delete`](Store::delete) | forgets keys | `UNLINK` | one request to each node, at once |
//! | [`run`](Store::run) | arithmetic as one step; not in memory | `EVALSHA`, `EVAL` where unknown | all keys share one `{…}` |
//! | [`publish`](Store::publish) | tells all who listen now, in all instances | `PUBLISH` | reaches the listeners of all nodes |
//! | [`subscribe`](Store::subscribe) | listens; a [gap](Event::Gap) tells that messages may be missing | `SUBSCRIBE` on a connection of its own | at any of the nodes named |
//! | [`scan`](Store::scan) | keys by what they begin with, for administration | `SCAN` | at each node in turn |
//! | [`ping`](Store::ping) | whether it does all this, at a start or for a health page | each kind once | at several keys |
//! | [`probe`](Store::probe) | the same, now and then | each kind once | at several keys |
//!
//! Every value has a time to live, in whole milliseconds; of less, it is not set. All keys and channels on Redis begin
//! with the settings' `prefix`, so that several gateways can share one. In a cluster, keys belong together only by a
//! hash tag: `quota:{alice}:day` and `quota:{alice}:hour` are on one node, and a script may use both.
//!
//! # When it is away
//!
//! | what happens | the operation | those after it |
//! |---|---|---|
//! | no connection can be made, or one breaks | fails at once: [`StoreError::Away`] | fail at once; one a second tries |
//! | no answer within `timeout` (20 ms) | fails then, [`StoreError::Away`] | the same |
//! | a connection is made, but not within `timeout` | fails then, [`StoreError::Away`] | fail at once until it is there; they go on unless it takes longer than `connect_timeout` |
//! | `LOADING`, `READONLY`, `MASTERDOWN`, `CLUSTERDOWN`, `BUSY`, `NOAUTH` | [`StoreError::Away`] | the same, over a new connection: with sentinels to the new master |
//! | `OOM`, `NOPERM`, `MOVED`, a script that fails | [`StoreError::Refused`] | go on; a [`Store::probe`] that is refused tells so |
//!
//! What one worker learns all know: [`Store::is_away`], and [`Store::health`] to be told. Each change of it is one line in
//! the log. It is tried again by whoever asks next, so that an idle store may be taken to be away for longer than it is.
//! In a cluster a node that is away stops all for a second: which keys it has, the caller cannot know.
//!
//! # Settings
//!
//! ```toml
//! [store.memory]            # where there is no redis; what expires soonest is forgotten first
//! max_keys = 1000000
//! max_bytes = "256MiB"
//!
//! [store.redis]             # exactly one of these three
//! url = "rediss://redis.internal:6379/0"
//! sentinel = { urls = ["redis://s1:26379", "redis://s2:26379"], master = "mymaster" }
//! cluster = ["redis://n1:6379", "redis://n2:6379"]
//!
//! username = "gateway"      # or in the URL
//! password_file = "/run/secrets/redis"
//! ca_file = "/etc/redis/ca.pem"
//! client_certificate_file = "/etc/redis/gateway.pem"
//! client_key_file = "/etc/redis/gateway.key"
//! ```
//!
//! TLS (`rediss://`) always verifies the server's certificate, by the system's authorities or those of `ca_file`. Files
//! are read once, at the start.

mod error;
mod health;
mod memory;
#[cfg(feature = "redis")]
mod redis;
#[cfg(not(feature = "redis"))]
#[path = "no_redis.rs"]
mod redis;
mod script;
mod settings;
mod subscription;

pub use error::StoreError;
pub use health::Health;
pub use memory::MemoryStore;
pub use redis::RedisStore;
pub use script::Script;
pub use settings::{MemorySettings, RedisSettings, SentinelSettings, StoreSettings};
pub use subscription::{Event, Subscription};

use std::time::Duration;
use subscription::Source;
use tokio::sync::watch;

/// Values by key with an expiry. Cheap to clone; clones share their state.
#[derive(Clone, Debug)]
pub enum Store {
    /// In this process.
    Memory(MemoryStore),
    /// On Redis: one server, one watched by sentinels, or a cluster.
    Redis(RedisStore),
}

impl Store {
    /// A store in this process.
    #[must_use]
    pub fn memory() -> Self {
        Self::Memory(MemoryStore::default())
    }

    /// The store that the settings ask for. Connects when it is first used; [`Store::ping`] tells whether it can.
    ///
    /// # Errors
    /// A URL is not that of a Redis, a file cannot be read, or settings contradict each other.
    pub fn open(settings: &StoreSettings) -> Result<Self, StoreError> {
        match &settings.redis {
            None => Ok(Self::Memory(MemoryStore::new(&settings.memory))),
            Some(redis) => Ok(Self::Redis(RedisStore::new(redis)?)),
        }
    }

    /// The same store with a connection of its own, for a thread with its own runtime.
    #[must_use]
    pub fn per_worker(&self) -> Self {
        match self {
            Self::Memory(memory) => Self::Memory(memory.clone()),
            Self::Redis(redis) => Self::Redis(redis.per_worker()),
        }
    }

    /// The values of these keys, in one round trip.
    ///
    /// # Errors
    /// The server is away or too slow.
    pub async fn get(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(keys.iter().map(|key| memory.get(key)).collect()),
            Self::Redis(redis) => redis.get(keys).await,
        }
    }

    /// Sets a value for a time; of less than a millisecond, it is not set at all.
    ///
    /// # Errors
    /// The server is away or too slow.
    pub async fn set(&self, key: &str, value: &[u8], ttl: Duration) -> Result<(), StoreError> {
        match self {
            Self::Memory(memory) => memory.set(key, value, ttl),
            Self::Redis(redis) => redis.set(key, value, ttl).await?,
        }
        Ok(())
    }

    /// Sets a value for a time unless the key has one; returns whether it did.
    ///
    /// # Errors
    /// The server is away or too slow.
    pub async fn set_new(&self, key: &str, value: &[u8], ttl: Duration) -> Result<bool, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.set_new(key, value, ttl)),
            Self::Redis(redis) => redis.set_new(key, value, ttl).await,
        }
    }

    /// Forgets these keys, in one round trip.
    ///
    /// # Errors
    /// The server is away or too slow.
    pub async fn delete(&self, keys: &[&str]) -> Result<(), StoreError> {
        match self {
            Self::Memory(memory) => keys.iter().for_each(|key| memory.delete(key)),
            Self::Redis(redis) => redis.delete(keys).await?,
        }
        Ok(())
    }

    /// Whether other instances see what this one writes: on Redis. Only there do [scripts](Self::run) run.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Redis(_))
    }

    /// Whether the servers were away or too slow when they were last asked, by any worker. Never in memory.
    #[must_use]
    pub fn is_away(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            Self::Redis(redis) => redis.is_away(),
        }
    }

    /// The same, to be told of changes. In memory there are none: [`changed`](watch::Receiver::changed) fails.
    ///
    /// Only who asks finds out that the servers are back, or refuse: traffic, or a [`Store::probe`] now and then.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        match self {
            Self::Memory(_) => watch::channel(Health::Up).1,
            Self::Redis(redis) => redis.health(),
        }
    }

    /// Runs a script as one step on the server, in one round trip.
    ///
    /// # Errors
    /// The server is away, too slow, or refuses; [`StoreError::NoScripts`] in memory.
    pub async fn run(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<Vec<i64>, StoreError> {
        match self {
            Self::Memory(_) => Err(StoreError::NoScripts),
            Self::Redis(redis) => redis.run(script, keys, arguments).await,
        }
    }

    /// Sends a message to all who listen to a channel, in all instances, this one too. Who listens later misses it.
    ///
    /// # Errors
    /// The server is away or too slow.
    pub async fn publish(&self, channel: &str, message: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::Memory(memory) => memory.publish(channel, message),
            Self::Redis(redis) => redis.publish(channel, message).await?,
        }
        Ok(())
    }

    /// The messages of a channel from now on. Has a connection of its own, made when it is first asked for an event.
    #[must_use]
    pub fn subscribe(&self, channel: &str) -> Subscription {
        Subscription(match self {
            Self::Memory(memory) => Source::Memory(memory.subscribe(channel)),
            Self::Redis(redis) => Source::Redis(Box::new(redis.subscribe(channel))),
        })
    }

    /// The keys that begin so, sorted. Looks at every key, on Redis in many round trips (`SCAN`): for
    /// administration, not for requests. May miss keys that are set meanwhile.
    ///
    /// # Errors
    /// The server is away or too slow.
    pub async fn scan(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.scan(prefix)),
            Self::Redis(redis) => redis.scan(prefix).await,
        }
    }

    /// The policy by which Redis forgets keys that have not ended once its memory is full (`maxmemory-policy`). `None`
    /// where it forgets none, and where it does not say: that takes the permission `+config|get`.
    pub async fn evicts(&self) -> Option<String> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(redis) => redis.evicts().await,
        }
    }

    /// Whether the store does what is asked of it, within the time that connections may take to be made.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Redis(redis) => redis.ping().await,
        }
    }

    /// The same, to be asked now and then: while the servers are away, within the time that operations have.
    ///
    /// # Errors
    /// It does not.
    pub async fn probe(&self) -> Result<(), StoreError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Redis(redis) => redis.probe().await,
        }
    }
}
