use super::search::Search;
use super::tree::Tree;
use crate::lower::lowered;
use crate::{HostPattern, RouteMatch};
use std::collections::{HashMap, HashSet};

/// The routes of one priority.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) priority: i32,
    pub(super) exact: HashMap<String, Tree>,
    /// By what follows the wildcard and its dot.
    pub(super) below: HashMap<String, Tree>,
    pub(super) any: Option<Tree>,
}

impl Group {
    pub(super) fn insert(&mut self, route: &RouteMatch, index: usize) {
        if route.hosts.is_empty() {
            self.any.get_or_insert_default().insert(route, index);
        }
        for host in route.hosts.iter().collect::<HashSet<_>>() {
            self.trees(host).entry(host.name.clone()).or_default().insert(route, index);
        }
    }

    fn trees(&mut self, host: &HostPattern) -> &mut HashMap<String, Tree> {
        if host.wildcard { &mut self.below } else { &mut self.exact }
    }

    pub(super) fn find<T>(&self, search: &mut Search<'_, T>) -> Option<usize> {
        // No pattern is longer, and so many labels are not looked up.
        if search.head.host.len() <= HostPattern::LONGEST {
            let mut buffer = [0; 256];
            let host = lowered(search.head.host, &mut buffer);
            if let Some(index) = self.exact.get(&*host).and_then(|tree| tree.find(search)) {
                return Some(index);
            }
            if !self.below.is_empty() {
                for (dot, _) in host.match_indices('.').filter(|(dot, _)| *dot > 0) {
                    if let Some(index) = self.below.get(&host[dot + 1..]).and_then(|tree| tree.find(search)) {
                        return Some(index);
                    }
                }
            }
        }
        self.any.as_ref()?.find(search)
    }
}
