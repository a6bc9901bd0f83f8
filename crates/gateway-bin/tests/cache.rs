//! What a route's cache keeps and what it must not, through the binary. Many clients and several gateways are in
//! `cluster_cache.rs`.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Client, Gateway, Recorded, Reply, Request, Response, Upstream, Wire, get, wait_until};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const FRESH: (&str, &str) = ("Cache-Control", "public, max-age=600");

fn gateway(upstream: &Upstream, route: &str) -> Gateway {
    let config = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\nwatch = false\n\
         [services.a]\nendpoints = [\"{}\"]\nretry = 1\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\n{route}\n",
        upstream.url()
    );
    Gateway::builder(EXE).config(&config).start()
}

/// Answers its requests one after the other, by their number from 0.
fn in_turn(answer: impl Fn(usize, &Recorded) -> Reply + Send + Sync + 'static) -> Upstream {
    let asked = AtomicUsize::new(0);
    Upstream::start(move |request| answer(asked.fetch_add(1, Ordering::SeqCst), request))
}

fn told(answer: &Response) -> &str {
    answer.header("cache-status").and_then(|told| told.strip_prefix("gateway; ")).unwrap_or_default()
}

#[test]
fn rfc_9111_5_2_2_2_what_must_be_asked_for_is_never_answered_stale() {
    // What is stored is stale at once, and the operator would have it used while the upstream fails.
    let route = "cache = { stale_if_error = \"1h\" }";
    for (directives, is_strict) in [
        ("max-age=0", false),
        ("max-age=0, must-revalidate", true),
        ("max-age=0, proxy-revalidate", true),
        ("s-maxage=0", true),
        ("no-cache", true),
        ("no-cache, max-age=600", true),
    ] {
        // The upstream closes the connection, or answers itself that it fails.
        for failing in [None, Some(500), Some(502), Some(503), Some(504)] {
            let upstream = in_turn(move |call, _| match failing {
                _ if call == 0 => {
                    Reply::with(200, &[("Cache-Control", directives), ("ETag", "\"a\"")], "old")
                }
                Some(status) => Reply::new(status, "failing"),
                None => Reply::raw(b"", true),
            });
            let gateway = gateway(&upstream, route);
            let first = get(gateway.addr(), "/");
            assert_eq!((first.text().as_str(), told(&first)), ("old", "fwd=uri-miss; stored"));
            let second = get(gateway.addr(), "/");
            let seen = format!("{directives}, {failing:?}: {} {}", second.status, second.text());
            assert_eq!(upstream.requests()[1].header("if-none-match"), Some("\"a\""), "{seen}");
            let status = failing.map(|status| format!("fwd-status={status}"));
            let named = told(&second).split("; ").find(|part| part.starts_with("fwd-status"));
            assert_eq!(named, status.as_deref(), "{seen}: {}", told(&second));
            if is_strict {
                assert_ne!(second.text(), "old", "{seen}");
                assert!(told(&second).starts_with("fwd=stale"), "{seen}: {}", told(&second));
                // The upstream's own words (§4.3.3), or the gateway's that it closed the connection.
                assert_eq!(second.status, failing.unwrap_or(502), "{seen}");
            } else {
                assert_eq!((second.status, second.text().as_str()), (200, "old"), "{seen}");
            }
        }
    }
}

