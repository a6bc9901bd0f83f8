//! What the service is told of the caller, in headers.

pub(crate) mod layer;
pub(crate) mod name;
pub(crate) mod settings;
pub(crate) mod value;
