//! What the algorithms that drain have in common.

use super::{Decision, Rule, micros, narrow};

/// Decides by what is still undrained.
pub(super) fn admit(debt: u64, cost: u32, rule: &Rule) -> Decision {
    let total = debt + rule.units(u64::from(cost).min(rule.burst + 1));
    let after = |units: u64| micros(units.div_ceil(rule.drain));
    if total > rule.full {
        return Decision::Refuse { retry_after: after(total - rule.full), reset: after(debt) };
    }
    Decision::Allow { remaining: narrow((rule.full - total) / rule.unit), reset: after(total) }
}

/// What is undrained after a cost, which may be negative.
pub(super) fn owe(debt: u64, cost: i64, rule: &Rule) -> u64 {
    let units = rule.units(cost.unsigned_abs());
    if cost < 0 { debt.saturating_sub(units) } else { (debt + units).min(super::rule::CAP) }
}
