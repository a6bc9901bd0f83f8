use super::{Redis, RedisValue};
use crate::{free_port, wait_until};
use std::process::Command;
use std::time::Duration;

/// Three masters that share the slots, without replicas.
#[derive(Debug)]
pub struct RedisCluster {
    /// The nodes; the first has the lowest slots.
    pub nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts the nodes, and waits until each knows the others and all slots.
    ///
    /// # Panics
    /// They cannot be started.
    #[must_use]
    pub fn start() -> Self {
        let nodes: Vec<Redis> = (0..3)
            .map(|_| {
                let bus = free_port().to_string();
                Redis::start_with(&[
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    &bus,
                    "--cluster-node-timeout",
                    "2000",
                ])
            })
            .collect();
        let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port()));
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .arg("--cluster-yes")
            .output()
            .unwrap_or_else(|e| panic!("cannot start redis-cli: {e}; {}", super::HINT));
        assert!(made.status.success(), "redis-cli: {}", String::from_utf8_lossy(&made.stdout));
        let this = Self { nodes };
        this.wait_until_whole();
        this
    }

    /// Waits until every node that runs sees all slots served.
    ///
    /// # Panics
    /// It is not so within half a minute.
    pub fn wait_until_whole(&self) {
        for node in &self.nodes {
            wait_until("the cluster to be whole", Duration::from_secs(30), || {
                let Ok(RedisValue::Text(state)) = node.try_command(&["CLUSTER", "INFO"]) else { return None };
                (state.contains("cluster_state:ok") && state.contains("cluster_known_nodes:3")).then_some(())
            });
        }
    }

    /// The URLs of all nodes.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }
}