#[test]
fn an_answer_that_broke_off_is_never_stored() {
    for broken in [
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 10\r\n\r\n01234",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n",
    ] {
        let upstream = in_turn(move |call, _| match call {
            0 => Reply::raw(broken.as_bytes(), true),
            _ => Reply::with(200, &[FRESH], "0123456789"),
        });
        let gateway = gateway(&upstream, "cache = { ttl = \"1h\", override = true }");
        let mut wire = Wire::connect(gateway.addr());
        wire.send(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        assert!(wire.answer("GET").is_err(), "the client sees that it broke off: {broken}");
        let second = get(gateway.addr(), "/");
        assert_eq!((second.text().as_str(), told(&second)), ("0123456789", "fwd=uri-miss; stored"));
        let third = get(gateway.addr(), "/");
        assert_eq!(third.text(), "0123456789");
        assert!(told(&third).starts_with("hit"), "{}", told(&third));
        assert_eq!(upstream.hits(), 2);
    }
}

#[test]
fn the_access_log_says_what_the_cache_did_in_the_words_of_the_metrics() {
    let upstream = Upstream::start(|request| match request.header("if-none-match") {
        Some("\"same\"") => Reply::with(304, &[("ETag", "\"same\"")], ""),
        Some(_) => Reply::new(503, "failing"),
        None => match request.target.as_str() {
            "/same" => Reply::with(200, &[("Cache-Control", "max-age=0"), ("ETag", "\"same\"")], "body"),
            "/failing" => Reply::with(200, &[("Cache-Control", "max-age=0"), ("ETag", "\"old\"")], "body"),
            _ => Reply::with(200, &[FRESH], "body"),
        },
    });
    let config = format!(
        "access_log = \"@DIR@/access.log\"\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\nwatch = false\n\
         [admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n[services.a]\nendpoints = [\"{}\"]\n\
         [[routes]]\nname = \"kept\"\npath = \"/*\"\nservice = \"a\"\n\
         cache = {{ stale_if_error = \"1h\", status_header = false }}\n\
         [[routes]]\npath = \"/plain\"\nservice = \"a\"\n",
        upstream.url()
    );
    let gateway = Gateway::builder(EXE).config(&config).start();
    let mut told = BTreeMap::<_, u64>::new();
    let expected = [
        ("GET", "/fresh", Some("miss")),
        ("GET", "/fresh", Some("hit")),
        ("HEAD", "/fresh", Some("hit")),
        ("POST", "/other", Some("bypass")),
        ("GET", "/same", Some("miss")),
        ("GET", "/same", Some("revalidated")),
        ("GET", "/failing", Some("miss")),
        ("GET", "/failing", Some("stale")),
        ("GET", "/plain", None),
    ];
    for (number, (method, target, result)) in expected.into_iter().enumerate() {
        Client::new(gateway.addr()).send(&Request::new(method, target));
        let line =
            wait_until("its line", Duration::from_secs(20), || gateway.access_log().get(number).cloned());
        assert_eq!((&line["uri"], line["cache"].as_str()), (&target.into(), result), "{line}");
        if let Some(result) = result {
            *told.entry(result).or_default() += 1;
        }
    }
    let metrics = get(gateway.admin(), "/metrics").text();
    for (result, count) in told {
        let series = format!("gateway_cache_total{{route=\"kept\",result=\"{result}\"}} {count}\n");
        assert!(metrics.contains(&series), "{series} in {metrics}");
    }
}

#[test]
fn an_answer_with_a_cookie_is_never_stored() {
    let upstream = in_turn(|call, _| {
        let cookie = format!("session={call}");
        Reply::with(200, &[FRESH, ("Set-Cookie", &cookie)], "welcome")
    });
    let gateway = gateway(&upstream, "cache = { ttl = \"1h\", override = true }");
    for turn in 0..3 {
        let answer = get(gateway.addr(), "/");
        assert_eq!(answer.header("set-cookie"), Some(format!("session={turn}").as_str()));
        assert_eq!(told(&answer), "fwd=uri-miss");
    }
    assert_eq!(upstream.hits(), 3);
}

#[test]
fn no_spelling_of_a_parameter_gets_past_the_key() {
    let upstream = Upstream::start(|request| Reply::new(200, &request.target));
    let gateway = gateway(&upstream, "cache = { ttl = \"10m\", key.query = [\"q\"] }");
    for (target, expected) in [
        ("/?%71=evil", "/?%71=evil"),
        ("/", "/"),
        ("/?q=evil", "/?q=evil"),
        ("/?utm=1&%71=evil", "/?%71=evil"),
        ("/?utm=1", "/"),
    ] {
        assert_eq!(get(gateway.addr(), target).text(), expected, "{target}");
    }
}

#[test]
fn a_soft_purge_makes_stale_and_a_purge_removes() {
    let upstream = Upstream::start(|request| match request.header("if-none-match") {
        Some("\"a\"") => Reply::with(304, &[FRESH, ("ETag", "\"a\"")], ""),
        _ => Reply::with(200, &[FRESH, ("ETag", "\"a\"")], "body"),
    });
    let gateway = gateway(&upstream, "cache = { purge = { networks = [\"127.0.0.1/32\"] } }");
    let purge = |soft: &str| {
        let request = Request::new("PURGE", "/x").header("Soft-Purge", soft);
        Client::new(gateway.addr()).send(&request).text()
    };
    for (soft, before, expected) in
        [("1", "fwd=uri-miss", "fwd=stale; fwd-status=304; stored"), ("0", "hit", "fwd=uri-miss; stored")]
    {
        for status in [before, "hit"] {
            assert!(told(&get(gateway.addr(), "/x")).starts_with(status), "{status}");
        }
        assert_eq!(purge(soft), "{\"purged\":1}\n");
        let after = get(gateway.addr(), "/x");
        assert_eq!((after.status, after.text().as_str(), told(&after)), (200, "body", expected));
        assert!(told(&get(gateway.addr(), "/x")).starts_with("hit"));
    }
    assert_eq!(upstream.hits(), 3);
}

#[test]
fn by_choice_a_query_is_answered_from_the_cache_by_its_body() {
    let upstream = Upstream::start(|request| {
        Reply::with(200, &[FRESH], &format!("found {}", String::from_utf8_lossy(&request.body)))
    });
    let gateway = gateway(&upstream, "cache = { methods = [\"GET\", \"QUERY\"], max_query = \"32B\" }");
    let long = "x".repeat(33);
    for (method, kind, body, expected) in [
        ("QUERY", "application/json", "{\"a\":1}", "fwd=uri-miss; stored"),
        ("QUERY", "application/json", "{\"a\":1}", "hit"),
        ("QUERY", "application/json", "{\"a\":2}", "fwd=uri-miss; stored"),
        ("QUERY", "text/plain", "{\"a\":1}", "fwd=uri-miss; stored"),
        ("QUERY", "text/plain", &long, "fwd=bypass"),
        ("QUERY", "text/plain", &long, "fwd=bypass"),
        ("POST", "application/json", "{\"a\":1}", "fwd=method"),
        ("QUERY", "application/json", "{\"a\":1}", "fwd=uri-miss; stored"),
    ] {
        let request = Request::new(method, "/find").header("Content-Type", kind).body(body);
        let answer = Client::new(gateway.addr()).send(&request);
        assert_eq!((answer.status, answer.text()), (200, format!("found {body}")), "{method} {kind}");
        assert!(told(&answer).starts_with(expected), "{method} {kind} {body}: {}", told(&answer));
    }
    let spaced =
        Request::new("QUERY", "/find").header("Content-Type", "application/json").body("{ \"a\": 1 }");
    let answer = Client::new(gateway.addr()).send(&spaced);
    assert_eq!(answer.text(), "found {\"a\":1}", "{}", told(&answer));
    // Nobody knows how long it will be.
    for _ in 0..2 {
        let mut wire = Wire::connect(gateway.addr());
        let head = "QUERY /find HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
        wire.send(format!("{head}1\r\na\r\n1\r\nb\r\n0\r\n\r\n").as_bytes()).unwrap();
        let answer = wire.answer("QUERY").unwrap();
        assert_eq!((answer.text().as_str(), told(&answer)), ("found ab", "fwd=bypass"));
    }
    assert_eq!(upstream.hits(), 9);
    assert!(upstream.requests().iter().all(|request| request.method == "QUERY" || request.method == "POST"));
}

#[test]
fn no_vary_search_says_which_urls_share_an_answer() {
    let upstream = Upstream::start(|request| Reply::with(200, &[FRESH], &request.target));
    let rule = "key-order, params=(\"utm_source\" \"fbclid\")";
    let route = format!("cache = {{ key = {{ no_vary_search = '{rule}' }} }}");
    let gateway = gateway(&upstream, &route);
    for (target, expected) in [
        ("/?a=1&b=2&utm_source=mail", "/?a=1&b=2&utm_source=mail"),
        ("/?b=2&a=1", "/?a=1&b=2&utm_source=mail"),
        ("/?fbclid=x&b=%32&a=1", "/?a=1&b=2&utm_source=mail"),
        ("/?a=1&b=3", "/?a=1&b=3"),
        ("/?b=3&a=1", "/?a=1&b=3"),
    ] {
        assert_eq!(get(gateway.addr(), target).text(), expected, "{target}");
    }
    assert_eq!(upstream.hits(), 2);
    let config =
        "[services.a]\nendpoints = [\"http://127.0.0.1:1\"]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n";
    for (cache, part) in [
        (
            "{ no_vary_search = 'except=(\"q\")' }",
            "is no rule of `No-Vary-Search`; expected such as `key-order`",
        ),
        ("{ no_vary_search = 'params', sort_query = true }", "leave out `key.query`"),
    ] {
        let config = format!("{config}cache = {{ key = {cache} }}\n");
        let checked =
            Gateway::builder(EXE).config(&config).args(&["check", "--config", "gateway.toml"]).run();
        assert_eq!(checked.code, Some(2), "{}", checked.stdout);
        assert!(
            checked.stderr.contains(part) || checked.stdout.contains(part),
            "{}{}",
            checked.stdout,
            checked.stderr
        );
    }
}

#[test]
fn answers_say_which_urls_share_them_where_the_route_learns_it() {
    let upstream = Upstream::start(|request| {
        Reply::with(200, &[FRESH, ("No-Vary-Search", "key-order, params=(\"utm\")")], &request.target)
    });
    let route =
        "cache = { key = { learn_no_vary_search = true }, purge = { networks = [\"127.0.0.1/32\"] } }";
    let gateway = gateway(&upstream, route);
    for (target, expected) in [
        ("/s?b=1&a=2&utm=x", "/s?b=1&a=2&utm=x"),
        ("/s?a=2&b=1", "/s?b=1&a=2&utm=x"),
        ("/s?a=2&b=2", "/s?a=2&b=2"),
        ("/other?a=2&b=1", "/other?a=2&b=1"),
    ] {
        assert_eq!(get(gateway.addr(), target).text(), expected);
    }
    let purged = Client::new(gateway.addr()).send(&Request::new("PURGE", "/s?utm=z&a=2&b=1"));
    assert_eq!(
        (purged.status, purged.text().trim()),
        (200, "{\"purged\":2}"),
        "all that is stored by the rule"
    );
    assert_eq!(get(gateway.addr(), "/s?a=2&b=1").text(), "/s?a=2&b=1");
}

#[test]
fn by_choice_what_a_post_answers_is_kept_for_get_where_it_says_so() {
    let upstream = in_turn(|call, request| {
        let text = format!("{call} {}", request.method);
        Reply::with(200, &[FRESH, ("Content-Location", "/carts/7")], &text)
    });
    let gateway = gateway(&upstream, "cache = { methods = [\"GET\", \"HEAD\", \"POST\"] }");
    let post = |target: &str| Client::new(gateway.addr()).send(&Request::new("POST", target).body("{}"));
    assert_eq!(get(gateway.addr(), "/carts/7").text(), "0 GET");
    let posted = post("/carts/7");
    assert_eq!((posted.text().as_str(), told(&posted)), ("1 POST", "fwd=method; stored"));
    assert_eq!(get(gateway.addr(), "/carts/7").text(), "1 POST");
    // Of another URL it makes this one out of date, and is no answer to it.
    assert_eq!(told(&post("/carts")), "fwd=method");
    assert_eq!(get(gateway.addr(), "/carts/7").text(), "3 GET");
}

/// Over HTTP/2, a `GET` with a body that nothing announces. Returns what `Cache-Status` tells and the answer's body.
fn get_with_body(gateway: &Gateway, body: &'static str) -> (String, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(gateway.addr()).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut sender = sender.ready().await.unwrap();
        let request = http::Request::get(format!("http://{}/", gateway.addr())).body(()).unwrap();
        let (answer, mut sending) = sender.send_request(request, false).unwrap();
        sending.send_data(body.into(), true).unwrap();
        let (head, mut coming) = answer.await.unwrap().into_parts();
        let mut received = Vec::new();
        while let Some(data) = coming.data().await {
            let data = data.unwrap();
            coming.flow_control().release_capacity(data.len()).unwrap();
            received.extend_from_slice(&data);
        }
        (head.headers["cache-status"].to_str().unwrap().to_owned(), received)
    })
}

