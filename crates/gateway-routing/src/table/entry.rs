//! What is looked at of a route that a path leads to: few bytes, beside the path.

use crate::route::RouteMatch;
use http::Method;
use std::sync::Arc;

/// A route with what is asked of almost every request, so that the rest of it stays out of the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    index: u32,
    methods: Methods,
    /// Whether it has conditions besides host, path and method.
    pub(super) has_conditions: bool,
    pub(super) captures: bool,
}

/// A set of methods: a bit for each that is well known, and one for all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Methods(u16);

impl Entry {
    /// The route at this place in the list.
    pub(super) fn new(route: &RouteMatch, index: usize) -> Self {
        let conditions = route.headers.len() + route.query.len() + route.cookies.len();
        let networks = !route.clients.is_empty() || !route.not_clients.is_empty();
        Self {
            // More routes than that fit into no memory.
            index: index as u32,
            methods: Methods::taken_by(route),
            has_conditions: conditions > 0 || networks || route.when.is_some(),
            captures: route.captures,
        }
    }

    /// Its place in the list.
    pub(super) fn index(self) -> usize {
        self.index as usize
    }

    /// Whether it takes the method, `asked` being its set.
    pub(super) fn takes_method(self, asked: Methods, method: &Method, routes: &[Arc<RouteMatch>]) -> bool {
        match self.methods {
            Methods::ANY => true,
            methods if methods.0 & asked.0 == 0 => false,
            _ => asked != Methods::OTHER || routes[self.index()].takes_method(method),
        }
    }
}

impl Methods {
    const ANY: Self = Self(u16::MAX);
    const OTHER: Self = Self(1 << 15);

    /// The set of this one only.
    pub(super) fn of(method: &Method) -> Self {
        let bit = match *method {
            Method::GET => 0,
            Method::HEAD => 1,
            Method::POST => 2,
            Method::PUT => 3,
            Method::DELETE => 4,
            Method::OPTIONS => 5,
            Method::PATCH => 6,
            Method::TRACE => 7,
            Method::CONNECT => 8,
            _ => return Self::OTHER,
        };
        Self(1 << bit)
    }

    fn taken_by(route: &RouteMatch) -> Self {
        if route.methods.is_empty() {
            return Self::ANY;
        }
        let head = route.methods.contains(&Method::GET).then_some(Method::HEAD);
        let all = route.methods.iter().chain(&head).map(|method| Self::of(method).0);
        Self(all.fold(0, |set, bit| set | bit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_taken_as_the_route_takes_them() {
        let all =
            ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "QUERY", "get"];
        let methods = all.map(|name| Method::from_bytes(name.as_bytes()).unwrap());
        for taken in
            [&[][..], &methods[..1], &methods[1..4], &methods[4..9], &methods[9..10], &methods[2..11]]
        {
            let route = RouteMatch { methods: taken.to_vec(), ..RouteMatch::path("/a").unwrap() };
            let (entry, routes) = (Entry::new(&route, 0), [Arc::new(route)]);
            let route = &routes[0];
            for method in &methods {
                let seen = entry.takes_method(Methods::of(method), method, &routes);
                assert_eq!(seen, route.takes_method(method), "{method} of {taken:?}");
            }
        }
    }
}
