mod subscribe;

pub(crate) use subscribe::RedisSubscription;

use crate::{RedisSettings, Script, StoreError};
use arc_swap::ArcSwapOption;
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, ServerErrorKind, Value, cmd,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long after a failure nobody waits for the server.
const PAUSE: Duration = Duration::from_secs(1);

/// How many keys the server looks at in one step of a scan: a few hundred microseconds in which it serves nobody else.
const SCAN_STEP: u32 = 1000;

/// Values by key with an expiry, on a Redis server. Cheap to clone; clones share one connection.
///
/// One connection is made once and kept until it fails; it carries any number of requests at once. It is made in a task of its own, so that whoever asks first does not
/// wait longer than the operation's deadline.
#[derive(Clone, Debug)]
pub struct RedisStore {
    client: Client,
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
        let client = Client::open(settings.url.as_str()).map_err(|e| wrong(plain(&e)))?;
        Ok(Self { client, settings: Arc::new(settings.clone()), slot: Arc::default() })
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
        self.query(&command, *self.settings.timeout).await
    }

    pub(crate) async fn set(&self, key: &str, value: &[u8], ttl: Duration) -> Result<(), StoreError> {
        let Ok(millis @ 1..) = u64::try_from(ttl.as_millis()) else { return Ok(()) };
        let mut command = cmd("SET");
        command.arg(self.key(key)).arg(value).arg("PX").arg(millis);
        self.query(&command, *self.settings.timeout).await
    }

    pub(crate) async fn set_new(&self, key: &str, value: &[u8], ttl: Duration) -> Result<bool, StoreError> {
        let Ok(millis @ 1..) = u64::try_from(ttl.as_millis()) else { return Ok(false) };
        let mut command = cmd("SET");
        command.arg(self.key(key)).arg(value).arg("PX").arg(millis).arg("NX");
        let done: Option<String> = self.query(&command, *self.settings.timeout).await?;
        Ok(done.is_some())
    }

    pub(crate) async fn delete(&self, keys: &[&str]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        // Large values are freed in the background, so that nobody waits for that.
        let mut command = cmd("UNLINK");
        for key in keys {
            command.arg(self.key(key));
        }
        self.query(&command, *self.settings.timeout).await
    }

    pub(crate) async fn run(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<Vec<i64>, StoreError> {
        let call = |name: &str, script: &str| {
            let mut command = cmd(name);
            command.arg(script).arg(keys.len());
            for key in keys {
                command.arg(self.key(key));
            }
            for argument in arguments {
                command.arg(*argument);
            }
            command
        };
        let known = call("EVALSHA", script.digest());
        let whole = || call("EVAL", script.source());
        match self.query_or(&known, &whole, *self.settings.timeout).await? {
            Value::Int(number) => Ok(vec![number]),
            value => FromRedisValue::from_redis_value(value)
                .map_err(|e| self.refused(format!("a script answers with integers: {e}"))),
        }
    }

    pub(crate) async fn publish(&self, channel: &str, message: &[u8]) -> Result<(), StoreError> {
        let mut command = cmd("PUBLISH");
        command.arg(self.key(channel)).arg(message);
        self.query(&command, *self.settings.timeout).await
    }

    pub(crate) fn subscribe(&self, channel: &str) -> RedisSubscription {
        RedisSubscription::new(self.client.clone(), self.settings.clone(), self.key(channel))
    }

    pub(crate) async fn scan(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let pattern = format!("{}*", literally(&self.key(prefix)));
        let (mut keys, mut cursor) = (Vec::new(), 0);
        loop {
            let mut command = cmd("SCAN");
            command.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCAN_STEP);
            let (next, found): (u64, Vec<String>) =
                self.query(&command, *self.settings.connect_timeout).await?;
            let own = found.iter().filter_map(|key| key.strip_prefix(&self.settings.prefix));
            keys.extend(own.map(str::to_owned));
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        // `SCAN` may name a key more than once.
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        let _: String = self.query(&cmd("PING"), *self.settings.connect_timeout).await?;
        Ok(())
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.settings.prefix)
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd, deadline: Duration) -> Result<T, StoreError> {
        let value = self.bounded(deadline, async |mut connection| command.query_async(&mut connection).await);
        FromRedisValue::from_redis_value(value.await?)
            .map_err(|e| self.refused(format!("an answer of another kind: {e}")))
    }

    /// The second command where the server does not know the script of the first.
    async fn query_or(
        &self,
        command: &Cmd,
        unknown: &dyn Fn() -> Cmd,
        deadline: Duration,
    ) -> Result<Value, StoreError> {
        let answer =
            self.bounded(deadline, async |mut connection| match command.query_async(&mut connection).await {
                Err(e) if e.kind() == ServerErrorKind::NoScript.into() => {
                    unknown().query_async(&mut connection).await
                }
                answer => answer,
            });
        answer.await
    }

    async fn bounded(
        &self,
        deadline: Duration,
        ask: impl AsyncFnOnce(MultiplexedConnection) -> Result<Value, RedisError>,
    ) -> Result<Value, StoreError> {
        if self.slot.is_away() {
            return Err(self.away("away a moment ago, tried again every second".to_owned()));
        }
        let result = tokio::time::timeout(deadline, async {
            let connection = self.connection().await.map_err(|why| Failure { away: true, why })?;
            ask(connection).await.map_err(|e| Failure {
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
            Err(Failure { away: false, why }) => Err(self.refused(why)),
            Err(Failure { away: true, why }) => {
                let error = self.away(why);
                if self.slot.went_away() {
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
            let (client, slot) = (self.client.clone(), self.slot.clone());
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(*self.settings.connect_timeout))
                // Every operation has its own deadline.
                .set_response_timeout(None);
            let making = tokio::spawn(async move {
                let made = client.get_multiplexed_async_connection_with_config(&config).await;
                let result = made.map(|connection| slot.connection.store(Some(Arc::new(connection))));
                slot.connecting.store(false, Ordering::Release);
                slot.made.notify_waiters();
                result.map_err(|e| plain(&e))
            });
            making.await.map_err(|e| e.to_string())??;
        }
    }

    fn refused(&self, why: String) -> StoreError {
        StoreError::Refused { url: self.settings.shown(), why }
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

/// A pattern that only this text matches.
fn literally(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
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
