//! Tokens that their issuer is asked about.

pub(crate) mod method;
pub(crate) mod settings;