#[test]
fn a_body_over_http2_does_not_become_the_urls_answer() {
    let upstream =
        Upstream::start(|request| Reply::with(200, &[FRESH], &String::from_utf8_lossy(&request.body)));
    // Its address is the host of both clients, as it is part of the key.
    let gateway = gateway(&upstream, "cache = true");
    let host = gateway.addr().to_string();
    let plain = || Client::new(gateway.addr()).send(&Request::get("/").header("Host", &host));
    assert_eq!(get_with_body(&gateway, "evil"), ("gateway; fwd=bypass".to_owned(), b"evil".to_vec()));
    let answer = plain();
    assert_eq!((answer.text().as_str(), told(&answer)), ("", "fwd=uri-miss; stored"));
    assert!(told(&plain()).starts_with("hit"));
    assert_eq!(get_with_body(&gateway, "evil").0, "gateway; fwd=bypass");
}

#[test]
fn a_post_on_a_route_of_its_own_makes_the_url_out_of_date() {
    let upstream = Upstream::start(|request| Reply::with(200, &[FRESH], &request.method));
    for (host, is_out_of_date) in
        [("", true), ("hosts = [\"shop.example\"]", true), ("hosts = [\"b\"]", false)]
    {
        let config = format!(
            "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\nwatch = false\n\
             [services.a]\nendpoints = [\"{}\"]\n\
             [[routes]]\nname = \"read\"\nhosts = [\"shop.example\"]\npath = \"/items/{{id}}\"\nmethods = [\"GET\"]\n\
             service = \"a\"\ncache = true\n\
             [[routes]]\nname = \"other\"\n{host}\npath = \"/items/{{id}}\"\nmethods = [\"POST\"]\nservice = \"a\"\n\
             [[routes]]\nname = \"all\"\npath = \"/*\"\nservice = \"a\"\n",
            upstream.url()
        );
        let gateway = Gateway::builder(EXE).config(&config).start();
        let ask = |method: &str| {
            let request = Request::new(method, "/items/7").header("Host", "shop.example");
            Client::new(gateway.addr()).send(&request)
        };
        assert_eq!(told(&ask("GET")), "fwd=uri-miss; stored");
        assert!(told(&ask("GET")).starts_with("hit"));
        let posted = ask("POST");
        assert_eq!((posted.text().as_str(), told(&posted)), ("POST", ""), "{host}");
        assert_eq!(!told(&ask("GET")).starts_with("hit"), is_out_of_date, "{host}");
    }
}

