//! The table against a program too simple to be wrong.

use super::request;
use crate::path::{Segment, segments};
use crate::table::cover::implies;
use crate::table::{Match, RouteTable};
use crate::{
    CookieMatch, HeaderMatch, HostPattern, MatchSettings, Networks, PathPattern, QueryMatch, RouteMatch,
    ValueMatch, When,
};
use http::{HeaderName, Method, Request};
use proptest::prelude::*;
use std::cmp::Reverse;

/// The specification as the slowest program that could work: look at every route, take the best that fits.
fn naive(routes: &[(RouteMatch, usize)], request: &Request<()>) -> Option<usize> {
    routes
        .iter()
        .filter(|(route, _)| path_fits(route, request.uri().path()) && rest_fits(route, request))
        .filter_map(|(route, index)| {
            let conditions = (
                Reverse(route.headers.len()),
                Reverse(route.query.len()),
                Reverse(route.cookies.len()),
                Reverse([&route.clients, &route.not_clients].iter().filter(|n| !n.is_empty()).count()),
                Reverse(route.when.is_some()),
            );
            let path = path_rank(&route.path);
            let host = host_rank(route, request)?;
            Some((Reverse(route.priority), host, path, route.methods.is_empty(), conditions, *index))
        })
        .min()
        .map(|(.., index)| index)
}

fn path_fits(route: &RouteMatch, path: &str) -> bool {
    let RouteMatch { path: pattern, ignore_case, .. } = route;
    if let Some((_, test)) = expressions().into_iter().find(|(text, _)| *text == pattern.as_str()) {
        return if *ignore_case { test(&path.to_lowercase()) } else { test(path) };
    }
    let path: Vec<&str> = segments(path).collect();
    let long_enough = if pattern.prefix {
        path.len() >= pattern.segments.len()
    } else {
        path.len() == pattern.segments.len()
    };
    long_enough
        && pattern.segments.iter().zip(&path).all(|(segment, seen)| match segment {
            Segment::Literal(text) if *ignore_case => text.eq_ignore_ascii_case(seen),
            Segment::Literal(text) => text == seen,
            Segment::Param(_) => !seen.is_empty(),
        })
}

type Meaning = fn(&str) -> bool;

/// Expressions, and what they mean. None tells cases apart when it ignores case.
fn expressions() -> [(&'static str, Meaning); 4] {
    [
        ("~/a/.*", |path| path.starts_with("/a/")),
        ("~.*", |_| true),
        ("~^/(?P<x>[ab])|/c$", |path| ["/a", "/b", "/c"].contains(&path)),
        ("~/[^/]+/b/?", |path| {
            let parts: Vec<_> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
            parts.len() == 3 && !parts[1].is_empty() && parts[2] == "b"
        }),
    ]
}

/// Expressions for hosts, and what they mean.
fn host_expressions() -> [(&'static str, Meaning); 3] {
    [
        ("~[a-z]\\.[xy]", |host| {
            host.len() == 3
                && host.ends_with(['x', 'y'])
                && host.as_bytes()[1] == b'.'
                && host.as_bytes()[0].is_ascii_lowercase()
        }),
        ("~.*Y|z", |host| host.ends_with('y') || host == "z"),
        ("~(?<tenant>.+)\\.(y|z)", |host| host.len() > 2 && (host.ends_with(".y") || host.ends_with(".z"))),
    ]
}

type Holds = fn(&Request<()>) -> bool;

/// Expressions in CEL, and what they mean; none in a build without them.
fn whens() -> Vec<(&'static str, Holds)> {
    if cfg!(not(feature = "cel")) {
        return Vec::new();
    }
    vec![
        ("has(request.headers.h) || request.method == 'POST'", |request| {
            request.headers().contains_key("h") || request.method() == Method::POST
        }),
        // Fails without the header, which is a no.
        ("request.headers.k != 'ab'", |request| {
            request.headers().contains_key("k")
                && request.headers().get_all("k").iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>()
                    != ["ab"]
        }),
    ]
}

/// Segment by segment: a literal, a parameter, the end of a prefix; and last an expression.
fn path_rank(pattern: &PathPattern) -> Vec<u8> {
    if pattern.as_str().starts_with('~') {
        return vec![3];
    }
    let kinds = pattern.segments.iter().map(|s| u8::from(matches!(s, Segment::Param(_))));
    kinds.chain([if pattern.prefix { 2 } else { 0 }]).collect()
}

fn host_rank(route: &RouteMatch, request: &Request<()>) -> Option<(u8, Reverse<usize>)> {
    if route.hosts.is_empty() {
        return Some((4, Reverse(0)));
    }
    let host = request.headers()["host"].to_str().unwrap().to_lowercase();
    let host = host.split(':').next().unwrap().trim_end_matches('.');
    let rank = |pattern: &HostPattern| {
        let text = pattern.to_string();
        if let Some((_, test)) = host_expressions().into_iter().find(|(known, _)| *known == text) {
            return test(host).then_some((3, Reverse(0)));
        }
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(end), _) => {
                (host.ends_with(end) && host.len() > end.len()).then_some((1, Reverse(end.len())))
            }
            (_, Some(start)) => {
                (host.starts_with(start) && host.len() > start.len()).then_some((2, Reverse(start.len())))
            }
            (None, None) => (host == text).then_some((0, Reverse(0))),
        }
    };
    route.hosts.iter().filter_map(rank).min()
}

