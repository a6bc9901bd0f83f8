//! May they: typed rules on the principal and the head of the request.

pub(crate) mod claim;
pub(crate) mod layer;
pub(crate) mod rule;
pub(crate) mod settings;
