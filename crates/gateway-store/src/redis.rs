use crate::{RedisSettings, StoreError};
use arc_swap::ArcSwapOption;
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{Cmd, FromRedisValue, cmd};
use deadpool_redis::{Config, Pool, Runtime};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long after a failure nobody waits for the server.
const PAUSE: Duration = Duration::from_secs(1);

/// Values by key with an expiry, on a Redis server. Cheap to clone; clones share one connection.
///
/// A checkout from the pool costs a round trip, so one connection is taken once and kept until it fails; it
/// carries any number of requests at once. It is made in a task of its own, so that whoever asks first does not
/// wait longer than the operation's deadline.
#[derive(Clone, Debug)]
pub struct RedisStore {
    pool: Pool,
    settings: Arc<RedisSettings>,
    slot: Arc<Slot>,
}

#[derive(Debug)]
struct Slot {
    connection: ArcSwapOption<MultiplexedConnection>,
    connecting: AtomicBool,
    made: Notify,
    /// Milliseconds after `start` until which the server is taken to be away.
    away_until: AtomicU64,
    away: AtomicBool,
    start: Instant,
}

impl RedisStore {
    /// A store on this server. Connects when it is first used.
    ///
    /// # Errors
    /// The URL is not that of a Redis.
    pub fn new(settings: &RedisSettings) -> Result<Self, StoreError> {
        let wrong = |why: String| StoreError::Url { url: settings.shown(), why };
        let mut config = Config::from_url(&settings.url);
        config.pool = Some(deadpool_redis::PoolConfig {
            max_size: 4,
            timeouts: deadpool_redis::Timeouts {
                wait: Some(*settings.connect_timeout),
                create: Some(*settings.connect_timeout),
                recycle: Some(*settings.connect_timeout),
            },
            ..deadpool_redis::PoolConfig::default()
        });
        let pool = config.create_pool(Some(Runtime::Tokio1)).map_err(|e| wrong(plain(&e)))?;
        Ok(Self { pool, settings: Arc::new(settings.clone()), slot: Arc::default() })
    }

    /// The same server over a connection of its own.
    #[must_use]
    pub fn per_worker(&self) -> Self {
        Self { slot: Arc::default(), ..self.clone() }
    }

    pub(crate) async fn get(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let mut command = cmd("MGET");
        for key in keys {
            command.arg(self.key(key));
        }
        self.run(&command, *self.settings.timeout).await
    }

    pub(crate) async fn set(&self, key: &str, value: &[u8], ttl: Duration) -> Result<(), StoreError> {
        let Ok(millis @ 1..) = u64::try_from(ttl.as_millis()) else { return Ok(()) };
        let mut command = cmd("SET");
        command.arg(self.key(key)).arg(value).arg("PX").arg(millis);
        self.run(&command, *self.settings.timeout).await
    }

    pub(crate) async fn set_new(&self, key: &str, value: &[u8], ttl: Duration) -> Result<bool, StoreError> {
        let Ok(millis @ 1..) = u64::try_from(ttl.as_millis()) else { return Ok(false) };
        let mut command = cmd("SET");
        command.arg(self.key(key)).arg(value).arg("PX").arg(millis).arg("NX");
        let done: Option<String> = self.run(&command, *self.settings.timeout).await?;
        Ok(done.is_some())
    }

    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        let _: String = self.run(&cmd("PING"), *self.settings.connect_timeout).await?;
        Ok(())
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.settings.prefix)
    }

    async fn run<T: FromRedisValue>(&self, command: &Cmd, deadline: Duration) -> Result<T, StoreError> {
        if self.slot.is_away() {
            return Err(self.away("away a moment ago, tried again every second".to_owned()));
        }
        let result = tokio::time::timeout(deadline, async {
            let mut connection = self.connection().await.map_err(|why| Failure { away: true, why })?;
            command.query_async(&mut connection).await.map_err(|e| Failure {
                // A server that refuses one command, for want of memory say, still answers others.
                away: e.is_io_error()
                    || e.is_connection_dropped()
                    || e.is_connection_refusal()
                    || e.is_timeout(),
                why: plain(&e),
            })
        })
        .await
        .unwrap_or_else(|_| {
            let limit = gateway_core::units::Timespan(deadline);
            Err(Failure { away: true, why: format!("no answer within {limit}") })
        });
        match result {
            Ok(value) => {
                if self.slot.came_back() {
                    tracing::info!("Redis at {} answers again", self.settings.shown());
                }
                Ok(value)
            }
            Err(Failure { away, why }) => {
                let error = self.away(why);
                if away && self.slot.went_away() {
                    tracing::warn!("{error}; tried again every second");
                }
                Err(error)
            }
        }
    }

    async fn connection(&self) -> Result<MultiplexedConnection, String> {
        loop {
            let made = self.slot.made.notified();
            if let Some(connection) = self.slot.connection.load_full() {
                return Ok((*connection).clone());
            }
            if self.slot.connecting.swap(true, Ordering::AcqRel) {
                made.await;
                continue;
            }
            let (pool, slot) = (self.pool.clone(), self.slot.clone());
            let making = tokio::spawn(async move {
                // Taken out of the pool, so that no other worker gets the same.
                let result = pool.get().await.map(|pooled| {
                    slot.connection.store(Some(Arc::new(deadpool_redis::Connection::take(pooled))));
                });
                slot.connecting.store(false, Ordering::Release);
                slot.made.notify_waiters();
                result.map_err(|e| plain(&e))
            });
            making.await.map_err(|e| e.to_string())??;
        }
    }

    fn away(&self, why: String) -> StoreError {
        StoreError::Away { url: self.settings.shown(), why }
    }
}

/// Why an operation failed, and whether the server is away.
struct Failure {
    away: bool,
    why: String,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            connection: ArcSwapOption::empty(),
            connecting: AtomicBool::new(false),
            made: Notify::new(),
            away_until: AtomicU64::new(0),
            away: AtomicBool::new(false),
            start: Instant::now(),
        }
    }
}

impl Slot {
    fn is_away(&self) -> bool {
        let until = self.away_until.load(Ordering::Relaxed);
        until > 0 && self.start.elapsed() < Duration::from_millis(until)
    }

    /// Returns whether that is news.
    fn went_away(&self) -> bool {
        self.connection.store(None);
        let until = self.start.elapsed() + PAUSE;
        self.away_until.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        !self.away.swap(true, Ordering::Relaxed)
    }

    /// Returns whether that is news.
    fn came_back(&self) -> bool {
        self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::Relaxed)
    }
}

/// An error with its causes in one line, without the operating system's numbers.
fn plain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
