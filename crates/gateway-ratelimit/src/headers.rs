//! The fields that tell a client what is left (draft-ietf-httpapi-ratelimit-headers-10).

use crate::algorithm::Rule;
use crate::plan::Outcome;
use gateway_core::once;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use std::time::Duration;

static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// What limits are called, and what of their fields never changes.
#[derive(Debug)]
pub(crate) struct Names {
    /// The name of each, where there are several with its period: `standard-min`.
    names: Vec<String>,
    counts: Vec<u64>,
    policy: HeaderValue,
}

impl Names {
    /// `name` has been checked to be safe in a quoted string.
    pub(crate) fn new<'a>(name: &str, rules: impl ExactSizeIterator<Item = (&'a Rule, &'a str)>) -> Self {
        let one = rules.len() == 1;
        let (mut names, mut counts, mut policies) = (Vec::new(), Vec::new(), Vec::new());
        for (i, (rule, per)) in rules.enumerate() {
            let mut own = if one { name.to_owned() } else { format!("{name}-{per}") };
            if names.contains(&own) {
                own = format!("{own}-{}", i + 1);
            }
            policies.push(format!("\"{own}\";q={};w={}", rule.count, rule.period / 1_000_000));
            names.push(own);
            counts.push(rule.count);
        }
        let policy = HeaderValue::try_from(policies.join(", ")).unwrap_or(HeaderValue::from_static(""));
        Self { names, counts, policy }
    }

    /// The name of one limit.
    pub(crate) fn of(&self, index: u8) -> &str {
        self.names.get(usize::from(index)).map_or("", String::as_str)
    }

    pub(crate) fn standard(&self, outcome: &Outcome, headers: &mut HeaderMap) {
        self.left(outcome, headers);
        headers.insert(RATE_LIMIT_POLICY.clone(), self.policy.clone());
    }

    pub(crate) fn policy(&self) -> &HeaderValue {
        &self.policy
    }

    /// What is left, without what there is.
    pub(crate) fn left(&self, outcome: &Outcome, headers: &mut HeaderMap) {
        let mut text = String::with_capacity(self.names.iter().map(|name| name.len() + 32).sum());
        for (name, told) in self.names.iter().zip(&outcome.told) {
            text.push_str(if text.is_empty() { "\"" } else { ", \"" });
            text.push_str(name);
            text.push_str("\";r=");
            text.push_str(itoa::Buffer::new().format(told.remaining));
            text.push_str(";t=");
            text.push_str(itoa::Buffer::new().format(told.reset));
        }
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(RATE_LIMIT.clone(), once(value));
        }
    }

    /// Those of the tightest limit.
    pub(crate) fn legacy(&self, outcome: &Outcome, headers: &mut HeaderMap) {
        let index = usize::from(outcome.tightest);
        let (Some(count), Some(told)) = (self.counts.get(index), outcome.told.get(index)) else { return };
        headers.insert(X_LIMIT.clone(), (*count).into());
        headers.insert(X_REMAINING.clone(), once(told.remaining.into()));
        headers.insert(X_RESET.clone(), once(told.reset.into()));
    }
}

/// Lists the policies of several limits, before those that a layer within has listed.
pub(crate) fn policies<'a>(
    all: impl Iterator<Item = &'a HeaderValue>,
    keeping: bool,
    headers: &mut HeaderMap,
) {
    let mut list = Vec::new();
    let mut add = |policy: &HeaderValue| {
        if !list.is_empty() {
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(policy.as_bytes());
    };
    all.for_each(&mut add);
    headers.get(&RATE_LIMIT_POLICY).filter(|_| keeping).into_iter().for_each(add);
    if !list.is_empty()
        && let Ok(list) = HeaderValue::from_bytes(&list)
    {
        headers.insert(RATE_LIMIT_POLICY.clone(), list);
    }
}

/// Rounded up: who comes back then is let through.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
