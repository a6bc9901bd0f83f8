//! May they: policies in Cedar, evaluated in this process.

pub(crate) mod entity;
pub(crate) mod layer;
pub(crate) mod load;
pub(crate) mod settings;
