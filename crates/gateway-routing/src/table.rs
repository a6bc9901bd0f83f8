use crate::host::bare;
use crate::request::Head;
use crate::route::RouteMatch;
use entry::Entry;
use gateway_core::Captures;
use group::Group;
use http::header::HeaderValue;
use http::{HeaderMap, Method, Request};
use search::Search;
use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

mod cover;
mod entry;
mod explain;
mod expressions;
mod group;
mod lint;
mod nodes;
mod order;
mod search;
mod tree;

pub use explain::{Candidate, Explanation, Outcome, Part, PathHint, Refusal};
pub use lint::{Because, Unreachable};

/// Routes compiled for look-up: a tree of segments per host.
///
/// What was compiled is shared by all tables that are made of one another by [`map`](Self::map): each thread may have
/// its own values for one table of many routes.
#[derive(Clone, Debug)]
pub struct RouteTable<T> {
    compiled: Arc<Compiled>,
    /// What is registered for each route.
    values: Vec<T>,
}

#[derive(Debug, Default)]
struct Compiled {
    routes: Vec<Arc<RouteMatch>>,
    /// Each route's place in the order of precedence, but for its host.
    ranks: Vec<u32>,
    /// By priority, the highest first. Few, usually one.
    groups: Vec<Group>,
}

/// What became of a look-up.
#[derive(Debug)]
pub enum Match<'t, T> {
    /// This route takes the request.
    Found(Found<'t, T>),
    /// Routes fit but for the method; the value for `Allow`.
    MethodNotAllowed {
        /// The methods that would be taken.
        allow: HeaderValue,
    },
    /// No route fits.
    NotFound,
}

/// A route that takes a request.
#[derive(Debug)]
pub struct Found<'t, T> {
    /// What was registered for it.
    pub route: &'t T,
    /// Its place in the list the table was built from.
    pub index: usize,
    matched: &'t Arc<RouteMatch>,
    captures: bool,
}

impl<T> Found<'_, T> {
    /// What stood in the place of its parameters in the request it was found for; `None` if it has none, or does not
    /// [ask for them](RouteMatch::captures).
    #[must_use]
    pub fn captures<B>(&self, request: &Request<B>) -> Option<Captures> {
        self.captures.then(|| self.matched.captured(&Head::of(request))).flatten()
    }
}

/// Two routes that take the same requests with the same right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The place of the first in the list.
    pub first: usize,
    /// The place of the other.
    pub second: usize,
}

/// All of them, as an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflicts(pub Vec<Conflict>);

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Conflict { first, second }) in self.0.iter().enumerate() {
            let and = if i == 0 { "" } else { "; " };
            write!(f, "{and}route {second} is never reached, for route {first} takes the same requests")?;
        }
        Ok(())
    }
}

impl std::error::Error for Conflicts {}

impl<T> RouteTable<T> {
    /// Compiles the routes. Whoever keeps them as well gives them as [`Arc`]s.
    ///
    /// # Errors
    /// Every pair of routes of which the second could never be reached.
    pub fn build<M: Into<Arc<RouteMatch>>>(routes: Vec<(M, T)>) -> Result<Self, Conflicts> {
        let (routes, values): (Vec<Arc<RouteMatch>>, Vec<_>) =
            routes.into_iter().map(|(route, value)| (route.into(), value)).unzip();
        let conflicts = order::conflicts(&routes);
        if !conflicts.is_empty() {
            return Err(Conflicts(conflicts));
        }
        let mut order: Vec<usize> = (0..routes.len()).collect();
        order.sort_by(|a, b| order::compare(&routes[*a], &routes[*b]));
        let mut ranks = vec![0; routes.len()];
        let mut groups: Vec<Group> = Vec::new();
        for (rank, index) in order.into_iter().enumerate() {
            let route = &routes[index];
            // More routes than that fit into no memory.
            ranks[index] = rank as u32;
            if groups.last().is_none_or(|group| group.priority != route.priority) {
                groups.push(Group { priority: route.priority, ..Group::default() });
            }
            if let Some(group) = groups.last_mut() {
                group.insert(route, index);
            }
        }
        for group in &mut groups {
            group.finish(&routes);
        }
        Ok(Self { compiled: Arc::new(Compiled { routes, ranks, groups }), values })
    }

    /// A table of the same routes, with something made of each one's place and value registered in its stead. What was
    /// compiled is shared.
    #[must_use]
    pub fn map<'t, U>(&'t self, mut make: impl FnMut(usize, &'t T) -> U) -> RouteTable<U> {
        let values = self.values.iter().enumerate().map(|(index, value)| make(index, value));
        RouteTable { compiled: self.compiled.clone(), values: values.collect() }
    }

    /// A table without routes.
    #[must_use]
    pub fn empty() -> Self {
        Self { compiled: Arc::default(), values: Vec::new() }
    }

    /// The route for a request.
    #[must_use]
    pub fn find<B>(&self, request: &Request<B>) -> Match<'_, T> {
        self.find_head(Head::of(request))
    }

    /// The route for a request with this head, without a query and from an unknown client.
    #[must_use]
    pub fn look_up(&self, method: &Method, host: &str, path: &str, headers: &HeaderMap) -> Match<'_, T> {
        self.find_head(Head { method, host: bare(host), path, query: None, headers, extensions: None })
    }

    fn find_head(&self, head: Head<'_>) -> Match<'_, T> {
        let mut search = Search::new(&self.compiled.routes, &self.compiled.ranks, head);
        if let Some(found) = self.search(&mut search) {
            let index = found.index();
            let (matched, route) = (&self.compiled.routes[index], &self.values[index]);
            return Match::Found(Found { route, index, matched, captures: found.captures });
        }
        if !search.refused {
            return Match::NotFound;
        }
        // Rare, and then a second look costs less than remembering every time.
        let mut search = search.remembering();
        self.search(&mut search);
        Match::MethodNotAllowed { allow: search.allow() }
    }

    fn search(&self, search: &mut Search<'_>) -> Option<Entry> {
        self.compiled.groups.iter().find_map(|group| group.find(search))
    }

    /// The places of all routes, in the order in which they are tried: the first that fits takes a request. One of
    /// several hosts stands where the most exact of them puts it, whichever a request is for.
    #[must_use]
    pub fn precedence(&self) -> Vec<usize> {
        let Compiled { routes, ranks, .. } = &*self.compiled;
        let mut order: Vec<usize> = (0..routes.len()).collect();
        order.sort_by_cached_key(|index| {
            let route = &routes[*index];
            (Reverse(route.priority), explain::host_rank(route, None), ranks[*index])
        });
        order
    }

    /// All routes, in the order they were given.
    pub fn routes(&self) -> impl Iterator<Item = (&RouteMatch, &T)> {
        self.compiled.routes.iter().map(|route| &**route).zip(&self.values)
    }
}

#[cfg(test)]
mod tests;
