use super::entry::{Entry, Methods};
use crate::request::Head;
use crate::route::RouteMatch;
use http::Method;
use http::header::HeaderValue;
use std::sync::Arc;

/// One look-up on its way through the trees.
pub(super) struct Search<'a> {
    pub(super) routes: &'a [Arc<RouteMatch>],
    ranks: &'a [u32],
    pub(super) head: Head<'a>,
    method: Methods,
    /// Whether only the method kept a route from matching.
    pub(super) refused: bool,
    /// Those routes, for a second look-up once it is known that they are needed.
    allowed: Option<Vec<&'a RouteMatch>>,
}

impl<'a> Search<'a> {
    pub(super) fn new(routes: &'a [Arc<RouteMatch>], ranks: &'a [u32], head: Head<'a>) -> Self {
        Self { routes, ranks, head, method: Methods::of(head.method), refused: false, allowed: None }
    }

    /// One that remembers which routes the method kept from matching.
    pub(super) fn remembering(self) -> Self {
        Self { allowed: Some(Vec::new()), ..self }
    }

    /// The first of these that takes the request.
    pub(super) fn first(&mut self, entries: &[Entry]) -> Option<Entry> {
        for entry in entries {
            let method = entry.takes_method(self.method, self.head.method, self.routes);
            if (method || !self.refused || self.allowed.is_some()) && self.has_what_it_asks(*entry) {
                if method {
                    return Some(*entry);
                }
                self.refused = true;
                if let Some(allowed) = &mut self.allowed {
                    allowed.push(&self.routes[entry.index()]);
                }
            }
        }
        None
    }

    fn has_what_it_asks(&self, entry: Entry) -> bool {
        !entry.has_conditions || self.routes[entry.index()].takes_rest(&self.head)
    }

    pub(super) fn better(&self, a: Entry, b: Entry) -> Entry {
        if self.ranks[a.index()] <= self.ranks[b.index()] { a } else { b }
    }

    /// The methods that would have been taken.
    pub(super) fn allow(&self) -> HeaderValue {
        let routes = self.allowed.iter().flatten();
        let mut methods: Vec<&str> =
            routes.flat_map(|route| route.methods.iter().map(Method::as_str)).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        methods.dedup();
        // Methods are tokens, which are valid in a header.
        HeaderValue::from_str(&methods.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}
