//! Users and passwords (RFC 7617).

pub(crate) mod hash;
pub(crate) mod method;
pub(crate) mod settings;
pub(crate) mod users;
