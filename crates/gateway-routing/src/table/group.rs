use super::entry::Entry;
use super::expressions::Sets;
use super::nodes::Nodes;
use super::search::Search;
use super::tree::Tree;
use crate::host::{HostKind, HostPattern, normal};
use crate::regex::Expression;
use crate::route::RouteMatch;
use hashbrown::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

/// The routes of one priority.
///
/// Whoever sends requests cannot add hosts or paths, so that the maps need no hash that resists collisions.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) priority: i32,
    /// Of all trees.
    pub(super) nodes: Nodes,
    pub(super) exact: HashMap<String, Tree>,
    /// By what follows the wildcard and its dot.
    pub(super) below: HashMap<String, Tree>,
    /// By what stands before the wildcard and its dot.
    pub(super) beginning: HashMap<String, Tree>,
    pub(super) expressions: HostExpressions,
    pub(super) any: Option<Tree>,
}

/// The routes whose hosts are expressions.
#[derive(Debug, Default)]
pub(super) struct HostExpressions {
    trees: Vec<(Arc<Expression>, Tree)>,
    /// Each expression's place among the trees, by its text.
    places: HashMap<String, usize>,
    sets: Sets,
}

impl HostExpressions {
    fn tree(&mut self, name: &str, regex: &Arc<Expression>, nodes: &mut Nodes) -> &mut Tree {
        let place = *self.places.entry_ref(name).or_insert_with(|| {
            self.trees.push((regex.clone(), Tree::new(nodes)));
            self.trees.len() - 1
        });
        &mut self.trees[place].1
    }

    pub(super) fn get(&self, name: &str) -> Option<&Tree> {
        self.places.get(name).map(|place| &self.trees[*place].1)
    }

    /// Goes through those that take a host in its one form.
    pub(super) fn fitting(&self, host: &str, mut each: impl FnMut(&Tree)) {
        let expression = |at: usize| Some(&*self.trees[at].0);
        self.sets.find(host.as_bytes(), expression, |at| {
            each(&self.trees[at].1);
            None::<()>
        });
    }
}

impl Group {
    pub(super) fn insert(&mut self, route: &RouteMatch, index: usize) {
        let (nodes, entry) = (&mut self.nodes, Entry::new(route, index));
        if route.hosts.is_empty() {
            self.any.get_or_insert_with(|| Tree::new(nodes)).insert(nodes, route, entry);
            return;
        }
        for host in route.hosts.iter().collect::<HashSet<_>>() {
            let trees = match host.kind {
                HostKind::Exact => &mut self.exact,
                HostKind::Below => &mut self.below,
                HostKind::Beginning => &mut self.beginning,
                HostKind::Expression => {
                    if let Some(regex) = &host.regex {
                        self.expressions.tree(&host.name, regex, nodes).insert(nodes, route, entry);
                    }
                    continue;
                }
            };
            let tree = trees.entry_ref(host.name.as_str()).or_insert_with(|| Tree::new(nodes));
            tree.insert(nodes, route, entry);
        }
    }

    /// Compiles what needs all routes.
    pub(super) fn finish(&mut self, routes: &[Arc<RouteMatch>]) {
        let wildcards = self.below.values_mut().chain(self.beginning.values_mut());
        let expressions = self.expressions.trees.iter_mut().map(|(_, tree)| tree);
        for tree in self.exact.values_mut().chain(wildcards).chain(expressions).chain(&mut self.any) {
            tree.finish(routes);
        }
        self.nodes.finish();
        let trees = &self.expressions.trees;
        self.expressions.sets = Sets::compile(trees.len(), |at| Some(&*trees[at].0));
    }

    pub(super) fn tree(&self, host: &HostPattern) -> Option<&Tree> {
        match host.kind {
            HostKind::Exact => self.exact.get(&host.name),
            HostKind::Below => self.below.get(&host.name),
            HostKind::Beginning => self.beginning.get(&host.name),
            HostKind::Expression => self.expressions.get(&host.name),
        }
    }

    pub(super) fn find(&self, search: &mut Search<'_>) -> Option<Entry> {
        self.find_host(search).or_else(|| self.any.as_ref()?.find(&self.nodes, search))
    }

    fn find_host(&self, search: &mut Search<'_>) -> Option<Entry> {
        let wild = !(self.below.is_empty() && self.beginning.is_empty() && self.expressions.trees.is_empty());
        let named = wild || !self.exact.is_empty();
        // No pattern is longer, and so many labels are not looked up.
        if !named || search.head.host.len() > HostPattern::LONGEST {
            return None;
        }
        let mut buffer = [0; 256];
        let host = &*normal(search.head.host, &mut buffer);
        let nodes = &self.nodes;
        if let Some(found) = self.exact.get(host).and_then(|tree| tree.find(nodes, search)) {
            return Some(found);
        }
        if !wild {
            return None;
        }
        if !self.below.is_empty() {
            let mut ends =
                host.match_indices('.').filter(|(dot, _)| *dot > 0).map(|(dot, _)| &host[dot + 1..]);
            if let Some(found) = ends.find_map(|end| self.below.get(end)?.find(nodes, search)) {
                return Some(found);
            }
        }
        if !self.beginning.is_empty() {
            let mut beginnings =
                host.rmatch_indices('.').filter(|(dot, _)| dot + 1 < host.len()).map(|(dot, _)| &host[..dot]);
            let found = beginnings.find_map(|start| self.beginning.get(start)?.find(nodes, search));
            if found.is_some() {
                return found;
            }
        }
        if self.expressions.trees.is_empty() {
            return None;
        }
        let mut best = None;
        self.expressions.fitting(host, |tree| {
            best = match (best, tree.find(nodes, search)) {
                (Some(one), Some(other)) => Some(search.better(one, other)),
                (one, other) => one.or(other),
            };
        });
        best
    }
}
