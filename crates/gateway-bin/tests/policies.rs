//! What an operator writes for a route is what its clients and its service see.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Client, Finished, Gateway, Reply, Request, Response, Upstream, get, raw, wait_until};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const SOON: Duration = Duration::from_secs(10);

/// Two workers, so that whatever they should share and do not shows.
const FRAME: &str = "access_log = \"@DIR@/access.log\"\nserver.listen = \"127.0.0.1:@PORT@\"\n\
                     server.workers = 2\nadmin.listen = \"127.0.0.1:@ADMIN@\"\n";

fn gateway(config: &str) -> Gateway {
    Gateway::builder(EXE).config(&format!("{FRAME}{config}")).start()
}

/// One service `a` and whatever else the configuration says.
fn in_front_of(upstream: &Upstream, config: &str) -> Gateway {
    gateway(&format!("services.a.endpoints = [\"{}\"]\n{config}", upstream.url()))
}

fn send(gateway: &Gateway, request: &Request) -> Response {
    Client::new(gateway.addr()).send(request)
}

fn text(gateway: &Gateway, request: &Request) -> String {
    send(gateway, request).text()
}

/// Status and code of one of the gateway's own answers.
fn code(answer: &Response) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

/// An upstream that sends half of each answer, and the rest once it is told to.
fn by_halves() -> (String, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (finish, told) = channel::<()>();
    let told: Arc<Mutex<Receiver<()>>> = Arc::new(Mutex::new(told));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let told = told.clone();
            std::thread::spawn(move || {
                while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha");
                    let _ = told.lock().unwrap().recv();
                    let _ = stream.write_all(b"lf");
                }
            });
        }
    });
    (url, finish)
}

/// A request whose answer has begun and not ended.
fn begun(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\nha") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
    stream
}

fn finish(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    rest
}

// --- Which route ---

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

// --- Groups ---

#[test]
fn a_routes_settings_come_before_its_groups_and_those_before_the_defaults() {
    let upstream = Upstream::named("a");
    let gateway = in_front_of(
        &upstream,
        "rate_limits.few = \"2/h\"\n\
         [defaults]\nsecurity_headers = true\n[defaults.headers.request.set]\nx-from = \"defaults\"\nx-default = \"1\"\n\
         [groups.api]\nrate_limit = \"few\"\nsecurity_headers = { frame_options = \"SAMEORIGIN\" }\nmaintenance = true\n\
         concurrency = 1\nfault = { abort = 418 }\n\
         [groups.api.headers.request.set]\nx-from = \"group\"\nx-group = \"1\"\n\
         [[routes]]\npath = \"/plain\"\nservice = \"a\"\n\
         [[routes]]\npath = \"/closed\"\nservice = \"a\"\ngroup = \"api\"\n\
         [[routes]]\npath = \"/limited\"\nservice = \"a\"\ngroup = \"api\"\nmaintenance = false\nfault = false\n\
         headers.request.set.x-from = \"route\"\n\
         [[routes]]\npath = \"/free\"\nservice = \"a\"\ngroup = \"api\"\nmaintenance = false\nrate_limit = \"none\"\n\
         security_headers = false\nfault = false\nconcurrency = false\ncorrelation_id = false\n\
         [[routes]]\npath = \"/fault\"\nservice = \"a\"\ngroup = \"api\"\nmaintenance = false\nrate_limit = \"none\"\n",
    );
    let addr = gateway.addr();
    let header = |name: &str| upstream.requests().last().unwrap().header(name).map(str::to_owned);

    let plain = get(addr, "/plain");
    assert_eq!((plain.status, plain.header("x-frame-options")), (200, Some("DENY")));
    assert_eq!((header("x-from").as_deref(), header("x-group")), (Some("defaults"), None));

    assert_eq!(get(addr, "/closed").status, 503, "taken over from the group");

    let limited = [(); 3].map(|()| get(addr, "/limited"));
    assert_eq!(limited.each_ref().map(|answer| answer.status), [200, 200, 429]);
    assert_eq!(limited[0].header("x-frame-options"), Some("SAMEORIGIN"));
    assert_eq!(header("x-from").as_deref(), Some("route"), "the last to set it is the route");
    assert_eq!((header("x-group").as_deref(), header("x-default").as_deref()), (Some("1"), Some("1")));

    let free = [(); 4].map(|()| get(addr, "/free"));
    assert!(free.iter().all(|answer| answer.status == 200));
    assert_eq!((free[0].header("x-frame-options"), free[0].header("x-correlation-id")), (None, None));
    assert_eq!(get(addr, "/fault").status, 418);

    let routes = get(gateway.admin(), "/routes").json();
    let policies = |path: &str| {
        let route = routes.as_array().unwrap().iter().find(|route| route["path"] == path).unwrap();
        route["policies"].to_string()
    };
    assert!(policies("/fault").contains("concurrency") && !policies("/free").contains("concurrency"));
}

