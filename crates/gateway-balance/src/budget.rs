//! How many further attempts a service bears.

use crate::Percent;
use gateway_core::units::{Scalar, ShortForm};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many retries and hedges there may be, beside a service's requests of the last ten seconds. Short form: `20`, the
/// percentage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryBudgetSettings {
    /// How many for every hundred requests. Default 20 (Envoy's and linkerd's).
    pub percent: Percent,
    /// How many a second always, so that services with little traffic have retries too. Default 3.
    pub min_per_second: u32,
}

impl Default for RetryBudgetSettings {
    fn default() -> Self {
        Self { percent: Percent::new(20), min_per_second: 3 }
    }
}

impl ShortForm for RetryBudgetSettings {
    const EXPECTED: &'static str = "a percentage from 0 to 100, or a table";
    const TYPE: &'static str = "integer";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        let Scalar::Number(percent) = value else { return None };
        Some(Percent::try_from(percent).map(|percent| Self { percent, ..Self::default() }))
    }
}

/// How many requests there were in the last ten seconds and how many further attempts, so that a struggling service is
/// not buried.
///
/// A window of time rather than what is on its way at one moment (Envoy's `retry_budget`): an instance that dies fails
/// many requests at once, and each of them should find another (the sum that tower's `TpsBudget` keeps). Only first
/// attempts count as requests, so that with a fifth a total outage makes 1.2 attempts for each.
#[derive(Debug, Default)]
pub(crate) struct RetryBudget {
    /// By the second, in turn: its number in the upper bits, then first and further attempts.
    seconds: [AtomicU64; WINDOW as usize],
}

const WINDOW: u64 = 10;

const BITS: u32 = 22;
const MOST: u64 = (1 << BITS) - 1;

/// What happened in one second.
#[derive(Clone, Copy)]
struct Second {
    number: u64,
    first: u64,
    further: u64,
}

impl Second {
    fn unpack(bits: u64) -> Self {
        Self { number: bits >> (2 * BITS), first: (bits >> BITS) & MOST, further: bits & MOST }
    }

    fn pack(self) -> u64 {
        (self.number << (2 * BITS)) | (self.first.min(MOST) << BITS) | self.further.min(MOST)
    }
}

impl RetryBudget {
    /// Counts a request. Times are in milliseconds of one clock.
    pub(crate) fn begin(&self, now: u64) {
        self.count(now, |second| second.first += 1);
    }

    /// Takes the right to a further attempt. Threads that ask at the same moment may go over by one each.
    pub(crate) fn take(&self, now: u64, settings: &RetryBudgetSettings) -> bool {
        let number = number(now);
        let (mut first, mut further) = (0, 0);
        for second in &self.seconds {
            let second = Second::unpack(second.load(Ordering::Relaxed));
            if (number + NUMBERS - second.number) % NUMBERS < WINDOW {
                first += second.first;
                further += second.further;
            }
        }
        let share = first * u64::from(settings.percent.get()) / 100;
        let allowed = further < share + u64::from(settings.min_per_second) * WINDOW;
        if allowed {
            self.count(now, |second| second.further += 1);
        }
        allowed
    }

    fn count(&self, now: u64, add: impl Fn(&mut Second)) {
        let number = number(now);
        let slot = &self.seconds[(number % WINDOW) as usize];
        let counted = |bits| {
            let mut second = Second::unpack(bits);
            if second.number != number {
                second = Second { number, first: 0, further: 0 };
            }
            add(&mut second);
            Some(second.pack())
        };
        // Always counts: the closure never gives up.
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted);
    }
}

/// As many seconds as the upper bits can tell apart: twelve days, a multiple of the window.
const NUMBERS: u64 = (1 << (64 - 2 * BITS)) / WINDOW * WINDOW;

fn number(now: u64) -> u64 {
    now / 1000 % NUMBERS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(budget: &RetryBudget, now: u64) -> usize {
        let settings = RetryBudgetSettings::default();
        std::iter::repeat_with(|| budget.take(now, &settings)).take_while(|taken| *taken).count()
    }

    #[test]
    fn a_fifth_of_the_last_ten_seconds_may_follow_and_three_a_second_always() {
        let budget = RetryBudget::default();
        assert_eq!(taken(&budget, 500), 30);
        (0..100).for_each(|_| budget.begin(1_000));
        assert_eq!(taken(&budget, 1_999), 20);
        assert_eq!(taken(&budget, 9_999), 0, "nothing is forgotten within the window");
        assert_eq!(taken(&budget, 10_000), 30, "what was taken in the first second is over");
        assert_eq!(taken(&budget, 11_000), 0, "and so are the requests of the second");
        assert_eq!(taken(&budget, 1_000_000), 30);
    }

    #[test]
    fn its_numbers_can_be_set() {
        for (percent, min_per_second, expected) in [(0, 0, 0), (0, 1, 10), (100, 0, 50), (50, 2, 45)] {
            let settings = RetryBudgetSettings { percent: Percent::new(percent), min_per_second };
            let budget = RetryBudget::default();
            (0..50).for_each(|_| budget.begin(0));
            let taken = (0..100).filter(|_| budget.take(0, &settings)).count();
            assert_eq!(taken, expected, "{settings:?}");
        }
    }

    #[test]
    fn a_clock_that_has_run_for_longer_than_can_be_counted_begins_anew() {
        let budget = RetryBudget::default();
        let wrap = NUMBERS * 1000;
        (0..100).for_each(|_| budget.begin(wrap - 1));
        assert_eq!(taken(&budget, wrap), 50);
    }

    #[test]
    fn counts_do_not_run_over() {
        let budget = RetryBudget::default();
        budget.seconds[0].store(Second { number: 0, first: MOST, further: MOST }.pack(), Ordering::Relaxed);
        budget.begin(0);
        let second = Second::unpack(budget.seconds[0].load(Ordering::Relaxed));
        assert_eq!((second.number, second.first, second.further), (0, MOST, MOST));
    }
}
