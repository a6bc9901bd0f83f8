mod redis;

pub use redis::{RedisSettings, SentinelSettings};
pub(crate) use redis::{Topology, without_user};

use schemars::JsonSchema;
use serde::Deserialize;

/// Where state is that instances share. Default: in memory, shared by nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// A Redis: one server, one watched by sentinels, or a cluster.
    pub redis: Option<RedisSettings>,
}

/// On this Redis, everything else by default.
impl From<RedisSettings> for StoreSettings {
    fn from(redis: RedisSettings) -> Self {
        Self { redis: Some(redis) }
    }
}
