//! The maps that expressions see of a request.

use super::map::{Entries, Map};
use crate::conditions::{cookie_pairs, cookie_values, query_pairs, query_values};
use cel::common::types::CelString;
use cel::common::value::Val;
use http::HeaderMap;
use std::borrow::Cow;
use std::sync::OnceLock;

/// Where values are found by name.
#[derive(Clone, Copy)]
pub(super) enum Source<'r> {
    Headers(&'r HeaderMap),
    Query(Option<&'r str>),
    Cookies(&'r HeaderMap),
}

/// Values by name, looked for where they are. Nothing is built of them but for a loop.
#[derive(Clone)]
pub(super) struct Fields<'r> {
    source: Source<'r>,
    /// All of them, each name once, sorted by it.
    all: OnceLock<Vec<(CelString<'r>, CelString<'r>)>>,
}

fn text(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => String::from_utf8(bytes)
            .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
            .into(),
    }
}

/// All values of a header as one (RFC 9110 §5.2); cookies as RFC 9113 §8.2.3 has them.
fn header<'r>(headers: &'r HeaderMap, name: &str) -> Option<Cow<'r, str>> {
    // Names are in lower case here, also where the map would find others.
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let mut values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let mut joined = values.next()?;
    for value in values {
        joined.to_mut().push_str(if name == "cookie" { "; " } else { ", " });
        joined.to_mut().push_str(&value);
    }
    Some(joined)
}

impl<'r> Source<'r> {
    fn get(self, name: &str) -> Option<Cow<'r, str>> {
        match self {
            Self::Headers(headers) => header(headers, name),
            Self::Query(query) => query_values(query, name).next().map(text),
            Self::Cookies(headers) => {
                cookie_values(headers, name).next().map(|value| String::from_utf8_lossy(value))
            }
        }
    }

    fn all(self) -> Vec<(CelString<'r>, CelString<'r>)> {
        let mut all: Vec<(Cow<'r, str>, Cow<'r, str>)> = match self {
            Self::Headers(headers) => headers
                .keys()
                .filter_map(|name| Some((name.as_str().into(), header(headers, name.as_str())?)))
                .collect(),
            Self::Query(query) => query_pairs(query).map(|(name, value)| (text(name), text(value))).collect(),
            Self::Cookies(headers) => cookie_pairs(headers)
                .map(|(name, value)| (String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
                .collect(),
        };
        // Stable: the first of a name stays the first.
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all.dedup_by(|(one, _), (other, _)| one == other);
        all.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
    }
}

impl<'r> Fields<'r> {
    pub(super) fn new(source: Source<'r>) -> Map<Self> {
        Map(Self { source, all: OnceLock::new() })
    }

    fn all(&self) -> &[(CelString<'r>, CelString<'r>)] {
        self.all.get_or_init(|| self.source.all())
    }
}

impl Entries for Fields<'_> {
    /// In a loop it is found among all, so that long queries are not read over and over.
    fn find<'v>(&self, name: &str) -> Option<Box<dyn Val + 'v>>
    where
        Self: 'v,
    {
        let value = match self.all.get() {
            Some(all) => {
                let place = all.binary_search_by(|(known, _)| known.inner().cmp(name));
                place.ok().and_then(|at| all.get(at)).map(|(_, value)| value.clone())
            }
            None => self.source.get(name).map(CelString::from),
        };
        value.map(|value| Box::new(value) as _)
    }

    fn len(&self) -> usize {
        self.all().len()
    }

    fn name<'b, 'v>(&'b self, at: usize) -> Option<&'b (dyn Val + 'v)>
    where
        Self: 'v,
    {
        self.all().get(at).map(|(name, _)| name as _)
    }
}
