//! The maps that expressions see of a request.

use crate::conditions::{cookie_pairs, cookie_values, query_pairs, query_values};
use cel::ExecutionError;
use cel::common::traits::{self, Container, Indexer, Iterable, Sizer};
use cel::common::types::{self, CelInt, CelString, Type};
use cel::common::value::{CowVal, Val};
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
    pub(super) fn new(source: Source<'r>) -> Self {
        Self { source, all: OnceLock::new() }
    }

    fn all(&self) -> &[(CelString<'r>, CelString<'r>)] {
        self.all.get_or_init(|| self.source.all())
    }

    /// The value of a name. In a loop it is found among all, so that long queries are not read over and over.
    fn find(&self, name: &dyn Val) -> Result<Option<CelString<'r>>, ExecutionError> {
        let Some(name) = name.downcast_ref::<CelString<'_>>() else {
            return Err(ExecutionError::UnexpectedType {
                got: name.get_type().name().to_owned(),
                want: "string".to_owned(),
            });
        };
        Ok(match self.all.get() {
            Some(all) => {
                let place = all.binary_search_by(|(known, _)| known.inner().cmp(name.inner()));
                place.ok().and_then(|at| all.get(at)).map(|(_, value)| value.clone())
            }
            None => self.source.get(name.inner()).map(CelString::from),
        })
    }
}

impl std::fmt::Debug for Fields<'_> {
    /// Without the values, which may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fields")
    }
}

impl Val for Fields<'_> {
    fn get_type(&self) -> &Type {
        &types::MAP_TYPE
    }

    fn cel_type() -> &'static Type {
        &types::MAP_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }
}

impl Container for Fields<'_> {
    fn contains(&self, name: &dyn Val) -> Result<bool, ExecutionError> {
        self.find(name).map(|value| value.is_some())
    }
}

impl Indexer for Fields<'_> {
    fn get<'b, 'v>(&'b self, name: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        match self.find(name)? {
            Some(value) => Ok(CowVal::owned(value)),
            None => Err(ExecutionError::no_such_key(
                name.downcast_ref::<CelString<'_>>().map_or("", |n| n.inner()),
            )),
        }
    }

    fn steal<'v>(self: Box<Self>, name: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(name).map(CowVal::into_owned)
    }
}

impl Iterable for Fields<'_> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn traits::Iterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Names(self.all().iter()))
    }
}

impl Sizer for Fields<'_> {
    fn size(&self) -> CelInt {
        // There is no memory for more.
        CelInt::from(self.all().len() as i64)
    }
}

struct Names<'b, 'r>(std::slice::Iter<'b, (CelString<'r>, CelString<'r>)>);

impl<'b, 'v, 'r: 'v> traits::Iterator<'b, 'v> for Names<'b, 'r> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|(name, _)| name as &(dyn Val + 'v))
    }
}
