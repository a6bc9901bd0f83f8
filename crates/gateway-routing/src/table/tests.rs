use super::*;
use crate::{HeaderMatch, PathPattern};
use proptest::prelude::*;

fn table(patterns: &[&str]) -> RouteTable<String> {
    let routes = patterns.iter().map(|p| (RouteMatch::path(p).unwrap(), (*p).to_owned())).collect();
    RouteTable::build(routes).unwrap()
}

fn found(table: &RouteTable<String>, method: &str, host: &str, path: &str) -> String {
    match table.look_up(&Method::from_bytes(method.as_bytes()).unwrap(), host, path, &HeaderMap::new()) {
        Match::Found(found) => found.route.clone(),
        Match::MethodNotAllowed { allow } => format!("405 {}", allow.to_str().unwrap()),
        Match::NotFound => "404".to_owned(),
    }
}

#[test]
fn s3_06_a_prefix_ends_at_a_segment() {
    let table = table(&["/api/products/*"]);
    for (path, expected) in [
        ("/api/products", "/api/products/*"),
        ("/api/products/", "/api/products/*"),
        ("/api/products/item/1", "/api/products/*"),
        ("/api/productsX", "404"),
        ("/api/product", "404"),
        ("/api", "404"),
        ("/", "404"),
        ("*", "404"),
    ] {
        assert_eq!(found(&table, "GET", "x", path), expected, "{path}");
    }
}

#[test]
fn the_most_specific_path_wins_whatever_the_order() {
    let patterns = ["/*", "/a/*", "/a/{x}", "/a/b", "/a/{x}/c", "/a/b/*", "/{y}/b", "/"];
    let mut reversed = patterns;
    reversed.reverse();
    for patterns in [patterns, reversed] {
        let table = table(&patterns);
        for (path, expected) in [
            ("/", "/"),
            ("/z", "/*"),
            ("/a", "/a/*"),
            ("/a/", "/a/*"),
            ("/a/b", "/a/b"),
            ("/a/z", "/a/{x}"),
            ("/a/b/c", "/a/b/*"),
            ("/a/z/c", "/a/{x}/c"),
            ("/a/z/d", "/a/*"),
            ("/q/b", "/{y}/b"),
            ("/q/b/c", "/*"),
        ] {
            assert_eq!(found(&table, "GET", "x", path), expected, "{path}");
        }
    }
}

#[test]
fn s3_04_case_can_be_ignored_where_a_route_says_so() {
    let mut checkout = RouteMatch::path("/api/Checkout/*").unwrap();
    checkout.ignore_case = true;
    let table = RouteTable::build(vec![
        (checkout, "any".to_owned()),
        (RouteMatch::path("/api/users/*").unwrap(), "exact".to_owned()),
    ])
    .unwrap();
    for (path, expected) in
        [("/api/checkout/1", "any"), ("/API/CHECKOUT", "any"), ("/api/users", "exact"), ("/api/Users", "404")]
    {
        assert_eq!(found(&table, "GET", "x", path), expected, "{path}");
    }
}

#[test]
fn only_a_wrong_method_is_405_and_says_which_are_allowed() {
    let with = |path: &str, methods: &[Method]| {
        let mut route = RouteMatch::path(path).unwrap();
        route.methods = methods.to_vec();
        (route, format!("{methods:?}"))
    };
    let table = RouteTable::build(vec![
        with("/a", &[Method::GET]),
        with("/a", &[Method::PUT, Method::DELETE]),
        with("/b/*", &[Method::POST]),
        with("/b/c", &[Method::GET]),
    ])
    .unwrap();
    for (method, path, expected) in [
        ("GET", "/a", "[GET]"),
        ("HEAD", "/a", "[GET]"),
        ("DELETE", "/a", "[PUT, DELETE]"),
        ("POST", "/a", "405 DELETE, GET, HEAD, PUT"),
        ("POST", "/b/c", "[POST]"),
        ("GET", "/b/d", "405 POST"),
        ("PURGE", "/b/c", "405 GET, HEAD, POST"),
        ("GET", "/c", "404"),
    ] {
        assert_eq!(found(&table, method, "x", path), expected, "{method} {path}");
    }
}

