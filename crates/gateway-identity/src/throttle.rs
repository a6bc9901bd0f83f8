//! How long somebody waits who guessed wrong.

use crate::ThrottleSettings;
use crate::clock::{Millis, millis};
use std::net::IpAddr;

/// The rules for one kind of caller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) free: u32,
    pub(crate) backoff: Millis,
    pub(crate) max_backoff: Millis,
    pub(crate) forget_after: Millis,
}

/// Whether an attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    Allowed,
    Refused { until: Millis },
}

impl Policy {
    pub(crate) fn new(settings: &ThrottleSettings, free: u32) -> Self {
        Self {
            free,
            backoff: millis(*settings.backoff),
            max_backoff: millis(*settings.max_backoff),
            forget_after: millis(*settings.forget_after),
        }
    }

    /// How long to wait after so many failures in a row.
    pub(crate) fn wait_after(&self, failures: i64) -> Millis {
        let beyond = failures.saturating_sub(i64::from(self.free));
        match u32::try_from(beyond) {
            Err(_) | Ok(0) => 0,
            Ok(beyond) => {
                let doubled = 1_i64.checked_shl(beyond - 1).filter(|factor| *factor > 0).unwrap_or(i64::MAX);
                self.backoff.saturating_mul(doubled).min(self.max_backoff)
            }
        }
    }
}

/// By what an address is counted. Who has an IPv6 address has its whole /64.
pub(crate) fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy() -> Policy {
        Policy::new(&ThrottleSettings::default(), 5)
    }

    #[test]
    fn the_wait_doubles_after_the_free_attempts_and_ends_at_the_maximum() {
        let waits: Vec<_> = [1, 5, 6, 7, 8, 15, 16, 1_000_000].map(|n| policy().wait_after(n)).to_vec();
        assert_eq!(waits, [0, 0, 1_000, 2_000, 4_000, 512_000, 900_000, 900_000]);
    }

    proptest! {
        #[test]
        fn a_wait_is_never_negative_never_shrinks_and_never_exceeds_the_maximum(failures in any::<i64>()) {
            let (now, next) = (policy().wait_after(failures), policy().wait_after(failures.saturating_add(1)));
            prop_assert!(now >= 0 && now <= next && next <= policy().max_backoff, "{now} {next}");
        }
    }

    #[test]
    fn addresses_are_counted_by_what_one_customer_has() {
        for (address, counted) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(network(address.parse().unwrap()), counted);
        }
    }
}
