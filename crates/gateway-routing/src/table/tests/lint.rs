use super::*;

/// `HOST,… METHOD,… PATH PRIORITY` with `*` for any, and conditions.
fn route(text: &str, conditions: &serde_json::Value) -> (RouteMatch, ()) {
    let parts: Vec<_> = text.split(' ').collect();
    let list = |part: &str| -> Vec<String> {
        part.split(',').filter(|one| *one != "*").map(str::to_owned).collect()
    };
    let settings: MatchSettings = serde_json::from_value(conditions.clone()).unwrap();
    let mut route = RouteMatch::path(parts[2].trim_end_matches("(?i)")).unwrap().with(&settings);
    route.ignore_case = parts[2].ends_with("(?i)");
    route.hosts = list(parts[0]).iter().map(|host| host.parse().unwrap()).collect();
    route.methods = list(parts[1]).iter().map(|method| method.parse().unwrap()).collect();
    route.priority = parts[3].parse().unwrap();
    (route, ())
}

fn lint(routes: &[(&str, serde_json::Value)]) -> Vec<(usize, usize, Because)> {
    let routes = routes.iter().map(|(text, conditions)| route(text, conditions)).collect();
    let table = RouteTable::build(routes).unwrap();
    table.lint().into_iter().map(|u| (u.route, u.by, u.because)).collect()
}

#[test]
fn a_broader_route_with_a_higher_priority_hides_a_narrower_one() {
    for (broad, narrow, hidden) in [
        ("* * /* 1", "x * /a 0", true),
        ("* * /a/* 1", "x GET /a/b/* 0", true),
        ("* * /a/* 1", "* * /a 0", true),
        ("* * /a 1", "* * /a/* 0", false),
        ("* * /a/{x} 1", "* * /a/b 0", true),
        ("* * /a/{x} 1", "* * /a/ 0", false),
        ("* * /{x}/* 1", "* * /{y}/{z} 0", true),
        ("* * /a 1", "* * /A 0", false),
        ("* * /a(?i) 1", "* * /A 0", true),
        ("* * /a 1", "* * /a(?i) 0", false),
        ("* * /1 1", "* * /1(?i) 0", true),
        ("*.x * /* 1", "a.x * /a 0", true),
        ("*.x * /* 1", "*.a.x * /a 0", true),
        ("*.x * /* 1", "x * /a 0", false),
        ("a.* * /* 1", "a.x * /a 0", true),
        ("a.* * /* 1", "*.x * /a 0", false),
        ("x * /* 1", "x,y * /a 0", false),
        ("~[ab]\\.x * /* 1", "a.x * /a 0", true),
        ("~[ab]\\.x * /* 1", "c.x * /a 0", false),
        ("~[ab]\\.x * /* 1", "~[ab]\\.x * /a 0", true),
        ("~[ab]\\.x * /* 1", "~a\\.x * /a 0", false),
        ("* * /* 1", "~a\\.x * /a 0", true),
        ("x,y * /* 1", "x,y * /a 0", true),
        ("* GET /* 1", "* GET,HEAD /a 0", true),
        ("* GET /* 1", "* GET,POST /a 0", false),
        ("* GET /* 1", "* * /a 0", false),
        ("* * /api/* 1", "* * ~/api/v[0-9]/.* 0", true),
        ("* * /api/* 1", "* * ~/api.* 0", false),
        ("* * ~/a.* 1", "* * ~/a.* 0", true),
        ("* * ~/[^a](?i) 1", "* * ~/[^a] 0", false),
        ("* * ~/a.* 1", "* * /ab 0", true),
        ("* * ~/a.* 1", "* * /b 0", false),
        ("* * ~/.* 1", "* * /* 0", true),
        ("* * ~.* 1", "* * ~(/b|/c) 0", true),
        ("* * ~/a/.* 1", "* * /a/* 0", false),
        ("* * ~/a(/.*)? 1", "* * /a/b 0", false),
        ("* * ~/a/.* 1", "* * /a/{b}/c 0", true),
        ("* * ~/a/b.* 1", "* * /a/{b} 0", false),
        ("* * ~^/a/(?<rest>.*)$ 1", "x GET ~/a/[0-9]+ 0", true),
        ("* * ~/a/(.*) 1", "* * ~/a/?[0-9]+ 0", false),
        ("* * ~/a.*(?i) 1", "* * /AB 0", true),
        ("* * ~/a.* 1", "* * /ab(?i) 0", false),
        ("x * ~/a.* 1", "* * /ab 0", false),
        ("* * ~/a.+ 1", "* * /ab 0", false),
    ] {
        let expected = if hidden { vec![(1, 0, Because::Priority)] } else { vec![] };
        assert_eq!(lint(&[(broad, json!({})), (narrow, json!({}))]), expected, "{broad} | {narrow}");
    }
}