fn rest_fits(route: &RouteMatch, request: &Request<()>) -> bool {
    let method = request.method();
    let methods = &route.methods;
    let takes_method = methods.is_empty()
        || methods.contains(method)
        || (*method == Method::HEAD && methods.contains(&Method::GET));
    let all = |name: &str, separator: char, text: &str| -> Vec<String> {
        let pairs = text.split(separator).filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(|(n, _)| *n == name).map(|(_, value)| value.to_owned()).collect()
    };
    let field = |name: &str| request.headers().get(name).map_or("", |value| value.to_str().unwrap());
    let client = request.extensions().get::<gateway_core::ClientAddr>().map(gateway_core::ClientAddr::ip);
    takes_method
        && route.headers.iter().all(|h| h.value.takes(request.headers().get_all(&h.name).iter()))
        && route
            .query
            .iter()
            .all(|q| q.value.takes(all(&q.name, '&', request.uri().query().unwrap_or_default()).into_iter()))
        && route.cookies.iter().all(|c| c.value.takes(all(&c.name, ';', field("cookie")).into_iter()))
        && (route.clients.is_empty() || client.is_some_and(|ip| route.clients.contains(ip)))
        && !client.is_some_and(|ip| route.not_clients.contains(ip))
        && route.when.as_ref().is_none_or(|when| {
            whens().into_iter().any(|(text, holds)| text == when.as_str() && holds(request))
        })
}

fn any_path() -> impl Strategy<Value = PathPattern> {
    let segment = prop_oneof![Just("a"), Just("b"), Just("C"), Just("{p}"), Just("{q}")];
    let regex = prop::sample::select(expressions().map(|(text, _)| text.parse().unwrap()).to_vec());
    let plain =
        (prop::collection::vec(segment, 0..4), any::<bool>()).prop_filter_map("twice", |(parts, prefix)| {
            let text = format!("/{}", parts.join("/"));
            let text = match (prefix, parts.is_empty()) {
                (true, true) => "/*".to_owned(),
                (true, false) => format!("{text}/*"),
                (false, _) => text,
            };
            text.parse().ok()
        });
    prop_oneof![4 => plain, 1 => regex]
}

fn some_tests() -> Vec<ValueMatch> {
    vec![
        ValueMatch::present(),
        ValueMatch::present().not(),
        ValueMatch::exact("ab"),
        ValueMatch::exact("ab").not(),
        ValueMatch::prefix("a"),
        ValueMatch::prefix("a").not(),
        ValueMatch::suffix("b"),
        ValueMatch::contains("a"),
        ValueMatch::contains("ab"),
        ValueMatch::prefix("ab"),
        ValueMatch::regex("a.?").unwrap(),
        ValueMatch::range(3..=i64::MAX),
        ValueMatch::range(1..=5),
    ]
}

