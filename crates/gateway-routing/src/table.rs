use crate::host::bare;
use crate::path::{PathParams, Segment, segments};
use crate::route::RouteMatch;
use http::header::{HOST, HeaderValue};
use http::{HeaderMap, Method, Request};
use std::cmp::Reverse;
use std::collections::HashMap;

/// Routes compiled for look-up: a tree of segments per host.
#[derive(Debug)]
pub struct RouteTable<T> {
    routes: Vec<(RouteMatch, T)>,
    /// By rank, best first: priority, then kind of host. Few, usually one.
    groups: Vec<Group>,
}

/// The routes of one priority.
#[derive(Debug, Default)]
struct Group {
    priority: i32,
    exact: HashMap<String, Tree>,
    /// Longest name first.
    wildcard: Vec<(crate::HostPattern, Tree)>,
    any: Option<Tree>,
}

#[derive(Debug, Default)]
struct Tree {
    cased: Node,
    uncased: Option<Box<Node>>,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, Node>,
    param: Option<Box<Node>>,
    /// Indexes of routes that end here, best first.
    exact: Vec<usize>,
    /// Indexes of routes that take this and all below, best first.
    prefix: Vec<usize>,
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
    matched: &'t RouteMatch,
}

impl<T> Found<'_, T> {
    /// What stood in the place of the pattern's parameters; `None` if it has none.
    #[must_use]
    pub fn params(&self, path: &str) -> Option<PathParams> {
        let pattern = &self.matched.path.segments;
        let params: Vec<_> = pattern
            .iter()
            .zip(segments(path))
            .filter_map(|(segment, value)| match segment {
                Segment::Param(name) => Some((name.clone(), value.to_owned())),
                Segment::Literal(_) => None,
            })
            .collect();
        (!params.is_empty()).then_some(PathParams(params))
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

impl<T> RouteTable<T> {
    /// Compiles the routes.
    ///
    /// # Errors
    /// Every pair of routes of which the second could never be reached.
    pub fn build(routes: Vec<(RouteMatch, T)>) -> Result<Self, Vec<Conflict>> {
        let conflicts = conflicts(&routes);
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        let mut order: Vec<usize> = (0..routes.len()).collect();
        // Within a place in the tree: methods before none, then more headers, then as written.
        order.sort_by_key(|i| {
            let route = &routes[*i].0;
            (Reverse(route.priority), route.methods.is_empty(), Reverse(route.headers.len()), *i)
        });
        let mut groups: Vec<Group> = Vec::new();
        for index in order {
            let route = &routes[index].0;
            if groups.last().is_none_or(|group| group.priority != route.priority) {
                groups.push(Group { priority: route.priority, ..Group::default() });
            }
            let Some(group) = groups.last_mut() else { continue };
            for tree in group.trees_for(route) {
                tree.insert(route, index);
            }
        }
        for group in &mut groups {
            group.wildcard.sort_by_key(|(host, _)| Reverse(host.name.len()));
        }
        Ok(Self { routes, groups })
    }

    /// A table without routes.
    #[must_use]
    pub fn empty() -> Self {
        Self { routes: Vec::new(), groups: Vec::new() }
    }

    /// The route for a request.
    #[must_use]
    pub fn find<B>(&self, request: &Request<B>) -> Match<'_, T> {
        let host = request.uri().authority().map_or_else(
            || request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
            |authority| authority.as_str(),
        );
        self.look_up(request.method(), host, request.uri().path(), request.headers())
    }

    /// The route for a request with this head.
    #[must_use]
    pub fn look_up(&self, method: &Method, host: &str, path: &str, headers: &HeaderMap) -> Match<'_, T> {
        let mut search = Search { routes: &self.routes, method, headers, refused: Vec::new() };
        let host = bare(host);
        for group in &self.groups {
            if let Some(index) = group.find(host, path, &mut search) {
                let (matched, route) = &self.routes[index];
                return Match::Found(Found { route, index, matched });
            }
        }
        if search.refused.is_empty() {
            return Match::NotFound;
        }
        let refused = search.refused.iter().map(|index| &self.routes[*index].0);
        Match::MethodNotAllowed { allow: allow(refused) }
    }

    /// All routes, in the order they were given.
    pub fn routes(&self) -> impl Iterator<Item = &(RouteMatch, T)> {
        self.routes.iter()
    }
}

impl Group {
    fn trees_for(&mut self, route: &RouteMatch) -> Vec<&mut Tree> {
        if route.hosts.is_empty() {
            return vec![self.any.get_or_insert_default()];
        }
        for host in route.hosts.iter().filter(|host| host.wildcard) {
            if !self.wildcard.iter().any(|(known, _)| known == host) {
                self.wildcard.push((host.clone(), Tree::default()));
            }
        }
        for host in route.hosts.iter().filter(|host| !host.wildcard) {
            self.exact.entry(host.name.clone()).or_default();
        }
        let exact = self
            .exact
            .iter_mut()
            .filter(|(name, _)| route.hosts.iter().any(|host| !host.wildcard && host.name == **name));
        let wildcard = self.wildcard.iter_mut().filter(|(known, _)| route.hosts.contains(known));
        exact.map(|(_, tree)| tree).chain(wildcard.map(|(_, tree)| tree)).collect()
    }

