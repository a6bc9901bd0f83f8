use super::RedisStore;
use super::topology::Link;
use crate::StoreError;
use deadpool_redis::redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use deadpool_redis::redis::{Cmd, FromRedisValue, RedisError, Value, cmd};

/// How many keys a server looks at in one step: a few hundred microseconds in which it serves nobody else.
const STEP: u32 = 1000;

/// Where a server goes on next, 0 at the end, and what it found.
type Found = (u64, Vec<String>);

impl RedisStore {
    pub(crate) async fn scan(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let pattern = format!("{}*", literally(&self.key(prefix)));
        let mut keys = Vec::new();
        for (node, (mut cursor, found)) in self.first_step(&pattern).await? {
            keys.extend(found);
            while cursor != 0 {
                let command = step(cursor, &pattern);
                let answer = self.bounded(*self.settings.connect_timeout, async |link| {
                    at(link, node.as_deref(), command).await
                });
                let (next, found) = self.read::<Found>(answer.await?)?;
                keys.extend(found);
                cursor = next;
            }
        }
        let own = keys.iter().filter_map(|key| key.strip_prefix(&self.settings.prefix));
        let mut own: Vec<String> = own.map(str::to_owned).collect();
        // `SCAN` may name a key more than once.
        own.sort_unstable();
        own.dedup();
        Ok(own)
    }

    /// The first step at each server, with its address in a cluster.
    async fn first_step(&self, pattern: &str) -> Result<Vec<(Option<String>, Found)>, StoreError> {
        let command = step(0, pattern);
        let mut nodes = false;
        let answer = self.bounded(*self.settings.connect_timeout, async |link| match link {
            Link::Cluster(mut cluster) => {
                nodes = true;
                let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                cluster.route_command(command, all).await
            }
            Link::Single(mut connection) => command.query_async(&mut connection).await,
        });
        let answer = answer.await?;
        if nodes {
            let found = self.read::<Vec<(String, Found)>>(answer)?;
            return Ok(found.into_iter().map(|(node, found)| (Some(node), found)).collect());
        }
        Ok(vec![(None, self.read(answer)?)])
    }

    pub(super) fn read<T: FromRedisValue>(&self, value: Value) -> Result<T, StoreError> {
        T::from_redis_value(value).map_err(|e| self.refused(format!("an answer of another kind: {e}")))
    }
}

async fn at(link: Link, node: Option<&str>, command: Cmd) -> Result<Value, RedisError> {
    match link {
        Link::Cluster(mut cluster) => {
            let (host, port) = node.and_then(|node| node.rsplit_once(':')).unwrap_or_default();
            let node = match port.parse() {
                Ok(port) => SingleNodeRoutingInfo::ByAddress { host: host.to_owned(), port },
                Err(_) => SingleNodeRoutingInfo::RandomPrimary,
            };
            cluster.route_command(command, RoutingInfo::SingleNode(node)).await
        }
        Link::Single(mut connection) => command.query_async(&mut connection).await,
    }
}

fn step(cursor: u64, pattern: &str) -> Cmd {
    let mut command = cmd("SCAN");
    command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(STEP);
    command
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
