//! What a route takes, and which route wins.

use super::*;
use gateway_testkit::raw;

#[test]
fn conditions_choose_the_route_and_more_of_them_come_first() {
    let gateway = gateway(
        "forwarded.trusted_proxies = [\"127.0.0.0/8\"]\n\
         [[routes]]\npath = \"/*\"\nrespond = \"any\"\n\
         [[routes]]\npath = \"/*\"\nrespond = \"acme\"\nmatch.headers.x-tenant = \"acme\"\n\
         [[routes]]\npath = \"/*\"\nrespond = \"acme debug\"\nmatch.headers = { x-tenant = \"acme\", x-debug = true }\n\
         [[routes]]\npath = \"/*\"\nrespond = \"v2\"\nmatch.query.version = { at_least = 2 }\n\
         [[routes]]\npath = \"/*\"\nrespond = \"beta\"\nmatch.cookies.group = { prefix = \"beta-\" }\n\
         [[routes]]\npath = \"/*\"\nrespond = \"internal\"\nmatch.clients = [\"10.0.0.0/8\"]\nmatch.not_clients = [\"10.9.0.0/16\"]\n\
         [[routes]]\npath = \"/old\"\nrespond = \"old\"\nmatch.headers.x-new = false\n\
         [[routes]]\npath = \"/old\"\nrespond = \"no robot\"\nmatch.headers = { x-new = true, user-agent = { contains = \"bot\", not = true } }\n",
    );
    let ask = Request::get;
    for (request, expected) in [
        (ask("/"), "any"),
        (ask("/").header("X-Tenant", "acme"), "acme"),
        (ask("/").header("X-Tenant", "Acme"), "any"),
        (ask("/").header("X-Tenant", "other").header("X-Tenant", "acme"), "acme"),
        (ask("/").header("X-Tenant", "acme").header("X-Debug", ""), "acme debug"),
        (ask("/?version=2"), "v2"),
        (ask("/?a=b&version=10"), "v2"),
        (ask("/?version=1"), "any"),
        (ask("/?version=two"), "any"),
        (ask("/?version=3").header("X-Tenant", "acme"), "acme"),
        (ask("/").header("Cookie", "x=1; group=beta-7"), "beta"),
        (ask("/").header("Cookie", "group=alpha"), "any"),
        (ask("/").header("X-Forwarded-For", "10.1.2.3"), "internal"),
        (ask("/").header("X-Forwarded-For", "10.9.2.3"), "any"),
        (ask("/old"), "old"),
        (ask("/old").header("X-New", "1").header("User-Agent", "curl"), "no robot"),
        (ask("/old").header("X-New", "1").header("User-Agent", "a bot"), "any"),
    ] {
        assert_eq!(text(&gateway, &request), expected, "{request:?}");
    }
}

#[test]
fn a_regular_expression_takes_whole_paths_and_comes_after_the_prefixes() {
    let upstream = Upstream::named("a");
    let gateway = in_front_of(
        &upstream,
        "[[routes]]\npath = '~/v(?<version>[0-9]+)/items(/.*)?'\nservice = \"a\"\n\
         rewrite.path.regex = { match = '/v(?<version>[0-9]+)/items(/.*)?', to = '/items{2}/of/{version}' }\n\
         [[routes]]\npath = \"/v9/*\"\nrespond = \"prefix\"\n",
    );
    for (path, expected) in [
        ("/v12/items/7", "/items/7/of/12"),
        ("/v1/items?x=%20", "/items/of/1?x=%20"),
        ("/v1/items/", "/items/of/1"),
    ] {
        let answer = get(gateway.addr(), path);
        let seen = upstream.requests().last().map(|request| request.target.clone());
        assert_eq!((answer.status, seen.as_deref()), (200, Some(expected)), "{path}: {}", answer.text());
    }
    assert_eq!(get(gateway.addr(), "/v9/items/7").text(), "prefix");
    for path in ["/v/items", "/vx/items", "/v1/itemsX", "/x/v1/items", "/V1/items"] {
        assert_eq!(get(gateway.addr(), path).status, 404, "{path}");
    }
}

#[test]
fn hosts_are_exact_below_a_domain_or_beginning_so_in_this_order() {
    let route =
        |host: &str| format!("[[routes]]\npath = \"/*\"\nhosts = [\"{host}\"]\nrespond = \"{host}\"\n");
    let hosts = ["shop.example", "*.shop.example", "*.eu.shop.example", "www.*"].map(route).concat();
    let gateway = gateway(&hosts);
    for (host, expected) in [
        ("shop.example", Some("shop.example")),
        ("SHOP.example:8080", Some("shop.example")),
        ("a.shop.example", Some("*.shop.example")),
        ("a.b.shop.example", Some("*.shop.example")),
        ("a.eu.shop.example", Some("*.eu.shop.example")),
        ("www.shop.example", Some("*.shop.example")),
        ("www.other.example", Some("www.*")),
        ("other.example", None),
        ("notshop.example", None),
    ] {
        let answer = send(&gateway, &Request::get("/").header("Host", host));
        let expected = expected.map_or((404, ""), |text| (200, text));
        let seen = if answer.status == 200 { answer.text() } else { String::new() };
        assert_eq!((answer.status, seen.as_str()), expected, "{host}");
    }
}

