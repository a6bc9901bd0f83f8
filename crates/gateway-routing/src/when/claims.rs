//! The claims that expressions see of a caller.

use super::map::{Entries, Map};
use cel::common::types::{CelList, CelString};
use cel::common::value::Val;
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
    pub(super) fn new(principal: Option<&'r Principal>, shape: Shape) -> Map<Self> {
        Map(Self { principal, shape, names: OnceLock::new() })
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
}

impl Entries for Claims<'_> {
    /// By name or path.
    fn find<'v>(&self, name: &str) -> Option<Box<dyn Val + 'v>>
    where
        Self: 'v,
    {
        let claim = self.principal?.claim_at(name).filter(|claim| self.fits(claim))?;
        match self.shape {
            Shape::Text => text(claim).map(|text| Box::new(text) as _),
            Shape::List => Some(Box::new(CelList::from(texts(claim)))),
        }
    }

    fn len(&self) -> usize {
        self.names().len()
    }

    fn name<'b, 'v>(&'b self, at: usize) -> Option<&'b (dyn Val + 'v)>
    where
        Self: 'v,
    {
        self.names().get(at).map(|name| name as _)
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