/// Mostly nothing, so that many routes stay simple.
fn any_conditions() -> impl Strategy<Value = MatchSettings> {
    let values = some_tests();
    let name = prop_oneof![Just("h"), Just("k")];
    let named = prop::collection::vec((name, prop::sample::select(values)), 1..3);
    let named = prop_oneof![3 => Just(Vec::new()), 1 => named];
    let networks = [vec![], vec![], vec!["10.0.0.0/8"], vec!["10.1.0.0/16", "192.0.2.0/24"]];
    let networks = networks.map(|list| Networks::new(list.iter().map(|n| n.parse().unwrap()))).to_vec();
    let networks = prop::sample::select(networks);
    let whens = whens().into_iter().map(|(text, _)| Some(text.parse::<When>().unwrap()));
    let whens = prop::sample::select(vec![None; 6].into_iter().chain(whens).collect::<Vec<_>>());
    (named.clone(), named.clone(), named, networks.clone(), networks, whens).prop_map(
        |(headers, query, cookies, clients, not_clients, when)| MatchSettings {
            headers: headers
                .into_iter()
                .map(|(name, value)| HeaderMatch { name: HeaderName::from_static(name), value })
                .collect(),
            query: query.into_iter().map(|(name, value)| QueryMatch { name: name.into(), value }).collect(),
            cookies: cookies
                .into_iter()
                .map(|(name, value)| CookieMatch { name: name.into(), value })
                .collect(),
            clients,
            not_clients,
            when,
        },
    )
}

/// So few that routes often cover each other.
fn alike_route() -> impl Strategy<Value = RouteMatch> {
    let path =
        prop::sample::select(vec!["/*", "/a", "/A", "/a/*", "/a/{p}", "/a/", "/{p}/*", "~/a/.*", "~.*"]);
    let hosts = prop::sample::select(
        vec![
            vec![],
            vec!["x.y"],
            vec!["*.y"],
            vec!["x.*"],
            vec!["x.y", "z"],
            vec!["~[a-z]\\.[xy]"],
            vec!["~.*Y|z"],
        ]
        .into_iter()
        .map(|list| list.into_iter().map(|host| host.parse::<HostPattern>().unwrap()).collect::<Vec<_>>())
        .collect::<Vec<_>>(),
    );
    let methods =
        prop::sample::select(vec![vec![], vec![], vec![Method::GET], vec![Method::GET, Method::POST]]);
    let only_one_kind = (any_conditions(), 0..4).prop_map(|(all, kind)| match kind {
        0 => MatchSettings { headers: all.headers.into_iter().take(1).collect(), ..MatchSettings::default() },
        1 => MatchSettings { clients: all.clients, not_clients: all.not_clients, ..MatchSettings::default() },
        _ => MatchSettings::default(),
    });
    (path, any::<bool>(), hosts, methods, only_one_kind, 0..3i32).prop_map(
        |(path, ignore_case, hosts, methods, conditions, priority)| RouteMatch {
            hosts,
            ignore_case,
            methods,
            priority,
            ..RouteMatch::path(path).unwrap().with(&conditions)
        },
    )
}

fn alike_request() -> impl Strategy<Value = Request<()>> {
    let path = prop::sample::select(vec!["/", "/a", "/A", "/a/", "/A/", "/a/b", "/b", "/b/c"]);
    let host = prop::sample::select(vec!["x.y", "x.z", "a.y", "z", "q"]);
    let method = prop::sample::select(vec!["GET", "POST", "HEAD", "PUT"]);
    let headers = prop::collection::vec(prop::sample::select(vec!["ab", "a", "cb", "3", "7"]), 0..3);
    let client = prop::sample::select(vec![None, Some("10.0.0.1"), Some("10.1.0.1"), Some("192.0.2.7")]);
    (path, host, method, headers, client).prop_map(|(path, host, method, values, client)| {
        let headers: Vec<_> = values.into_iter().map(|value| ("h", value)).chain([("host", host)]).collect();
        request(method, path, &headers, client)
    })
}

fn any_route() -> impl Strategy<Value = RouteMatch> {
    // Read once: expressions take a while.
    let hosts =
        |texts: &[&str]| texts.iter().map(|text| text.parse::<HostPattern>().unwrap()).collect::<Vec<_>>();
    let host = prop::sample::select(hosts(&["x.y", "*.y", "*.x.y", "z", "a.*", "a.x.*"]));
    let expression = prop::sample::select(hosts(&host_expressions().map(|(text, _)| text)));
    let host = prop_oneof![3 => host, 1 => expression];
    let hosts = prop::collection::vec(host, 0..3);
    let methods = prop::collection::vec(prop_oneof![Just(Method::GET), Just(Method::POST)], 0..2);
    (any_path(), any::<bool>(), hosts, methods, any_conditions(), 0..2i32).prop_map(
        |(path, ignore_case, hosts, methods, conditions, priority)| RouteMatch {
            hosts,
            ignore_case,
            methods,
            priority,
            ..RouteMatch::new(path).with(&conditions)
        },
    )
}

