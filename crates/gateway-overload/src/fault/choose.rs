//! Which faults a request gets: a decision over numbers.

use super::FaultSettings;
use crate::settings::{OverloadError, within};
use http::StatusCode;
use std::num::NonZeroU64;
use std::time::Duration;

/// The faults of one request. The answer carries them in its extensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// It waits for so long.
    pub delay: Option<Duration>,
    /// It is answered so.
    pub abort: Option<StatusCode>,
    /// So many bytes of the answer are sent in a second.
    pub rate: Option<NonZeroU64>,
}

impl Faults {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A fault and how many of a hundred requests get it.
type Share<T> = Option<(T, f64)>;

/// The faults that are injected, each with its share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    delay: Share<Duration>,
    abort: Share<StatusCode>,
    rate: Share<NonZeroU64>,
}

impl Mix {
    pub(crate) fn new(settings: &FaultSettings) -> Result<Self, OverloadError> {
        let share = |key, percent| within(key, percent, 0.0..=100.0, "0 to 100");
        let delay = match &settings.delay {
            Some(delay) => Some((delay.time.0, share("delay.percent", delay.percent)?)),
            None => None,
        };
        let abort = match &settings.abort {
            Some(abort) => {
                let status = within("abort.status", abort.status, 200..=599, "200 to 599")?;
                // A number in this range is a status.
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                Some((status, share("abort.percent", abort.percent)?))
            }
            None => None,
        };
        let rate = match &settings.rate {
            Some(rate) => {
                let Some(bytes) = NonZeroU64::new(rate.per_second.bytes()) else {
                    let found = rate.per_second.to_string();
                    return Err(OverloadError::Range {
                        key: "rate.per_second",
                        found,
                        expected: "at least 1B",
                    });
                };
                Some((bytes, share("rate.percent", rate.percent)?))
            }
            None => None,
        };
        if delay.is_none() && abort.is_none() && rate.is_none() {
            return Err(OverloadError::NoFault);
        }
        Ok(Self { delay, abort, rate })
    }

    /// The faults of one request. Each is rolled for on its own; `dice` gives numbers from 0 up to but not
    /// including 1. What is aborted has no answer to slow down.
    pub(crate) fn choose(&self, mut dice: impl FnMut() -> f64) -> Faults {
        fn hit<T: Copy>(share: Share<T>, dice: &mut impl FnMut() -> f64) -> Option<T> {
            share.filter(|(_, percent)| dice() * 100.0 < *percent).map(|(fault, _)| fault)
        }
        let (delay, abort) = (hit(self.delay, &mut dice), hit(self.abort, &mut dice));
        let rate = if abort.is_some() { None } else { hit(self.rate, &mut dice) };
        Faults { delay, abort, rate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mix(json: serde_json::Value) -> Mix {
        Mix::new(&serde_json::from_value(json).unwrap()).unwrap()
    }

    #[test]
    fn each_fault_is_rolled_for_on_its_own() {
        let mix = mix(serde_json::json!({
            "delay": { "time": "1s", "percent": 50 },
            "abort": { "status": 502, "percent": 10 },
            "rate": { "per_second": "1KiB", "percent": 100 }
        }));
        let (delay, abort, rate) =
            (Some(Duration::from_secs(1)), Some(StatusCode::BAD_GATEWAY), NonZeroU64::new(1024));
        for (rolls, expected) in [
            ([0.49, 0.09, 0.0], Faults { delay, abort, rate: None }),
            ([0.49, 0.1, 0.99], Faults { delay, abort: None, rate }),
            ([0.5, 0.0, 0.0], Faults { delay: None, abort, rate: None }),
            ([0.5, 0.99, 0.99], Faults { delay: None, abort: None, rate }),
        ] {
            let mut rolls = rolls.into_iter();
            assert_eq!(mix.choose(|| rolls.next().unwrap()), expected);
        }
    }

    proptest! {
        #[test]
        fn the_share_is_what_was_asked_for(percent in 0u32..=100, seed in any::<u64>()) {
            let mix = mix(serde_json::json!({ "abort": { "percent": percent } }));
            let mut random = fastrand::Rng::with_seed(seed);
            let hits = (0..10_000).filter(|_| mix.choose(|| random.f64()).abort.is_some()).count();
            // Six standard deviations of 50 at most.
            prop_assert!(hits.abs_diff(percent as usize * 100) <= 300, "{hits} of 10000");
            prop_assert!(!(percent == 0 && hits > 0 || percent == 100 && hits < 10_000));
        }
    }
}
