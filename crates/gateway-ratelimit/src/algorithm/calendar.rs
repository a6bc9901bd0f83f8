//! A count that begins and ends with the calendar: quotas. The state is when the period began and what was counted.

use super::{Decision, Rule, State, add, fixed_window};
use gateway_core::civil;

const SECOND: u64 = 1_000_000;
const DAY: i64 = 86_400;

/// How long a quota lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cycle {
    Day,
    /// From Monday (ISO 8601).
    Week,
    Month,
}

/// Periods of the calendar at an offset from UTC in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Calendar {
    pub(crate) cycle: Cycle,
    pub(crate) offset: i32,
}

impl Calendar {
    /// When the period of this moment began and when it ends.
    pub(crate) fn period(self, now: u64) -> (u64, u64) {
        let seconds = i64::try_from(now / SECOND).unwrap_or(i64::MAX / 2) + i64::from(self.offset);
        let day = seconds.div_euclid(DAY);
        let (first, next) = match self.cycle {
            Cycle::Day => (day, day + 1),
            // The epoch was a Thursday.
            Cycle::Week => {
                let monday = day - (day + 3).rem_euclid(7);
                (monday, monday + 7)
            }
            Cycle::Month => month(day),
        };
        let moment = |day: i64| u64::try_from(day * DAY - i64::from(self.offset)).unwrap_or(0) * SECOND;
        (moment(first), moment(next))
    }

    pub(crate) fn longest(self) -> u64 {
        let days: i64 = match self.cycle {
            Cycle::Day => 1,
            Cycle::Week => 7,
            Cycle::Month => 31,
        };
        (days * DAY).unsigned_abs() * SECOND
    }
}

/// The first days of this month and the next, as days since the epoch.
fn month(day: i64) -> (i64, i64) {
    let (year, month, _) = civil::date(day);
    let next = if month == 12 { civil::days(year + 1, 1, 1) } else { civil::days(year, month + 1, 1) };
    (civil::days(year, month, 1), next)
}

/// When the period of this moment began, when it ends, and its count.
pub(super) fn current(state: &State, now: u64, calendar: Calendar) -> (u64, u64, u64) {
    let (start, end) = calendar.period(now);
    (start, end, if state.at == start { state.used } else { 0 })
}

pub(super) fn decide(state: &State, now: u64, cost: u32, rule: &Rule, calendar: Calendar) -> Decision {
    let (_, end, used) = current(state, now, calendar);
    fixed_window::admit(used, cost, rule, end - now)
}

pub(super) fn take(state: &State, now: u64, cost: i64, calendar: Calendar) -> State {
    let (at, _, used) = current(state, now, calendar);
    State { at, used: add(used, cost), before: 0 }
}
