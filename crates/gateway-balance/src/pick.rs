//! Whose turn it is among the endpoints of a level.

use crate::member::Member;
use crate::plan::{Heaviness, Level, Plan};
use crate::policy::PolicySettings;
use crate::strategy::Strategy;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A strategy with what it looks at.
pub(crate) struct Order<'a> {
    pub(crate) policy: &'a PolicySettings,
    pub(crate) members: &'a [Arc<Member>],
    /// For the strategy that goes in turn: whose it is.
    pub(crate) turn: &'a AtomicUsize,
    /// What the request is told apart by, if the strategy hashes and the request has it.
    pub(crate) hash: Option<u64>,
    pub(crate) now: u64,
}

/// The turns of endpoints. Further attempts have turns of their own: else of two endpoints the one that fails would have
/// all first attempts.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    pub(crate) first: AtomicUsize,
    pub(crate) further: AtomicUsize,
}

impl Order<'_> {
    /// The index of the member whose turn it is.
    pub(crate) fn first(&self, level: &Level) -> Option<usize> {
        if let [only] = *level.members {
            return Some(only as usize);
        }
        match self.policy.strategy {
            Strategy::RoundRobin => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                level.round.get(turn.checked_rem(level.round.len())?)
            }
            Strategy::Random => fastrand::choice(&*level.round),
            Strategy::LeastRequest => return self.least_request(level),
            Strategy::PeakEwma => return self.peak_ewma(level),
            Strategy::RingHash | Strategy::Maglev => return self.by_hash(level),
        }
        .map(|index| *index as usize)
    }

    /// With equal weights the less busy of two taken at random; else at random by `weight / (active + 1)^bias`, what
    /// Envoy's scheduler comes to.
    fn least_request(&self, level: &Level) -> Option<usize> {
        let active = |place: usize| self.active(level.members[place]);
        let place = match level.heaviness {
            Heaviness::Even => {
                let (a, b) = two_of(level.members.len())?;
                if active(a) <= active(b) { a } else { b }
            }
            Heaviness::Uneven => {
                let chance = |place| self.policy.request_bias.chance(level.weights[place], active(place));
                by_chance(level.members.len(), chance)?
            }
        };
        Some(level.members[place] as usize)
    }

    /// Of two taken at random the one that should be done sooner, for its weight.
    fn peak_ewma(&self, level: &Level) -> Option<usize> {
        let cost = |place: usize| {
            let member = level.members[place];
            let estimate = self.members[member as usize].ewma.estimate(self.now, &self.policy.ewma);
            estimate * (self.active(member) + 1) as f64 / f64::from(level.weights[place].max(1))
        };
        let (a, b) = two_of(level.members.len())?;
        let place = if cost(a) <= cost(b) { a } else { b };
        Some(level.members[place] as usize)
    }

    /// Where the key belongs, or the next that is not too busy. Requests without a key go anywhere.
    fn by_hash(&self, level: &Level) -> Option<usize> {
        let hash = self.hash.unwrap_or_else(|| fastrand::u64(..));
        let table = level.table.as_ref()?;
        let first = table.walk(hash).next();
        let Some(factor) = self.policy.bounded_load else { return first };
        let total = level.members.iter().map(|member| self.active(*member)).sum();
        let free = table.walk(hash).find(|index| {
            let active = self.members[*index].in_flight.load(Ordering::Relaxed);
            let weight = self.members[*index].endpoint.weight();
            !factor.is_exceeded(active, total, weight, level.sum)
        });
        free.or(first)
    }

    /// Another than those already tried, in the order that suits the strategy.
    pub(crate) fn other(&self, plan: &Plan, level: &Level, first: usize, tried: &[usize]) -> Option<usize> {
        let fresh = |index: &usize| !tried.contains(index);
        let walked = match (&level.table, self.hash) {
            (Some(table), Some(hash)) if tried.len() < level.members.len() => table.walk(hash).find(fresh),
            _ => level.after(first).find(fresh),
        };
        walked.or_else(|| plan.levels.iter().flat_map(Level::indexes).find(fresh))
    }

    fn active(&self, member: u32) -> usize {
        self.members[member as usize].in_flight.load(Ordering::Relaxed)
    }
}

/// Two different places of `n`, at random.
fn two_of(n: usize) -> Option<(usize, usize)> {
    match n {
        0 => None,
        1 => Some((0, 0)),
        n => {
            let (a, b) = (fastrand::usize(..n), fastrand::usize(..n - 1));
            Some((a, if b >= a { b + 1 } else { b }))
        }
    }
}

/// One of `n` places at random, each as likely as its chance says.
fn by_chance(n: usize, chance: impl Fn(usize) -> f64) -> Option<usize> {
    let sum: f64 = (0..n).map(&chance).sum();
    let mut left = fastrand::f64() * sum;
    // Loads change between the two looks: whoever is last takes what is left over.
    (0..n)
        .find(|place| {
            left -= chance(*place);
            left < 0.0
        })
        .or(n.checked_sub(1))
}

impl Level {
    pub(crate) fn indexes(&self) -> impl Iterator<Item = usize> {
        self.members.iter().map(|index| *index as usize)
    }

    /// The members in their order, beginning after this one.
    pub(crate) fn after(&self, index: usize) -> impl Iterator<Item = usize> {
        let at = self.members.iter().position(|member| *member as usize == index).map_or(0, |at| at + 1);
        self.members.iter().cycle().skip(at).take(self.members.len()).map(|index| *index as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn two_of_many_are_different_and_within(n in 2usize..50) {
            let (a, b) = two_of(n).unwrap();
            prop_assert!(a != b && a < n && b < n);
        }

        #[test]
        fn chances_are_kept(chances in prop::collection::vec(0u8..10, 2..6)) {
            const DRAWS: usize = 20_000;
            let sum: u32 = chances.iter().map(|chance| u32::from(*chance)).sum();
            prop_assume!(sum > 0);
            let mut counts = vec![0; chances.len()];
            for _ in 0..DRAWS {
                counts[by_chance(chances.len(), |place| f64::from(chances[place])).unwrap()] += 1;
            }
            for (count, chance) in counts.into_iter().zip(&chances) {
                let expected = DRAWS as f64 * f64::from(*chance) / f64::from(sum);
                // Five standard deviations.
                prop_assert!((f64::from(count) - expected).abs() <= 5.0 * expected.sqrt() + 1.0);
            }
        }
    }
}
