use super::search::Search;
use super::tree::Tree;
use crate::host::{HostKind, HostPattern};
use crate::lower::lowered;
use crate::route::RouteMatch;
use hashbrown::HashMap;
use std::collections::HashSet;

/// The routes of one priority.
///
/// Whoever sends requests cannot add hosts or paths, so that the maps need no hash that resists collisions.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) priority: i32,
    pub(super) exact: HashMap<String, Tree>,
    /// By what follows the wildcard and its dot.
    pub(super) below: HashMap<String, Tree>,
    /// By what stands before the wildcard and its dot.
    pub(super) beginning: HashMap<String, Tree>,
    pub(super) any: Option<Tree>,
}

impl Group {
    pub(super) fn insert(&mut self, route: &RouteMatch, index: usize) {
        if route.hosts.is_empty() {
            self.any.get_or_insert_default().insert(route, index);
        }
        for host in route.hosts.iter().collect::<HashSet<_>>() {
            let trees = match host.kind {
                HostKind::Exact => &mut self.exact,
                HostKind::Below => &mut self.below,
                HostKind::Beginning => &mut self.beginning,
            };
            trees.entry(host.name.clone()).or_default().insert(route, index);
        }
    }

    /// Compiles what needs all routes.
    pub(super) fn finish<T>(&mut self, routes: &[(RouteMatch, T)]) {
        let wildcards = self.below.values_mut().chain(self.beginning.values_mut());
        for tree in self.exact.values_mut().chain(wildcards).chain(&mut self.any) {
            tree.finish(routes);
        }
    }

    pub(super) fn trees(&self, kind: HostKind) -> &HashMap<String, Tree> {
        match kind {
            HostKind::Exact => &self.exact,
            HostKind::Below => &self.below,
            HostKind::Beginning => &self.beginning,
        }
    }

    pub(super) fn find<T>(&self, search: &mut Search<'_, T>) -> Option<usize> {
        self.find_host(search).or_else(|| self.any.as_ref()?.find(search))
    }

    fn find_host<T>(&self, search: &mut Search<'_, T>) -> Option<usize> {
        let named = !(self.exact.is_empty() && self.below.is_empty() && self.beginning.is_empty());
        // No pattern is longer, and so many labels are not looked up.
        if !named || search.head.host.len() > HostPattern::LONGEST {
            return None;
        }
        let mut buffer = [0; 256];
        let host = &*lowered(search.head.host, &mut buffer);
        if let Some(index) = self.exact.get(host).and_then(|tree| tree.find(search)) {
            return Some(index);
        }
        if !self.below.is_empty() {
            let mut ends =
                host.match_indices('.').filter(|(dot, _)| *dot > 0).map(|(dot, _)| &host[dot + 1..]);
            if let Some(index) = ends.find_map(|end| self.below.get(end)?.find(search)) {
                return Some(index);
            }
        }
        if self.beginning.is_empty() {
            return None;
        }
        let mut beginnings =
            host.rmatch_indices('.').filter(|(dot, _)| dot + 1 < host.len()).map(|(dot, _)| &host[..dot]);
        beginnings.find_map(|beginning| self.beginning.get(beginning)?.find(search))
    }
}