    fn find<T>(&self, host: &str, path: &str, search: &mut Search<'_, T>) -> Option<usize> {
        if !self.exact.is_empty() {
            let exact = match self.exact.get(host) {
                None if host.bytes().any(|b| b.is_ascii_uppercase()) => {
                    self.exact.get(&host.to_ascii_lowercase())
                }
                found => found,
            };
            if let Some(index) = exact.and_then(|tree| tree.find(path, search)) {
                return Some(index);
            }
        }
        for (_, tree) in self.wildcard.iter().filter(|(pattern, _)| pattern.matches(host)) {
            if let Some(index) = tree.find(path, search) {
                return Some(index);
            }
        }
        self.any.as_ref()?.find(path, search)
    }
}

impl Tree {
    fn insert(&mut self, route: &RouteMatch, index: usize) {
        let mut node = if route.ignore_case { self.uncased.get_or_insert_default() } else { &mut self.cased };
        for segment in &route.path.segments {
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

    fn find<T>(&self, path: &str, search: &mut Search<'_, T>) -> Option<usize> {
        let rest = path.strip_prefix('/')?;
        let rest = (!rest.is_empty()).then_some(rest);
        let cased = self.cased.find(rest, search);
        let Some(uncased) = &self.uncased else { return cased };
        // Rare, so that it may cost a copy of the path.
        let lower = rest.map(str::to_ascii_lowercase);
        let uncased = uncased.find(lower.as_deref(), search);
        match (cased, uncased) {
            (Some(a), Some(b)) => Some(if search.rank(a) <= search.rank(b) { a } else { b }),
            (a, b) => a.or(b),
        }
    }
}

impl Node {
    /// The best route at or below this node for the rest of a path, `None` being its end.
    fn find<T>(&self, rest: Option<&str>, search: &mut Search<'_, T>) -> Option<usize> {
        let Some(rest) = rest else {
            return search.first(&self.exact).or_else(|| search.first(&self.prefix));
        };
        let (segment, below) = match rest.split_once('/') {
            Some((segment, below)) => (segment, Some(below)),
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

struct Search<'a, T> {
    routes: &'a [(RouteMatch, T)],
    method: &'a Method,
    headers: &'a HeaderMap,
    /// Routes that only the method kept from matching.
    refused: Vec<usize>,
}

impl<T> Search<'_, T> {
    fn first(&mut self, candidates: &[usize]) -> Option<usize> {
        for index in candidates {
            let route = &self.routes[*index].0;
            if route.takes_headers(self.headers) {
                if route.takes_method(self.method) {
                    return Some(*index);
                }
                self.refused.push(*index);
            }
        }
        None
    }

    fn rank(&self, index: usize) -> impl Ord + use<T> {
        rank(&self.routes[index].0, index)
    }
}

/// Precedence among routes that take the same request, but for host and priority: the smaller wins.
fn rank(route: &RouteMatch, index: usize) -> impl Ord + use<> {
    // Segment by segment: a literal, a parameter, and last the end of a prefix.
    let mut kinds: Vec<u8> =
        route.path.segments.iter().map(|s| u8::from(matches!(s, Segment::Param(_)))).collect();
    kinds.push(if route.path.prefix { 2 } else { 0 });
    (kinds, route.methods.is_empty(), Reverse(route.headers.len()), index)
}

fn allow<'a>(routes: impl Iterator<Item = &'a RouteMatch>) -> HeaderValue {
    let mut methods: Vec<&str> = routes.flat_map(|route| route.methods.iter().map(Method::as_str)).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.sort_unstable();
    methods.dedup();
    // Methods are tokens, which are valid in a header.
    HeaderValue::from_str(&methods.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Equal but for what was registered: the same requests, and no rule says who wins.
fn conflicts<T>(routes: &[(RouteMatch, T)]) -> Vec<Conflict> {
    let mut seen: HashMap<_, usize> = HashMap::new();
    let mut conflicts = Vec::new();
    for (second, (route, _)) in routes.iter().enumerate() {
        let shape: Vec<_> = route
            .path
            .segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) if route.ignore_case => Some(text.to_ascii_lowercase()),
                Segment::Literal(text) => Some(text.clone()),
                Segment::Param(_) => None,
            })
            .collect();
        let mut methods: Vec<_> = route.methods.iter().map(Method::to_string).collect();
        methods.sort();
        let mut headers: Vec<_> = route
            .headers
            .iter()
            .map(|h| (h.name.to_string(), h.value.as_ref().map(|v| v.as_bytes().to_vec())))
            .collect();
        headers.sort();
        let hosts: Vec<_> = match route.hosts.len() {
            0 => vec![None],
            _ => route.hosts.iter().map(Some).collect(),
        };
        for host in hosts {
            let same = (
                host,
                shape.clone(),
                route.path.prefix,
                route.ignore_case,
                methods.clone(),
                headers.clone(),
                route.priority,
            );
            match seen.get(&same) {
                Some(first) => conflicts.push(Conflict { first: *first, second }),
                None => drop(seen.insert(same, second)),
            }
        }
    }
    conflicts.dedup();
    conflicts
}

#[cfg(test)]
mod tests;
