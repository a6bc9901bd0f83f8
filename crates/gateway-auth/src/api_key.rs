//! API keys: kept as hashes, from the configuration, a file, or managed at run time.

pub(crate) mod key;
pub(crate) mod method;
pub(crate) mod ring;
pub(crate) mod settings;
