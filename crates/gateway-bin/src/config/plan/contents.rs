//! What files had in them when they were read.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

/// Tells what was in files from what is in them now, and keeps none of it: they are secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents(u64);

impl Contents {
    pub(super) fn of<'f>(files: impl Iterator<Item = &'f Path>) -> Self {
        let mut hasher = DefaultHasher::new();
        files.for_each(|file| std::fs::read(file).ok().hash(&mut hasher));
        Self(hasher.finish())
    }
}
