//! The claims that expressions see of a caller.

use cel::ExecutionError;
use cel::common::traits::{self, Container, Indexer, Iterable, Sizer};
use cel::common::types::{self, CelInt, CelList, CelString, Type};
use cel::common::value::{CowVal, Val};
use gateway_core::Principal;
use serde_json::Value;
use std::sync::OnceLock;

/// As what claims are seen.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A text.
    Text,
    /// A list of texts.
    List,
}

/// Claims by name or path, looked for where they are. Nothing is built of them but for a loop.
#[derive(Clone)]
pub(super) struct Claims<'r> {
    principal: Option<&'r Principal>,
    shape: Shape,
    /// The names of those that have this shape.
    names: OnceLock<Vec<CelString<'r>>>,
}

impl<'r> Claims<'r> {
    pub(super) fn new(principal: Option<&'r Principal>, shape: Shape) -> Self {
        Self { principal, shape, names: OnceLock::new() }
    }

    fn names(&self) -> &[CelString<'r>] {
        self.names.get_or_init(|| {
            let all = self.principal.into_iter().flat_map(Principal::claims);
            all.filter(|(_, claim)| self.fits(claim)).map(|(name, _)| name.as_str().into()).collect()
        })
    }

    fn fits(&self, claim: &Value) -> bool {
        match self.shape {
            Shape::Text => text(claim).is_some(),
            Shape::List => claim.is_array() || claim.is_string(),
        }
    }

    /// The claim of a name or path.
    fn find(&self, name: &dyn Val) -> Result<Option<&'r Value>, ExecutionError> {
        let Some(name) = name.downcast_ref::<CelString<'_>>() else {
            return Err(ExecutionError::UnexpectedType {
                got: name.get_type().name().to_owned(),
                want: "string".to_owned(),
            });
        };
        let claim = self.principal.and_then(|principal| principal.claim_at(name.inner()));
        Ok(claim.filter(|claim| self.fits(claim)))
    }
}

/// A claim as it is written.
fn text(claim: &Value) -> Option<CelString<'_>> {
    match claim {
        Value::String(text) => Some(text.as_str().into()),
        Value::Number(_) | Value::Bool(_) => Some(claim.to_string().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Those of a list, or the words of a text.
fn texts<'r>(claim: &'r Value) -> Vec<Box<dyn Val + 'r>> {
    let words = claim.as_str().unwrap_or_default().split_ascii_whitespace().map(CelString::from);
    let list = claim.as_array().into_iter().flatten().filter_map(text);
    words.chain(list).map(|text| Box::new(text) as Box<dyn Val + 'r>).collect()
}

impl std::fmt::Debug for Claims<'_> {
    /// Without the values, which may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Claims")
    }
}

impl Val for Claims<'_> {
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

impl Container for Claims<'_> {
    fn contains(&self, name: &dyn Val) -> Result<bool, ExecutionError> {
        self.find(name).map(|claim| claim.is_some())
    }
}

impl Indexer for Claims<'_> {
    fn get<'b, 'v>(&'b self, name: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let found = self.find(name)?.and_then(|claim| match self.shape {
            Shape::Text => text(claim).map(CowVal::owned),
            Shape::List => Some(CowVal::owned(CelList::from(texts(claim)))),
        });
        let missing =
            || ExecutionError::no_such_key(name.downcast_ref::<CelString<'_>>().map_or("", |n| n.inner()));
        found.ok_or_else(missing)
    }

    fn steal<'v>(self: Box<Self>, name: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(name).map(CowVal::into_owned)
    }
}

impl Iterable for Claims<'_> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn traits::Iterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Names(self.names().iter()))
    }
}

impl Sizer for Claims<'_> {
    fn size(&self) -> CelInt {
        // There is no memory for more.
        CelInt::from(self.names().len() as i64)
    }
}

struct Names<'b, 'r>(std::slice::Iter<'b, CelString<'r>>);

impl<'b, 'v, 'r: 'v> traits::Iterator<'b, 'v> for Names<'b, 'r> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|name| name as &(dyn Val + 'v))
    }
}
