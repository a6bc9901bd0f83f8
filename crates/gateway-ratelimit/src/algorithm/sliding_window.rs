//! A sliding window counter: the count of this window and that of the last, weighted by what of the last lies
//! within a period from now. Windows are aligned to the epoch. The state is when this window began, its count, and
//! the last one's.

use super::{Decision, Rule, State, add, micros, narrow};

/// When the window of this moment began, its count and the last one's.
fn windows(state: &State, now: u64, rule: &Rule) -> (u64, u64, u64) {
    let start = now - now % rule.period;
    if state.at >= start {
        // Also where a clock that is ahead has begun the next.
        (start, state.used, state.before)
    } else if state.at.saturating_add(rule.period) >= start {
        (start, 0, state.used)
    } else {
        (start, 0, 0)
    }
}

/// How many slices of the last window still count.
fn left(start: u64, now: u64, rule: &Rule) -> u64 {
    rule.slices - ((now - start) / rule.slice).min(rule.slices)
}

pub(super) fn decide(state: &State, now: u64, cost: u32, rule: &Rule) -> Decision {
    let (start, used, before) = windows(state, now, rule);
    let (n, cost) = (rule.slices, u64::from(cost));
    let total = before * left(start, now, rule) + (used + cost) * n;
    let whole = rule.count * n;
    let rest = rule.period - (now - start);
    if total <= whole {
        let reset = if used + cost > 0 {
            rest + rule.period
        } else if before > 0 {
            rest
        } else {
            0
        };
        return Decision::Allow { remaining: narrow((whole - total) / n), reset: micros(reset) };
    }
    // At which slice enough of `old` has slid out for so much beside it.
    let until = |old: u64, room: u64| (n - (room * n / old.max(1)).min(n)) * rule.slice;
    let wait = if used + cost <= rule.count {
        until(before, rule.count - used - cost).min(rule.period).saturating_sub(now - start)
    } else if cost <= rule.count {
        rest + until(used, rule.count - cost).min(rule.period)
    } else {
        rest + rule.period
    };
    let reset = if used > 0 { rest + rule.period } else { rest };
    Decision::Refuse { retry_after: micros(wait.max(1)), reset: micros(reset) }
}

pub(super) fn take(state: &State, now: u64, cost: i64, rule: &Rule) -> State {
    let (at, used, before) = windows(state, now, rule);
    State { at, used: add(used, cost), before }
}

pub(super) fn used(state: &State, now: u64, rule: &Rule) -> u64 {
    let (start, used, before) = windows(state, now, rule);
    used + (before * left(start, now, rule)).div_ceil(rule.slices)
}
