use crate::entry::Entry;
use std::collections::VecDeque;

/// Which stored answers a purge is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// Those of one URL, such as `http://host/path?query`: all variants, for whoever they are. As in the key: the
    /// host in lower case, no default port, without the query parameters that do not count.
    Url(String),
    /// Those whose URL begins so, such as `http://host/path/`. Looks at all URLs there are.
    Prefix(String),
    /// Those with this tag in `Surrogate-Key` or `Cache-Tag`.
    Tag(String),
    /// All.
    All,
}

/// What a purge does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PurgeMode {
    /// Removes them.
    #[default]
    Remove,
    /// Makes them stale: they are used again once the upstream says that they are still right, and meanwhile where
    /// `stale-while-revalidate` and `stale-if-error` allow.
    MarkStale,
}

impl Purge {
    /// Whether it is for this entry.
    pub(crate) fn is_for(&self, entry: &Entry) -> bool {
        match self {
            Self::Url(url) => entry.url() == url,
            Self::Prefix(start) => entry.url().starts_with(start.as_str()),
            Self::Tag(tag) => entry.tags.iter().any(|other| **other == **tag),
            Self::All => true,
        }
    }

    /// Whether it may be for the answer to a request that is under way; its tags are not known yet.
    pub(crate) fn may_be_for(&self, key: &str) -> bool {
        let url = key.split('\0').next().unwrap_or_default();
        match self {
            Self::Url(other) => url == other,
            Self::Prefix(start) => url.starts_with(start.as_str()),
            Self::Tag(_) | Self::All => true,
        }
    }
}

/// How many purges are remembered.
const REMEMBERED: usize = 256;

/// The last purges: what was asked for before one and arrives after it is not stored, or is stored as stale.
#[derive(Debug, Default)]
pub(crate) struct PurgeLog {
    last: VecDeque<(Purge, PurgeMode)>,
    /// How many there were in all.
    count: u64,
}

impl PurgeLog {
    pub(crate) fn note(&mut self, what: Purge, mode: PurgeMode) {
        if self.last.len() >= REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back((what, mode));
        self.count += 1;
    }

    /// How many there were so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// What those since do to this entry, or may have done, now that they are forgotten.
    pub(crate) fn against(&self, since: u64, entry: &Entry) -> Option<PurgeMode> {
        let missed = usize::try_from(self.count - since).unwrap_or(usize::MAX);
        if missed > self.last.len() {
            return Some(PurgeMode::Remove);
        }
        let mut all =
            self.last.iter().rev().take(missed).filter(|(what, _)| what.is_for(entry)).map(|(_, mode)| *mode);
        let first = all.next()?;
        Some(if all.any(|mode| mode == PurgeMode::Remove) { PurgeMode::Remove } else { first })
    }
}
