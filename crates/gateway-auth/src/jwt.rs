//! JSON Web Tokens: their keys, the rules of their claims, and what is remembered of them.

pub(crate) mod algorithm;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod claims;
pub(crate) mod json;
pub(crate) mod jwk;
pub(crate) mod key;
pub(crate) mod keyring;
pub(crate) mod method;
pub(crate) mod mint;
pub(crate) mod pem;
pub(crate) mod place;
pub(crate) mod remote;
pub(crate) mod settings;
pub(crate) mod token;
pub(crate) mod verify;