#[test]
fn at_equal_priority_only_an_equal_host_and_path_or_an_expression_is_hidden() {
    for (first, second, expected) in [
        ("* * /* 0", "* * /a 0", None),
        ("* * /* 0", "x * ~/.* 0", None),
        ("x * /* 0", "x * ~/.* 0", Some(Because::PrefixBeforeExpression)),
        ("* GET /a/* 0", "* GET,HEAD ~/a/b+ 0", Some(Because::PrefixBeforeExpression)),
        ("* * ~/a/.* 0", "* * ~/a/[0-9]+ 0", Some(Because::Order)),
        ("* * ~/a/[0-9]+ 0", "* * ~/a/.* 0", None),
        ("* * ~/a/.* 0", "x * ~/a/[0-9]+ 0", None),
        ("* GET,POST /a 0", "* POST /a 0", Some(Because::Order)),
        ("* POST /a 0", "* GET,POST /a 0", None),
        ("* * /a 0", "* GET /a 0", None),
        ("* * /A(?i) 0", "* * /a 0", Some(Because::Order)),
        ("* * /A 0", "* * /a(?i) 0", None),
        ("x,y * /a 0", "y * /a(?i) 0", None),
        ("x,y * /a(?i) 0", "y * /a 0", Some(Because::Order)),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|because| (1, 0, because)).collect();
        assert_eq!(lint(&[(first, json!({})), (second, json!({}))]), expected, "{first} | {second}");
    }
}

#[test]
fn conditions_hide_those_that_imply_them() {
    for (broad, narrow, hidden) in [
        (json!({}), json!({ "headers": { "h": "x" } }), true),
        (json!({ "headers": { "h": true } }), json!({ "headers": { "h": "x" } }), true),
        (json!({ "headers": { "h": "x" } }), json!({ "headers": { "h": true } }), false),
        (json!({ "headers": { "h": { "prefix": "a" } } }), json!({ "headers": { "h": "ab" } }), true),
        (json!({ "headers": { "h": { "prefix": "a" } } }), json!({ "headers": { "h": "ba" } }), false),
        (json!({ "query": { "h": { "regex": "a+" } } }), json!({ "query": { "h": "aa" } }), true),
        (json!({ "query": { "h": { "regex": "a+" } } }), json!({ "headers": { "h": "aa" } }), false),
        (json!({ "cookies": { "h": { "at_least": 1 } } }), json!({ "cookies": { "h": 7 } }), true),
        (
            json!({ "cookies": { "h": { "at_least": 1 } } }),
            json!({ "cookies": { "h": { "at_least": 2, "at_most": 3 } } }),
            true,
        ),
        (
            json!({ "headers": { "h": { "exact": "ab", "not": true } } }),
            json!({ "headers": { "h": { "prefix": "a", "not": true } } }),
            true,
        ),
        (
            json!({ "headers": { "h": { "exact": "a", "not": true } } }),
            json!({ "headers": { "h": "b" } }),
            false,
        ),
        (json!({ "clients": ["10.0.0.0/8"] }), json!({ "clients": ["10.1.0.0/16"] }), true),
        (json!({ "clients": ["10.1.0.0/16"] }), json!({ "clients": ["10.0.0.0/8"] }), false),
        (json!({ "not_clients": ["10.0.0.0/8"] }), json!({ "clients": ["192.0.2.0/24"] }), true),
        (json!({ "not_clients": ["10.0.0.0/8"] }), json!({ "not_clients": ["10.0.0.0/7"] }), true),
        (json!({ "not_clients": ["10.0.0.0/8"] }), json!({}), false),
    ] {
        let expected = if hidden { vec![(1, 0, Because::Priority)] } else { vec![] };
        let routes = [("* * /a 1", broad.clone()), ("* * /a 0", narrow.clone())];
        assert_eq!(lint(&routes), expected, "{broad} | {narrow}");
    }
    let many = json!({ "headers": { "h": true }, "query": { "q": true } });
    let routes =
        [("* * /a 0", json!({ "headers": { "h": "x" }, "query": { "q": "y" } })), ("* * /a 0", many)];
    assert_eq!(lint(&routes), []);
}

#[test]
fn several_routes_may_stand_before_the_hosts_of_one() {
    let routes = [("x * /* 1", json!({})), ("*.y * /* 2", json!({})), ("x,a.y * /b 0", json!({}))];
    assert_eq!(lint(&routes), [(2, 0, Because::Priority), (2, 1, Because::Priority)]);
}

#[test]
fn what_is_unreachable_is_said_in_a_sentence() {
    let unreachable = Unreachable { route: 3, by: 1, because: Because::Priority };
    let expected = "route 3 is never used: route 1 takes all its requests and has a higher priority";
    assert_eq!(unreachable.to_string(), expected);
}