// --- What the service is asked ---

#[test]
fn strip_and_rewrite_make_the_path_the_host_and_the_query_that_the_service_sees() {
    let upstream = Upstream::named("a");
    let route =
        |path: &str, lines: &str| format!("[[routes]]\npath = \"{path}\"\nservice = \"a\"\n{lines}\n");
    let gateway = in_front_of(
        &upstream,
        &[
            route("/strip/*", "strip = \"/strip\""),
            route("/quiet/*", "strip = { prefix = \"/quiet\", forward_prefix = false }"),
            route("/full/*", "rewrite.path = \"/v2/status\""),
            route("/add/*", "rewrite.path.add_prefix = \"/v2\""),
            route("/old/*", "rewrite.path.replace_prefix = { from = \"/old\", to = \"/new\" }"),
            route("/gone/*", "rewrite.path.replace_prefix = { from = \"/gone\", to = \"/\" }"),
            route("/both/*", "strip = \"/both\"\nrewrite.path.add_prefix = \"/internal\""),
            route("/host/*", "rewrite.host = \"shop.internal:8080\""),
            route(
                "/query/*",
                "rewrite.query = { remove = [\"token\"], set = { v = \"a b\" }, append = { tag = \"x&y\" } }",
            ),
        ]
        .concat(),
    );
    for (target, expected) in [
        ("/strip/a%20b?q=%2F", "/a%20b?q=%2F"),
        ("/strip", "/"),
        ("/quiet/x", "/x"),
        ("/full/x?q=1", "/v2/status?q=1"),
        ("/add/x", "/v2/add/x"),
        ("/old/x/y?z", "/new/x/y?z"),
        ("/old", "/new"),
        ("/gone/x", "/x"),
        ("/gone", "/"),
        ("/both/x", "/internal/x"),
        ("/host/x", "/host/x"),
        ("/query/x?token=1&v=1&tag=0&w=%41", "/query/x?tag=0&w=%41&v=a%20b&tag=x%26y"),
        ("/query/x", "/query/x?v=a%20b&tag=x%26y"),
    ] {
        let answer = get(gateway.addr(), target);
        let seen = upstream.requests().pop().unwrap();
        let plus = seen.target.replace('+', "%20");
        assert_eq!((answer.status, plus.as_str()), (200, expected), "{target}");
        let told = seen.header("x-forwarded-prefix");
        assert_eq!(told.is_some(), target.starts_with("/strip") || target.starts_with("/both"), "{target}");
        let host = if target.starts_with("/host") { "shop.internal:8080" } else { "test" };
        assert_eq!((seen.header("host"), seen.header("x-forwarded-host")), (Some(host), Some("test")));
    }
}

#[test]
fn via_is_told_where_it_is_wanted() {
    for (via, upstream_sees, client_sees) in [
        ("", None, None),
        ("via = true\n", Some("1.1 gateway"), None),
        ("via = \"edge\"\n", Some("1.1 edge"), None),
        ("via = { pseudonym = \"edge\", request = false, response = true }\n", None, Some("1.1 edge")),
    ] {
        let upstream = Upstream::named("a");
        let gateway = in_front_of(&upstream, &format!("{via}[[routes]]\npath = \"/*\"\nservice = \"a\"\n"));
        let answer = get(gateway.addr(), "/");
        assert_eq!(upstream.requests()[0].header("via"), upstream_sees, "{via}");
        assert_eq!(answer.header("via"), client_sees, "{via}");
    }
    let upstream = Upstream::named("a");
    let gateway = in_front_of(&upstream, "via = true\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n");
    let _ = send(&gateway, &Request::get("/").header("Via", "1.0 fred"));
    let seen = upstream.requests().pop().unwrap();
    let all: Vec<&str> = seen
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("via"))
        .map(|(_, v)| v.as_str())
        .collect();
    assert_eq!(all.join(", "), "1.0 fred, 1.1 gateway");
}

