use super::{HINT, Redis, RedisValue, ask};
use crate::{Process, free_port, wait_until};
use std::process::Command;
use std::time::Duration;

/// A master and a replica, watched by a sentinel that promotes the replica two seconds after the master fails: one that
/// is only slow on a busy machine stays.
#[derive(Debug)]
pub struct RedisSentinel {
    /// Two servers; the first is the master at the start.
    pub servers: [Redis; 2],
    port: u16,
    _process: Process,
    _dir: tempfile::TempDir,
}

impl RedisSentinel {
    /// The name under which the sentinel knows the master.
    pub const MASTER: &str = "mymaster";

    /// Starts all three and waits until the sentinel knows both servers.
    ///
    /// # Panics
    /// They cannot be started.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[], "")
    }

    /// The same, with further arguments for the servers, and lines for the sentinel's file. All must still answer
    /// whoever names no user.
    ///
    /// # Panics
    /// They cannot be started.
    #[must_use]
    pub fn start_with(servers: &[&str], sentinel: &str) -> Self {
        let master = Redis::start_with(servers);
        let address = format!("127.0.0.1 {}", master.port());
        let replica = Redis::start_with(&[servers, &["--replicaof", &address]].concat());
        let (port, dir) = (free_port(), tempfile::tempdir().expect("a temporary folder"));
        let file = dir.path().join("sentinel.conf");
        let name = Self::MASTER;
        let settings = format!(
            "port {port}\nbind 127.0.0.1\ndir {dir}\nsentinel monitor {name} 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds {name} 2000\nsentinel failover-timeout {name} 3000\n{sentinel}\n",
            dir = dir.path().display(),
            master = master.port(),
        );
        std::fs::write(&file, settings).expect("a temporary file");
        let process = Process::start(Command::new("redis-server").arg(&file).arg("--sentinel"), HINT);
        let this = Self { servers: [master, replica], port, _process: process, _dir: dir };
        wait_until("the replica to be in step", Duration::from_secs(20), || {
            let Ok(RedisValue::Text(state)) = this.servers[1].try_command(&["INFO", "replication"]) else {
                return None;
            };
            state.contains("master_link_status:up").then_some(())
        });
        wait_until("the sentinel to know the replica", Duration::from_secs(20), || {
            let Ok(RedisValue::List(replicas)) = ask(port, &["SENTINEL", "REPLICAS", name]) else {
                return None;
            };
            (replicas.len() == 1).then_some(())
        });
        this
    }

    /// The sentinel's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Waits until the sentinel has made the server of this index the master.
    ///
    /// # Panics
    /// It does not within half a minute.
    pub fn wait_for_master(&self, index: usize) {
        let port = self.servers[index].port().to_string();
        wait_until("another master", Duration::from_secs(30), || {
            let command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Self::MASTER];
            let Ok(RedisValue::List(address)) = ask(self.port, &command) else { return None };
            address.contains(&RedisValue::Text(port.clone())).then_some(())
        });
    }
}
