//! Whether the servers do what is asked of them: one that answers may still refuse, without memory or permission.

use super::RedisStore;
use super::failure::Failure;
use super::topology::{Link, Topology};
use crate::{Script, StoreError};
use deadpool_redis::redis::{Cmd, RedisError, ServerErrorKind, cmd};
use futures_util::future::try_join_all;
use std::time::Duration;

/// Should what a probe writes not be taken away again, it goes by itself.
const TTL_MILLIS: u64 = 100;

/// Keys of this many slots, so that of a cluster hardly a node is left out.
const IN_CLUSTER: usize = 16;

static WRITE: Script =
    Script::new("redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) return redis.call('UNLINK', KEYS[1])");

impl RedisStore {
    /// At a start: as long as connections may take to be made.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        self.probe_within(*self.settings.connect_timeout * self.topology.steps()).await
    }

    /// While they are away, no longer than an operation: what takes longer is of no use to those that wait for it.
    /// While they are not, what is slow for once is left to the operations to judge.
    pub(crate) async fn probe(&self) -> Result<(), StoreError> {
        let patience = if self.is_away() { self.settings.timeout } else { self.settings.connect_timeout };
        self.probe_within(*patience).await
    }

    async fn probe_within(&self, deadline: Duration) -> Result<(), StoreError> {
        let (result, used) = self.ask(deadline, async |link| self.try_each(&link).await).await;
        let Some(epoch) = used else { return result.map_err(|failure| self.failed(failure)) };
        match &result {
            Ok(()) => self.circuit.works(epoch),
            Err(Failure::Refused(why)) => self.circuit.refuses(epoch, why),
            Err(Failure::Away(why)) => {
                self.circuit.failed(Some(epoch), why);
                self.slot.close(epoch);
            }
        }
        result.map_err(|failure| self.failed(failure))
    }

    /// Each kind of operation once.
    async fn try_each(&self, link: &Link) -> Result<(), RedisError> {
        let keys = match &*self.topology {
            Topology::Single(_) | Topology::Sentinel(_) => 1,
            Topology::Cluster(_) => IN_CLUSTER,
        };
        let keys: Vec<String> = (0..keys).map(|i| self.key(&format!("probe:{i}"))).collect();
        let mut commands = Vec::with_capacity(2 * keys.len() + 2);
        for key in &keys {
            let mut set = on(key, "SET");
            set.arg("1").arg("PX").arg(TTL_MILLIS);
            commands.extend([set, on(key, "UNLINK")]);
        }
        let mut publish = on(&keys[0], "PUBLISH");
        publish.arg("1");
        commands.extend([on(&keys[0], "MGET"), publish]);
        let asked = commands.iter().map(|command| {
            let mut link = link.clone();
            async move { link.query(command).await }
        });
        try_join_all(asked).await?;
        let call = |name: &str, script: &str| {
            let mut command = cmd(name);
            command.arg(script).arg(1).arg(&keys[0]).arg(TTL_MILLIS);
            command
        };
        let mut link = link.clone();
        match link.query(&call("EVALSHA", WRITE.digest())).await {
            Err(e) if e.kind() == ServerErrorKind::NoScript.into() => {
                link.query(&call("EVAL", WRITE.source())).await.map(drop)
            }
            answer => answer.map(drop),
        }
    }
}

fn on(key: &str, name: &str) -> Cmd {
    let mut command = cmd(name);
    command.arg(key);
    command
}