#[test]
fn a_wrong_method_is_405_and_priority_comes_before_all_else() {
    let gateway = gateway(
        "[[routes]]\npath = \"/x\"\nmethods = [\"GET\", \"PUT\"]\nrespond = \"x\"\n\
         [[routes]]\npath = \"/y\"\nrespond = \"exact\"\n\
         [[routes]]\npath = \"/y/*\"\npriority = 1\nrespond = \"more important\"\n\
         [[routes]]\npath = \"/Case/*\"\ncase_sensitive = false\nrespond = \"case\"\n",
    );
    let refused = send(&gateway, &Request::new("POST", "/x").body("x"));
    assert_eq!(code(&refused), (405, "method-not-allowed".to_owned()));
    let allow = refused.header("allow").unwrap();
    for method in ["GET", "HEAD", "PUT"] {
        assert!(allow.contains(method), "{allow}");
    }
    assert_eq!(send(&gateway, &Request::new("HEAD", "/x")).status, 200);
    assert_eq!(get(gateway.addr(), "/y").text(), "more important");
    assert_eq!(get(gateway.addr(), "/cASE/x").text(), "case");
}

#[test]
fn a_browser_that_asks_for_leave_is_answered_by_the_route_of_what_it_is_to_send() {
    let upstream = Upstream::named("a");
    let config = "[[routes]]\npath = \"/*\"\nservice = \"a\"\n\
         [[routes]]\npath = \"/orders\"\nservice = \"a\"\nmethods = [\"POST\"]\nauth = \"u\"\ncors.origins = [\"https://shop.example\"]\n\
         [[routes]]\npath = \"/orders\"\nservice = \"a\"\nmethods = [\"GET\"]\ncors.origins = [\"*\"]\n\
         [[routes]]\npath = \"/only\"\nservice = \"a\"\nmethods = [\"PUT\"]\n\
         [auth.jwt.u]\nsecret = \"a secret for tests, 32 bytes long\"\naudience = \"a\"\n";
    let gateway = in_front_of(&upstream, config);
    let preflight = |path: &str, origin: &str, method: &str| {
        let request = Request::new("OPTIONS", path).header("Access-Control-Request-Method", method);
        let request = if origin.is_empty() { request } else { request.header("Origin", origin) };
        let answer = send(&gateway, &request);
        (answer.status, answer.header("access-control-allow-origin").map(str::to_owned))
    };
    let shop = "https://shop.example";
    for (path, origin, method, expected) in [
        ("/orders", shop, "POST", (204, Some(shop))),
        ("/orders", "https://other.example", "POST", (204, None)),
        ("/orders", shop, "GET", (204, Some("*"))),
        // The route of all else has no CORS, and its service is asked, as for what is no preflight.
        ("/orders", shop, "DELETE", (200, None)),
        ("/orders", "", "POST", (200, None)),
        ("/orders", shop, "@", (200, None)),
        ("/only", shop, "PUT", (200, None)),
    ] {
        let (status, origin_allowed) = preflight(path, origin, method);
        assert_eq!((status, origin_allowed.as_deref()), expected, "{path} {origin} {method}");
    }
    assert_eq!(upstream.hits(), 4);
    let config = format!("{FRAME}services.a.endpoints = [\"{}\"]\n{config}", upstream.url());
    let headers = ["-H", "Origin: https://shop.example", "-H", "Access-Control-Request-Method: POST"];
    let args = [&["explain", "OPTIONS", "/orders"][..], &headers].concat();
    let done = Gateway::builder(EXE).config(&config).args(&args).run();
    assert!(done.stdout.contains("routes[1] takes it: /orders"), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("204 No Content"), "{}", done.stdout);
}

#[test]
fn options_for_the_whole_server_are_answered_here_whatever_routes_there_are() {
    let upstream = Upstream::named("a");
    let routes = "[[routes]]\npath = \"/*\"\nservice = \"a\"\n[[routes]]\npath = '~.*'\nservice = \"a\"\n";
    let gateway = in_front_of(&upstream, routes);
    let mut wire = Wire::connect(gateway.addr());
    for _ in 0..2 {
        wire.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let answer = wire.answer("OPTIONS").unwrap();
        assert_eq!((answer.status, answer.header("allow")), (204, None));
    }
    assert_eq!(upstream.hits(), 0);
}

