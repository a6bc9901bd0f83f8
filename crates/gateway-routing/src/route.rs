use crate::request::Head;
use crate::{CookieMatch, HeaderMatch, HostPattern, Networks, PathPattern, PatternError, QueryMatch, When};
use http::Method;

/// What a request must be for a route to take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteMatch {
    /// Any of these; none means every host.
    pub hosts: Vec<HostPattern>,
    /// The path.
    pub path: PathPattern,
    /// Whether upper and lower case in the path are the same.
    pub ignore_case: bool,
    /// Any of these; none means every method. `GET` takes `HEAD` too.
    pub methods: Vec<Method>,
    /// All of these.
    pub headers: Vec<HeaderMatch>,
    /// All of these.
    pub query: Vec<QueryMatch>,
    /// All of these.
    pub cookies: Vec<CookieMatch>,
    /// The client ([`gateway_core::ClientAddr`]) is in any of these; none means every client, even an unknown one.
    pub clients: Networks,
    /// The client is in none of these, or unknown.
    pub not_clients: Networks,
    /// This holds; it is asked last. Always `None` without the feature `cel`.
    pub when: Option<When>,
    /// Before all other rules of precedence; the higher wins.
    pub priority: i32,
    /// Whether what stands in the place of parameters is told in [`Captures`](gateway_core::Captures), which costs
    /// an allocation for each. [`RouteMatch::new`] says that it is.
    pub captures: bool,
}

impl RouteMatch {
    /// Every request whose path fits the pattern.
    ///
    /// # Errors
    /// Says what is wrong with the pattern.
    pub fn path(pattern: &str) -> Result<Self, PatternError> {
        Ok(Self::new(pattern.parse()?))
    }

    /// Every request whose path fits the pattern.
    #[must_use]
    pub fn new(path: PathPattern) -> Self {
        Self {
            hosts: Vec::new(),
            path,
            ignore_case: false,
            methods: Vec::new(),
            headers: Vec::new(),
            query: Vec::new(),
            cookies: Vec::new(),
            clients: Networks::default(),
            not_clients: Networks::default(),
            when: None,
            priority: 0,
            captures: true,
        }
    }

    /// Whether some path that it takes may begin with a prefix, which ends at a segment: for checks of what is done with
    /// prefixes.
    #[must_use]
    pub fn may_begin_with(&self, prefix: &str) -> bool {
        self.path.may_begin_with(prefix, self.ignore_case)
    }

    pub(crate) fn takes_method(&self, method: &Method) -> bool {
        self.methods.is_empty()
            || self.methods.contains(method)
            || (*method == Method::HEAD && self.methods.contains(&Method::GET))
    }

    /// All but host, path and method.
    pub(crate) fn takes_rest(&self, head: &Head<'_>) -> bool {
        self.headers.iter().all(|wanted| wanted.takes(head.headers))
            && self.query.iter().all(|wanted| wanted.takes(head.query))
            && self.cookies.iter().all(|wanted| wanted.takes(head.headers))
            && self.takes_client(head)
            && self.when.as_ref().is_none_or(|when| when.takes(head))
    }

    pub(crate) fn takes_client(&self, head: &Head<'_>) -> bool {
        if self.clients.is_empty() && self.not_clients.is_empty() {
            return true;
        }
        let client = head.client();
        let within = |networks: &Networks| client.is_some_and(|address| networks.contains(address));
        (self.clients.is_empty() || within(&self.clients)) && !within(&self.not_clients)
    }
}
