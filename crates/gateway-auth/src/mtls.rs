//! Client certificates, shown to us or to a trusted proxy.

pub(crate) mod method;
pub(crate) mod settings;
pub(crate) mod xfcc;
