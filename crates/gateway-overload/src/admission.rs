//! Requests are shed by the rate at which they fail, the least important first.

mod decide;
mod layer;
mod ring;
mod settings;

pub use decide::{Seen, rejection, shed_by_class};
pub use layer::{Admission, AdmissionFuture, AdmissionLayer};
pub use settings::AdmissionSettings;
