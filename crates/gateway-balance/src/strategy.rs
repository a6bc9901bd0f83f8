use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the next endpoint is picked among the healthy ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// In turn, interleaved by weight (nginx's smooth weighted round robin), exact under concurrency.
    #[default]
    RoundRobin,
    /// At random, by weight.
    Random,
    /// The one with fewer requests in flight for its weight, of two taken at random (Envoy: `LEAST_REQUEST`).
    LeastRequest,
    /// The faster and less busy one, of two taken at random: by how long answers have taken lately, slow ones
    /// remembered (linkerd2: `PeakEwma`). Failures count as slow.
    PeakEwma,
    /// By a property of the request, see `hash_on`: on a ring of at least 1024 points (Envoy: `RING_HASH`). When an
    /// endpoint goes, only its own requests come to others.
    RingHash,
    /// By a property of the request, see `hash_on`: in a table of 65537 places, spread more evenly than a ring
    /// and costlier when endpoints come and go; a few other requests move then too (Envoy: `MAGLEV`).
    Maglev,
}

impl Strategy {
    /// Whether it goes by a property of the request.
    #[must_use]
    pub fn hashes(self) -> bool {
        matches!(self, Self::RingHash | Self::Maglev)
    }
}

/// The order of one round: each index as often as its weight says, spread evenly.
///
/// As long as the sum of the weights, which is reduced by their common divisor and capped. Made anew whenever the health
/// of an endpoint changes, so that many of them must not take long.
pub(crate) fn schedule(weights: &[(usize, u32)]) -> Vec<u32> {
    const LONGEST: u64 = 4096;
    let divisor = weights.iter().fold(0, |d, (_, w)| gcd(d, *w)).max(1);
    let sum: u64 = weights.iter().map(|(_, w)| u64::from(w / divisor)).sum();
    // Huge weights are scaled down; whoever has any share keeps at least one turn.
    let scaled = |w: u32| match u64::from(w / divisor) {
        w if sum <= LONGEST || w == 0 => w,
        w => (w * LONGEST / sum).max(1),
    };
    let turns = weights.iter().map(|(index, w)| (*index as u32, scaled(*w))).filter(|(_, turns)| *turns > 0);
    let turns: Vec<(u32, u64)> = turns.collect();
    if turns.iter().all(|(_, turns)| *turns == 1) {
        turns.into_iter().map(|(index, _)| index).collect()
    } else if turns.len() <= SMOOTHEST {
        smooth(&turns)
    } else {
        spread(&turns)
    }
}

/// So many are interleaved as smoothly as can be, in time quadratic in their number.
const SMOOTHEST: usize = 32;

/// At each turn all gain by their weight, and who has most pays for it (nginx: smooth weighted round robin).
fn smooth(turns: &[(u32, u64)]) -> Vec<u32> {
    let total = turns.iter().map(|(_, turns)| *turns as i64).sum();
    let mut current = vec![0i64; turns.len()];
    let turn = |_| {
        let mut best = 0;
        for (i, (_, weight)) in turns.iter().enumerate() {
            current[i] += *weight as i64;
            if current[i] > current[best] {
                best = i;
            }
        }
        current[best] -= total;
        turns[best].0
    };
    (0..total).map(turn).collect()
}

/// Each has one turn in each of as many equal parts of the round as it has turns, always at the same place of the part.
/// Those places differ by the golden ratio, which spreads any number of them evenly.
fn spread(turns: &[(u32, u64)]) -> Vec<u32> {
    const GOLDEN: u32 = 0x9e37_79b9;
    let places = |(at, (index, count)): (usize, &(u32, u64))| {
        let (index, count) = (*index, *count);
        let within = u64::from((at as u32).wrapping_mul(GOLDEN));
        (0..count).map(move |turn| (((turn << 32) + within) / count, index))
    };
    let mut round: Vec<(u64, u32)> = turns.iter().enumerate().flat_map(places).collect();
    round.sort_unstable();
    round.into_iter().map(|(_, index)| index).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn weights_are_interleaved_and_not_bunched() {
        assert_eq!(schedule(&[(0, 5), (1, 1), (2, 1)]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(schedule(&[(0, 1), (1, 1)]), [0, 1]);
        assert_eq!(schedule(&[(0, 100), (1, 100)]), [0, 1]);
        assert_eq!(schedule(&[(3, 1), (5, 0)]), [3]);
        assert!(schedule(&[(0, 0)]).is_empty());
    }

    #[test]
    fn many_endpoints_have_their_turns_at_equal_distances() {
        let weights: Vec<_> = (0..1000).map(|i| (i, if i == 7 { 100 } else { 1 + i as u32 % 2 })).collect();
        let round = schedule(&weights);
        assert_eq!(round.len(), 100 + 500 + 2 * 499);
        let places: Vec<_> = (0..round.len()).filter(|at| round[*at] == 7).collect();
        assert_eq!(places.len(), 100);
        let distances = places.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(
            distances.clone().all(|distance| distance.abs_diff(16) <= 15),
            "{:?}",
            distances.collect::<Vec<_>>()
        );
        assert_eq!(schedule(&(0..1000).map(|i| (i, 3)).collect::<Vec<_>>()), (0..1000).collect::<Vec<u32>>());
    }

    proptest! {
        #[test]
        fn every_endpoint_gets_exactly_its_weight(weights in prop::collection::vec(0u32..20, 1..80)) {
            let indexed: Vec<_> = weights.iter().copied().enumerate().collect();
            let divisor = weights.iter().fold(0, |d, w| gcd(d, *w)).max(1);
            let round = schedule(&indexed);
            for (i, weight) in indexed {
                let turns = round.iter().filter(|turn| **turn as usize == i).count();
                prop_assert_eq!(turns as u32, weight / divisor);
            }
        }

        #[test]
        fn huge_weights_stay_affordable_and_nobody_is_forgotten(weights in prop::collection::vec(1u32.., 1..8)) {
            let indexed: Vec<_> = weights.iter().copied().enumerate().collect();
            let round = schedule(&indexed);
            prop_assert!(round.len() <= 4096 + weights.len());
            for i in 0..weights.len() {
                prop_assert!(round.contains(&(i as u32)));
            }
        }
    }
}
