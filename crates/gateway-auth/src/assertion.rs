//! What the service can check for itself: a short-lived token that the gateway signs for it.

pub(crate) mod authority;
pub(crate) mod claims;
pub(crate) mod key;
pub(crate) mod layer;
pub(crate) mod ring;
pub(crate) mod settings;
