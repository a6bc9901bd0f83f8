//! Expressions among the other conditions of routes.

use gateway_core::ClientAddr;
use gateway_routing::{HeaderMatch, Match, MatchSettings, Refusal, RouteMatch, RouteTable};
use http::{HeaderName, Method, Request};

fn route(path: &str, when: &str) -> RouteMatch {
    let settings: MatchSettings = serde_json::from_value(serde_json::json!({ "when": when })).unwrap();
    RouteMatch::path(path).unwrap().with(&settings)
}

#[test]
fn an_expression_is_the_last_condition_and_keeps_routes_apart() {
    let gold = "request.headers['x-plan'] == 'gold'";
    let mut named = route("/a", "true");
    named.headers.push(HeaderMatch::present(HeaderName::from_static("x-plan")));
    let network: MatchSettings = serde_json::from_str(r#"{"clients": ["10.0.0.0/8"]}"#).unwrap();
    let network = RouteMatch::path("/a").unwrap().with(&network);
    let post = RouteMatch { methods: vec![Method::POST], ..RouteMatch::path("/b").unwrap() };
    let table = RouteTable::build(vec![
        (RouteMatch::path("/a").unwrap(), "plain"),
        (route("/a", "request.host == 'shop.example'"), "host"),
        (route("/a", gold), "gold"),
        (network, "network"),
        (named, "named"),
        (RouteMatch { methods: vec![Method::GET], ..route("/b", gold) }, "get"),
        (post, "post"),
    ])
    .unwrap();
    let found = |request: &Request<()>| match table.find(request) {
        Match::Found(found) => (*found.route).to_owned(),
        Match::MethodNotAllowed { allow } => allow.to_str().unwrap().to_owned(),
        Match::NotFound => "404".to_owned(),
    };
    let ask = |path: &str, host: &str, plan: Option<&str>| {
        let mut request = Request::get(path).header("host", host).body(()).unwrap();
        plan.map(|plan| request.headers_mut().insert("x-plan", plan.parse().unwrap()));
        request
    };
    assert_eq!(found(&ask("/a", "other", None)), "plain");
    assert_eq!(found(&ask("/a", "shop.example", None)), "host");
    let mut near = ask("/a", "shop.example", None);
    near.extensions_mut().insert(ClientAddr("10.1.2.3:99".parse().unwrap()));
    assert_eq!(found(&near), "network");
    assert_eq!(found(&ask("/a", "shop.example", Some("gold"))), "named");
    assert_eq!(found(&ask("/b", "x", Some("gold"))), "get");
    // What the expression refuses is not allowed by another method.
    assert_eq!(found(&ask("/b", "x", None)), "POST");
    // Nobody knows what an expression implies, so that none of these is never used.
    assert_eq!(table.lint(), []);

    let explained = table.explain(&ask("/a", "x", None));
    let refusals: Vec<String> =
        explained.candidates.iter().flat_map(|c| &c.refusals).map(Refusal::to_string).collect();
    let told = |part: &str| refusals.iter().any(|refusal| refusal.contains(part));
    assert!(told("`request.host == 'shop.example'` is false"), "{refusals:?}");
    assert!(told(&format!("`{gold}` fails: ")), "{refusals:?}");
}

#[test]
fn routes_of_one_expression_are_a_conflict_and_one_that_is_broader_covers_the_other() {
    let twice = vec![(route("/a", "true"), ()), (route("/a", "true"), ())];
    assert_eq!(RouteTable::build(twice).unwrap_err().0.len(), 1);
    let priority = |route: RouteMatch, priority| RouteMatch { priority, ..route };
    for (first, second, hidden) in [
        (route("/a/*", "true"), route("/a/b", "true"), true),
        (RouteMatch::path("/a/*").unwrap(), route("/a/b", "true"), true),
        (route("/a/*", "true"), RouteMatch::path("/a/b").unwrap(), false),
        (route("/a/*", "true"), route("/a/b", "false"), false),
    ] {
        let table = RouteTable::build(vec![(priority(first, 1), ()), (second, ())]).unwrap();
        assert_eq!(table.lint().len(), usize::from(hidden), "{:?}", table.routes().collect::<Vec<_>>());
    }
}
