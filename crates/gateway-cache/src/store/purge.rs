use crate::entry::Entry;
use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

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
    /// Of one URL as people write it: the host in any case, with the default port or without, with no path for `/`.
    /// `None` if it has no scheme of HTTP and no host.
    ///
    /// ```
    /// use gateway_cache::Purge;
    ///
    /// assert_eq!(Purge::of_url("HTTP://Shop.example:80"), Some(Purge::Url("http://shop.example/".into())));
    /// assert_eq!(Purge::of_url("/products/7"), None);
    /// ```
    #[must_use]
    pub fn of_url(url: &str) -> Option<Self> {
        let (origin, target) = as_keyed(url)?;
        if origin.ends_with("//") {
            return None;
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Some(Self::Url([&*origin, slash, target].concat()))
    }

    /// Of all URLs that begin so, written as for [`Purge::of_url`]; `http://shop` is the beginning of several hosts.
    #[must_use]
    pub fn of_prefix(start: &str) -> Option<Self> {
        let (origin, target) = as_keyed(start)?;
        Some(Self::Prefix(origin + target))
    }

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

/// The origin of a URL as it stands in keys, and the rest.
fn as_keyed(url: &str) -> Option<(String, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let rest = rest.split('#').next().filter(|_| is_http)?;
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    Some((crate::key::origin(scheme, authority), target))
}

/// How many purges are remembered: more than may wait to be told to the second tier.
const REMEMBERED: usize = 1024;
/// By how much the clocks of instances may differ.
pub(crate) const SKEW: Duration = Duration::from_secs(2);

/// The last purges: what was asked for before one and arrives after it is not stored, or is stored as stale.
#[derive(Debug, Default)]
pub(crate) struct PurgeLog {
    last: VecDeque<Noted>,
    /// How many there were in all.
    count: u64,
}

#[derive(Debug)]
struct Noted {
    what: Purge,
    mode: PurgeMode,
    /// When it came; `None` where it was only for what is in memory.
    at: Option<SystemTime>,
}

impl PurgeLog {
    pub(crate) fn note(&mut self, what: Purge, mode: PurgeMode, at: Option<SystemTime>) {
        if self.last.len() >= REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back(Noted { what, mode, at });
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
        stronger(self.last.iter().rev().take(missed).filter(|noted| noted.what.is_for(entry)))
    }

    /// What those since the entry came do to it, wherever it has been meanwhile.
    pub(crate) fn since_it_came(&self, entry: &Entry) -> Option<PurgeMode> {
        let timed = self.last.iter().rev().filter_map(|noted| Some((noted, noted.at?)));
        let since = timed.take_while(|(_, at)| entry.received <= *at + SKEW);
        stronger(since.map(|(noted, _)| noted).filter(|noted| noted.what.is_for(entry)))
    }
}

/// What several purges do together.
fn stronger<'a>(mut purges: impl Iterator<Item = &'a Noted>) -> Option<PurgeMode> {
    let first = purges.next()?.mode;
    Some(if purges.any(|noted| noted.mode == PurgeMode::Remove) { PurgeMode::Remove } else { first })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_purged_however_it_is_written() {
        for (written, url, start) in [
            (
                "http://shop.example/a?b=C",
                Some("http://shop.example/a?b=C"),
                Some("http://shop.example/a?b=C"),
            ),
            ("HTTPS://Shop.Example:443/A#x", Some("https://shop.example/A"), Some("https://shop.example/A")),
            ("https://shop.example:80/", Some("https://shop.example:80/"), Some("https://shop.example:80/")),
            ("http://[::1]:8080", Some("http://[::1]:8080/"), Some("http://[::1]:8080")),
            ("http://a?q", Some("http://a/?q"), Some("http://a?q")),
            ("http://Shop", Some("http://shop/"), Some("http://shop")),
            ("http://", None, Some("http://")),
            ("http:///a", None, Some("http:///a")),
            ("shop.example/a", None, None),
            ("/a", None, None),
            ("ftp://shop.example/a", None, None),
            ("", None, None),
        ] {
            assert_eq!(Purge::of_url(written), url.map(|url| Purge::Url(url.into())), "{written}");
            assert_eq!(
                Purge::of_prefix(written),
                start.map(|start| Purge::Prefix(start.into())),
                "{written}"
            );
        }
    }
}
