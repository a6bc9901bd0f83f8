//! RFC 9111 as functions over values: no clock, no I/O, no state.

pub(crate) mod cache_control;
pub(crate) mod conditional;
pub(crate) mod fields;
pub(crate) mod freshness;
pub(crate) mod invalidate;
#[cfg(test)]
mod oracle;
pub(crate) mod range;
pub(crate) mod reuse;
pub(crate) mod status;
pub(crate) mod targeted;
pub(crate) mod terms;
pub(crate) mod vary;
