mod redis;

pub use redis::{RedisSettings, SentinelSettings};
#[cfg(feature = "redis")]
pub(crate) use redis::{Topology, without_user};

use gateway_core::units::ByteSize;
use schemars::JsonSchema;
use serde::Deserialize;
use std::num::NonZeroU64;

/// More is surely an attack or a mistake.
const MAX_KEYS: NonZeroU64 = NonZeroU64::new(1_000_000).expect("not 0");
const MAX_BYTES: ByteSize = ByteSize::kib(256 * 1024);

/// Where state is that instances share. Default: in memory, shared by nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// A Redis: one server, one watched by sentinels, or a cluster.
    pub redis: Option<RedisSettings>,
    /// How much this process keeps where there is no Redis.
    pub memory: MemorySettings,
}

/// How much a store in memory holds; beyond that, what expires soonest is forgotten first.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MemorySettings {
    /// At most so many keys. Default 1000000.
    pub max_keys: NonZeroU64,
    /// At most so many bytes of keys and values, with what it costs to keep them. Values of more than a 64th of it
    /// are not kept. Default `256MiB`.
    pub max_bytes: ByteSize,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self { max_keys: MAX_KEYS, max_bytes: MAX_BYTES }
    }
}

/// On this Redis, everything else by default.
impl From<RedisSettings> for StoreSettings {
    fn from(redis: RedisSettings) -> Self {
        Self { redis: Some(redis), ..Self::default() }
    }
}
