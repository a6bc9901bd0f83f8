use crate::request::Head;
use crate::route::RouteMatch;
use http::Method;
use http::header::HeaderValue;

/// One look-up on its way through the trees.
pub(super) struct Search<'a> {
    pub(super) routes: &'a [RouteMatch],
    ranks: &'a [usize],
    pub(super) head: Head<'a>,
    /// Whether only the method kept a route from matching.
    pub(super) refused: bool,
    /// Those routes, for a second look-up once it is known that they are needed.
    allowed: Option<Vec<&'a RouteMatch>>,
}

impl<'a> Search<'a> {
    pub(super) fn new(routes: &'a [RouteMatch], ranks: &'a [usize], head: Head<'a>) -> Self {
        Self { routes, ranks, head, refused: false, allowed: None }
    }

    /// One that remembers which routes the method kept from matching.
    pub(super) fn remembering(self) -> Self {
        Self { allowed: Some(Vec::new()), ..self }
    }

    /// The first of these that takes the request.
    pub(super) fn first(&mut self, candidates: &[usize]) -> Option<usize> {
        for index in candidates {
            let route = &self.routes[*index];
            let method = route.takes_method(self.head.method);
            if (method || !self.refused || self.allowed.is_some()) && route.takes_rest(&self.head) {
                if method {
                    return Some(*index);
                }
                self.refused = true;
                if let Some(allowed) = &mut self.allowed {
                    allowed.push(route);
                }
            }
        }
        None
    }

    pub(super) fn better(&self, a: usize, b: usize) -> usize {
        if self.ranks[a] <= self.ranks[b] { a } else { b }
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
