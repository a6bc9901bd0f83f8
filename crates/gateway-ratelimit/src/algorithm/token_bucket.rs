//! A bucket of tokens that fills evenly. The state is what was missing and when.

use super::bucket::{admit, owe};
use super::{Decision, Rule, State, rule::CAP};

pub(super) fn debt(state: &State, now: u64, rule: &Rule) -> u64 {
    let missing = state.used.min(CAP);
    // Not longer than it takes to fill, which keeps the product small.
    let elapsed = now.saturating_sub(state.at).min(missing / rule.drain + 1);
    missing.saturating_sub(elapsed * rule.drain)
}

pub(super) fn decide(state: &State, now: u64, cost: u32, rule: &Rule) -> Decision {
    admit(debt(state, now, rule), cost, rule)
}

pub(super) fn take(state: &State, now: u64, cost: i64, rule: &Rule) -> State {
    State { at: now, used: owe(debt(state, now, rule), cost, rule), before: 0 }
}
