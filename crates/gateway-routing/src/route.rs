use crate::{HostPattern, PathPattern, PatternError};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

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
    /// Before all other rules of precedence; the higher wins.
    pub priority: i32,
}

/// A header that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Its name.
    pub name: HeaderName,
    /// Its value; none means any.
    pub value: Option<HeaderValue>,
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
            priority: 0,
        }
    }

    pub(crate) fn takes_method(&self, method: &Method) -> bool {
        self.methods.is_empty()
            || self.methods.contains(method)
            || (*method == Method::HEAD && self.methods.contains(&Method::GET))
    }

    pub(crate) fn takes_headers(&self, headers: &HeaderMap) -> bool {
        self.headers.iter().all(|wanted| match &wanted.value {
            None => headers.contains_key(&wanted.name),
            Some(value) => headers.get_all(&wanted.name).iter().any(|seen| seen == value),
        })
    }
}
