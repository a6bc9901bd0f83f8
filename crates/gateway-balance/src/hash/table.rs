use super::hash;

/// The prime of Maglev's paper and of Envoy.
const MAGLEV: usize = 65_537;

/// One endpoint in a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot<'a> {
    pub(crate) index: u32,
    /// What it is hashed by: the same in every replica.
    pub(crate) name: &'a str,
    pub(crate) weight: u32,
}

/// Which endpoint a hash belongs to.
#[derive(Debug)]
pub(crate) enum Table {
    /// Points on a circle: a hash belongs to the next one. Only its own keys move when an endpoint goes.
    Ring(Box<[(u64, u32)]>),
    /// A table looked up in one step and shared evenly; a few more keys move (Eisenbud et al., 2016).
    Maglev(Box<[u32]>),
}

impl Table {
    /// A ring of at least 1024 points (Envoy's minimum), and at least 64 for an endpoint of middling weight, while
    /// all are there.
    ///
    /// `all` are the weights of those that may be there. Were it the weights of those that are, as with Envoy, every
    /// endpoint would get more points when one goes, and take keys from the others with them.
    pub(crate) fn ring(slots: &[Slot<'_>], all: impl Iterator<Item = u32>) -> Self {
        let (count, sum) = all.fold((0, 0), |(count, sum), weight| (count + 1, sum + u64::from(weight)));
        let size = (count * 64).clamp(1024, 65_536);
        let mut ring: Vec<_> = slots
            .iter()
            .flat_map(|slot| {
                let points = (size * u64::from(slot.weight)).div_ceil(sum.max(1));
                (0..points).map(|i| (hash([slot.name.as_bytes(), &i.to_be_bytes()]), slot.index))
            })
            .collect();
        ring.sort_unstable();
        Self::Ring(ring.into())
    }

    /// Maglev's table; weights as in Envoy: whoever has less than the heaviest sits out some rounds.
    pub(crate) fn maglev(slots: &[Slot<'_>]) -> Self {
        struct Turn {
            at: usize,
            skip: usize,
            taken: f64,
            weight: f64,
        }
        let heaviest = slots.iter().map(|slot| slot.weight).max().unwrap_or(0);
        if heaviest == 0 {
            return Self::Maglev(Box::default());
        }
        let turn = |slot: &Slot<'_>| Turn {
            at: (hash([slot.name.as_bytes()]) % MAGLEV as u64) as usize,
            skip: (hash([slot.name.as_bytes(), b"skip"]) % (MAGLEV as u64 - 1)) as usize + 1,
            taken: 0.0,
            weight: f64::from(slot.weight) / f64::from(heaviest),
        };
        let mut turns: Vec<_> = slots.iter().map(turn).collect();
        let mut table = vec![u32::MAX; MAGLEV];
        let (mut filled, mut rounds) = (0, 0.0);
        while filled < MAGLEV {
            rounds += 1.0;
            for (turn, slot) in turns.iter_mut().zip(slots) {
                if filled == MAGLEV || turn.taken + 1.0 > rounds * turn.weight + 1e-9 {
                    continue;
                }
                while table[turn.at] != u32::MAX {
                    turn.at = (turn.at + turn.skip) % MAGLEV;
                }
                table[turn.at] = slot.index;
                turn.taken += 1.0;
                filled += 1;
            }
        }
        Self::Maglev(table.into())
    }

    /// The endpoints for this hash: the first is where it belongs, the others follow when that cannot take it.
    /// They repeat.
    pub(crate) fn walk(&self, hash: u64) -> impl Iterator<Item = usize> {
        let (len, start) = match self {
            Self::Ring(ring) => (ring.len(), ring.partition_point(|(point, _)| *point < hash)),
            Self::Maglev(table) => (table.len(), (hash % MAGLEV as u64) as usize),
        };
        (0..len).map(move |step| {
            let at = (start + step) % len;
            match self {
                Self::Ring(ring) => ring[at].1 as usize,
                Self::Maglev(table) => table[at] as usize,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slots<'a>(names: &'a [String], weights: &[u32]) -> Vec<Slot<'a>> {
        let slot = |(i, (name, weight)): (usize, (&'a String, &u32))| Slot {
            index: i as u32,
            name,
            weight: *weight,
        };
        names.iter().zip(weights).enumerate().map(slot).collect()
    }

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("10.0.0.{i}:80")).collect()
    }

    fn owner(table: &Table, key: u64) -> usize {
        table.walk(hash([key.to_be_bytes().as_slice()])).next().unwrap()
    }

    const KEYS: u64 = 4000;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn endpoints_get_keys_by_their_weight(weights in prop::collection::vec(1u32..5, 2..8)) {
            let names = names(weights.len());
            let slots = slots(&names, &weights);
            let sum: u32 = weights.iter().sum();
            let ring = Table::ring(&slots, weights.iter().copied());
            for (table, tolerance, slack) in [(ring, 0.5, 80.0), (Table::maglev(&slots), 0.25, 40.0)] {
                let mut counts = vec![0u32; weights.len()];
                (0..KEYS).for_each(|key| counts[owner(&table, key)] += 1);
                for (count, weight) in counts.iter().zip(&weights) {
                    let expected = KEYS as f64 * f64::from(*weight) / f64::from(sum);
                    prop_assert!((f64::from(*count) - expected).abs() < expected * tolerance + slack, "{counts:?} for {weights:?}");
                }
            }
        }

        #[test]
        fn when_one_goes_only_its_keys_move_or_few_more(weights in prop::collection::vec(1u32..4, 3..9), gone in 0usize..9) {
            let gone = gone % weights.len();
            let names = names(weights.len());
            let ring = |slots: &[Slot<'_>]| Table::ring(slots, weights.iter().copied());
            let all = slots(&names, &weights);
            let left: Vec<_> = all.iter().filter(|slot| slot.index as usize != gone).copied().collect();
            for (before, after, most) in [
                (ring(&all), ring(&left), 0.0),
                (Table::maglev(&all), Table::maglev(&left), 0.12),
            ] {
                let moved = (0..KEYS).filter(|key| {
                    let was = owner(&before, *key);
                    was != gone && owner(&after, *key) != was
                });
                let moved = moved.count() as f64 / KEYS as f64;
                prop_assert!(moved <= most, "{moved} of the keys of others moved");
            }
        }
    }

    #[test]
    fn a_walk_comes_by_all_endpoints() {
        let (names, weights) = (names(5), [1; 5]);
        let slots = slots(&names, &weights);
        for table in [Table::ring(&slots, weights.into_iter()), Table::maglev(&slots)] {
            let mut seen: Vec<_> = table.walk(12345).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen, [0, 1, 2, 3, 4]);
        }
        let size = |table: &Table| table.walk(1).count();
        assert!(size(&Table::ring(&slots, weights.into_iter())) >= 1024, "Envoy's least");
        assert_eq!(size(&Table::maglev(&slots)), 65_537);
        assert_eq!(Table::maglev(&[]).walk(1).count() + Table::ring(&[], [].into_iter()).walk(1).count(), 0);
    }
}
