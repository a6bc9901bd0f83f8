use super::search::Search;
use crate::regex::{Expression, set};
use crate::route::RouteMatch;
use regex::bytes::RegexSet;

/// The most expressions in one set. More make its automaton outgrow its cache, and then it is built over and
/// over.
const TOGETHER: usize = 128;

/// The routes of one host whose paths are expressions: looked for together, so that a hundred cost hardly more
/// than one.
#[derive(Debug, Default)]
pub(super) struct Expressions {
    /// Best first.
    indexes: Vec<usize>,
    /// The indexes in parts, each with its set; none where even a single one did not fit into a set.
    sets: Vec<(std::ops::Range<usize>, Option<RegexSet>)>,
}

impl Expressions {
    pub(super) fn insert(&mut self, index: usize) {
        self.indexes.push(index);
    }

    pub(super) fn compile<T>(&mut self, routes: &[(RouteMatch, T)]) {
        let all = self.indexes.len();
        let mut left: Vec<_> =
            (0..all).step_by(TOGETHER).map(|at| at..all.min(at + TOGETHER)).rev().collect();
        while let Some(range) = left.pop() {
            let expressions = self.indexes[range.clone()].iter().filter_map(|i| expression(&routes[*i].0));
            match set(expressions) {
                None if range.len() > 1 => {
                    let middle = range.start + range.len() / 2;
                    left.extend([middle..range.end, range.start..middle]);
                }
                set => self.sets.push((range, set)),
            }
        }
    }

    pub(super) fn find<T>(&self, search: &mut Search<'_, T>) -> Option<usize> {
        let path = search.head.path.as_bytes();
        self.sets.iter().find_map(|(range, set)| {
            let indexes = &self.indexes[range.clone()];
            match set {
                Some(set) => set.matches(path).iter().find_map(|at| search.first(&indexes[at..=at])),
                None => indexes.iter().find_map(|index| {
                    let expression = expression(search.route(*index))?;
                    expression.regex.is_match(path).then(|| search.first(&[*index])).flatten()
                }),
            }
        })
    }
}

fn expression(route: &RouteMatch) -> Option<&Expression> {
    route.path.regex.as_ref().map(|regex| regex.expression(route.ignore_case))
}
