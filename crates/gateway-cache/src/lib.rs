//! A shared HTTP cache (RFC 9111) as a tower layer.

mod answer;
mod body;
mod clock;
mod engine;
mod entry;
mod executor;
mod fetch;
mod fill;
mod flight;
mod future;
mod invalidation;
mod key;
mod layer;
mod purging;
mod semantics;
mod service;
mod settings;
mod store;
mod wakers;

pub use body::CacheBody;
pub use executor::{Executor, LocalExecutor, TokioExecutor};
pub use fill::SharedBodyError;
pub use future::{CacheFuture, RefreshFuture};
pub use layer::{CacheCounts, CacheLayer};
pub use service::Cache;
pub use settings::{
    BypassSettings, CacheError, CacheMethod, CacheSettings, Isolation, KeySettings, Mode, PurgeSettings,
};
pub use store::CacheStore;
pub use store::purge::{Purge, PurgeMode};
pub use store::tier::TierTask;
