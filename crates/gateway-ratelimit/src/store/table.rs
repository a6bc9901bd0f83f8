//! A hash table by [`Key`] that waits for memory once.
//!
//! An entry and its key fill one cache line, and whether a place is taken is told there too. A table with control bytes
//! apart from its entries, such as `std`'s, is more compact to search, but where it is larger than the processor's caches
//! each look-up waits for two lines, one after the other: with a million callers that is most of what a decision takes.

use crate::key::Key;

/// Places are looked for from a key's own on (linear probing), so there have to be some free: one of five.
const MOST_TAKEN: (usize, usize) = (4, 5);

/// Keys are keyed hashes already: their low bits are where they belong.
#[derive(Debug)]
pub(super) struct Table<T> {
    /// None, or a power of two.
    slots: Box<[Slot<T>]>,
    len: usize,
}

#[derive(Debug)]
#[repr(align(64))]
struct Slot<T>(Option<(Key, T)>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: Box::default(), len: 0 }
    }
}

impl<T> Table<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        self.slots.get(self.place(key))?.0.as_ref().map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.place(key);
        self.slots.get_mut(place)?.0.as_mut().map(|(_, value)| value)
    }

    pub(super) fn insert(&mut self, key: Key, value: T) {
        let (taken, of) = MOST_TAKEN;
        if (self.len + 1) * of > self.slots.len() * taken {
            self.rebuild((self.slots.len() * 2).max(4), |_| true);
        }
        let place = self.place(key);
        self.len += usize::from(self.slots[place].0.replace((key, value)).is_none());
    }

    pub(super) fn remove(&mut self, key: Key) {
        let mut hole = self.place(key);
        if self.slots.get_mut(hole).and_then(|slot| slot.0.take()).is_none() {
            return;
        }
        self.len -= 1;
        // Who stands behind because the place was taken moves up, or would not be found any more.
        let mask = self.slots.len() - 1;
        let mut at = (hole + 1) & mask;
        while let Some((key, _)) = &self.slots[at].0 {
            let (from_home, from_hole) =
                (at.wrapping_sub(*key as usize) & mask, at.wrapping_sub(hole) & mask);
            if from_home >= from_hole {
                self.slots.swap(at, hole);
                hole = at;
            }
            at = (at + 1) & mask;
        }
    }

    /// Forgets all but those.
    pub(super) fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.rebuild(self.slots.len(), keep);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().filter_map(|slot| slot.0.as_ref()).map(|(key, value)| (*key, value))
    }

    /// Where a key is, or else would be; beyond the end of a table without places.
    fn place(&self, key: Key) -> usize {
        let mask = self.slots.len().wrapping_sub(1);
        let mut place = key as usize & mask;
        while let Some(Slot(Some((other, _)))) = self.slots.get(place)
            && *other != key
        {
            place = (place + 1) & mask;
        }
        place
    }

    fn rebuild(&mut self, places: usize, mut keep: impl FnMut(&T) -> bool) {
        let slots = (0..places).map(|_| Slot(None)).collect();
        let before = std::mem::replace(self, Self { slots, len: 0 });
        for (key, value) in before.slots.into_iter().filter_map(|slot| slot.0) {
            if keep(&value) {
                let place = self.place(key);
                self.slots[place].0 = Some((key, value));
                self.len += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(Key, u32),
        Remove(Key),
        Retain(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Few places, and many keys of the same place.
        let key = || (0_u128..6, 0_u128..8).prop_map(|(low, high)| high << 64 | low);
        prop_oneof![
            6 => (key(), any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
            3 => key().prop_map(Step::Remove),
            1 => (1_u32..4).prop_map(Step::Retain),
        ]
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_of_std_holds(steps in proptest::collection::vec(step(), 0..200)) {
            let (mut table, mut model) = (Table::default(), HashMap::new());
            for step in steps {
                match step {
                    Step::Insert(key, value) => {
                        table.insert(key, value);
                        model.insert(key, value);
                    }
                    Step::Remove(key) => {
                        table.remove(key);
                        model.remove(&key);
                    }
                    Step::Retain(of) => {
                        table.retain(|value| value % of == 0);
                        model.retain(|_, value| *value % of == 0);
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert_eq!(table.iter().map(|(key, value)| (key, *value)).collect::<HashMap<_, _>>(), model.clone());
                for key in (0..6).flat_map(|low| (0..8).map(move |high: Key| high << 64 | low)) {
                    prop_assert_eq!(table.get(key), model.get(&key));
                    prop_assert_eq!(table.get_mut(key).copied(), model.get(&key).copied());
                }
            }
        }
    }
}
