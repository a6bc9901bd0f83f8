pub(crate) mod key;
pub(crate) mod proof;
pub(crate) mod settings;