pub(super) fn any_routes() -> impl Strategy<Value = Vec<(RouteMatch, usize)>> {
    prop::collection::vec(any_route(), 0..12)
        .prop_map(|routes| routes.into_iter().enumerate().map(|(i, route)| (route, i)).collect())
}

pub(super) fn any_request() -> impl Strategy<Value = Request<()>> {
    let part = prop_oneof![Just("a"), Just("b"), Just("c"), Just("C"), Just("")];
    let host = prop_oneof![
        Just("x.y"),
        Just("a.y"),
        Just("a.x.y:80"),
        Just("A.x.z"),
        Just("Z"),
        Just("z."),
        Just("")
    ];
    let method = prop_oneof![Just("GET"), Just("POST"), Just("HEAD")];
    let value = prop_oneof![Just("ab"), Just("a"), Just("cb"), Just("3"), Just("7")];
    let pairs = prop::collection::vec((prop_oneof![Just("h"), Just("k")], value), 0..3)
        .prop_map(|pairs| pairs.into_iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>());
    let header = prop::option::of(prop_oneof![Just("ab"), Just("a"), Just("3")]);
    let client =
        prop_oneof![Just(None), Just(Some("10.0.0.1")), Just(Some("10.1.0.1")), Just(Some("192.0.2.7"))];
    (prop::collection::vec(part, 0..5), host, method, pairs.clone(), pairs, header, client).prop_map(
        |(parts, host, method, query, cookies, header, client)| {
            let uri = format!("/{}?{}", parts.join("/"), query.join("&"));
            let cookies = cookies.join("; ");
            let mut headers = vec![("host", host), ("cookie", &cookies)];
            headers.extend(header.map(|value| ("h", value)));
            request(method, &uri, &headers, client)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_table_finds_what_a_naive_search_finds(routes in any_routes(), request in any_request()) {
        if let Ok(table) = RouteTable::build(routes.clone()) {
            let seen = match table.find(&request) {
                Match::Found(found) => Some(found.index),
                _ => None,
            };
            prop_assert_eq!(seen, naive(&routes, &request), "{:?}", request);
            let explanation = table.explain(&request);
            let taking = explanation.candidates.iter().find(|candidate| candidate.refusals.is_empty());
            prop_assert_eq!(seen, taking.map(|candidate| candidate.index), "{:?}", explanation);
            prop_assert_eq!(explanation.candidates.len(), routes.len());
        }
    }

    #[test]
    fn no_text_makes_the_pattern_parser_panic(text in ".{0,40}") {
        let _ = text.parse::<PathPattern>();
        let _ = text.parse::<HostPattern>();
        let _ = crate::host::bare(&text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn without_its_unreachable_routes_a_table_finds_the_same(
        routes in prop::collection::vec(prop_oneof![4 => alike_route(), 1 => any_route()], 2..6),
        requests in prop::collection::vec(prop_oneof![4 => alike_request(), 1 => any_request()], 40),
    ) {
        let routes: Vec<_> = routes.into_iter().enumerate().map(|(i, route)| (route, i)).collect();
        if let Ok(table) = RouteTable::build(routes.clone()) {
            let unreachable = table.lint();
            let mut left = routes.clone();
            left.retain(|(_, index)| unreachable.iter().all(|u| u.route != *index));
            for request in requests {
                let seen = naive(&routes, &request);
                prop_assert_eq!(seen, naive(&left, &request), "{:?} {:?}", request, unreachable);
                if let Some(found) = seen {
                    prop_assert!(unreachable.iter().all(|u| u.route != found));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]
    #[test]
    fn what_a_test_implies_holds_for_all_values(
        given in prop::sample::select(some_tests()),
        wanted in prop::sample::select(some_tests()),
        turned in any::<(bool, bool)>(),
        values in prop::collection::vec(prop::sample::select(vec!["", "a", "ab", "ac", "cab", "1", "3", "6"]), 0..3),
    ) {
        let given = if turned.0 { given.not() } else { given };
        let wanted = if turned.1 { wanted.not() } else { wanted };
        if implies(&given, &wanted) && given.takes(values.iter()) {
            prop_assert!(wanted.takes(values.iter()), "{} {} {:?}", given, wanted, values);
        }
    }
}
