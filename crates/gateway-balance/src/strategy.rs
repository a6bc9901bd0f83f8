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
    pub(crate) fn hashes(self) -> bool {
        matches!(self, Self::RingHash | Self::Maglev)
    }
}

/// The order of one round: each index as often as its weight says, spread evenly.
///
/// As long as the sum of the weights, which is reduced by their common divisor and capped.
pub(crate) fn schedule(weights: &[(usize, u32)]) -> Vec<u32> {
    const LONGEST: u64 = 4096;
    let divisor = weights.iter().fold(0, |d, (_, w)| gcd(d, *w)).max(1);
    let sum: u64 = weights.iter().map(|(_, w)| u64::from(w / divisor)).sum();
    // Huge weights are scaled down; whoever has any share keeps at least one turn.
    let scaled = |w: u32| match u64::from(w / divisor) {
        w if sum <= LONGEST || w == 0 => w as i64,
        w => ((w * LONGEST / sum).max(1)) as i64,
    };
    let total: i64 = weights.iter().map(|(_, w)| scaled(*w)).sum();
    let mut current = vec![0i64; weights.len()];
    let mut round = Vec::with_capacity(total as usize);
    for _ in 0..total {
        let mut best = 0;
        for (i, (_, weight)) in weights.iter().enumerate() {
            current[i] += scaled(*weight);
            if current[i] > current[best] {
                best = i;
            }
        }
        current[best] -= total;
        round.push(weights[best].0 as u32);
    }
    round
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

    proptest! {
        #[test]
        fn every_endpoint_gets_exactly_its_weight(weights in prop::collection::vec(0u32..20, 1..8)) {
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
