use super::*;

/// What an operator is shown: every near candidate with its refusals, and the outcome.
fn explained(table: &RouteTable<String>, request: &Request<()>) -> Vec<String> {
    let explanation = table.explain(request);
    let routes: Vec<_> = table.routes().map(|(_, name)| name).collect();
    let mut lines: Vec<_> = explanation
        .nearest()
        .map(|candidate| {
            let refusals: Vec<_> = candidate.refusals.iter().map(ToString::to_string).collect();
            format!("{}: {}", routes[candidate.index], refusals.join("; and "))
        })
        .collect();
    lines.push(match explanation.outcome {
        Outcome::Found { index, params } => {
            format!("-> {} {:?}", routes[index], params.unwrap_or_default().iter().collect::<Vec<_>>())
        }
        Outcome::MethodNotAllowed { allow } => format!("-> 405 {}", allow.to_str().unwrap()),
        Outcome::NotFound => "-> 404".to_owned(),
    });
    lines
}

fn shop() -> RouteTable<String> {
    let hosted = |host: &str, path: &str| {
        let hosts = vec![host.parse().unwrap()];
        (RouteMatch { hosts, ..RouteMatch::path(path).unwrap() }, format!("{host}{path}"))
    };
    let with = |path: &str, methods: &[Method], conditions: serde_json::Value| {
        let settings: MatchSettings = serde_json::from_value(conditions).unwrap();
        let route = RouteMatch::path(path).unwrap().with(&settings);
        (RouteMatch { methods: methods.to_vec(), ..route }, path.to_owned())
    };
    RouteTable::build(vec![
        with(
            "/items/{id}",
            &[Method::GET],
            json!({ "headers": { "x-tenant": "acme" }, "query": { "v": 2 } }),
        ),
        with("/items/*", &[], json!({ "cookies": { "beta": true }, "clients": ["10.0.0.0/8"] })),
        hosted("shop.example", "/items/*"),
        hosted("*.example", "/items/{id}"),
        with("/items", &[], json!({})),
        with("/Cart", &[Method::POST], json!({})),
        with("~/v(?P<version>[0-9]+)", &[], json!({})),
    ])
    .unwrap()
}

#[test]
fn an_explanation_names_all_that_kept_the_nearer_routes_from_a_request() {
    let mut request = request("POST", "/items/7?v=1&v=3", &[("host", "SHOP.example:80")], Some("192.0.2.1"));
    assert_eq!(
        explained(&shop(), &request),
        [
            "shop.example/items/*: ",
            "*.example/items/{id}: ",
            "/items/{id}: the method is POST; expected `GET`; and the header `x-tenant` is missing; expected `acme`; \
             and the query parameter `v` is `1`, `3`; expected `2`",
            "/items/*: the cookie `beta` is missing; expected any value; and the client is 192.0.2.1; expected one in \
             10.0.0.0/8",
            "/items: the path is `/items/7`; expected `/items` (it is below, which only a pattern that ends in `/*` \
             takes)",
            "-> shop.example/items/* [(\"*\", \"7\")]",
        ]
    );
    request.headers_mut().insert("host", HeaderValue::from_static("other"));
    let lines = explained(&shop(), &request);
    assert_eq!(lines[2], "shop.example/items/*: the host is `other`; expected `shop.example`");
    assert_eq!(lines.last().unwrap(), "-> 404");
}

#[test]
fn an_explanation_says_404_405_and_what_was_nearly_right() {
    let explained = |method: &str, path: &str| explained(&shop(), &request(method, path, &[], None));
    assert_eq!(explained("GET", "/Cart"), ["/Cart: the method is GET; expected `POST`", "-> 405 POST"]);
    assert_eq!(
        explained("POST", "/cart"),
        ["/Cart: the path is `/cart`; expected `/Cart` (it fits but for upper and lower case)", "-> 404"]
    );
    assert_eq!(
        explained("POST", "/Cart/"),
        ["/Cart: the path is `/Cart/`; expected `/Cart` (it fits but for the slash at the end)", "-> 404"]
    );
    assert_eq!(
        explained("GET", "/v7"),
        ["~/v(?P<version>[0-9]+): ", "-> ~/v(?P<version>[0-9]+) [(\"version\", \"7\")]"]
    );
    assert_eq!(explained("GET", "/other"), ["-> 404"]);
}

#[test]
fn a_host_that_is_too_long_is_explained_as_it_is_looked_up() {
    let hosts = vec!["*.example".parse().unwrap()];
    let table = RouteTable::build(vec![
        (RouteMatch { hosts, ..RouteMatch::path("/*").unwrap() }, "below".to_owned()),
        (RouteMatch::path("/*").unwrap(), "any".to_owned()),
    ])
    .unwrap();
    for (length, found) in [(253, "below"), (254, "any")] {
        let host = format!("{}.example", "a".repeat(length - ".example".len()));
        let lines = explained(&table, &request("GET", "/", &[("host", &host)], None));
        assert_eq!(lines.last().unwrap(), &format!("-> {found} [(\"*\", \"\")]"));
        let takes = lines.iter().find(|line| line.ends_with(": ")).unwrap();
        assert_eq!(takes, &format!("{found}: "));
        let why = lines.iter().any(|line| line.ends_with("(no host has more than 253 characters)"));
        assert_eq!(why, found == "any", "{lines:?}");
    }
}

#[test]
fn an_ipv6_host_is_found_however_it_is_written() {
    for (pattern, expected) in [("[0:0:0:0:0:0:0:1]", ""), ("~\\[(?<address>::[0-9])\\]", "::1")] {
        let hosts = vec![pattern.parse().unwrap()];
        let route = RouteMatch { hosts, ..RouteMatch::path("/x").unwrap() };
        let table = RouteTable::build(vec![(route, "found".to_owned())]).unwrap();
        for host in ["[::1]:80", "[0:0::1]", "[0000:0:0:0:0:0:0:1]:8080"] {
            let request = request("GET", "/x", &[("host", host)], None);
            let Match::Found(found) = table.find(&request) else { panic!("{pattern} {host}") };
            let captures = found.captures(&request).unwrap_or_default();
            assert_eq!(captures.get("address").unwrap_or_default(), expected, "{pattern} {host}");
        }
    }
}

#[test]
fn routes_have_an_order_whatever_is_asked_for() {
    let table = shop();
    let order = table.precedence();
    assert_eq!(order[..2], [2, 3], "an exact host, then a wildcard, then any");
    for host in ["a.example", "shop.example", "other"] {
        let tried = table.explain(&request("GET", "/items/7", &[("host", host)], None)).candidates;
        let fits = |candidate: &&Candidate| {
            !candidate
                .refusals
                .iter()
                .any(|refusal| matches!(refusal, Refusal::Host { .. } | Refusal::Path { .. }))
        };
        let tried: Vec<_> = tried.iter().filter(fits).map(|candidate| candidate.index).collect();
        let same: Vec<_> = order.iter().copied().filter(|index| tried.contains(index)).collect();
        assert_eq!(same, tried, "{host}");
    }
}