#[test]
fn routes_of_one_path_that_ask_for_more_have_answers_of_their_own() {
    let (plain, beta) = (
        Upstream::start(|_| Reply::with(200, &[FRESH], "plain")),
        Upstream::start(|_| Reply::with(200, &[FRESH], "beta")),
    );
    for condition in ["match.headers = { x-beta = \"1\" }", "match.cookies = { beta = \"1\" }"] {
        let config = format!(
            "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\nwatch = false\n\
             [services.plain]\nendpoints = [\"{}\"]\n[services.beta]\nendpoints = [\"{}\"]\n\
             [[routes]]\npath = \"/*\"\n{condition}\nservice = \"beta\"\ncache = true\n\
             [[routes]]\npath = \"/*\"\nservice = \"plain\"\ncache = true\n",
            plain.url(),
            beta.url()
        );
        let gateway = Gateway::builder(EXE).config(&config).start();
        let ask = |beta: &str| {
            let answer = Client::new(gateway.addr())
                .send(&Request::get("/x").header("X-Beta", beta).header("Cookie", &format!("beta={beta}")));
            (answer.text(), told(&answer).starts_with("hit"))
        };
        for is_hit in [false, true] {
            assert_eq!(ask("1"), ("beta".to_owned(), is_hit), "{condition}");
            assert_eq!(ask("0"), ("plain".to_owned(), is_hit), "{condition}");
        }
    }
}

