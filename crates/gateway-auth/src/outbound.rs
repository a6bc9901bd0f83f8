//! What the gateway shows the service to be let in.

pub(crate) mod endpoint;
pub(crate) mod exchange;
pub(crate) mod held;
pub(crate) mod layer;
pub(crate) mod settings;
