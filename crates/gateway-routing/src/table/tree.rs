use super::expressions::Expressions;
use super::search::Search;
use crate::lower::lowered;
use crate::path::Segment;
use crate::route::RouteMatch;
use hashbrown::HashMap;

/// The routes of one priority and host, by their paths.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) cased: Node,
    pub(super) uncased: Option<Box<Node>>,
    pub(super) expressions: Expressions,
}

/// Where all patterns that begin with the same segments go on.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) literals: HashMap<Box<str>, Node>,
    pub(super) param: Option<Box<Node>>,
    /// Indexes of routes that end here, best first.
    pub(super) exact: Vec<usize>,
    /// Indexes of routes that take this and all below, best first.
    pub(super) prefix: Vec<usize>,
}

impl Tree {
    pub(super) fn insert(&mut self, route: &RouteMatch, index: usize) {
        if route.path.regex.is_some() {
            return self.expressions.insert(index);
        }
        let mut node = if route.ignore_case { self.uncased.get_or_insert_default() } else { &mut self.cased };
        for segment in &*route.path.segments {
            node = match segment {
                Segment::Literal(text) if route.ignore_case => {
                    node.literals.entry(text.to_ascii_lowercase().into()).or_default()
                }
                Segment::Literal(text) => node.literals.entry(text.as_str().into()).or_default(),
                Segment::Param(_) => node.param.get_or_insert_default(),
            };
        }
        if route.path.prefix { &mut node.prefix } else { &mut node.exact }.push(index);
    }

    /// Compiles what needs all routes.
    pub(super) fn finish(&mut self, routes: &[RouteMatch]) {
        self.expressions.compile(routes);
    }

    pub(super) fn find(&self, search: &mut Search<'_>) -> Option<usize> {
        let rest = search.head.path.strip_prefix('/')?;
        self.find_segments(rest, search).or_else(|| self.expressions.find(search))
    }

    fn find_segments(&self, rest: &str, search: &mut Search<'_>) -> Option<usize> {
        let rest = (!rest.is_empty()).then_some(rest);
        let cased = self.cased.find(rest, search);
        let Some(uncased) = &self.uncased else { return cased };
        let mut buffer = [0; 256];
        let lower = rest.map(|rest| lowered(rest, &mut buffer));
        let uncased = uncased.find(lower.as_deref(), search);
        match (cased, uncased) {
            (Some(a), Some(b)) => Some(search.better(a, b)),
            (a, b) => a.or(b),
        }
    }
}

impl Node {
    /// The best route at or below this node for the rest of a path, `None` being its end.
    fn find(&self, rest: Option<&str>, search: &mut Search<'_>) -> Option<usize> {
        let Some(rest) = rest else {
            return search.first(&self.exact).or_else(|| search.first(&self.prefix));
        };
        if self.literals.is_empty() && self.param.is_none() {
            return search.first(&self.prefix);
        }
        // Byte by byte, for segments are short.
        let (segment, below) = match rest.bytes().position(|byte| byte == b'/') {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        if let Some(child) = self.literals.get(segment)
            && let Some(found) = child.find(below, search)
        {
            return Some(found);
        }
        if let Some(child) = &self.param
            && !segment.is_empty()
            && let Some(found) = child.find(below, search)
        {
            return Some(found);
        }
        search.first(&self.prefix)
    }
}
