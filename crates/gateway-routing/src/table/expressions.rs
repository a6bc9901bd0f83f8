use super::entry::Entry;
use super::search::Search;
use crate::regex::{Expression, set};
use crate::route::RouteMatch;
use regex::bytes::RegexSet;
use std::ops::Range;
use std::sync::Arc;

/// The most expressions in one set. More make its automaton outgrow its cache, and then it is built over and
/// over.
const TOGETHER: usize = 128;

/// Expressions by their places in a list, looked for together, so that a hundred cost hardly more than one.
#[derive(Debug, Default)]
pub(super) struct Sets(
    /// The list in parts, each with its set; none where even a single one did not fit into a set.
    Vec<(Range<usize>, Option<RegexSet>)>,
);

impl Sets {
    pub(super) fn compile<'e>(count: usize, expression: impl Fn(usize) -> Option<&'e Expression>) -> Self {
        let mut sets = Vec::new();
        let mut left: Vec<_> =
            (0..count).step_by(TOGETHER).map(|at| at..count.min(at + TOGETHER)).rev().collect();
        while let Some(range) = left.pop() {
            match set(range.clone().filter_map(&expression)) {
                None if range.len() > 1 => {
                    let middle = range.start + range.len() / 2;
                    left.extend([middle..range.end, range.start..middle]);
                }
                set => sets.push((range, set)),
            }
        }
        Self(sets)
    }

    /// What is found for the first place whose expression fits and for which something is found.
    pub(super) fn find<'e, R>(
        &self,
        text: &[u8],
        expression: impl Fn(usize) -> Option<&'e Expression>,
        mut found: impl FnMut(usize) -> Option<R>,
    ) -> Option<R> {
        self.0.iter().find_map(|(range, set)| match set {
            Some(set) => set.matches(text).iter().find_map(|at| found(range.start + at)),
            None => {
                range.clone().find_map(|at| expression(at)?.regex.is_match(text).then(|| found(at)).flatten())
            }
        })
    }
}

/// The routes of one host whose paths are expressions.
#[derive(Debug, Default)]
pub(super) struct Expressions {
    /// Best first.
    entries: Vec<Entry>,
    sets: Sets,
}

impl Expressions {
    pub(super) fn insert(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    pub(super) fn compile(&mut self, routes: &[Arc<RouteMatch>]) {
        let expression = |at: usize| expression(&routes[self.entries[at].index()]);
        self.sets = Sets::compile(self.entries.len(), expression);
    }

    pub(super) fn find(&self, search: &mut Search<'_>) -> Option<Entry> {
        let routes = search.routes;
        let path = search.head.path.as_bytes();
        self.sets.find(
            path,
            |at| expression(&routes[self.entries[at].index()]),
            |at| search.first(&self.entries[at..=at]),
        )
    }
}

fn expression(route: &RouteMatch) -> Option<&Expression> {
    route.path.regex.as_ref().map(|regex| regex.expression(route.ignore_case))
}
