//! A part of the memory tier: entries by key, with SIEVE (NSDI '24) to tell which to forget.

use crate::entry::Entry;
use crate::semantics::vary;
use crate::store::purge::Purge;
use hashbrown::{HashMap, HashSet};
use http::HeaderMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How many answers of one key are kept apart by `Vary`; the oldest is forgotten for the next.
const MAX_VARIANTS: usize = 32;

const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Shard {
    keys: HashMap<Box<str>, Vec<u32>>,
    /// Those of a URL, whoever asked.
    urls: HashMap<Box<str>, HashSet<u32>>,
    tags: HashMap<Box<str>, HashSet<u32>>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    /// Newest and oldest of the queue, and where the search for what to forget goes on.
    newest: u32,
    oldest: u32,
    hand: u32,
}

#[derive(Debug)]
struct Slot {
    entry: Arc<Entry>,
    size: usize,
    used: AtomicBool,
    newer: u32,
    older: u32,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            keys: HashMap::new(),
            urls: HashMap::new(),
            tags: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            hand: NONE,
        }
    }
}

/// What is found by a key.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing.
    Nothing,
    /// Only answers to requests with other selecting headers.
    OtherVariants,
    /// The answer.
    Entry(Arc<Entry>),
}

impl Shard {
    pub(crate) fn find(&self, key: &str, request: &HeaderMap) -> Found {
        let Some(variants) = self.keys.get(key) else { return Found::Nothing };
        // The newest of those that match (RFC 9111 §4).
        for slot in variants.iter().rev().filter_map(|index| self.slots[*index as usize].as_ref()) {
            if vary::matches(&slot.entry.selected, request) {
                if !slot.used.load(Ordering::Relaxed) {
                    slot.used.store(true, Ordering::Relaxed);
                }
                return Found::Entry(slot.entry.clone());
            }
        }
        Found::OtherVariants
    }

    /// Puts an entry in the place of its like. Returns how many bytes were freed.
    pub(crate) fn insert(&mut self, entry: Arc<Entry>, size: usize) -> usize {
        let mut freed = 0;
        let variants = self.keys.get(&entry.key).cloned().unwrap_or_default();
        let like = variants.iter().copied().find(|index| {
            self.slots[*index as usize].as_ref().is_some_and(|slot| slot.entry.selected == entry.selected)
        });
        let goes = like.or_else(|| (variants.len() >= MAX_VARIANTS).then(|| variants[0]));
        if let Some(index) = goes {
            freed += self.remove(index);
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
        });
        self.keys.entry(entry.key.clone()).or_default().push(index);
        self.urls.entry(entry.url().into()).or_default().insert(index);
        for tag in &entry.tags {
            self.tags.entry(tag.clone()).or_default().insert(index);
        }
        let older = self.newest;
        if let Some(slot) = self.slot(older) {
            slot.newer = index;
        } else {
            self.oldest = index;
        }
        self.newest = index;
        self.slots[index as usize] =
            Some(Slot { entry, size, used: AtomicBool::new(false), newer: NONE, older });
        freed
    }

    fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    /// Removes what is at this place. Returns how many bytes were freed.
    fn remove(&mut self, index: u32) -> usize {
        let Some(slot) = self.slots.get_mut(index as usize).and_then(Option::take) else { return 0 };
        self.free.push(index);
        let entry = &slot.entry;
        if let Some(variants) = self.keys.get_mut(&entry.key) {
            variants.retain(|other| *other != index);
            if variants.is_empty() {
                self.keys.remove(&entry.key);
            }
        }
        let forget = |index_of: &mut HashMap<Box<str>, HashSet<u32>>, name: &str| {
            if let Some(those) = index_of.get_mut(name) {
                those.remove(&index);
                if those.is_empty() {
                    index_of.remove(name);
                }
            }
        };
        forget(&mut self.urls, entry.url());
        for tag in &entry.tags {
            forget(&mut self.tags, tag);
        }
        match self.slot(slot.newer) {
            Some(newer) => newer.older = slot.older,
            None => self.newest = slot.older,
        }
        match self.slot(slot.older) {
            Some(older) => older.newer = slot.newer,
            None => self.oldest = slot.newer,
        }
        if self.hand == index {
            self.hand = slot.newer;
        }
        slot.size
    }

    /// Forgets one entry: from the oldest on, the first that was not used since it was last passed by.
    pub(crate) fn evict(&mut self) -> usize {
        // Twice around, as one passing may find all used.
        for _ in 0..=2 * self.slots.len() {
            let at = if self.hand == NONE { self.oldest } else { self.hand };
            let Some(slot) = self.slot(at) else { return 0 };
            if !std::mem::replace(slot.used.get_mut(), false) {
                return self.remove(at);
            }
            self.hand = slot.newer;
        }
        0
    }

    /// The places of all entries that a purge is for.
    fn chosen(&self, what: &Purge) -> Vec<u32> {
        let of =
            |set: Option<&HashSet<u32>>| set.map(|those| those.iter().copied().collect()).unwrap_or_default();
        match what {
            Purge::Url(url) => of(self.urls.get(url.as_str())),
            Purge::Tag(tag) => of(self.tags.get(tag.as_str())),
            Purge::Prefix(start) => {
                let those = self.urls.iter().filter(|(url, _)| url.starts_with(start.as_str()));
                those.flat_map(|(_, those)| those.iter().copied()).collect()
            }
            Purge::All => {
                let all = self.slots.iter().enumerate().filter(|(_, slot)| slot.is_some());
                all.filter_map(|(index, _)| u32::try_from(index).ok()).collect()
            }
        }
    }

    /// Removes what a purge is for. Returns how many entries, and how many bytes were freed.
    pub(crate) fn purge(&mut self, what: &Purge) -> (usize, usize) {
        let chosen = self.chosen(what);
        (chosen.len(), chosen.iter().map(|index| self.remove(*index)).sum())
    }

    /// Makes stale what a purge is for. Returns how many entries.
    pub(crate) fn mark(&self, what: &Purge) -> usize {
        let chosen = self.chosen(what);
        for slot in chosen.iter().filter_map(|index| self.slots[*index as usize].as_ref()) {
            slot.entry.marked.store(true, Ordering::Relaxed);
        }
        chosen.len()
    }

    /// Removes this very entry, if it is still there.
    pub(crate) fn remove_entry(&mut self, entry: &Arc<Entry>) -> usize {
        let index = self.keys.get(&entry.key).and_then(|variants| {
            variants.iter().copied().find(|index| {
                self.slots[*index as usize].as_ref().is_some_and(|slot| Arc::ptr_eq(&slot.entry, entry))
            })
        });
        index.map_or(0, |index| self.remove(index))
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