#[test]
fn headers_with_underscores_are_kept_deleted_or_refused() {
    for (policy, status, seen) in
        [("", 200, Some("1")), ("keep", 200, Some("1")), ("delete", 200, None), ("reject", 400, None)]
    {
        let upstream = Upstream::named("a");
        let policy =
            if policy.is_empty() { String::new() } else { format!("underscore_headers = \"{policy}\"\n") };
        let gateway =
            in_front_of(&upstream, &format!("{policy}[[routes]]\npath = \"/*\"\nservice = \"a\"\n"));
        let answer = send(
            &gateway,
            &Request::get("/").header("X_Custom", "1").header("X_User_ID", "root").header("X-Ok", "1"),
        );
        assert_eq!(answer.status, status, "{policy}{}", answer.text());
        if status == 400 {
            assert!(answer.text().contains("x_custom"), "{}", answer.text());
            assert_eq!(upstream.hits(), 0);
            continue;
        }
        let request = upstream.requests().pop().unwrap();
        assert_eq!((request.header("x_custom"), request.header("x-ok")), (seen, Some("1")), "{policy}");
        assert_eq!(request.header("x_user_id"), None, "{policy}: nobody says who they are");
    }
}

// --- The gateway's own answers ---

#[test]
fn redirects_lead_to_another_scheme_path_or_host_and_keep_the_query() {
    let route = |path: &str, lines: &str| format!("[[routes]]\npath = \"{path}\"\n{lines}\n");
    let gateway = gateway(&[
        "forwarded.trusted_proxies = [\"127.0.0.0/8\"]\nrate_limits.few = \"1/h\"\ndefaults.rate_limit = \"few\"\n".to_owned(),
        route("/secure/*", "redirect = \"https\""),
        route("/to-path", "redirect = \"/new\""),
        route("/to-url", "redirect = \"https://other.example/x\""),
        route("/to-host/*", "redirect = \"https://other.example\""),
        route("/moved/*", "redirect = { path.replace_prefix = { from = \"/moved\", to = \"/here\" }, status = 301 }"),
        route("/bare/*", "redirect = { host = \"b.example\", keep_query = false, status = 307 }"),
        route("/same", "redirect = \"/same\"\nrespond = \"no loop\""),
    ].concat());
    for (target, status, location) in [
        ("/secure/a%20b?x=1&y", 308, "https://shop.example/secure/a%20b?x=1&y"),
        ("/to-path?x=1", 302, "http://shop.example/new?x=1"),
        ("/to-url?x=1", 302, "https://other.example/x?x=1"),
        ("/to-host/a/b?x=1", 302, "https://other.example/to-host/a/b?x=1"),
        ("/moved/a?x", 301, "http://shop.example/here/a?x"),
        ("/bare/a?x=1", 307, "http://b.example/bare/a"),
    ] {
        let answer = send(&gateway, &Request::get(target).header("Host", "shop.example"));
        assert_eq!((answer.status, answer.header("location")), (status, Some(location)), "{target}");
    }
    assert_eq!(get(gateway.addr(), "/same").text(), "no loop");
    // Behind a proxy that ends TLS, who is there already is not sent again; no service answers, so it is 404.
    let there = Request::get("/secure/x").header("X-Forwarded-Proto", "https");
    assert_eq!(send(&gateway, &there).header("location"), None);
}

