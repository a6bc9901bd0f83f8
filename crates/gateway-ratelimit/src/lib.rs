//! Rate limits and quotas as a tower layer.
mod algorithm;
mod background;
mod clock;
mod cost;
mod error;
mod events;
mod exempt;
mod facts;
mod headers;
mod key;
mod layer;
mod limit;
mod limiter;
mod plan;
mod quota;
mod service;
mod settings;
mod settle;
mod shared;
mod snapshot;
mod store;

pub use algorithm::{Algorithm, Decision, Rule, State, decide, take, used};
pub use background::Background;
pub use error::RateLimitError;
pub use events::QuotaEvent;
pub use key::{KeyBy, KeyPart, OnMissing};
pub use layer::RateLimitLayer;
pub use limit::Limit;
pub use quota::{Quota, TimeZone};
pub use service::{RateLimit, RateLimitFuture};
pub use settings::{
    CostSettings, CountWhat, ExemptSettings, LimitFromSettings, Limits, MetaSource, Mode, OnStoreFailure,
    Per, Quotas, RateLimitSettings, SettleSettings, Shared, TierSettings,
};
pub use settle::{SettleBody, SettleFuture, SettleLayer, SettleService};
