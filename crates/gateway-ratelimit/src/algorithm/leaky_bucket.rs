//! A queue that is worked off evenly (nginx: `limit_req` with `burst`). The state is that of GCRA; who finds the
//! queue not empty waits until it is.

use super::bucket::admit;
use super::{Decision, Rule, State, gcra, micros};

pub(super) fn decide(state: &State, now: u64, cost: u32, rule: &Rule) -> Decision {
    let ahead = gcra::debt(state, now, rule);
    match admit(ahead, cost, rule) {
        Decision::Allow { remaining, reset } if ahead > 0 && cost > 0 => {
            Decision::Delay { delay: micros(ahead.div_ceil(rule.drain)), remaining, reset }
        }
        decision => decision,
    }
}