#[test]
fn what_varies_by_what_the_gateway_tells_the_service_is_not_shared() {
    let upstream = in_turn(|call, request| {
        let vary = request.target.trim_start_matches('/').to_owned();
        Reply::with(200, &[FRESH, ("Vary", &vary)], &call.to_string())
    });
    let config = |isolation: &str| {
        // Of `one`, and of `two`.
        let keys = [
            "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed",
            "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3",
        ]
        .map(|hash| format!("{{ id = \"{hash}\", hash = \"sha256:{hash}\" }}"));
        format!(
            "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\nwatch = false\n\
             [services.a]\nendpoints = [\"{}\"]\n[auth.api_keys.k]\nkeys = [{}]\n\
             [[routes]]\npath = \"/*\"\nservice = \"a\"\nauth = {{ methods = [\"k\"], optional = true }}\n\
             identity_headers = {{ headers = {{ X-User-ID = \"@id\" }} }}\ncache = {{ isolation = \"{isolation}\" }}\n",
            upstream.url(),
            keys.join(", ")
        )
    };
    for (isolation, vary, own, others) in [
        ("shared", "Accept", true, true),
        ("shared", "X-User-ID", false, false),
        ("shared", "Accept,x-forwarded-for", false, false),
        ("principal", "X-User-ID", true, false),
        ("principal", "X-Forwarded-For", false, false),
    ] {
        let gateway = Gateway::builder(EXE).config(&config(isolation)).start();
        let is_hit = |key: &str| {
            let request = Request::get(&format!("/{vary}")).header("X-API-Key", key);
            let answer = Client::new(gateway.addr()).send(&request);
            assert_eq!(answer.status, 200, "{}", answer.text());
            told(&answer).starts_with("hit")
        };
        let found = [is_hit("one"), is_hit("one"), is_hit("two")];
        assert_eq!(found, [false, own, others], "{isolation}, {vary}");
    }
}

