//! A service that is asked about every request, as Traefik's ForwardAuth does it.

pub(crate) mod key;
pub(crate) mod method;
pub(crate) mod settings;
