//! Conditions that choose a tier.

use crate::facts::Facts;
use http::{Extensions, HeaderMap, Method, Uri};
use std::fmt;
use std::sync::Arc;

type Holds = dyn Fn(&Method, &Uri, &HeaderMap, &Extensions) -> bool + Send + Sync;

/// Whether a request is of a tier: what an expression of `tiers.by.expressions` means. This crate knows no language of
/// expressions; whoever does hands over what it has read, to [`RateLimitLayer::new_with`](crate::RateLimitLayer::new_with).
///
/// Who calls is the request's [`Principal`](gateway_core::Principal), an extension.
#[derive(Clone)]
pub struct Condition(Arc<Holds>);

impl Condition {
    /// What holds where this says so of the request's head. It is asked within the request and must not block.
    #[must_use]
    pub fn new(
        holds: impl Fn(&Method, &Uri, &HeaderMap, &Extensions) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(holds))
    }

    pub(crate) fn holds(&self, facts: &Facts<'_>) -> bool {
        (self.0)(facts.method, facts.uri, facts.headers, facts.extensions)
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condition")
    }
}
