//! The fields that tell a client what is left.

use crate::{Decision, Limit};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use std::time::Duration;

static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// A limit with what of its fields never changes.
#[derive(Debug)]
pub(crate) struct Tier {
    pub(crate) limit: Limit,
    name: String,
    policy: HeaderValue,
}

impl Tier {
    /// `name` has been checked to be safe in a quoted string.
    pub(crate) fn new(name: &str, limit: Limit) -> Self {
        let policy = format!("\"{name}\";q={};w={}", limit.count(), limit.period().as_secs());
        let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static(""));
        Self { limit, name: name.to_owned(), policy }
    }

    pub(crate) fn standard(&self, decision: Decision, headers: &mut HeaderMap) {
        let (remaining, reset) = left(decision);
        let mut text = String::with_capacity(self.name.len() + 32);
        text.push('"');
        text.push_str(&self.name);
        text.push_str("\";r=");
        text.push_str(itoa::Buffer::new().format(remaining));
        text.push_str(";t=");
        text.push_str(itoa::Buffer::new().format(whole_seconds(reset)));
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(RATE_LIMIT.clone(), value);
        }
        headers.insert(RATE_LIMIT_POLICY.clone(), self.policy.clone());
    }

    pub(crate) fn legacy(&self, decision: Decision, headers: &mut HeaderMap) {
        let (remaining, reset) = left(decision);
        headers.insert(X_LIMIT.clone(), self.limit.count().into());
        headers.insert(X_REMAINING.clone(), remaining.into());
        headers.insert(X_RESET.clone(), whole_seconds(reset).into());
    }
}

fn left(decision: Decision) -> (u32, Duration) {
    match decision {
        Decision::Allow { remaining, reset } => (remaining, reset),
        Decision::Refuse { retry_after, .. } => (0, retry_after),
    }
}

/// Rounded up: who comes back then is let through.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
