//! Logins of browsers at an OpenID provider: the way there and back, and the session that follows, kept by the browser.

pub(crate) mod cookies;
pub(crate) mod flow;
pub(crate) mod id_token;
pub(crate) mod login;
pub(crate) mod method;
pub(crate) mod navigation;
mod proof;
pub(crate) mod provider;
pub(crate) mod renew;
pub(crate) mod seal;
pub(crate) mod session;
pub(crate) mod settings;
mod shared;
