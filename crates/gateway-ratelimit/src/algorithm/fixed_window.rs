//! A window that begins with the first request (S4-21: `INCR`, and `EXPIRE` on the first). The state is when it
//! began and what was counted in it.

use super::{Decision, Rule, State, add, micros, narrow};

/// When the window of this moment began, and its count.
pub(super) fn window(state: &State, now: u64, rule: &Rule) -> (u64, u64) {
    // A window that begins later than now was begun by a clock that is ahead; it is this one.
    if state.used == 0 || now >= state.at.saturating_add(rule.period) {
        (now, 0)
    } else {
        (state.at, state.used)
    }
}

pub(super) fn decide(state: &State, now: u64, cost: u32, rule: &Rule) -> Decision {
    let (start, used) = window(state, now, rule);
    let left = rule.period - now.saturating_sub(start);
    admit(used, cost, rule, left)
}

/// What a plain count says, with so much of its window left.
pub(super) fn admit(used: u64, cost: u32, rule: &Rule, left: u64) -> Decision {
    let total = used + u64::from(cost);
    if total > rule.count {
        return Decision::Refuse { retry_after: micros(left), reset: micros(left) };
    }
    let reset = if total == 0 { 0 } else { left };
    Decision::Allow { remaining: narrow(rule.count - total), reset: micros(reset) }
}

pub(super) fn take(state: &State, now: u64, cost: i64, rule: &Rule) -> State {
    let (at, used) = window(state, now, rule);
    State { at, used: add(used, cost), before: 0 }
}
