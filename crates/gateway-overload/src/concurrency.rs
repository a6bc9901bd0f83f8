//! At most so many requests at once.

mod body;
mod codel;
mod gate;
mod key;
mod layer;
mod lines;
mod settings;
mod table;

pub use body::SlotBody;
pub use codel::CodelSettings;
pub(crate) use gate::take_one;
pub use key::ConcurrencyKey;
pub use layer::{ConcurrencyFuture, ConcurrencyLimit, ConcurrencyLimitLayer};
pub use settings::{ConcurrencySettings, QueueSettings};
