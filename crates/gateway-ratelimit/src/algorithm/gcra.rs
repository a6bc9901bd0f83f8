//! The generic cell rate algorithm (ITU-T I.371). The state is the theoretical arrival time: when all that has
//! passed will have drained; `used` is its fraction of a microsecond, in units.

use super::bucket::{admit, owe};
use super::{Decision, Rule, State, rule::CAP};

pub(super) fn debt(state: &State, now: u64, rule: &Rule) -> u64 {
    if state.at < now { 0 } else { ((state.at - now).saturating_mul(rule.drain) + state.used).min(CAP) }
}

pub(super) fn decide(state: &State, now: u64, cost: u32, rule: &Rule) -> Decision {
    admit(debt(state, now, rule), cost, rule)
}

pub(super) fn take(state: &State, now: u64, cost: i64, rule: &Rule) -> State {
    let owed = owe(debt(state, now, rule), cost, rule);
    State { at: now + owed / rule.drain, used: owed % rule.drain, before: 0 }
}
