use crate::semantics::terms::Terms;
use crate::semantics::vary::Selected;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// What an entry takes beside its body and its fields, with its places in the store's tables; measured.
const OVERHEAD: usize = 896;
/// What a field takes beside its name and value: its place in a header map.
const FIELD: usize = 104;

/// How much of a body is given at once.
const PIECE: usize = 64 * 1024;

/// The fields that name the tags of an answer, by space or comma.
static TAG_FIELDS: [HeaderName; 2] =
    [HeaderName::from_static("surrogate-key"), HeaderName::from_static("cache-tag")];

/// A stored answer.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The key; its first `url` bytes are the URL.
    pub(crate) key: Box<str>,
    pub(crate) url: usize,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Arc<[Bytes]>,
    pub(crate) length: u64,
    pub(crate) terms: Terms,
    /// When its head came.
    pub(crate) received: SystemTime,
    /// What the request said in the headers that `Vary` names.
    pub(crate) selected: Selected,
    pub(crate) tags: Vec<Box<str>>,
    /// A soft purge made it stale.
    pub(crate) marked: AtomicBool,
}

impl Entry {
    pub(crate) fn age(&self, now: SystemTime) -> Duration {
        self.terms.initial_age + now.duration_since(self.received).unwrap_or_default()
    }

    /// Seconds until it is stale at this age, begun ones too; not positive since when it is.
    pub(crate) fn ttl(&self, age: Duration) -> i64 {
        let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        let ttl = match self.terms.lifetime.checked_sub(age) {
            Some(left) => signed(left.as_secs().saturating_add(u64::from(left.subsec_nanos() > 0))),
            None => -signed((age - self.terms.lifetime).as_secs()),
        };
        if self.is_marked() { ttl.min(0) } else { ttl }
    }

    pub(crate) fn is_marked(&self) -> bool {
        self.marked.load(Ordering::Relaxed)
    }

    pub(crate) fn url(&self) -> &str {
        &self.key[..self.url]
    }

    /// What it takes in memory, nearly.
    pub(crate) fn size(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD).sum();
        let selected: usize =
            self.selected.iter().map(|(_, value)| 64 + value.as_ref().map_or(0, |v| v.len())).sum();
        let tags: usize = self.tags.iter().map(|tag| tag.len() + 64).sum();
        let body = usize::try_from(self.length).unwrap_or(usize::MAX);
        body.saturating_add(headers + selected + tags + 2 * self.key.len() + self.body.len() * 32 + OVERHEAD)
    }
}

/// The same fields in memory of their own. As they come they share the buffer that they were read into, which may be
/// many times as large and would stay as long as the entry.
pub(crate) fn owned(headers: &HeaderMap) -> HeaderMap {
    let mut values = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    headers.values().for_each(|value| values.extend_from_slice(value.as_bytes()));
    let mut values = values.freeze();
    let mut owned = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let copy = HeaderValue::from_maybe_shared(values.split_to(value.len()));
        let mut copy = copy.unwrap_or_else(|_| value.clone());
        copy.set_sensitive(value.is_sensitive());
        owned.append(name, copy);
    }
    owned
}

/// A body as it is kept, in one piece of memory, and given: in parts, so that what a client has not taken yet is not
/// counted as sent.
pub(crate) fn body(mut whole: Bytes) -> Arc<[Bytes]> {
    let parts = std::iter::from_fn(|| (!whole.is_empty()).then(|| whole.split_to(whole.len().min(PIECE))));
    parts.collect()
}

/// The fields of an answer with its length among them, whatever was announced; but 204 and the like have none
/// (RFC 9110 §8.6).
pub(crate) fn with_length(mut headers: HeaderMap, status: StatusCode, length: u64) -> HeaderMap {
    if length > 0 || !matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    headers
}

/// A tag as `PURGE` means it: no header has such a one.
pub(crate) fn purgeable(tag: &str) -> String {
    ["\0", tag].concat()
}

/// The tags that an answer, or a `PURGE`, names.
pub(crate) fn tags(headers: &HeaderMap) -> Vec<Box<str>> {
    let mut tags: Vec<Box<str>> = TAG_FIELDS
        .iter()
        .flat_map(|name| headers.get_all(name))
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([' ', ',', '\t']))
        .filter(|tag| !tag.is_empty())
        .map(Into::into)
        .collect();
    tags.sort();
    tags.dedup();
    tags
}
