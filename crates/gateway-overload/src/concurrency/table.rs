//! Counts by key without a lock: a fixed table of atomics in which only keys with requests in progress have a
//! place.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::yield_now;

/// A cell is 0 when free, else 43 bits of the key, one bit that says the claim is not settled yet, and 20 bits
/// of count.
const COUNT_BITS: u32 = 20;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const CLAIM: u64 = 1 << COUNT_BITS;
const TAG_SHIFT: u32 = COUNT_BITS + 1;

/// How far from its first cell a key may stand: four cache lines.
const REACH: usize = 32;

/// The most that a count can be.
pub(crate) const MAX_COUNT: u32 = 1_000_000;

/// The counts.
///
/// A key must not stand in two cells, or it would have twice its limit. Who finds no cell for its key claims a
/// free one and looks again, at all the others within reach; of two that claim at the same time at least one
/// sees the other (all accesses are sequentially consistent), and the one further on gives way. Who meets a claim
/// that is not settled lets its thread go on first; only the first request of a key is ever unsettled.
#[derive(Debug)]
pub(crate) struct Table {
    cells: Box<[AtomicU64]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Counted, in this cell.
    At(usize),
    /// The key has as many as it may.
    Full,
    /// Too many other keys are in progress.
    NoRoom,
}

enum Found {
    Cell(usize, u64),
    Free(usize),
    Nothing,
}

impl Table {
    /// Room for about this many keys at once: twice the cells, so that one is nearly always within reach.
    pub(crate) fn new(keys: u32) -> Self {
        let cells = (keys as usize * 2).next_power_of_two().clamp(REACH * 2, 1 << 21);
        Self { cells: (0..cells).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The cells where the key may stand. Its high bits choose the first, its low bits are the tag.
    fn reach(&self, key: u64) -> impl Iterator<Item = usize> + use<> {
        let (start, mask) = ((key >> 43) as usize, self.cells.len() - 1);
        (0..REACH).map(move |offset| (start + offset) & mask)
    }

    fn find(&self, key: u64) -> Found {
        let mut free = None;
        for index in self.reach(key) {
            let value = self.cells[index].load(SeqCst);
            if value == 0 {
                free = free.or(Some(index));
            } else if is_of(value, key) {
                return Found::Cell(index, value);
            }
        }
        free.map_or(Found::Nothing, Found::Free)
    }

    /// Counts one more, unless the key has `max` already.
    pub(crate) fn take(&self, key: u64, max: u32) -> Taken {
        loop {
            match self.find(key) {
                Found::Cell(_, value) if value & CLAIM != 0 => yield_now(),
                Found::Cell(_, value) if value & COUNT >= u64::from(max) => return Taken::Full,
                Found::Cell(index, value) => {
                    hesitate();
                    if self.cells[index].compare_exchange(value, value + 1, SeqCst, SeqCst).is_ok() {
                        return Taken::At(index);
                    }
                }
                Found::Free(_) if max == 0 => return Taken::Full,
                Found::Free(index) => {
                    let settled = (key << TAG_SHIFT) | 1;
                    hesitate();
                    if self.cells[index].compare_exchange(0, settled | CLAIM, SeqCst, SeqCst).is_err() {
                        continue;
                    }
                    hesitate();
                    if self.is_alone(key, index) {
                        hesitate();
                        self.cells[index].store(settled, SeqCst);
                        return Taken::At(index);
                    }
                    self.cells[index].store(0, SeqCst);
                    yield_now();
                }
                Found::Nothing => return Taken::NoRoom,
            }
        }
    }

    /// Whether the claim at this cell holds: the key stands nowhere else, and claims no cell before it.
    fn is_alone(&self, key: u64, mine: usize) -> bool {
        self.reach(key).filter(|index| *index != mine).all(|index| {
            loop {
                let value = self.cells[index].load(SeqCst);
                if value == 0 || !is_of(value, key) {
                    return true;
                }
                if value & CLAIM == 0 || index < mine {
                    return false;
                }
                // It is further on and unsettled: either it sees this claim and gives way, or it is settling.
                yield_now();
            }
        })
    }

    /// Gives back what was taken at this cell.
    pub(crate) fn give_back(&self, index: usize) {
        let less = |value: u64| Some(if value & COUNT <= 1 { 0 } else { value - 1 });
        // The closure always gives a value.
        let _ = self.cells[index].fetch_update(SeqCst, SeqCst, less);
    }

    /// All counts together.
    pub(crate) fn sum(&self) -> u64 {
        self.cells.iter().map(|cell| cell.load(SeqCst) & COUNT).sum()
    }
}

/// Where another thread may come between, tests let it.
#[cfg(not(test))]
fn hesitate() {}
#[cfg(test)]
fn hesitate() {
    if fastrand::u8(..4) == 0 {
        yield_now();
    }
}

fn is_of(value: u64, key: u64) -> bool {
    value >> TAG_SHIFT == (key << TAG_SHIFT) >> TAG_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn a_key_never_has_more_than_its_limit_whatever_the_interleaving() {
        // All keys begin at the same cell and come and go all the time, so that claims collide.
        let table = Table::new(64);
        let held: [AtomicU32; 6] = Default::default();
        std::thread::scope(|scope| {
            for thread in 0..8u64 {
                let (table, held) = (&table, &held);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(thread);
                    for _ in 0..5_000 {
                        let key = random.usize(..held.len());
                        let Taken::At(index) = table.take(key as u64 + 1, 2) else { continue };
                        let now = held[key].fetch_add(1, SeqCst) + 1;
                        assert!(now <= 2, "key {key} has {now}");
                        if random.bool() {
                            yield_now();
                        }
                        held[key].fetch_sub(1, SeqCst);
                        table.give_back(index);
                    }
                });
            }
        });
        assert_eq!(table.sum(), 0);
        assert!(table.cells.iter().all(|cell| cell.load(SeqCst) == 0), "a cell was not freed");
    }

    #[test]
    fn without_a_free_cell_within_reach_a_new_key_is_told_so_and_old_ones_go_on() {
        let table = Table::new(1);
        for key in 0..REACH as u64 {
            assert!(matches!(table.take(key + 1, 2), Taken::At(_)), "{key}");
        }
        assert_eq!(table.take(1000, 2), Taken::NoRoom);
        assert!(matches!(table.take(1, 2), Taken::At(_)));
        assert_eq!(table.take(1, 2), Taken::Full);
    }

    proptest! {
        #[test]
        fn it_counts_like_a_map(steps in proptest::collection::vec((0u64..8, any::<bool>(), 0u64..4), 0..400), max in 0u32..4) {
            let table = Table::new(64);
            let mut model: HashMap<u64, Vec<usize>> = HashMap::new();
            for (tag, take, start) in steps {
                // Overlapping reaches; tags differ.
                let key = tag | (start << 3) | (start << 43);
                let held = model.entry(key).or_default();
                if take {
                    match table.take(key, max) {
                        Taken::At(index) => held.push(index),
                        Taken::Full => prop_assert_eq!(held.len(), max as usize),
                        Taken::NoRoom => prop_assert!(false, "there is room"),
                    }
                    prop_assert!(held.len() <= max as usize);
                } else if let Some(index) = held.pop() {
                    table.give_back(index);
                }
                prop_assert_eq!(table.sum(), model.values().map(|held| held.len() as u64).sum::<u64>());
            }
        }
    }
}