#[test]
fn max_forwards_of_options_and_trace_is_counted_off_and_ends_here_at_0() {
    let upstream = Upstream::named("a");
    let gateway = in_front_of(
        &upstream,
        "[[routes]]\npath = \"/any\"\nservice = \"a\"\n\
         [[routes]]\npath = \"/some\"\nservice = \"a\"\nmethods = [\"GET\", \"OPTIONS\", \"TRACE\"]\n",
    );
    let any = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
    let some = "GET, HEAD, OPTIONS, TRACE";
    for (method, path, sent, seen, status, allow) in [
        ("OPTIONS", "/any", "3", Some("2"), 200, None),
        ("OPTIONS", "/any", "1", Some("0"), 200, None),
        ("OPTIONS", "/any", "0", None, 204, Some(any)),
        ("OPTIONS", "/some", "0", None, 204, Some(some)),
        ("OPTIONS", "/some", "soon", Some("soon"), 200, None),
        ("TRACE", "/some", "010", Some("9"), 200, None),
        ("TRACE", "/some", "0", None, 405, Some("GET, HEAD, OPTIONS")),
        ("TRACE", "/any", "0", None, 405, Some(any)),
        ("GET", "/any", "0", Some("0"), 200, None),
        ("GET", "/any", "3", Some("3"), 200, None),
    ] {
        let what = format!("{method} {path}, {sent}");
        let hits = upstream.hits();
        let answer = send(&gateway, &Request::new(method, path).header("Max-Forwards", sent));
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{what}");
        let arrived = upstream.requests().split_off(hits);
        let arrived: Vec<_> = arrived.iter().map(|request| request.header("max-forwards")).collect();
        assert_eq!(arrived, seen.map(Some).into_iter().collect::<Vec<_>>(), "{what}");
    }
    let answered = wait_until("the lines of what was answered here", SOON, || {
        let log = gateway.access_log();
        let own: Vec<_> = log.into_iter().filter(|line| line["status"] != 200).collect();
        (own.len() == 4).then_some(own)
    });
    assert!(
        answered.iter().all(|line| line["route"] == line["uri"] && line["service"] == "a"),
        "{answered:?}"
    );
}

#[test]
fn encoded_characters_pass_as_they_are_unless_they_are_refused() {
    let upstream = Upstream::named("a");
    let route = "[[routes]]\npath = \"/*\"\nservice = \"a\"\n";
    let open = in_front_of(&upstream, route);
    assert_eq!(get(open.addr(), "/a%3bb%25%3F%23").status, 200);
    assert_eq!(upstream.requests().pop().unwrap().target, "/a%3Bb%25%3F%23");
    let config = format!("normalize.reject_encoded = [\"%3B\", \"%25\", \"%3f\", \"%23\"]\n{route}");
    let gateway = in_front_of(&upstream, &config);
    for refused in ["%3B", "%3b", "%25", "%3F", "%23"] {
        let answer = get(gateway.addr(), &format!("/a{refused}b"));
        assert_eq!(code(&answer), (400, "bad-request".to_owned()), "{refused}");
        let detail = format!("the path holds {}, which is refused", refused.to_uppercase());
        assert_eq!(answer.json()["detail"], detail, "{refused}");
    }
    assert_eq!(get(gateway.addr(), "/a;b%20c?d=%3B%25").status, 200);
}

#[test]
fn parameters_of_segments_pass_unless_they_are_refused_or_hide_a_dot_segment() {
    let upstream = Upstream::named("a");
    let route = "[[routes]]\npath = \"/*\"\nservice = \"a\"\n";
    let open = in_front_of(&upstream, route);
    assert_eq!(get(open.addr(), "/a;id=1/b").status, 200);
    let hidden = get(open.addr(), "/a/..;/admin");
    assert_eq!(
        (code(&hidden).0, hidden.json()["detail"].as_str()),
        (400, Some("the path holds a dot segment"))
    );
    let strict = in_front_of(&upstream, &format!("normalize.allow_parameters = false\n{route}"));
    assert_eq!(get(strict.addr(), "/a;id=1/b").status, 400);
    assert_eq!(upstream.hits(), 1);
}

#[test]
fn raw_requests_with_a_regex_like_path_are_taken_as_they_are() {
    let gateway = gateway("[[routes]]\npath = \"~/a+\"\nrespond = \"plus\"\n");
    assert!(
        raw(gateway.addr(), b"GET /aaa HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ends_with("plus")
    );
    assert!(
        raw(gateway.addr(), b"GET /a+ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").contains(" 404 ")
    );
}
