//! Faults on purpose, to see how clients bear them.

mod body;
mod choose;
mod layer;
mod settings;

pub use body::PacedBody;
pub use choose::Faults;
pub use layer::{Fault, FaultFuture, FaultLayer};
pub use settings::{AbortFault, DelayFault, FaultSettings, RateFault};
