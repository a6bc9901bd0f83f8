//! The arithmetic of limits: integers in, integers out; no clock, no I/O, no state of its own.
//!
//! Time is in microseconds since the Unix epoch. Every number stays below 2⁵³, so that the script which does the
//! same on Redis, where numbers are doubles, gives the same answers.

mod bucket;
pub(crate) mod calendar;
mod fixed_window;
mod gcra;
mod leaky_bucket;
pub(crate) mod penalty;
mod rule;
mod sliding_window;
mod token_bucket;

pub use rule::Rule;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How requests are counted.
///
/// | algorithm | `"100/min"` means | at the edge of two windows | remembers |
/// |---|---|---|---|
/// | `gcra` | 100 at once, then one every 0.6 s | nothing: there are no windows | when all will have drained |
/// | `token_bucket` | the same requests pass as by `gcra` | nothing | the tokens missing, and since when |
/// | `fixed_window` | 100 in the minute that begins with the first request | up to 200 around it | one count |
/// | `sliding_window` | 100 in any minute, by a weighted count of this and the last minute | at most a few per cent more | two counts |
/// | `leaky_bucket` | one every 0.6 s; up to 100 wait for their turn | nothing | when the queue will be empty |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// The generic cell rate algorithm (ITU-T I.371): a burst at once, then evenly spaced.
    #[default]
    Gcra,
    /// A bucket of tokens that fills evenly. Lets the same requests pass as `gcra`.
    TokenBucket,
    /// A count that begins with the first request and ends a period later.
    FixedWindow,
    /// A count over this window and, weighted by what of it still matters, the last.
    SlidingWindow,
    /// A queue that is worked off evenly: requests wait instead of being refused, until the queue is full.
    LeakyBucket,
}

/// What is remembered of one caller under one rule. All zeros stand for "never seen"; what the numbers mean is the
/// algorithm's affair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// A moment in microseconds since the Unix epoch.
    pub at: u64,
    /// What is used up.
    pub used: u64,
    /// What was used up in the window before.
    pub before: u64,
}

/// What a limit says of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may pass.
    Allow {
        /// How many more may come at once.
        remaining: u32,
        /// Until the limit is whole again.
        reset: Duration,
    },
    /// It may pass after a while ([`Algorithm::LeakyBucket`]).
    Delay {
        /// How long it has to wait.
        delay: Duration,
        /// How many more may wait.
        remaining: u32,
        /// Until the limit is whole again.
        reset: Duration,
    },
    /// It is too much.
    Refuse {
        /// Until one may pass.
        retry_after: Duration,
        /// Until the limit is whole again.
        reset: Duration,
    },
}

impl Decision {
    /// Whether it is a refusal.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refuse { .. })
    }

    /// A refusal that lasts at least so many microseconds.
    pub(crate) fn held(self, left: u64) -> Self {
        let own = match self {
            Self::Refuse { retry_after, .. } => retry_after,
            _ => Duration::ZERO,
        };
        Self::Refuse { retry_after: own.max(micros(left)), reset: self.reset().max(micros(left)) }
    }

    /// How many more may come at once.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        match self {
            Self::Allow { remaining, .. } | Self::Delay { remaining, .. } => *remaining,
            Self::Refuse { .. } => 0,
        }
    }

    /// Until the limit is whole again.
    #[must_use]
    pub fn reset(&self) -> Duration {
        match self {
            Self::Allow { reset, .. } | Self::Delay { reset, .. } | Self::Refuse { reset, .. } => *reset,
        }
    }
}

/// Which arithmetic a rule follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counted(Algorithm),
    /// A quota: a count that begins and ends with the calendar.
    Calendar(calendar::Calendar),
    /// No limit, but for how long who has come beyond one is refused; always the last of a plan.
    Penalty,
}

/// Decides about a request of this cost, without taking anything. Cost 0 asks how things stand.
#[must_use]
pub fn decide(state: &State, now: u64, cost: u32, rule: &Rule) -> Decision {
    match rule.kind {
        Kind::Counted(Algorithm::Gcra) => gcra::decide(state, now, cost, rule),
        Kind::Counted(Algorithm::TokenBucket) => token_bucket::decide(state, now, cost, rule),
        Kind::Counted(Algorithm::FixedWindow) => fixed_window::decide(state, now, cost, rule),
        Kind::Counted(Algorithm::SlidingWindow) => sliding_window::decide(state, now, cost, rule),
        Kind::Counted(Algorithm::LeakyBucket) => leaky_bucket::decide(state, now, cost, rule),
        Kind::Calendar(calendar) => calendar::decide(state, now, cost, rule, calendar),
        Kind::Penalty => penalty::decide(state, now),
    }
}

/// The state after so much was taken, whether there was room or not; a negative cost gives back.
#[must_use]
pub fn take(state: &State, now: u64, cost: i64, rule: &Rule) -> State {
    match rule.kind {
        Kind::Counted(Algorithm::Gcra | Algorithm::LeakyBucket) => gcra::take(state, now, cost, rule),
        Kind::Counted(Algorithm::TokenBucket) => token_bucket::take(state, now, cost, rule),
        Kind::Counted(Algorithm::FixedWindow) => fixed_window::take(state, now, cost, rule),
        Kind::Counted(Algorithm::SlidingWindow) => sliding_window::take(state, now, cost, rule),
        Kind::Calendar(calendar) => calendar::take(state, now, cost, calendar),
        Kind::Penalty => penalty::take(state, now),
    }
}

/// How much is used up now, rounded up; more than the limit where there is debt.
#[must_use]
pub fn used(state: &State, now: u64, rule: &Rule) -> u64 {
    match rule.kind {
        Kind::Counted(Algorithm::Gcra | Algorithm::LeakyBucket) => {
            gcra::debt(state, now, rule).div_ceil(rule.unit)
        }
        Kind::Counted(Algorithm::TokenBucket) => token_bucket::debt(state, now, rule).div_ceil(rule.unit),
        Kind::Counted(Algorithm::FixedWindow) => fixed_window::window(state, now, rule).1,
        Kind::Counted(Algorithm::SlidingWindow) => sliding_window::used(state, now, rule),
        Kind::Calendar(calendar) => calendar::current(state, now, calendar).2,
        Kind::Penalty => 0,
    }
}

/// The microseconds until the limit is whole again, without the rest of what [`decide`] says.
pub(crate) fn reset(state: &State, now: u64, rule: &Rule) -> u64 {
    match rule.kind {
        Kind::Counted(Algorithm::Gcra) => gcra::debt(state, now, rule).div_ceil(rule.drain),
        Kind::Counted(Algorithm::TokenBucket) => token_bucket::debt(state, now, rule).div_ceil(rule.drain),
        _ => u64::try_from(decide(state, now, 0, rule).reset().as_micros()).unwrap_or(u64::MAX),
    }
}

/// More than this is not added up: 2³², the most that one request may cost.
pub(crate) const MOST: u64 = 1 << 32;

/// A count after a cost, which may be negative.
fn add(count: u64, cost: i64) -> u64 {
    let change = cost.unsigned_abs().min(MOST);
    if cost < 0 { count.saturating_sub(change) } else { (count + change).min(MOST) }
}

fn micros(time: u64) -> Duration {
    Duration::from_micros(time)
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
