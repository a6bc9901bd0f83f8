mod circuit;
mod credentials;
mod failure;
mod link;
mod probe;
mod scan;
mod subscribe;
mod topology;

pub(crate) use subscribe::RedisSubscription;

use crate::{Health, RedisSettings, Script, StoreError};
use circuit::Circuit;
use deadpool_redis::redis::{Cmd, FromRedisValue, RedisError, ServerErrorKind, Value, cmd};
use failure::Failure;
use link::Slot;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use topology::{Link, Topology};

/// Values by key with an expiry, on Redis. Cheap to clone; clones share one connection.
///
/// The connection (in a cluster, one to each node) is kept until it fails and carries any number of requests at
/// once; what is known about the servers' health is shared by all workers.
#[derive(Clone, Debug)]
pub struct RedisStore {
    topology: Arc<Topology>,
    settings: Arc<RedisSettings>,
    circuit: Arc<Circuit>,
    slot: Arc<Slot>,
}

/// What timers are set to so that they do not go off after this time: they do up to a tick of the runtime, 1 ms, late.
fn punctual(deadline: Duration) -> Duration {
    const TICK: Duration = Duration::from_millis(1);
    deadline.saturating_sub(TICK).max(deadline / 2)
}

impl RedisStore {
    /// A store on these servers. Connects when it is first used.
    ///
    /// # Errors
    /// A URL is not that of a Redis, a file cannot be read, or settings contradict each other.
    pub fn new(settings: &RedisSettings) -> Result<Self, StoreError> {
        Ok(Self {
            topology: Arc::new(Topology::new(settings)?),
            settings: Arc::new(settings.clone()),
            circuit: Arc::new(Circuit::new(settings.shown())),
            slot: Arc::default(),
        })
    }

    /// The same servers over a connection of its own.
    #[must_use]
    pub fn per_worker(&self) -> Self {
        Self { slot: Arc::default(), ..self.clone() }
    }

    pub(crate) async fn get(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.query(&self.on_keys("MGET", keys)).await
    }

    pub(crate) async fn set(&self, key: &str, value: &[u8], ttl: Duration) -> Result<(), StoreError> {
        let Ok(millis @ 1..) = u64::try_from(ttl.as_millis()) else { return Ok(()) };
        let mut command = cmd("SET");
        command.arg(self.key(key)).arg(value).arg("PX").arg(millis);
        self.query(&command).await
    }

    pub(crate) async fn set_new(&self, key: &str, value: &[u8], ttl: Duration) -> Result<bool, StoreError> {
        let Ok(millis @ 1..) = u64::try_from(ttl.as_millis()) else { return Ok(false) };
        let mut command = cmd("SET");
        command.arg(self.key(key)).arg(value).arg("PX").arg(millis).arg("NX");
        let done: Option<String> = self.query(&command).await?;
        Ok(done.is_some())
    }

    pub(crate) async fn delete(&self, keys: &[&str]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        // Large values are freed in the background, so that nobody waits for that.
        self.query(&self.on_keys("UNLINK", keys)).await
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
        let answer = self.bounded(*self.settings.timeout, async |mut link| match link.query(&known).await {
            Err(e) if e.kind() == ServerErrorKind::NoScript.into() => {
                link.query(&call("EVAL", script.source())).await
            }
            answer => answer,
        });
        match answer.await? {
            Value::Int(number) => Ok(vec![number]),
            value => self.read(value),
        }
    }

    pub(crate) async fn publish(&self, channel: &str, message: &[u8]) -> Result<(), StoreError> {
        let mut command = cmd("PUBLISH");
        command.arg(self.key(channel)).arg(message);
        self.query(&command).await
    }

    pub(crate) fn subscribe(&self, channel: &str) -> RedisSubscription {
        RedisSubscription::new(self.topology.clone(), self.settings.clone(), self.key(channel))
    }

    pub(crate) async fn evicts(&self) -> Option<String> {
        let mut config = cmd("CONFIG");
        config.arg("GET").arg("maxmemory*");
        let mut settings: HashMap<String, String> = self.query(&config).await.ok()?;
        let limited = settings.get("maxmemory").is_some_and(|limit| limit != "0");
        settings.remove("maxmemory-policy").filter(|policy| limited && policy != "noeviction")
    }

    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.circuit.health()
    }

    pub(crate) fn is_away(&self) -> bool {
        self.circuit.is_away()
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.settings.prefix)
    }

    fn on_keys(&self, name: &str, keys: &[&str]) -> Cmd {
        let mut command = cmd(name);
        for key in keys {
            command.arg(self.key(key));
        }
        command
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let answer = self.bounded(*self.settings.timeout, async |mut link| link.query(command).await);
        self.read(answer.await?)
    }

    /// Asks within the deadline, the wait for a connection included, unless the servers are away.
    async fn bounded(
        &self,
        deadline: Duration,
        ask: impl AsyncFnOnce(Link) -> Result<Value, RedisError>,
    ) -> Result<Value, StoreError> {
        let (result, used) = self.ask(deadline, ask).await;
        // Without a connection, whoever makes one tells the circuit.
        match (&result, used) {
            (_, None) => {}
            (Err(Failure::Away(why)), Some(epoch)) => {
                self.circuit.failed(Some(epoch), why);
                self.slot.close(epoch);
            }
            (Ok(_) | Err(Failure::Refused(_)), Some(epoch)) => self.circuit.answered(epoch),
        }
        result.map_err(|failure| self.failed(failure))
    }

    /// The same, and the epoch of the connection that was used, whose failure nobody has told yet.
    async fn ask<T>(
        &self,
        deadline: Duration,
        ask: impl AsyncFnOnce(Link) -> Result<T, RedisError>,
    ) -> (Result<T, Failure>, Option<u64>) {
        if !self.circuit.admits() {
            return (Err(Failure::Away("away a moment ago, tried again every second".to_owned())), None);
        }
        let mut used = None;
        let asked = tokio::time::timeout(punctual(deadline), async {
            let connecting = self.slot.link(&self.topology, &self.circuit, *self.settings.connect_timeout);
            let (epoch, link) = connecting.await.map_err(Failure::Away)?;
            used = Some(epoch);
            ask(link).await.map_err(Failure::from)
        });
        let result = asked.await.unwrap_or_else(|_| {
            let limit = gateway_core::units::Timespan(deadline);
            Err(Failure::Away(format!("no answer within {limit}")))
        });
        (result, used)
    }

    fn failed(&self, failure: Failure) -> StoreError {
        match failure {
            Failure::Away(why) => self.away(why),
            Failure::Refused(why) => self.refused(why),
        }
    }

    fn refused(&self, why: String) -> StoreError {
        StoreError::Refused { url: self.settings.shown(), why }
    }

    fn away(&self, why: String) -> StoreError {
        StoreError::Away { url: self.settings.shown(), why }
    }
}
