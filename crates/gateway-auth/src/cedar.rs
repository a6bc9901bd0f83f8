//! May they: policies in Cedar, evaluated in this process.

#[cfg(feature = "cedar")]
pub(crate) mod attributes;
#[cfg(feature = "cedar")]
pub(crate) mod entity;
#[cfg(feature = "cedar")]
pub(crate) mod fit;
#[cfg(feature = "cedar")]
pub(crate) mod layer;
#[cfg(feature = "cedar")]
pub(crate) mod load;
pub(crate) mod mistake;
pub(crate) mod settings;
#[cfg(feature = "cedar")]
pub(crate) mod slice;
#[cfg(feature = "cedar")]
pub(crate) mod source;
