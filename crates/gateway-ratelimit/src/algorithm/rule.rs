use super::calendar::Calendar;
use super::{Algorithm, Kind};
use crate::Limit;
use std::time::Duration;

/// What state and cost are multiplied with at most: doubles count exactly to twice this.
pub(crate) const CAP: u64 = 1 << 52;

/// A limit made ready for the arithmetic.
///
/// Buckets drain in units so small that neither a request's share nor a microsecond's is a fraction: with
/// `"3/s"`, a request is 1 000 000 units and each microsecond drains 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(crate) kind: Kind,
    /// How many in a period.
    pub(crate) count: u64,
    /// In microseconds; for a quota that of its longest period.
    pub(crate) period: u64,
    /// How many at once.
    pub(crate) burst: u64,
    /// Units of one request.
    pub(crate) unit: u64,
    /// Units drained in a microsecond.
    pub(crate) drain: u64,
    /// Units that a bucket holds.
    pub(crate) full: u64,
    /// Into how many slices a sliding window is divided, and how long one is.
    pub(crate) slices: u64,
    pub(crate) slice: u64,
}

/// A sliding window slides in steps of its 65 536th part, or of a microsecond if that is longer.
const SLICES: u64 = 1 << 16;

impl Rule {
    /// The rule of a limit. `longest` is how long a request may be made to wait by [`Algorithm::LeakyBucket`].
    #[must_use]
    pub fn new(limit: &Limit, algorithm: Algorithm, longest: Duration) -> Self {
        let period = u64::try_from(limit.period().as_micros()).unwrap_or(u64::MAX).clamp(1, 1 << 45);
        let count = u64::from(limit.count().max(1));
        let burst = u64::from(limit.burst().max(1));
        let (unit, drain) = units(count, period, burst);
        let burst = burst.min(CAP / unit - 1);
        let full = match algorithm {
            // One goes at once, `burst` wait, but none longer than it may.
            Algorithm::LeakyBucket => {
                let longest = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
                (burst * unit).min(longest.saturating_mul(drain)) + unit
            }
            _ => burst * unit,
        };
        let slice = period.div_ceil(SLICES);
        let slices = period.div_ceil(slice);
        Self { kind: Kind::Counted(algorithm), count, period, burst, unit, drain, full, slices, slice }
    }

    /// The rule of a quota.
    pub(crate) fn quota(count: u32, calendar: Calendar) -> Self {
        let (count, period) = (u64::from(count.max(1)), calendar.longest());
        let kind = Kind::Calendar(calendar);
        Self { kind, count, period, burst: count, unit: 1, drain: 1, full: count, slices: 1, slice: period }
    }

    /// For how long who has come beyond a limit is refused.
    pub(crate) fn penalty(time: Duration) -> Self {
        let period = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).clamp(1, 1 << 45);
        let any = u64::from(u32::MAX);
        let kind = Kind::Penalty;
        Self { kind, count: any, period, burst: any, unit: 1, drain: 1, full: any, slices: 1, slice: period }
    }

    /// Whether it is no limit, but a penalty.
    pub(crate) fn is_penalty(&self) -> bool {
        self.kind == Kind::Penalty
    }

    /// The same for one of several replicas that cannot agree: an equal share, at least one.
    pub(crate) fn share(&self, replicas: u32) -> Self {
        if self.is_penalty() {
            return *self;
        }
        let Kind::Counted(algorithm) = self.kind else {
            let count = (self.count / u64::from(replicas.max(1))).max(1);
            return Self { count, burst: count, full: count, ..*self };
        };
        let part = |whole: u64| (whole / u64::from(replicas.max(1))).max(1);
        let (count, burst) = (part(self.count), part(self.burst));
        // One for each of more replicas than the limit counts would be more than the limit: then the period grows.
        let period = if self.count < u64::from(replicas) {
            self.period.saturating_mul(u64::from(replicas)) / self.count
        } else {
            self.period
        };
        let limit = Limit::of(super::narrow(count), micros(period), super::narrow(burst));
        let waits = micros((self.full - self.unit.min(self.full)) / self.drain);
        Self::new(&limit, algorithm, waits)
    }

    /// Units of a cost; what is beyond the cap fits nowhere anyway.
    pub(crate) fn units(&self, cost: u64) -> u64 {
        cost.min(CAP / self.unit) * self.unit
    }

    /// Whether it counts a window, which ends at once, instead of draining.
    pub(crate) fn is_window(&self) -> bool {
        matches!(
            self.kind,
            Kind::Calendar(_) | Kind::Counted(Algorithm::FixedWindow | Algorithm::SlidingWindow)
        )
    }

    /// Whether it is a quota.
    pub(crate) fn is_quota(&self) -> bool {
        matches!(self.kind, Kind::Calendar(_))
    }
}

use super::micros;

/// A request's units and those drained in a microsecond, such that a burst stays below [`CAP`].
fn units(count: u64, period: u64, burst: u64) -> (u64, u64) {
    let divisor = gcd(count, period);
    let (unit, drain) = (period / divisor, count / divisor);
    let over = (u128::from(unit) * u128::from(burst + 1)).div_ceil(u128::from(CAP));
    let over = u64::try_from(over).unwrap_or(u64::MAX);
    if over <= 1 {
        (unit, drain)
    } else if drain / over >= 1000 {
        // Off by less than a thousandth.
        ((unit / over).max(1), drain / over)
    } else {
        // So slow that a microsecond is fine enough.
        ((period / count).max(1), 1)
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}
