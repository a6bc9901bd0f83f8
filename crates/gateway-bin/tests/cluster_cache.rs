//! Answers are kept for many clients and several gateways, and nobody gets what is not theirs.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{
    Client, Gateway, Load, Redis, Reply, Request, Response, Seen, Upstream, Wire, get, scripted, wait_until,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const SOON: Duration = Duration::from_secs(20);
/// For how long Redis is frozen.
const FROZEN: Duration = Duration::from_secs(4);
/// What scheduling may add on a busy machine, on top of the store's deadline; with it, less than Redis is frozen.
const SLACK: Duration = Duration::from_secs(3);
const FRESH: (&str, &str) = ("Cache-Control", "public, max-age=600");
const PURGE: &str = "cache = { purge = { networks = [\"127.0.0.1/32\"] }, collapse_timeout = \"30s\" }\n";

fn gateway(upstream: SocketAddr, tables: &str, route: &str) -> Gateway {
    let config = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\nwatch = false\n\
         [admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n[services.a]\nendpoints = [\"http://{upstream}\"]\n{tables}\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\n{route}"
    );
    Gateway::builder(EXE).config(&config).start()
}

fn store(redis: &Redis, timeout: &str) -> String {
    format!("[store.redis]\nurl = \"{}\"\ntimeout = \"{timeout}\"\n", redis.url())
}

/// Answers with the target and how often it was asked for anything.
fn counting() -> Upstream {
    let asked = AtomicUsize::new(0);
    Upstream::start(move |request| {
        let count = asked.fetch_add(1, Ordering::SeqCst) + 1;
        Reply::with(200, &[FRESH, ("Surrogate-Key", "things")], &format!("{} {count}", request.target))
    })
}

fn with(addr: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let request = headers.iter().fold(Request::new(method, path), |request, (n, v)| request.header(n, v));
    Client::new(addr).send(&request)
}

fn is_hit(answer: &Response) -> bool {
    answer.header("cache-status").is_some_and(|status| status.contains("; hit"))
}

#[test]
fn a_thousand_clients_at_once_make_one_request_of_the_upstream() {
    const CLIENTS: usize = 1000;
    let body = "x".repeat(20_000);
    let text = body.clone();
    let upstream = Upstream::start(move |_| Reply::with(200, &[FRESH], &text));
    let gateway = gateway(upstream.addr(), "", PURGE);
    upstream.stall();
    let (addr, sent) = (gateway.addr(), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let sent = sent.clone();
            std::thread::spawn(move || {
                let mut wire = Wire::connect(addr).with_patience(Duration::from_secs(60));
                wire.send(b"GET /much HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
                sent.fetch_add(1, Ordering::SeqCst);
                wire.answer("GET").unwrap()
            })
        })
        .collect();
    wait_until("all to have asked", Duration::from_secs(60), || {
        (sent.load(Ordering::SeqCst) == CLIENTS).then_some(())
    });
    wait_until("the one request", SOON, || (upstream.hits() > 0).then_some(()));
    sleep(Duration::from_millis(500));
    upstream.resume();
    let mut said = BTreeMap::<String, usize>::new();
    for client in clients {
        let answer = client.join().unwrap();
        assert_eq!((answer.status, answer.text() == body), (200, true));
        let status = answer.header("cache-status").unwrap().split("; ttl").next().unwrap().to_owned();
        *said.entry(status).or_default() += 1;
    }
    println!("{CLIENTS} clients, {} upstream: {said:?}", upstream.hits());
    assert_eq!(upstream.hits(), 1, "{said:?}");
}

#[test]
fn what_one_gateway_has_the_other_answers_with_and_a_purge_reaches_both() {
    let (upstream, redis) = (counting(), Redis::start());
    let tables = store(&redis, "2s");
    let gateways = [(); 2].map(|()| gateway(upstream.addr(), &tables, PURGE));
    let [one, other] = gateways.each_ref().map(Gateway::addr);
    for (method, purged, headers) in [
        ("PURGE", "@", &[][..]),
        ("PURGE", "@", &[("Soft-Purge", "1")]),
        ("PURGE", "/things/*", &[]),
        ("PURGE", "/", &[("Surrogate-Key", "things")]),
        ("POST", "@", &[]),
    ] {
        let mut turn = 0;
        // The answer is written to Redis without anybody waiting for it: the other may come too early.
        let path = wait_until("a hit at the other", SOON, || {
            turn += 1;
            let path = format!("/things/{method}/{turn}");
            let first = get(one, &path);
            assert!(!is_hit(&first), "{path}: {:?}", first.headers);
            sleep(Duration::from_millis(20 * turn));
            let hits = upstream.hits();
            let second = get(other, &path);
            assert_eq!(
                (second.text() == first.text(), upstream.hits() == hits),
                (is_hit(&second), is_hit(&second))
            );
            is_hit(&second).then_some(path)
        });
        let answer = with(one, method, &purged.replace('@', &path), headers);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let since = Instant::now();
        wait_until("a miss at the other", SOON, || (!is_hit(&get(other, &path))).then_some(()));
        println!("{method} {purged} {headers:?}: known to the other after {:?}", since.elapsed());
        assert!(since.elapsed() < Duration::from_secs(2), "{path}: {:?}", since.elapsed());
        // Nothing is left for the next.
        for gateway in [one, other] {
            assert_eq!(with(gateway, "PURGE", "/*", &[]).status, 200);
        }
    }
}

#[test]
fn who_may_not_purge_is_refused() {
    let upstream = counting();
    let route = "cache = { purge = { networks = [\"10.0.0.0/8\"] } }\n";
    let gateway = gateway(upstream.addr(), "", route);
    assert_eq!(get(gateway.addr(), "/a").status, 200);
    assert_eq!(with(gateway.addr(), "PURGE", "/a", &[]).status, 403);
    assert!(is_hit(&get(gateway.addr(), "/a")));
    assert_eq!(upstream.hits(), 1);
}

#[test]
fn while_redis_is_away_there_are_misses_and_no_failures() {
    let (upstream, mut redis) = (counting(), Redis::start());
    let tables = store(&redis, "100ms");
    let gateways = [(); 2].map(|()| gateway(upstream.addr(), &tables, PURGE));
    let addrs = gateways.each_ref().map(Gateway::addr);
    let count = Arc::new(AtomicUsize::new(0));
    // Every other request is for something new.
    let load = Load::start(&addrs, 6, Duration::from_millis(30), move |_| {
        match count.fetch_add(1, Ordering::Relaxed) {
            even if even % 2 == 0 => Request::get("/same"),
            odd => Request::get(&format!("/new/{odd}")),
        }
    });
    sleep(Duration::from_secs(1));
    redis.kill();
    sleep(Duration::from_secs(2));
    assert!(is_hit(&get(addrs[0], "/same")), "from memory");
    redis.restart();
    sleep(Duration::from_secs(1));
    redis.stall();
    sleep(FROZEN);
    assert!(is_hit(&get(addrs[1], "/same")), "from memory");
    redis.resume();
    sleep(Duration::from_secs(2));
    let seen = load.stop();
    let [median, p99, longest] = [0.5, 0.99, 1.0].map(|share| Seen::took(&seen, share));
    println!(
        "{} requests, {} upstream; median {median:?}, p99 {p99:?}, longest {longest:?}",
        seen.len(),
        upstream.hits()
    );
    assert_eq!(Seen::with(&seen, 200), seen.len());
    assert!(longest < Duration::from_millis(200) + SLACK, "{longest:?}");
    // And it is shared again.
    let mut turn = 0;
    wait_until("a hit at the other", SOON, || {
        turn += 1;
        let path = format!("/after/{turn}");
        assert!(!is_hit(&get(addrs[0], &path)));
        sleep(Duration::from_millis(20 * turn));
        is_hit(&get(addrs[1], &path)).then_some(())
    });
}

#[test]
fn two_users_never_see_each_others_answers_also_when_all_ask_at_once() {
    let redis = Redis::start();
    let upstream = Upstream::start(|request| {
        let whose = request.header("x-user-id").unwrap_or("nobody").to_owned();
        Reply::with(200, &[FRESH], &whose).after(Duration::from_millis(200))
    });
    let tables = store(&redis, "2s") + "[auth.jwt.shop]\nsecret = \"a secret for tests, 32 bytes long\"\n";
    let route = PURGE.to_owned()
        + "auth = { methods = [\"shop\"], optional = true }\nidentity_headers = { preset = \"s4\" }\n";
    let gateways = [(); 2].map(|()| gateway(upstream.addr(), &tables, &route));
    let token = |who: &str| {
        let mut command = std::process::Command::new(EXE);
        command.args(["token", "--auth", "shop", "--claim", &format!("sub={who}"), "--config"]);
        let output = command.arg(gateways[0].dir().join("gateway.toml")).output().unwrap();
        format!("Bearer {}", String::from_utf8(output.stdout).unwrap().trim())
    };
    let users = ["ada", "eve"].map(|who| (who, Some(token(who))));
    let users: Vec<_> = users.into_iter().chain([("nobody", None)]).collect();
    for round in 0..5 {
        let clients: Vec<_> = (0..60)
            .map(|number| {
                let (who, token) = users[number % users.len()].clone();
                let addr = gateways[number / users.len() % 2].addr();
                std::thread::spawn(move || {
                    let mut request = Request::get(&format!("/account/{round}"));
                    if let Some(token) = token {
                        request = request.header("Authorization", &token);
                    }
                    (who, Client::new(addr).send(&request))
                })
            })
            .collect();
        for client in clients {
            let (who, answer) = client.join().unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (200, who), "{:?}", answer.headers);
        }
        for (who, token) in &users {
            let headers: Vec<_> = token.iter().map(|token| ("Authorization", token.as_str())).collect();
            let answer = with(gateways[0].addr(), "GET", &format!("/account/{round}"), &headers);
            assert!(is_hit(&answer) && answer.text() == *who, "{who}: {:?}", answer.headers);
        }
    }
    println!("300 requests of 3 callers for 5 URLs at 2 gateways: {} upstream", upstream.hits());
    assert!(upstream.hits() <= 3 * 5 * 2 + 5, "{}", upstream.hits());
}

