use super::*;
use crate::{HeaderMatch, MatchSettings};
use gateway_core::ClientAddr;
use serde_json::json;

mod explain;
mod lint;
mod model;

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
fn hosts_rank_exact_then_longest_wildcard_at_the_front_then_at_the_end_then_any_and_fall_back() {
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
        with(&["www.*"], "/*"),
        with(&["www.shop.*"], "/*"),
    ])
    .unwrap();
    for (host, path, expected) in [
        ("A.shop.example:80", "/x", r#"["a.shop.example", "b.example"]/x"#),
        ("b.example", "/x", r#"["a.shop.example", "b.example"]/x"#),
        ("a.shop.example", "/y", r#"["*.shop.example"]/*"#),
        ("b.example", "/y", r#"["*.example"]/*"#),
        ("www.shop.example", "/", r#"["*.shop.example"]/*"#),
        ("www.shop.test.", "/", r#"["www.shop.*"]/*"#),
        ("WWW.test", "/", r#"["www.*"]/*"#),
        ("www", "/", "[]/*"),
        ("other", "/x", "[]/*"),
        ("", "/x", "[]/*"),
    ] {
        assert_eq!(found(&table, "GET", host, path), expected, "{host}{path}");
    }
}

#[test]
fn equal_routes_are_conflicts_and_different_ones_are_not() {
    let build = |routes: Vec<RouteMatch>| {
        let built = RouteTable::build(routes.into_iter().map(|r| (r, ())).collect());
        built.err().map_or_else(Vec::new, |conflicts| conflicts.0)
    };
    let path = |p: &str| RouteMatch::path(p).unwrap();
    let prioritised = |p: &str| RouteMatch { priority: 1, ..path(p) };
    assert_eq!(build(vec![path("/a"), path("/b"), path("/a")]), [Conflict { first: 0, second: 2 }]);
    assert_eq!(build(vec![path("/{a}/*"), path("/{b}/*")]), [Conflict { first: 0, second: 1 }]);
    assert_eq!(build(vec![path("/a"), path("/a/*"), path("/a/{b}"), prioritised("/a")]), []);
}

#[test]
fn parameters_are_taken_from_the_path() {
    let table = table(&["/users/{id}/orders/{order}", "/users/*"]);
    let order = request("GET", "/users/7/orders/a%20b", &[], None);
    let Match::Found(found) = table.find(&order) else { panic!() };
    let params = found.captures(&order).unwrap();
    assert_eq!((params.get("id"), params.get("order"), params.get("x")), (Some("7"), Some("a%20b"), None));
    let user = request("GET", "/users/7", &[], None);
    let Match::Found(found) = table.find(&user) else { panic!() };
    assert_eq!(found.captures(&user).unwrap().get("*"), Some("7"));
}

#[test]
fn routes_that_do_not_ask_for_their_parameters_are_not_told() {
    let route = RouteMatch { captures: false, ..RouteMatch::path("/users/{id}").unwrap() };
    let table = RouteTable::build(vec![(route, ())]).unwrap();
    let user = request("GET", "/users/7", &[], None);
    let Match::Found(found) = table.find(&user) else { panic!() };
    assert!(found.captures(&user).is_none());
}

#[test]
fn host_expressions_come_after_wildcards_and_their_paths_decide_among_them() {
    let routes = [
        ("~[a-z]+\\.shop\\.example", "/*"),
        ("~.*\\.example", "/a"),
        ("*.eu.shop.example", "/b"),
        ("acme.shop.example", "/c"),
        ("~.*", "/d/*"),
    ];
    let hosted = |(host, path): (&str, &str)| {
        let hosts = vec![host.parse().unwrap()];
        (RouteMatch { hosts, ..RouteMatch::path(path).unwrap() }, format!("{host} {path}"))
    };
    let table = RouteTable::build(routes.into_iter().map(hosted).collect()).unwrap();
    for (host, path, expected) in [
        ("ACME.shop.example:80", "/x", "~[a-z]+\\.shop\\.example /*"),
        ("acme.shop.example.", "/a", "~.*\\.example /a"),
        ("acme.shop.example", "/c", "acme.shop.example /c"),
        ("x.eu.shop.example", "/b", "*.eu.shop.example /b"),
        ("x.eu.shop.example", "/a", "~.*\\.example /a"),
        ("x.eu.shop.example", "/d/e", "~.* /d/*"),
        ("acme.shop.example", "/d/e", "~.* /d/*"),
        ("other", "/a", "404"),
    ] {
        assert_eq!(found(&table, "GET", host, path), expected, "{host} {path}");
    }
}

#[test]
fn expressions_come_after_prefixes_and_their_named_groups_are_parameters() {
    let table = table(&["~/v(?P<version>[0-9]+)(?:/(?P<rest>.*))?", "~/v.*", "/v2/users/*", "/v3"]);
    for (path, expected) in [
        ("/v1", "~/v(?P<version>[0-9]+)(?:/(?P<rest>.*))?"),
        ("/v1/users/7", "~/v(?P<version>[0-9]+)(?:/(?P<rest>.*))?"),
        ("/v2/users/7", "/v2/users/*"),
        ("/v2/userss", "~/v(?P<version>[0-9]+)(?:/(?P<rest>.*))?"),
        ("/v3", "/v3"),
        ("/vx", "~/v.*"),
        ("/a/v1", "404"),
        ("v1", "404"),
    ] {
        assert_eq!(found(&table, "GET", "x", path), expected, "{path}");
    }
    let params = |path: &str| {
        let request = request("GET", path, &[], None);
        let Match::Found(found) = table.find(&request) else { panic!() };
        let params = found.captures(&request)?;
        Some((params.get("version").map(str::to_owned), params.get("rest").map(str::to_owned)))
    };
    assert_eq!(params("/v1/a%20b"), Some((Some("1".into()), Some("a%20b".into()))));
    assert_eq!(params("/v1"), Some((Some("1".into()), None)));
    assert_eq!(params("/vx"), None);
}

#[test]
fn more_expressions_than_one_set_holds_are_tried_in_their_order() {
    let large = "(?:[a-z]{50}|[A-Z]{50}|[0-9]{50}){4}";
    let patterns: Vec<_> = (0..300).map(|i| format!("~/{}(?:{i}|all)(?:{large})?", "[ab]")).collect();
    let table = table(&patterns.iter().map(String::as_str).collect::<Vec<_>>());
    for i in [0, 99, 100, 255, 256, 299] {
        assert_eq!(found(&table, "GET", "x", &format!("/a{i}")), patterns[i]);
    }
    assert_eq!(found(&table, "GET", "x", "/ball"), patterns[0]);
    assert_eq!(found(&table, "GET", "x", "/b300"), "404");
}

/// A route on `/*` with these conditions, and what it is called.
fn asking(name: &str, conditions: &serde_json::Value) -> (RouteMatch, String) {
    let settings: MatchSettings = serde_json::from_value(conditions.clone()).unwrap();
    (RouteMatch::path("/*").unwrap().with(&settings), name.to_owned())
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)], client: Option<&str>) -> Request<()> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(()).unwrap();
    if let Some(client) = client {
        request.extensions_mut().insert(ClientAddr((client.parse::<std::net::IpAddr>().unwrap(), 1).into()));
    }
    request
}

fn name(found: &Match<'_, String>) -> String {
    match found {
        Match::Found(found) => found.route.clone(),
        Match::MethodNotAllowed { allow } => format!("405 {}", allow.to_str().unwrap()),
        Match::NotFound => "404".to_owned(),
    }
}

#[test]
fn routes_are_told_apart_by_header_query_cookie_and_client() {
    let table = RouteTable::build(vec![
        asking("acme", &json!({ "headers": { "x-tenant": "acme" } })),
        asking("v2", &json!({ "query": { "v": { "at_least": 2 } } })),
        asking("beta", &json!({ "cookies": { "group": { "prefix": "beta-" } } })),
        asking("inside", &json!({ "clients": ["10.0.0.0/8", "::1"], "not_clients": ["10.9.0.0/16"] })),
        asking("rest", &json!({})),
    ])
    .unwrap();
    for (uri, headers, client, expected) in [
        ("/", vec![], None, "rest"),
        ("/", vec![("x-tenant", "other"), ("x-tenant", "acme")], None, "acme"),
        ("/?v=2", vec![("x-tenant", "acme")], None, "acme"),
        ("/?v=1&v=%32", vec![], None, "v2"),
        ("/?v=1", vec![("cookie", "a=1; group=beta-7")], None, "beta"),
        ("/", vec![("cookie", "a=1"), ("cookie", "group=beta-7")], Some("10.0.0.1"), "beta"),
        ("/", vec![("cookie", "group=b")], Some("10.0.0.1"), "inside"),
        ("/", vec![], Some("::ffff:10.0.0.1"), "inside"),
        ("/", vec![], Some("10.9.0.1"), "rest"),
        ("/", vec![], Some("192.0.2.1"), "rest"),
    ] {
        let found = table.find(&request("GET", uri, &headers, client));
        assert_eq!(name(&found), expected, "{uri} {headers:?} {client:?}");
    }
}

#[test]
fn more_headers_come_before_more_query_parameters_before_cookies_before_clients_before_order() {
    let conditions = [
        json!({ "headers": { "a": true, "b": true } }),
        json!({ "headers": { "a": true }, "query": { "q": true, "r": true } }),
        json!({ "headers": { "a": true }, "query": { "q": true } }),
        json!({ "headers": { "b": true } }),
        json!({ "query": { "q": true, "r": true } }),
        json!({ "query": { "q": true }, "cookies": { "c": true } }),
        json!({ "query": { "r": true }, "clients": ["10.0.0.0/8"], "not_clients": ["10.1.0.0/16"] }),
        json!({ "query": { "r": true }, "clients": ["10.0.0.0/8"] }),
        json!({ "query": { "r": true } }),
        json!({ "query": { "q": true } }),
        json!({}),
    ];
    let headers = [("a", "1"), ("b", "1"), ("cookie", "c=1")];
    let everything = request("GET", "/?q&r", &headers, Some("10.0.0.1"));
    let mut left: Vec<_> = conditions.iter().map(|c| asking(&c.to_string(), c)).collect();
    // Written in the opposite order, but for the last two that only order tells apart.
    left[..9].reverse();
    for expected in &conditions {
        let table = RouteTable::build(left.clone()).unwrap();
        let expected = expected.to_string();
        assert_eq!(name(&table.find(&everything)), expected);
        left.retain(|(_, name)| *name != expected);
    }
}

#[test]
fn the_same_conditions_in_another_order_are_a_conflict() {
    let header = |name: &'static str| HeaderMatch::present(http::HeaderName::from_static(name));
    let with = |headers: Vec<HeaderMatch>| (RouteMatch { headers, ..RouteMatch::path("/").unwrap() }, ());
    let conflicts = RouteTable::build(vec![
        with(vec![header("a"), header("b")]),
        with(vec![header("b"), header("a")]),
        with(vec![header("a")]),
    ]);
    let conflicts = conflicts.unwrap_err();
    assert_eq!(conflicts.0, [Conflict { first: 0, second: 1 }]);
    assert_eq!(conflicts.to_string(), "route 1 is never reached, for route 0 takes the same requests");
}
