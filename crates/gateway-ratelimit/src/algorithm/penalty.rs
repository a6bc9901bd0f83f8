//! What becomes of who has come beyond a limit: for a while, all is refused. The state is until when.

use super::{Decision, Rule, State, micros};
use std::time::Duration;

/// How long it still lasts.
pub(crate) fn left(state: &State, now: u64) -> u64 {
    state.at.saturating_sub(now)
}

/// It begins, unless it lasts already: who asks on is not held for longer.
pub(crate) fn begin(state: &State, now: u64, rule: &Rule) -> State {
    if left(state, now) > 0 { *state } else { State { at: now + rule.period, ..State::default() } }
}

pub(super) fn decide(state: &State, now: u64) -> Decision {
    match left(state, now) {
        0 => Decision::Allow { remaining: u32::MAX, reset: Duration::ZERO },
        left => Decision::Refuse { retry_after: micros(left), reset: micros(left) },
    }
}

/// Nothing is taken of it.
pub(super) fn take(state: &State, now: u64) -> State {
    if left(state, now) > 0 { *state } else { State::default() }
}