#[test]
fn events_pass_one_by_one_on_a_cached_route() {
    let (upstream, exchanges) = scripted();
    let gateway = gateway(upstream, "", "cache = { ttl = \"60s\", override = true }\n");
    for turn in 0..2 {
        let mut wire = Wire::connect(gateway.addr());
        wire.send(b"GET /events HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n").unwrap();
        let mut exchange = exchanges.recv_timeout(SOON).expect("never answered from the cache");
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        exchange.send(head.as_bytes()).unwrap();
        while wire.line().unwrap() != "\r\n" {}
        for event in 0..3 {
            let text = format!("data: {turn} {event}\n\n");
            exchange.send(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).unwrap();
            // The next one is sent only when this one has arrived.
            let seen = wait_until("the event", SOON, || {
                let line = wire.line().unwrap();
                line.starts_with("data:").then_some(line)
            });
            assert_eq!(seen.trim(), text.trim());
        }
        exchange.send(b"0\r\n\r\n").unwrap();
    }
}

#[test]
fn heads_conditions_and_ranges_are_answered_from_what_is_stored() {
    let upstream = Upstream::start(|_| {
        let headers = [FRESH, ("ETag", "\"v1\""), ("Last-Modified", "Tue, 15 Nov 1994 12:45:26 GMT")];
        Reply::with(200, &headers, "0123456789")
    });
    let gateway = gateway(upstream.addr(), "", PURGE);
    assert_eq!(get(gateway.addr(), "/x").text(), "0123456789");
    type Headers = &'static [(&'static str, &'static str)];
    let table: [(&str, Headers, u16, &str); 8] = [
        ("GET", &[], 200, "0123456789"),
        ("HEAD", &[], 200, ""),
        ("GET", &[("If-None-Match", "\"v1\"")], 304, ""),
        ("GET", &[("If-None-Match", "\"v0\", W/\"v1\"")], 304, ""),
        ("GET", &[("If-Modified-Since", "Wed, 16 Nov 1994 12:45:26 GMT")], 304, ""),
        ("GET", &[("Range", "bytes=2-4")], 206, "234"),
        ("GET", &[("Range", "bytes=-3"), ("If-Range", "\"v1\"")], 206, "789"),
        ("GET", &[("Range", "bytes=50-")], 416, ""),
    ];
    for (method, headers, status, body) in table {
        let answer = with(gateway.addr(), method, "/x", headers);
        assert_eq!(answer.status, status, "{method} {headers:?}");
        if status < 400 {
            assert_eq!(answer.text(), body, "{method} {headers:?}");
            assert_eq!(answer.header("etag"), Some("\"v1\""), "{method} {headers:?}");
        }
        assert!(is_hit(&answer), "{method} {headers:?}: {:?}", answer.header("cache-status"));
        let length = answer.header("content-length");
        match status {
            206 => assert_eq!(length, Some("3"), "{headers:?}"),
            200 => assert_eq!(length, Some("10"), "{method}"),
            _ => {}
        }
    }
    let part = with(gateway.addr(), "GET", "/x", &[("Range", "bytes=2-4")]);
    assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
    assert_eq!(upstream.hits(), 1);
}

#[test]
fn a_reload_keeps_what_is_stored() {
    let upstream = counting();
    let gateway = gateway(upstream.addr(), "", PURGE);
    let first = get(gateway.addr(), "/a").text();
    let path = gateway.dir().join("gateway.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("[services.a]\n", "[services.a]\ntimeout = \"9s\"\n")).unwrap();
    assert_eq!(Client::new(gateway.admin()).send(&Request::new("POST", "/reload")).status, 200);
    for _ in 0..8 {
        let again = get(gateway.addr(), "/a");
        assert!(is_hit(&again) && again.text() == first, "{:?}", again.headers);
    }
    assert_eq!(upstream.hits(), 1);
}