#[test]
fn the_admin_listener_purges_a_url_however_its_path_is_written() {
    let upstream = Upstream::start(|_| Reply::with(200, &[FRESH], "body"));
    let config = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\nwatch = false\n\
         [admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n[services.a]\nendpoints = [\"{}\"]\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\ncache = true\n",
        upstream.url()
    );
    let gateway = Gateway::builder(EXE).config(&config).start();
    let target = "/%7Eme//caf%c3%a9?q=%7E";
    for what in [
        format!("\"url\":\"http://shop.example{target}\""),
        "\"prefix\":\"http://shop.example/%7Eme/\"".into(),
    ] {
        let request = Request::get(target).header("Host", "shop.example");
        assert_eq!(told(&Client::new(gateway.addr()).send(&request)), "fwd=uri-miss; stored");
        let purge = Request::new("POST", "/purge").body(format!("{{{what}}}"));
        assert_eq!(Client::new(gateway.admin()).send(&purge).text(), "{\"purged\":1}\n", "{what}");
    }
    let wrong = Request::new("POST", "/purge").body("{\"url\":\"http://shop.example/a%2\"}");
    assert_eq!(Client::new(gateway.admin()).send(&wrong).status, 400);
    // What a page has the operator's browser send needs no leave of this listener.
    let forged =
        Request::new("POST", "/purge").header("Origin", "http://evil.example").body("{\"all\":true}");
    assert_eq!(Client::new(gateway.admin()).send(&forged).status, 403);
}
