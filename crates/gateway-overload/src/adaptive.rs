//! A concurrency limit that finds its own number.

mod aimd;
mod algorithm;
mod gradient2;
mod layer;
mod settings;
mod vegas;
mod window;

pub use aimd::Aimd;
pub use algorithm::{Algorithm, Bounds, Sample};
pub use gradient2::Gradient2;
pub use layer::{AdaptiveFuture, AdaptiveLimit, AdaptiveLimitLayer};
pub use settings::{AdaptiveSettings, AlgorithmName};
pub use vegas::Vegas;
pub(crate) use window::nanos;
