//! The generic cell rate algorithm (ITU-T I.371), as arithmetic over nanoseconds: no clock, no state of its own.

use crate::Limit;
use std::time::Duration;

/// What a limit says of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may pass.
    Allow {
        /// How many more may come at once.
        remaining: u32,
        /// Until the limit is whole again.
        reset: Duration,
    },
    /// It is too much.
    Refuse {
        /// Until one may pass.
        retry_after: Duration,
        /// Until the limit is whole again.
        reset: Duration,
    },
}

/// Decides about one request at `now`, given the state left by the one before (0 at first); returns the state to
/// keep, which is unchanged by a refusal.
///
/// The state is the theoretical arrival time: when all that has passed will have been worked off.
#[must_use]
pub fn decide(state: u64, now: u64, limit: &Limit) -> (Decision, u64) {
    let interval = limit.interval();
    let full = interval.saturating_mul(u64::from(limit.burst()));
    let next = state.max(now).saturating_add(interval);
    let used = next - now;
    if used > full {
        let decision = Decision::Refuse {
            retry_after: Duration::from_nanos(used - full),
            reset: Duration::from_nanos(used - interval),
        };
        return (decision, state);
    }
    let remaining = u32::try_from((full - used) / interval).unwrap_or(u32::MAX);
    (Decision::Allow { remaining, reset: Duration::from_nanos(used) }, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn s4_22_the_last_of_the_limit_passes_and_the_next_does_not() {
        let limit: Limit = "3/min".parse().unwrap();
        let (mut state, mut seen) = (0, Vec::new());
        for at in [0, 0, 0, 0, 19, 20, 20, 60] {
            let (decision, next) = decide(state, at * SECOND, &limit);
            state = next;
            seen.push(match decision {
                Decision::Allow { remaining, .. } => i64::from(remaining),
                Decision::Refuse { retry_after, .. } => -(retry_after.as_secs() as i64),
            });
        }
        assert_eq!(seen, [2, 1, 0, -20, -1, 0, -20, 1]);
    }

    proptest! {
        #[test]
        fn no_window_ever_passes_more_than_the_burst_and_the_rate(
            count in 1u32..50, seconds in 1u64..20, burst in 1u32..50,
            gaps in prop::collection::vec(0u64..3 * SECOND, 1..200),
        ) {
            let limit: Limit = format!("{count}/{seconds}s burst {burst}").parse().unwrap();
            let (mut state, mut now, mut passed) = (0, 0, Vec::new());
            for gap in gaps {
                now += gap;
                let (decision, next) = decide(state, now, &limit);
                state = next;
                if matches!(decision, Decision::Allow { .. }) {
                    passed.push(now);
                }
            }
            for (i, start) in passed.iter().enumerate() {
                for (j, end) in passed.iter().enumerate().skip(i) {
                    let allowed = u64::from(burst) + (end - start) / limit.interval();
                    prop_assert!((j - i + 1) as u64 <= allowed, "{} in {} ns", j - i + 1, end - start);
                }
            }
        }

        #[test]
        fn extreme_values_never_panic(state: u64, now: u64, count in 1u32.., burst in 1u32.., days in 1u32..366) {
            let limit: Limit = format!("{count}/{days}d burst {burst}").parse().unwrap();
            let _ = decide(state, now, &limit);
        }

        #[test]
        fn waiting_as_long_as_told_is_enough(count in 1u32..1000, burst in 1u32..100, n in 0usize..300) {
            let limit: Limit = format!("{count}/min burst {burst}").parse().unwrap();
            let mut state = 0;
            for _ in 0..n {
                state = decide(state, 0, &limit).1;
            }
            if let (Decision::Refuse { retry_after, .. }, state) = decide(state, 0, &limit) {
                let then = retry_after.as_nanos() as u64;
                let (after, _) = decide(state, then, &limit);
                prop_assert!(matches!(after, Decision::Allow { .. }), "{:?}", after);
                let (before, _) = decide(state, then - 1, &limit);
                prop_assert!(matches!(before, Decision::Refuse { .. }), "{:?}", before);
            }
        }
    }
}
