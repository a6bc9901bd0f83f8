use std::sync::Arc;

/// Response extension: the limit that the request went beyond, by its name: that of a rate limit, or of the policy.
///
/// Set by whoever limits, read by whoever writes the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limited {
    /// It refused the request.
    By(Arc<str>),
    /// It only reports, and would have refused it.
    Would(Arc<str>),
}
