//! What share of the requests is shed: arithmetic.

/// What was seen within the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Requests that were admitted and answered.
    pub answered: u64,
    /// Those of them that succeeded.
    pub succeeded: u64,
    /// Requests that came, admitted or not, by [`Priority::index`](crate::Priority::index).
    pub arrived: [u64; 3],
}

/// The share of all requests to shed: `max(0, (n − ok / success_rate) / (n + 1)) ^ (1 / aggression)`, at most
/// `max`. (Envoy: admission control; the SRE book's client-side throttling.)
///
/// Only admitted requests count as `n`: what was shed says nothing about the service.
#[must_use]
pub fn rejection(seen: Seen, success_rate: f64, aggression: f64, max: f64) -> f64 {
    let (n, ok) = (seen.answered as f64, seen.succeeded as f64);
    let excess = ((n - ok / success_rate) / (n + 1.0)).max(0.0);
    // No number, from settings that make no sense, sheds nothing.
    excess.powf(1.0 / aggression).max(0.0).min(max)
}

/// How the share `p` of all requests is taken from the classes: as much as possible from the lowest, the rest
/// from the next. Gives the probability with which a request of each class is shed.
///
/// With 30 % sheddable and 70 % default requests, a share of 15 % sheds every second sheddable request and no
/// other; a share of 65 % sheds all that are sheddable and half of the others. A class of which nothing came
/// takes nothing from the share; it is shed if there is something left to take when its turn comes.
#[must_use]
pub fn shed_by_class(p: f64, arrived: [u64; 3]) -> [f64; 3] {
    let all = arrived.iter().sum::<u64>().max(1) as f64;
    let mut left = p.clamp(0.0, 1.0);
    arrived.map(|arrived| {
        let share = arrived as f64 / all;
        let shed = if left <= f64::EPSILON {
            0.0
        } else if share == 0.0 {
            1.0
        } else {
            (left / share).min(1.0)
        };
        left -= share * shed;
        shed
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn p(answered: u64, succeeded: u64) -> f64 {
        rejection(Seen { answered, succeeded, arrived: [0; 3] }, 0.95, 1.0, 0.8)
    }

    #[test]
    fn the_share_follows_envoys_formula() {
        for (answered, succeeded, expected) in [
            (0, 0, 0.0),
            (100, 100, 0.0),
            (100, 95, 0.0),
            (100, 90, (100.0 - 90.0 / 0.95) / 101.0),
            (100, 50, (100.0 - 50.0 / 0.95) / 101.0),
            (100, 0, 0.8),
            (1, 0, 0.5),
        ] {
            let found = p(answered, succeeded);
            assert!((found - expected).abs() < 1e-9, "{succeeded} of {answered}: {found}, not {expected}");
        }
        let seen = Seen { answered: 100, succeeded: 90, arrived: [0; 3] };
        let gentle = rejection(seen, 0.95, 2.0, 0.8);
        assert!((gentle - (((100.0 - 90.0 / 0.95) / 101.0_f64).sqrt())).abs() < 1e-9, "{gentle}");
    }

    #[test]
    fn the_lowest_class_is_shed_before_the_next() {
        for (share, arrived, expected) in [
            (0.0, [30, 70, 0], [0.0, 0.0, 0.0]),
            (0.15, [30, 70, 0], [0.5, 0.0, 0.0]),
            (0.65, [30, 70, 0], [1.0, 0.5, 0.0]),
            (0.8, [0, 100, 0], [1.0, 0.8, 0.0]),
            (0.8, [0, 0, 100], [1.0, 1.0, 0.8]),
            (0.8, [50, 25, 25], [1.0, 1.0, 0.2]),
        ] {
            let found = shed_by_class(share, arrived);
            for class in 0..3 {
                assert!((found[class] - expected[class]).abs() < 1e-9, "{share} of {arrived:?}: {found:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_classes_together_shed_the_share_and_a_higher_one_only_when_the_lower_is_shed_wholly(
            share in 0.0f64..=1.0, arrived in proptest::array::uniform3(0u64..1000)
        ) {
            let shed = shed_by_class(share, arrived);
            let all = arrived.iter().sum::<u64>();
            let together: f64 = shed.iter().zip(arrived).map(|(shed, arrived)| shed * arrived as f64).sum();
            prop_assert!(all == 0 || (together / all as f64 - share).abs() < 1e-6, "{together} of {all}");
            for pair in shed.windows(2) {
                prop_assert!(pair[0] >= pair[1], "{shed:?}");
                prop_assert!(pair[1] == 0.0 || pair[0] > 1.0 - 1e-6, "{shed:?}");
            }
            prop_assert!(shed.iter().all(|p| (0.0..=1.0).contains(p)));
        }

        #[test]
        fn the_share_is_within_its_bounds_and_falls_with_success(
            answered in 0u64..10_000, part in 0.0f64..=1.0, rate in 0.01f64..=1.0, aggression in 0.1f64..10.0, max in 0.0f64..=1.0
        ) {
            let succeeded = (answered as f64 * part) as u64;
            let of = |succeeded| rejection(Seen { answered, succeeded, arrived: [0; 3] }, rate, aggression, max);
            prop_assert!((0.0..=max).contains(&of(succeeded)));
            prop_assert!(of(succeeded) <= of(succeeded / 2));
        }
    }
}
