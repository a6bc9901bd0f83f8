//! Maps that expressions look into where what is in them is, without building any of it.

use cel::ExecutionError;
use cel::common::traits::{self, Container, Indexer, Iterable, Sizer};
use cel::common::types::{self, CelInt, CelString, Type};
use cel::common::value::{CowVal, Val};

/// Values by name.
pub(super) trait Entries: Clone + Send + Sync {
    /// The value of a name.
    fn find<'v>(&self, name: &str) -> Option<Box<dyn Val + 'v>>
    where
        Self: 'v;

    /// How many names there are. A loop asks for them all.
    fn len(&self) -> usize;

    /// One of the names, from 0 on.
    fn name<'b, 'v>(&'b self, at: usize) -> Option<&'b (dyn Val + 'v)>
    where
        Self: 'v;
}

/// The map of these.
#[derive(Clone)]
pub(super) struct Map<E>(pub(super) E);

impl<E: Entries> Map<E> {
    fn find<'v>(&self, name: &dyn Val) -> Result<Option<Box<dyn Val + 'v>>, ExecutionError>
    where
        Self: 'v,
    {
        let Some(name) = name.downcast_ref::<CelString<'_>>() else {
            return Err(ExecutionError::UnexpectedType {
                got: name.get_type().name().to_owned(),
                want: "string".to_owned(),
            });
        };
        Ok(self.0.find(name.inner()))
    }
}

impl<E> std::fmt::Debug for Map<E> {
    /// Without the values, which may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Map")
    }
}

impl<E: Entries> Val for Map<E> {
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

impl<E: Entries> Container for Map<E> {
    fn contains(&self, name: &dyn Val) -> Result<bool, ExecutionError> {
        self.find(name).map(|value| value.is_some())
    }
}

impl<E: Entries> Indexer for Map<E> {
    fn get<'b, 'v>(&'b self, name: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let missing =
            || ExecutionError::no_such_key(name.downcast_ref::<CelString<'_>>().map_or("", |n| n.inner()));
        self.find(name)?.map(CowVal::Owned).ok_or_else(missing)
    }

    fn steal<'v>(self: Box<Self>, name: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(name).map(CowVal::into_owned)
    }
}

impl<E: Entries> Iterable for Map<E> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn traits::Iterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Names { map: &self.0, next: 0 })
    }
}

impl<E: Entries> Sizer for Map<E> {
    fn size(&self) -> CelInt {
        // There is no memory for more.
        CelInt::from(self.0.len() as i64)
    }
}

struct Names<'b, E> {
    map: &'b E,
    next: usize,
}

impl<'b, 'v, E: Entries + 'v> traits::Iterator<'b, 'v> for Names<'b, E> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        let name = self.map.name(self.next);
        self.next += 1;
        name
    }
}
