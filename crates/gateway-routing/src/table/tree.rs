use super::entry::Entry;
use super::expressions::Expressions;
use super::nodes::{End, NodeId, Nodes};
use super::search::Search;
use crate::lower::lowered;
use crate::path::Segment;
use crate::route::RouteMatch;
use std::sync::Arc;

/// The routes of one priority and host, by their paths.
#[derive(Debug)]
pub(super) struct Tree {
    cased: NodeId,
    uncased: Option<NodeId>,
    expressions: Option<Box<Expressions>>,
}

impl Tree {
    pub(super) fn new(nodes: &mut Nodes) -> Self {
        Self { cased: nodes.add_root(), uncased: None, expressions: None }
    }

    pub(super) fn insert(&mut self, nodes: &mut Nodes, route: &RouteMatch, entry: Entry) {
        if route.path.regex.is_some() {
            return self.expressions.get_or_insert_default().insert(entry);
        }
        let end = if route.path.prefix { End::Prefix } else { End::Exact };
        if route.ignore_case {
            let root = *self.uncased.get_or_insert_with(|| nodes.add_root());
            let lower: Vec<_> = route.path.segments.iter().map(Segment::to_lowercase).collect();
            nodes.insert(root, &lower, end, entry);
        } else {
            nodes.insert(self.cased, &route.path.segments, end, entry);
        }
    }

    /// Compiles what needs all routes.
    pub(super) fn finish(&mut self, routes: &[Arc<RouteMatch>]) {
        if let Some(expressions) = &mut self.expressions {
            expressions.compile(routes);
        }
    }

    pub(super) fn find(&self, nodes: &Nodes, search: &mut Search<'_>) -> Option<Entry> {
        let rest = search.head.path.strip_prefix('/')?;
        self.find_segments(nodes, rest, search).or_else(|| self.expressions.as_ref()?.find(search))
    }

    fn find_segments(&self, nodes: &Nodes, rest: &str, search: &mut Search<'_>) -> Option<Entry> {
        let rest = (!rest.is_empty()).then_some(rest);
        let cased = nodes.find(self.cased, rest, search);
        let Some(uncased) = self.uncased else { return cased };
        let mut buffer = [0; 256];
        let lower = rest.map(|rest| lowered(rest, &mut buffer));
        let uncased = nodes.find(uncased, lower.as_deref(), search);
        match (cased, uncased) {
            (Some(a), Some(b)) => Some(search.better(a, b)),
            (a, b) => a.or(b),
        }
    }

    /// Routes that may take every path a route takes, whose path begins with these segments.
    pub(super) fn covering(&self, nodes: &Nodes, segments: &[Segment], route: &RouteMatch) -> Vec<usize> {
        let mut found = Vec::new();
        let open = route.path.prefix || route.path.regex.is_some();
        nodes.covering(self.cased, segments, open, &mut found);
        if let Some(uncased) = self.uncased {
            let lower: Vec<_> = segments.iter().map(Segment::to_lowercase).collect();
            nodes.covering(uncased, &lower, open, &mut found);
        }
        found
    }
}
