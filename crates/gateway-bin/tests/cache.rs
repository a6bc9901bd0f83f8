//! What a route's cache keeps and what it must not, through the binary. Many clients and several gateways are in
//! `cluster_cache.rs`.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Client, Gateway, Recorded, Reply, Request, Response, Upstream, Wire, get};
use std::sync::atomic::{AtomicUsize, Ordering};

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