#[test]
fn answers_of_the_gateways_own_are_a_text_json_a_status_or_a_file() {
    let config = "[[routes]]\npath = \"/text\"\nrespond = \"pong\"\n\
         [[routes]]\npath = \"/json\"\nrespond = { json = { a = [1, true, \"x\"] }, status = 201, headers = { cache-control = \"no-store\" } }\n\
         [[routes]]\npath = \"/status\"\nrespond = 204\n\
         [[routes]]\npath = \"/gone\"\nrespond = 410\n\
         [[routes]]\npath = \"/file\"\nrespond = { file = \"page.html\" }\n\
         [[routes]]\npath = \"/absolute\"\nrespond = { file = \"@DIR@/page.html\", headers = { content-type = \"text/x\" } }\n";
    let gateway =
        Gateway::builder(EXE).file("page.html", "<p>hi").config(&format!("{FRAME}{config}")).start();
    for (path, status, kind, body) in [
        ("/text", 200, Some("text/plain; charset=utf-8"), "pong"),
        ("/json", 201, Some("application/json"), r#"{"a":[1,true,"x"]}"#),
        ("/status", 204, None, ""),
        ("/gone", 410, None, ""),
        ("/file", 200, Some("text/html; charset=utf-8"), "<p>hi"),
        ("/absolute", 200, Some("text/x"), "<p>hi"),
    ] {
        let answer = get(gateway.addr(), path);
        assert_eq!(
            (answer.status, answer.header("content-type"), answer.text().as_str()),
            (status, kind, body),
            "{path}"
        );
    }
    assert_eq!(get(gateway.addr(), "/json").header("cache-control"), Some("no-store"));
    let head = Client::new(gateway.addr()).send(&Request::new("HEAD", "/text"));
    assert_eq!((head.status, head.header("content-length")), (200, Some("4")));
}

#[test]
fn maintenance_answers_503_to_all_but_the_exempt() {
    let upstream = Upstream::named("a");
    let gateway = in_front_of(
        &upstream,
        "forwarded.trusted_proxies = [\"127.0.0.0/8\"]\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\nmaintenance = { exempt = [\"10.0.0.0/8\"], retry_after = \"90500ms\" }\n\
         [[routes]]\npath = \"/short\"\nservice = \"a\"\nmaintenance = true\n\
         [[routes]]\npath = \"/page\"\nservice = \"a\"\nmaintenance = { retry_after = \"0s\", answer = { text = \"back soon\", status = 200 } }\n",
    );
    let closed = get(gateway.addr(), "/");
    assert_eq!((code(&closed), closed.header("retry-after")), ((503, "maintenance".to_owned()), Some("91")));
    assert_eq!(get(gateway.addr(), "/short").header("retry-after"), Some("300"));
    let page = get(gateway.addr(), "/page");
    assert_eq!((page.status, page.header("retry-after"), page.text().as_str()), (200, None, "back soon"));
    assert_eq!(upstream.hits(), 0);
    let exempt = Request::get("/").header("X-Forwarded-For", "10.0.0.7");
    assert_eq!(text(&gateway, &exempt), "a");
    assert_eq!(send(&gateway, &Request::get("/").header("X-Forwarded-For", "11.0.0.7")).status, 503);
}

// --- How many at once ---

#[test]
fn one_more_than_allowed_is_refused_until_an_answers_body_has_ended() {
    let (url, rest) = by_halves();
    let gateway = gateway(&format!(
        "services.a.endpoints = [\"{url}\"]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\nconcurrency = 2\n"
    ));
    let addr = gateway.addr();
    let (first, second) = (begun(addr), begun(addr));
    let refused = get(addr, "/");
    assert_eq!((code(&refused), refused.header("retry-after")), ((503, "overloaded".to_owned()), Some("1")));
    rest.send(()).unwrap();
    rest.send(()).unwrap();
    assert_eq!((finish(first), finish(second)), (b"lf".to_vec(), b"lf".to_vec()));
    // The slots are free again; one who goes away gives his back too.
    let gone = begun(addr);
    let stays = begun(addr);
    assert_eq!(get(addr, "/").status, 503);
    drop(gone);
    rest.send(()).unwrap();
    rest.send(()).unwrap();
    wait_until("a free slot", SOON, || (get_if_free(addr, &rest)).then_some(()));
    drop(stays);
}

/// Whether a request was let in; the upstream is told to finish it.
fn get_if_free(addr: SocketAddr, rest: &Sender<()>) -> bool {
    let _ = rest.send(());
    get(addr, "/").status == 200
}

#[test]
fn who_has_too_many_at_once_of_a_key_is_429_and_others_pass() {
    let upstream = Upstream::named("a");
    let gateway = in_front_of(
        &upstream,
        "[[routes]]\npath = \"/*\"\nservice = \"a\"\nconcurrency = { max = 1, key = \"header:X-Tenant\" }\n",
    );
    let addr = gateway.addr();
    let of = |tenant: &'static str| Request::get("/").header("X-Tenant", tenant);
    upstream.stall();
    let busy =
        ["acme", "other"].map(|tenant| std::thread::spawn(move || Client::new(addr).send(&of(tenant))));
    wait_until("both upstream", SOON, || (upstream.hits() == 2).then_some(()));
    let refused = send(&gateway, &of("acme"));
    assert_eq!(
        (code(&refused), refused.header("retry-after")),
        ((429, "rate-limited".to_owned()), Some("1"))
    );
    upstream.resume();
    assert_eq!(busy.map(|thread| thread.join().unwrap().status), [200, 200]);
}

#[test]
fn a_queue_lets_requests_wait_for_their_turn_but_not_for_ever() {
    let upstream = Upstream::named("a");
    let gateway = in_front_of(
        &upstream,
        "[[routes]]\npath = \"/*\"\nservice = \"a\"\nconcurrency = { max = 1, queue = { length = 1, timeout = \"10s\" } }\n\
         [[routes]]\npath = \"/hasty\"\nservice = \"a\"\nconcurrency = { max = 1, queue = { length = 1, timeout = \"50ms\" } }\n",
    );
    let addr = gateway.addr();
    upstream.stall();
    let ask = |path: &'static str| std::thread::spawn(move || get(addr, path));
    let first = ask("/");
    wait_until("the first upstream", SOON, || (upstream.hits() == 1).then_some(()));
    // Of two more, one waits and one is refused, whichever comes first.
    let (more, answers) = channel();
    for _ in 0..2 {
        let more = more.clone();
        std::thread::spawn(move || more.send(get(addr, "/")));
    }
    let refused = answers.recv_timeout(SOON).unwrap();
    assert_eq!(code(&refused), (503, "overloaded".to_owned()));
    let hasty = ask("/hasty");
    wait_until("the hasty upstream", SOON, || (upstream.hits() == 2).then_some(()));
    let late = get(addr, "/hasty");
    assert!(late.status == 503 && late.text().contains("did not come in time"), "{}", late.text());
    assert!(answers.try_recv().is_err(), "the other still waits");
    upstream.resume();
    assert_eq!((first.join().unwrap().status, hasty.join().unwrap().status), (200, 200));
    assert_eq!(answers.recv_timeout(SOON).unwrap().status, 200);
}

#[test]
fn an_adaptive_limit_refuses_what_the_service_has_no_room_for_unless_it_only_reports() {
    for (mode, refused) in [("enforce", 1), ("report", 0)] {
        let upstream = Upstream::named("a");
        let config = format!(
            "services.a.adaptive = {{ min = 2, initial = 2, max = 2, mode = \"{mode}\" }}\n\
             [[routes]]\npath = \"/*\"\nservice = \"a\"\n"
        );
        let gateway = in_front_of(&upstream, &config);
        let addr = gateway.addr();
        upstream.stall();
        let (to, answers) = channel();
        for _ in 0..4 {
            let to = to.clone();
            std::thread::spawn(move || to.send(get(addr, "/")));
        }
        wait_until("as many as there is room for", SOON, || {
            (upstream.hits() >= 1 + 3 * (1 - refused)).then_some(())
        });
        if refused == 1 {
            let answer = answers.recv_timeout(SOON).unwrap();
            assert_eq!(
                (code(&answer), answer.header("retry-after")),
                ((503, "overloaded".to_owned()), Some("1"))
            );
        }
        upstream.resume();
        assert!(answers.recv_timeout(SOON).is_ok());
    }
}

#[test]
fn while_too_much_fails_a_share_is_refused_and_the_critical_last() {
    let upstream = Upstream::start(|_| Reply::new(500, "broken"));
    let gateway = in_front_of(
        &upstream,
        "services.a.admission = { min_requests = 10, priority_header = \"X-Priority\", trusted = [\"127.0.0.0/8\"] }\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\n",
    );
    let mut client = Client::new(gateway.addr());
    let mut refused = |priority: &str| {
        let answers = (0..20).map(|_| client.send(&Request::get("/").header("X-Priority", priority)));
        answers.filter(|answer| answer.status == 503 && code(answer).1 == "overloaded").count()
    };
    assert_eq!(refused("critical"), 0, "too few have been seen");
    // Of all, four of five are refused: every sheddable one, and three of five of the others.
    wait_until("all that is sheddable to be refused", SOON, || {
        let (critical, sheddable) = (refused("critical"), refused("sheddable"));
        (sheddable == 20 && (1..20).contains(&critical)).then_some(())
    });
}

// --- Faults on purpose ---

#[test]
fn faults_delay_abort_and_slow_down_by_percentage_or_header() {
    let upstream = Upstream::start(|_| Reply::new(200, &"x".repeat(3000)));
    let gateway = in_front_of(
        &upstream,
        "[[routes]]\npath = \"/delay\"\nservice = \"a\"\nfault = { delay = \"300ms\" }\n\
         [[routes]]\npath = \"/abort\"\nservice = \"a\"\nfault = { abort = 418 }\n\
         [[routes]]\npath = \"/half\"\nservice = \"a\"\nfault = { abort = { status = 500, percent = 50 } }\n\
         [[routes]]\npath = \"/never\"\nservice = \"a\"\nfault = { abort = { percent = 0 } }\n\
         [[routes]]\npath = \"/header\"\nservice = \"a\"\nfault = { abort = 503, header = \"X-Fault\" }\n\
         [[routes]]\npath = \"/slow\"\nservice = \"a\"\nfault = { rate = \"6KiB\" }\n",
    );
    let addr = gateway.addr();
    let start = Instant::now();
    assert_eq!(get(addr, "/delay").status, 200);
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    let before = upstream.hits();
    let aborted = get(addr, "/abort");
    assert_eq!((aborted.status, aborted.text().as_str()), (418, "fault injected\n"));
    assert_eq!(upstream.hits(), before, "the service was not asked");
    let mut client = Client::new(addr);
    let half = (0..200).filter(|_| client.send(&Request::get("/half")).status == 500).count();
    // Five standard deviations.
    assert!((65..=135).contains(&half), "{half} of 200");
    assert!((0..50).all(|_| client.send(&Request::get("/never")).status == 200));
    assert_eq!(get(addr, "/header").status, 200);
    assert_eq!(send(&gateway, &Request::get("/header").header("X-Fault", "")).status, 503);
    let start = Instant::now();
    assert_eq!(get(addr, "/slow").body.len(), 3000);
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
}

// --- Who is asking ---

#[test]
fn the_client_is_who_a_trusted_proxy_says_in_the_log_the_limit_and_towards_the_service() {
    for (trusted, first, second, sent_on) in [
        ("[\"127.0.0.0/8\"]", "192.0.2.1", "192.0.2.2", "9.9.9.9, 192.0.2.1, 127.0.0.1"),
        ("[]", "127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("[\"10.0.0.0/8\"]", "127.0.0.1", "127.0.0.1", "127.0.0.1"),
    ] {
        let upstream = Upstream::named("a");
        let config = format!(
            "forwarded.trusted_proxies = {trusted}\nrate_limits.few = \"1/h\"\n\
             [[routes]]\npath = \"/*\"\nservice = \"a\"\nrate_limit = \"few\"\n"
        );
        let gateway = in_front_of(&upstream, &config);
        let from = |address: &str| {
            send(&gateway, &Request::get("/").header("X-Forwarded-For", &format!("9.9.9.9, {address}")))
                .status
        };
        let seen = (from("192.0.2.1"), from("192.0.2.1"), from("192.0.2.2"));
        assert_eq!(seen, (200, 429, if first == second { 429 } else { 200 }), "{trusted}");
        assert_eq!(upstream.requests()[0].header("x-forwarded-for"), Some(sent_on), "{trusted}");
        let clients = wait_until("three lines", SOON, || {
            let log = gateway.access_log();
            (log.len() == 3).then(|| {
                log.iter().map(|line| line["client"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
            })
        });
        let mut clients = clients;
        clients.sort();
        assert_eq!(clients, [first, first, second], "{trusted}");
    }
}

#[test]
fn the_header_that_names_the_client_can_be_chosen_and_what_is_sent_on_too() {
    let upstream = Upstream::named("a");
    let ask = |forwarded: &str| {
        let config = format!(
            "[forwarded]\ntrusted_proxies = [\"127.0.0.0/8\"]\n{forwarded}\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n"
        );
        let gateway = in_front_of(&upstream, &config);
        let request = Request::get("/")
            .header("Host", "shop.example:8443")
            .header("X-Forwarded-For", "192.0.2.1")
            .header("X-Real-IP", "192.0.2.2")
            .header("Forwarded", "for=192.0.2.3;proto=https");
        assert_eq!(send(&gateway, &request).status, 200);
        let client =
            wait_until("a line", SOON, || Some(gateway.access_log().first()?["client"].as_str()?.to_owned()));
        (client, upstream.requests().pop().unwrap())
    };
    for (from, expected) in [
        ("auto", "192.0.2.1"),
        ("x_forwarded_for", "192.0.2.1"),
        ("x_real_ip", "192.0.2.2"),
        ("forwarded", "192.0.2.3"),
        ("peer", "127.0.0.1"),
    ] {
        assert_eq!(ask(&format!("client_from = \"{from}\"")).0, expected, "{from}");
    }
    let (_, seen) = ask("port = true\nrfc7239 = true");
    assert_eq!(seen.header("x-forwarded-port"), Some("8443"));
    assert_eq!(seen.header("x-forwarded-for"), Some("192.0.2.1, 127.0.0.1"));
    let chain = seen.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("forwarded"));
    let chain: Vec<&str> = chain.map(|(_, value)| value.as_str()).collect();
    assert!(
        chain.join(", ").starts_with("for=192.0.2.3;proto=https, for=127.0.0.1;proto=https"),
        "{chain:?}"
    );
}

// --- Mistakes ---

fn check(config: &str) -> Finished {
    Gateway::builder(EXE).config(config).args(&["check"]).run()
}

#[test]
fn mistakes_in_routes_name_their_place_and_what_is_expected() {
    let good =
        "[services.a]\nendpoints = [\"http://127.0.0.1:1\"]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n";
    // Those of a route stand in line 6.
    for (line, parts) in [
        (
            "match.header.x = \"1\"",
            vec!["toml:6:7: unknown key `header` in routes[0].match", "did you mean `headers`?"],
        ),
        ("match.headers.\"x y\" = \"1\"", vec!["toml:6:", "`x y` is not the name of a header"]),
        ("match.query.v = { regex = \"(\" }", vec!["toml:6:", "`(` is not a regular expression"]),
        (
            "match.query.v = { at_leest = 2 }",
            vec!["toml:6:", "unknown key `at_leest`", "did you mean `at_least`?"],
        ),
        ("match.query.v = { exact = \"1\", prefix = \"2\" }", vec!["toml:6:"]),
        ("match.clients = [\"home\"]", vec!["toml:6:", "`home` is no network"]),
        ("hosts = [\"a.*.b\"]", vec!["toml:6:", "`a.*.b`"]),
        ("group = \"api\"", vec!["toml:6:9: there is no group `api`", "no group is defined"]),
        ("strip = 5", vec!["toml:6:9", "expected a prefix such as \"/api/users\", or a table"]),
        ("rewrite.path = \"v2\"", vec!["toml:6:", "`v2` is not a path"]),
        (
            "rewrite.path = { full = \"/a\", add_prefix = \"/b\" }",
            vec!["toml:6:", "expected exactly one of `full`"],
        ),
        (
            "rewrite.path.regex = { match = \"/(\", to = \"/\" }",
            vec!["toml:6:", "`/(` is not a regular expression"],
        ),
        (
            "rewrite.path.regex = { match = \"/(a)\", to = \"/{2}\" }",
            vec!["toml:6:", "`/{2}` is no path with groups"],
        ),
        ("rewrite.host = \"a b\"", vec!["toml:6:", "`a b` is not a host"]),
        ("redirect = \"ftp://x\"", vec!["toml:6:12", "`ftp://x` is no redirect; expected \"https\", a path"]),
        (
            "redirect = { status = 301 }",
            vec!["toml:6:", "at least one of `scheme`, `host`, `port` and `path`"],
        ),
        (
            "redirect = { scheme = \"https\", status = 200 }",
            vec!["toml:6:", "200 is not the status of a redirect"],
        ),
        ("respond = 99", vec!["toml:6:11", "99 is not a status; expected 200 to 599"]),
        ("respond = { text = \"a\", json = 1 }", vec!["toml:6:", "only one of `text`, `json` and `file`"]),
        ("respond = { file = \"/no/such.html\" }", vec!["toml:6:", "`/no/such.html` cannot be read"]),
        ("respond = { status = 204, text = \"x\" }", vec!["toml:6:", "status 204 has no body"]),
        ("maintenance = { exempt = [\"home\"] }", vec!["toml:6:"]),
        ("maintenance = \"yes\"", vec!["toml:6:15", "expected `true`, or a table"]),
        ("concurrency = 0", vec!["toml:6:15", "`max` is 0; expected 1 to 1000000"]),
        ("concurrency = \"many\"", vec!["toml:6:15", "expected a number of requests, or a table"]),
        ("concurrency = { max = 5, key = \"user\" }", vec!["toml:6:", "`user`"]),
        ("fault = {}", vec!["toml:6:9", "it injects nothing: give `delay`, `abort` or `rate`"]),
        ("fault = { abort = 99 }", vec!["toml:6:", "`abort.status` is 99; expected 200 to 599"]),
        (
            "fault = { abort = { percent = 101 } }",
            vec!["toml:6:", "`abort.percent` is 101; expected 0 to 100"],
        ),
        ("fault = { delay = \"long\" }", vec!["toml:6:", "`long`"]),
    ] {
        let said = check(&format!("{good}{line}\n"));
        assert_eq!(said.code, Some(2), "{line}: {}", said.stderr);
        for part in parts {
            assert!(said.stderr.contains(part), "{line}: no `{part}` in\n{}", said.stderr);
        }
    }
}

#[test]
fn mistakes_in_services_and_at_the_top_name_their_place_and_what_is_expected() {
    let good =
        "[[routes]]\npath = \"/*\"\nservice = \"a\"\n[services.a]\nendpoints = [\"http://127.0.0.1:1\"]\n";
    for (line, parts) in [
        (
            "balance = \"fastest\"",
            vec![
                "toml:6:11: `fastest` is not a value of `services.a.balance`",
                "the values are round_robin, random",
            ],
        ),
        (
            "balance = { outliers = \"off\" }",
            vec!["toml:6:13: unknown key `outliers`", "did you mean `outlier`?"],
        ),
        (
            "balance = { outlier = \"loud\" }",
            vec!["toml:6:", "`loud` is no mode; expected \"eject\", \"report\", \"off\""],
        ),
        ("balance = { panic = 101 }", vec!["toml:6:", "`101` is no percentage"]),
        (
            "balance = { hash_on = \"header\" }",
            vec!["toml:6:", "`header` is nothing to hash on; expected `client_ip`"],
        ),
        ("balance = { bounded_load = 99 }", vec!["toml:6:", "`99` is no load factor"]),
        ("balance = { sticky = \"a b\" }", vec!["toml:6:", "`a b` cannot be the name of a cookie"]),
        ("balance = { limits = { max_requests = 0 } }", vec!["toml:6:"]),
        ("balance = { circuit = \"on\" }", vec!["toml:6:", "expected true, false or a table"]),
        ("adaptive = \"magic\"", vec!["toml:6:12", "`magic` is no algorithm; expected `gradient2`"]),
        ("adaptive = { min = 50, max = 10 }", vec!["toml:6:", "`min` is 50"]),
        ("admission = { success_rate = 2.0 }", vec!["toml:6:", "`success_rate` is 2"]),
        ("admission = { priority_header = \"x-p\" }", vec!["toml:6:", "`trusted` names no network"]),
        ("retry = 0", vec!["toml:6:9", "0 attempts make no sense; expected 1 to 100"]),
    ] {
        let said = check(&format!("{good}{line}\n"));
        assert_eq!(said.code, Some(2), "{line}: {}", said.stderr);
        for part in parts {
            assert!(said.stderr.contains(part), "{line}: no `{part}` in\n{}", said.stderr);
        }
    }
    for (line, parts) in [
        ("via = \"a b\"", vec!["toml:1:7", "`a b` is not a name for Via"]),
        ("underscore_headers = \"drop\"", vec!["toml:1:22", "`drop` is not a value", "keep, delete, reject"]),
        ("forwarded.trusted_proxies = [\"home\"]", vec!["toml:1:"]),
        (
            "forwarded.client_from = \"cookie\"",
            vec!["toml:1:25", "`cookie` is not a value", "x_forwarded_for"],
        ),
    ] {
        let said = check(&format!("{line}\n{good}"));
        assert_eq!(said.code, Some(2), "{line}: {}", said.stderr);
        for part in parts {
            assert!(said.stderr.contains(part), "{line}: no `{part}` in\n{}", said.stderr);
        }
    }
}

#[test]
fn mistakes_in_a_group_are_found_where_they_stand_and_without_a_route_in_it() {
    for (line, part) in [
        ("concurrency = 0", "toml:2:15: `groups.api.concurrency`"),
        ("rate_limit = \"few\"", "toml:2:14: there is no rate limit `few`"),
        ("fault = {}", "toml:2:9: `groups.api.fault`"),
        ("fault = true", "toml:2:9: `groups.api.fault` is `true`; expected `false`, or a table"),
        ("headers.request.set = { \"a b\" = \"c\" }", "`a b` is not a header name"),
    ] {
        for member in ["group = \"api\"\n", ""] {
            let said = check(&format!(
                "[groups.api]\n{line}\n[services.a]\nendpoints = [\"http://127.0.0.1:1\"]\n[[routes]]\npath = \"/*\"\n\
                 service = \"a\"\n{member}"
            ));
            assert_eq!(said.code, Some(2), "{member}{line}: {}", said.stderr);
            assert!(said.stderr.contains(part), "{member}{line}: no `{part}` in\n{}", said.stderr);
            assert!(said.stderr.contains("\n1 mistake in"), "said once: {}", said.stderr);
        }
    }
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
