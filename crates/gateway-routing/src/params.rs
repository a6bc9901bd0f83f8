use crate::host::normal;
use crate::path::{Segment, segments};
use crate::request::Head;
use crate::route::RouteMatch;
use gateway_core::Captures;
use std::sync::Arc;

/// The name of what a prefix is followed by, without the slash between them.
const REST: &str = "*";

impl RouteMatch {
    /// The names of what [`Captures`] may hold for this route's requests: the path's parameters, `*` for what comes
    /// below a prefix, and the named groups of its expressions for path and hosts.
    ///
    /// ```
    /// let mut route = gateway_routing::RouteMatch::path("/users/{id}/*")?;
    /// route.hosts = vec!["~(?<tenant>[a-z]+)\\.shop\\.example".parse()?];
    /// assert_eq!(route.capture_names(), ["id", "*", "tenant"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn capture_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .path
            .segments
            .iter()
            .filter_map(|segment| match segment {
                Segment::Param(name) => Some(&**name),
                Segment::Literal(_) => None,
            })
            .collect();
        names.extend(self.path.prefix.then_some(REST));
        let regex = self.path.regex.iter();
        names.extend(regex.flat_map(|regex| regex.expression(false).regex.capture_names().flatten()));
        for host in &self.hosts {
            let more: Vec<_> = host.names().filter(|name| !names.contains(name)).collect();
            names.extend(more);
        }
        names
    }

    /// What stood in the place of the parameters in a request that this route takes; `None` if it has none.
    pub(crate) fn captured(&self, head: &Head<'_>) -> Option<Captures> {
        let mut pairs: Vec<(Arc<str>, String)> = match &self.path.regex {
            Some(regex) => regex.expression(self.ignore_case).captures(head.path),
            None => self.of_segments(head.path),
        };
        if self.hosts.iter().any(|host| host.regex.is_some()) {
            let mut buffer = [0; 256];
            let host = &*normal(head.host, &mut buffer);
            pairs.extend(self.hosts.iter().flat_map(|pattern| pattern.captures(host)));
        }
        (!pairs.is_empty()).then(|| pairs.into_iter().collect())
    }

    fn of_segments(&self, path: &str) -> Vec<(Arc<str>, String)> {
        let mut parts = segments(path);
        let own = self.path.segments.iter().zip(&mut parts);
        let mut pairs: Vec<_> = own
            .filter_map(|(segment, value)| match segment {
                Segment::Param(name) => Some((name.clone(), value.to_owned())),
                Segment::Literal(_) => None,
            })
            .collect();
        if self.path.prefix {
            let mut after = path.splitn(self.path.segments.len() + 2, '/');
            pairs.push((
                Arc::from(REST),
                after.nth(self.path.segments.len() + 1).unwrap_or_default().to_owned(),
            ));
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn parameters_the_rest_and_named_groups_of_path_and_host_are_captured() {
        let expression = "~(?<tenant>[a-z]+)\\.shop\\.example";
        for (path, host, url, expected) in [
            ("/users/{id}", None, "http://x/users/7%2F", vec![("id", "7%2F")]),
            ("/users/{id}/*", None, "http://x/users/7", vec![("id", "7"), ("*", "")]),
            ("/users/{id}/*", None, "http://x/users/7/", vec![("id", "7"), ("*", "")]),
            ("/users/{id}/*", None, "http://x/users/7/a//b/", vec![("id", "7"), ("*", "a//b/")]),
            ("/*", None, "http://x/", vec![("*", "")]),
            ("/*", None, "http://x/a/b", vec![("*", "a/b")]),
            ("~/v(?<version>[0-9]+)/(x)?(?<rest>y)?.*", None, "http://x/v2/x", vec![("version", "2")]),
            ("/a", Some(expression), "http://ACME.shop.example:80/a", vec![("tenant", "acme")]),
            (
                "/{tenant}",
                Some(expression),
                "http://b.shop.example/a",
                vec![("tenant", "a"), ("tenant", "b")],
            ),
            ("/a", None, "http://x/a", vec![]),
        ] {
            let mut route = RouteMatch::path(path).unwrap();
            route.hosts = host.map(|host: &str| host.parse().unwrap()).into_iter().collect();
            let request = Request::get(url).body(()).unwrap();
            let captures = route.captured(&Head::of(&request)).unwrap_or_default();
            let seen: Vec<_> = captures.iter().collect();
            assert_eq!(seen, expected, "{path} {url}");
            let names = route.capture_names();
            assert!(seen.iter().all(|(name, _)| names.contains(name)), "{names:?} {seen:?}");
        }
    }
}
