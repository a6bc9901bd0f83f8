//! JSON Web Tokens: their keys, the rules of their claims, and what is remembered of them.

pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod key;
pub(crate) mod method;
pub(crate) mod mint;
pub(crate) mod settings;
pub(crate) mod verify;