#[test]
fn hosts_rank_exact_then_longest_wildcard_then_any_and_fall_back() {
    let with = |hosts: &[&str], path: &str| {
        let mut route = RouteMatch::path(path).unwrap();
        route.hosts = hosts.iter().map(|h| h.parse().unwrap()).collect();
        (route, format!("{hosts:?}{path}"))
    };
    let table = RouteTable::build(vec![
        with(&[], "/*"),
        with(&["*.example"], "/*"),
        with(&["*.shop.example"], "/*"),
        with(&["a.shop.example", "b.example"], "/x"),
    ])
    .unwrap();
    for (host, path, expected) in [
        ("A.shop.example:80", "/x", r#"["a.shop.example", "b.example"]/x"#),
        ("b.example", "/x", r#"["a.shop.example", "b.example"]/x"#),
        ("a.shop.example", "/y", r#"["*.shop.example"]/*"#),
        ("b.example", "/y", r#"["*.example"]/*"#),
        ("other", "/x", "[]/*"),
        ("", "/x", "[]/*"),
    ] {
        assert_eq!(found(&table, "GET", host, path), expected, "{host}{path}");
    }
}

#[test]
fn equal_routes_are_conflicts_and_different_ones_are_not() {
    let build = |routes: Vec<RouteMatch>| {
        RouteTable::build(routes.into_iter().map(|r| (r, ())).collect()).map(|_| ()).unwrap_err_or_empty()
    };
    let path = |p: &str| RouteMatch::path(p).unwrap();
    let prioritised = |p: &str| RouteMatch { priority: 1, ..path(p) };
    assert_eq!(build(vec![path("/a"), path("/b"), path("/a")]), [Conflict { first: 0, second: 2 }]);
    assert_eq!(build(vec![path("/{a}/*"), path("/{b}/*")]), [Conflict { first: 0, second: 1 }]);
    assert_eq!(build(vec![path("/a"), path("/a/*"), path("/a/{b}"), prioritised("/a")]), []);
}

trait UnwrapErr<E> {
    fn unwrap_err_or_empty(self) -> Vec<E>;
}
impl<E> UnwrapErr<E> for Result<(), Vec<E>> {
    fn unwrap_err_or_empty(self) -> Vec<E> {
        self.err().unwrap_or_default()
    }
}

#[test]
fn parameters_are_taken_from_the_path() {
    let table = table(&["/users/{id}/orders/{order}", "/users/*"]);
    let path = "/users/7/orders/a%20b";
    let Match::Found(found) = table.look_up(&Method::GET, "x", path, &HeaderMap::new()) else { panic!() };
    let params = found.params(path).unwrap();
    assert_eq!((params.get("id"), params.get("order"), params.get("x")), (Some("7"), Some("a%20b"), None));
    let Match::Found(found) = table.look_up(&Method::GET, "x", "/users/7", &HeaderMap::new()) else {
        panic!()
    };
    assert!(found.params("/users/7").is_none());
}

/// The specification as the slowest program that could work: look at every route, take the best that fits.
fn naive(
    routes: &[(RouteMatch, usize)],
    method: &Method,
    host: &str,
    path: &str,
    headers: &HeaderMap,
) -> Option<usize> {
    let path_fits = |pattern: &PathPattern, ignore_case: bool| {
        let path: Vec<&str> = segments(path).collect();
        let long_enough = if pattern.prefix {
            path.len() >= pattern.segments.len()
        } else {
            path.len() == pattern.segments.len()
        };
        long_enough
            && pattern.segments.iter().zip(&path).all(|(segment, seen)| match segment {
                Segment::Literal(text) if ignore_case => text.eq_ignore_ascii_case(seen),
                Segment::Literal(text) => text == seen,
                Segment::Param(_) => !seen.is_empty(),
            })
    };
    let host_rank = |route: &RouteMatch| match route.hosts.iter().filter(|h| h.matches(bare(host))) {
        _ if route.hosts.is_empty() => Some((2, 0)),
        matching => matching.map(|h| if h.wildcard { (1, usize::MAX - h.name.len()) } else { (0, 0) }).min(),
    };
    routes
        .iter()
        .filter(|(r, _)| {
            path_fits(&r.path, r.ignore_case) && r.takes_method(method) && r.takes_headers(headers)
        })
        .filter_map(|(r, i)| Some((Reverse(r.priority), host_rank(r)?, rank(r, *i), *i)))
        .min_by(|a, b| (&a.0, &a.1, &a.2).cmp(&(&b.0, &b.1, &b.2)))
        .map(|(.., index)| index)
}

fn any_route() -> impl Strategy<Value = RouteMatch> {
    let segment = prop_oneof![Just("a"), Just("b"), Just("C"), Just("{p}"), Just("{q}")];
    let path =
        (prop::collection::vec(segment, 0..4), any::<bool>()).prop_filter_map("twice", |(parts, prefix)| {
            let text = format!("/{}", parts.join("/"));
            let text = match (prefix, parts.is_empty()) {
                (true, true) => "/*".to_owned(),
                (true, false) => format!("{text}/*"),
                (false, _) => text,
            };
            text.parse::<PathPattern>().ok()
        });
    let host = prop_oneof![Just("x.y"), Just("*.y"), Just("*.x.y"), Just("z")];
    let hosts = prop::collection::vec(host.prop_map(|h| h.parse().unwrap()), 0..2);
    let methods = prop::collection::vec(prop_oneof![Just(Method::GET), Just(Method::POST)], 0..2);
    let headers = prop::collection::vec(
        Just(HeaderMatch { name: http::HeaderName::from_static("h"), value: None }),
        0..2,
    );
    (path, any::<bool>(), hosts, methods, headers, 0..2i32).prop_map(
        |(path, ignore_case, hosts, methods, headers, priority)| RouteMatch {
            hosts,
            path,
            ignore_case,
            methods,
            headers,
            priority,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_table_finds_what_a_naive_search_finds(
        routes in prop::collection::vec(any_route(), 0..12),
        parts in prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c"), Just("C"), Just("")], 0..5),
        host in prop_oneof![Just("x.y"), Just("a.y"), Just("a.x.y:80"), Just("Z"), Just("")],
        method in prop_oneof![Just(Method::GET), Just(Method::POST), Just(Method::HEAD)],
        with_header in any::<bool>(),
    ) {
        let path = format!("/{}", parts.join("/"));
        let mut headers = HeaderMap::new();
        if with_header {
            headers.insert("h", HeaderValue::from_static("1"));
        }
        let routes: Vec<_> = routes.into_iter().enumerate().map(|(i, r)| (r, i)).collect();
        if let Ok(table) = RouteTable::build(routes.clone()) {
            let seen = match table.look_up(&method, host, &path, &headers) {
                Match::Found(found) => Some(found.index),
                _ => None,
            };
            prop_assert_eq!(seen, naive(&routes, &method, host, &path, &headers), "{} {}{}", method, host, path);
        }
    }

    #[test]
    fn no_text_makes_the_pattern_parser_panic(text in ".{0,40}") {
        let _ = text.parse::<PathPattern>();
        let _ = text.parse::<crate::HostPattern>();
        let _ = bare(&text);
    }
}
