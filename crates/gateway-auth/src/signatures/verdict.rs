//! What there is to say of a signed request.

use gateway_core::Principal;
use std::borrow::Cow;

/// What a signature is.
#[derive(Debug)]
pub(crate) enum Verified {
    /// There is none.
    Absent,
    /// By no key of ours: it may be meant for another method.
    Foreign(Cow<'static, str>),
    Bad(Cow<'static, str>),
    Good(Signed),
}

/// A good signature.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) principal: Principal,
    /// What is the same if the request comes again.
    pub(crate) once: Vec<u8>,
    /// When it is no longer good, in seconds since 1970.
    pub(crate) end: f64,
}

pub(crate) fn bad<T>(why: impl Into<Cow<'static, str>>) -> Result<T, Cow<'static, str>> {
    Err(why.into())
}
