//! What is answered from the store and what is not, named after the tests of cache-tests.fyi.
#![allow(clippy::unwrap_used)]

mod support;

use gateway_cache::CacheSettings;
use gateway_core::{CacheResult, spare};
use http::StatusCode;
use std::time::{Duration, SystemTime};
use support::{Got, World, answer, later, ok, world};

type Lines = Vec<(String, String)>;

/// The upstream answers the first request with these lines, and the body with the number of the call.
fn with(lines: &[(&str, &str)]) -> World {
    with_settings(CacheSettings::default(), lines)
}

fn with_settings(settings: CacheSettings, lines: &[(&str, &str)]) -> World {
    let lines: Lines = lines.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    world(settings, move |call, _| {
        let lines = lines.clone();
        async move {
            let lines: Vec<_> = lines.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            ok(&lines, format!("body {call}"))
        }
    })
}

fn date(offset: i64) -> String {
    let now = SystemTime::now();
    let by = Duration::from_secs(offset.unsigned_abs());
    httpdate::fmt_http_date(if offset < 0 { now - by } else { now + by })
}

/// What comes of the same request three seconds later.
async fn again(lines: &[(&str, &str)]) -> Got {
    let world = with(lines);
    let first = world.get("/").await;
    assert_eq!(first.text(), "body 0");
    later(3).await;
    world.get("/").await
}

#[tokio::test(start_paused = true)]
async fn freshness_by_cache_control_and_expires() {
    let cc = "cache-control";
    let (future, past, now) = (date(3600), date(-7200), date(0));
    for (name, lines, hit) in [
        ("freshness-none", &[][..], false),
        ("freshness-max-age", &[(cc, "max-age=3600")], true),
        ("freshness-max-age-0", &[(cc, "max-age=0")], false),
        ("freshness-max-age-max-plus", &[(cc, "max-age=99999999999")], true),
        ("freshness-max-age-age", &[("date", &*now), (cc, "max-age=3600"), ("age", "7200")], false),
        ("freshness-max-age-date", &[("date", &*past), (cc, "max-age=3600")], false),
        ("freshness-max-age-expires", &[(cc, "max-age=3600"), ("expires", &*past), ("date", &*now)], true),
        ("freshness-max-age-0-expires", &[(cc, "max-age=0"), ("expires", &*future), ("date", &*now)], false),
        ("freshness-s-maxage-shared", &[(cc, "s-maxage=3600")], true),
        ("freshness-max-age-s-maxage-shared-longer", &[(cc, "max-age=3600, s-maxage=1")], false),
        (
            "freshness-max-age-s-maxage-shared-longer-multiple",
            &[(cc, "max-age=3600"), (cc, "s-maxage=1")],
            false,
        ),
        ("freshness-max-age-s-maxage-shared-shorter", &[(cc, "max-age=1, s-maxage=3600")], true),
        ("freshness-expires-future", &[("expires", &*future), ("date", &*now)], true),
        ("freshness-expires-past", &[("expires", &*past), ("date", &*now)], false),
        ("freshness-expires-present", &[("expires", &*now), ("date", &*now)], false),
        ("freshness-expires-invalid", &[("expires", "0")], false),
        (
            "freshness-expires-age-slow-date",
            &[("expires", &*future), ("date", &*past), ("age", "20000")],
            false,
        ),
        ("cc-resp-private-shared", &[(cc, "private, max-age=3600")], false),
        ("cc-resp-no-store-case-insensitive", &[(cc, "nO-StOrE, max-age=3600")], false),
        ("cc-resp-no-cache", &[(cc, "no-cache, max-age=3600")], false),
        ("cc-resp-must-revalidate-fresh", &[(cc, "max-age=3600, must-revalidate")], true),
        ("cc-resp-must-revalidate-stale", &[(cc, "max-age=2, must-revalidate")], false),
        ("age-parse-nonnumeric", &[(cc, "max-age=3600"), ("age", "abc")], true),
        ("age-parse-prefix", &[(cc, "max-age=3600"), ("age", "0, 7200")], true),
        ("age-parse-suffix", &[(cc, "max-age=3600"), ("age", "7200, 0")], false),
        ("age-parse-large", &[(cc, "max-age=3600"), ("age", "2147483648")], false),
        ("vary-syntax-star", &[(cc, "max-age=3600"), ("vary", "*")], false),
        ("vary-syntax-foo-star", &[(cc, "max-age=3600"), ("vary", "foo, *")], false),
        ("pragma-response-no-cache", &[(cc, "max-age=3600"), ("pragma", "no-cache")], true),
        ("cdn-max-age", &[("cdn-cache-control", "max-age=3600")], true),
        ("cdn-max-age-0", &[("cdn-cache-control", "max-age=0"), (cc, "max-age=3600")], false),
        ("cdn-no-store-cc-fresh", &[("cdn-cache-control", "no-store"), (cc, "max-age=3600")], false),
        ("cdn-fresh-cc-nostore", &[("cdn-cache-control", "max-age=3600"), (cc, "no-store")], true),
        ("other-set-cookie", &[(cc, "max-age=3600"), ("set-cookie", "a=b")], false),
    ] {
        let got = again(lines).await;
        assert_eq!(got.is_hit(), hit, "{name}: {:?}", got.headers);
        assert_eq!(got.text(), if hit { "body 0" } else { "body 1" }, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn status_fresh_and_stale() {
    for status in [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599] {
        let world = world(CacheSettings::default(), move |_, _| async move {
            Ok(answer(status, &[("cache-control", "max-age=10")], ""))
        });
        world.get("/").await;
        later(9).await;
        let got = world.get("/").await;
        assert!(got.is_hit(), "{status}: {got:?}");
        assert_eq!(got.status, StatusCode::from_u16(status).unwrap());
        later(2).await;
        assert!(!world.get("/").await.is_hit(), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn other_age_gen_and_date_update() {
    let made = date(0);
    let world = with(&[("cache-control", "max-age=600"), ("date", &made), ("age", "30"), ("x", "1")]);
    assert_eq!(world.get("/").await.cache(), "fwd=uri-miss; stored");
    later(5).await;
    let got = world.get("/").await;
    let age: u64 = got.header("age").parse().unwrap();
    assert!((35..=36).contains(&age), "{age}");
    assert_eq!((got.header("date"), got.header("x")), (&*made, "1"));
    assert_eq!(got.header("content-length"), "6");
    let ttl: u64 = got.cache().strip_prefix("hit; ttl=").unwrap().parse().unwrap();
    assert_eq!(ttl, 600 - age);
}

#[tokio::test(start_paused = true)]
async fn heuristic_only_by_choice() {
    let (changed, made) = (date(-10_000), date(0));
    let lines = [("last-modified", &*changed), ("date", &*made)];
    assert!(!again(&lines).await.is_hit());
    let world = with_settings(CacheSettings { heuristic: true, ..CacheSettings::default() }, &lines);
    world.get("/").await;
    later(900).await;
    assert!(world.get("/").await.is_hit());
    later(200).await;
    assert!(!world.get("/").await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn vary_keeps_variants_apart() {
    let world = with(&[("cache-control", "max-age=60"), ("vary", "Foo")]);
    let ask = async |foo: &str| world.ask("GET", "/", &[("foo", foo)]).await;
    assert_eq!(ask("1").await.cache(), "fwd=uri-miss; stored");
    assert_eq!(ask("2").await.cache(), "fwd=vary-miss; stored");
    assert_eq!(ask("1").await.text(), "body 0");
    assert_eq!(ask("2").await.text(), "body 1");
    let got = world.get("/").await;
    assert_eq!((got.cache(), got.text()), ("fwd=vary-miss; stored", "body 2"));
    assert!(world.get("/").await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn ccreq_what_the_client_asks_for_counts() {
    let fresh = [("cache-control", "max-age=100"), ("age", "20")];
    for (directive, hit) in [
        ("max-age=0", false),
        ("max-age=10", false),
        ("max-age=50", true),
        ("no-cache", false),
        ("no-store", true),
        ("min-fresh=90", false),
        ("min-fresh=60", true),
    ] {
        let world = with(&fresh);
        world.get("/").await;
        assert_eq!(world.ask("GET", "/", &[("cache-control", directive)]).await.is_hit(), hit, "{directive}");
        let deaf =
            with_settings(CacheSettings { client_directives: false, ..CacheSettings::default() }, &fresh);
        deaf.get("/").await;
        assert!(deaf.ask("GET", "/", &[("cache-control", directive)]).await.is_hit(), "{directive}");
    }
    let world = with(&[("cache-control", "max-age=1")]);
    let got = world.ask("GET", "/", &[("cache-control", "only-if-cached")]).await;
    assert_eq!((got.status.as_u16(), world.upstream.calls()), (504, 0), "ccreq-oic");
    assert!(got.text().contains("\"code\":\"not-cached\""), "{}", got.text());
    world.ask("GET", "/", &[("cache-control", "no-store")]).await;
    assert!(world.store.is_empty());
    world.get("/").await;
    later(5).await;
    let got = world.ask("GET", "/", &[("cache-control", "max-stale=10")]).await;
    assert_eq!(got.cache(), "hit; ttl=-4", "ccreq-max-stale");
    assert_eq!(
        world.ask("GET", "/", &[("cache-control", "max-stale=3")]).await.cache(),
        "fwd=stale; fwd-status=200; stored"
    );
}

#[tokio::test(start_paused = true)]
async fn conditional_requests_are_answered_from_what_is_stored() {
    let lines = [
        ("cache-control", "max-age=60"),
        ("etag", "\"a\""),
        ("last-modified", "Thu, 01 Jan 2015 00:00:00 GMT"),
        ("content-type", "text/plain"),
    ];
    let world = with(&lines);
    world.get("/").await;
    for (name, value, status) in [
        ("if-none-match", "\"a\"", 304),
        ("if-none-match", "W/\"a\"", 304),
        ("if-none-match", "\"b\", \"a\"", 304),
        ("if-none-match", "\"b\"", 200),
        ("if-modified-since", "Thu, 01 Jan 2015 00:00:00 GMT", 304),
        ("if-modified-since", "Thu, 01 Jan 2014 00:00:00 GMT", 200),
    ] {
        for method in ["GET", "HEAD"] {
            let got = world.ask(method, "/", &[(name, value)]).await;
            assert_eq!((got.status.as_u16(), got.is_hit()), (status, true), "{method} {name}: {value}");
            if status == 304 {
                assert_eq!((got.text(), got.header("etag"), got.header("content-type")), ("", "\"a\"", ""));
                assert!(!got.headers.contains_key("content-length"));
            }
        }
    }
    assert_eq!(world.upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn conditional_etag_strong_generate_and_304_etag_update_response() {
    let world = world(CacheSettings::default(), |call, asked| async move {
        if call == 0 {
            assert!(!asked.headers.contains_key("if-none-match"));
            let lines = [
                ("cache-control", "max-age=2"),
                ("etag", "\"a\""),
                ("x", "1"),
                ("y", "1"),
                ("content-length", "4"),
            ];
            return ok(&lines, "body");
        }
        assert_eq!(asked.headers["if-none-match"], "\"a\"");
        Ok(answer(
            304,
            &[("cache-control", "max-age=100"), ("etag", "\"b\""), ("x", "2"), ("set-cookie", "a=b")],
            "",
        ))
    });
    world.get("/").await;
    later(3).await;
    // The client's own condition is judged by what is stored.
    let got = world.ask("GET", "/", &[("if-none-match", "\"other\"")]).await;
    assert_eq!((got.status.as_u16(), got.text()), (200, "body"));
    assert_eq!(got.cache(), "fwd=stale; fwd-status=304; stored");
    later(50).await;
    let got = world.get("/").await;
    assert!(got.is_hit());
    assert_eq!(
        (got.header("x"), got.header("y"), got.header("etag"), got.header("set-cookie")),
        ("2", "1", "\"a\"", "")
    );
    assert_eq!(got.header("cache-control"), "max-age=100");
    assert_eq!(got.header("age"), "50");
    assert_eq!(world.layer.count(CacheResult::Revalidated), 1);
}

#[tokio::test(start_paused = true)]
async fn a_304_that_names_what_it_varies_by_leaves_no_answer_for_all() {
    let world = world(CacheSettings::default(), |_, asked| async move {
        if asked.headers.contains_key("if-none-match") {
            let lines = [("cache-control", "max-age=60"), ("etag", "\"de\""), ("vary", "x-lang")];
            return Ok(answer(304, &lines, ""));
        }
        if asked.headers.get("x-lang").is_some_and(|value| value == "en") {
            return ok(&[("cache-control", "max-age=60"), ("vary", "x-lang")], "hello");
        }
        ok(&[("cache-control", "max-age=0"), ("etag", "\"de\"")], "hallo")
    });
    let ask = async |language: &str| world.ask("GET", "/", &[("x-lang", language)]).await;
    assert_eq!(ask("de").await.text(), "hallo");
    later(1).await;
    assert_eq!(ask("de").await.cache(), "fwd=stale; fwd-status=304; stored");
    assert_eq!(world.store.len(), 1, "the one without `Vary` is gone");
    let got = ask("en").await;
    assert_eq!((got.text(), got.cache()), ("hello", "fwd=vary-miss; stored"));
    for (language, text) in [("de", "hallo"), ("en", "hello")] {
        let got = ask(language).await;
        assert_eq!((got.text(), got.is_hit()), (text, true));
    }
}

#[tokio::test(start_paused = true)]
async fn conditional_lm_and_a_client_that_has_it_already() {
    let changed = "Thu, 01 Jan 2015 00:00:00 GMT";
    let world = world(CacheSettings::default(), move |call, asked| async move {
        let lines = [("cache-control", "max-age=2"), ("last-modified", changed)];
        if call == 0 {
            return ok(&lines, "body");
        }
        assert_eq!(asked.headers["if-modified-since"], changed);
        Ok(answer(304, &lines, ""))
    });
    world.get("/").await;
    later(3).await;
    let got = world.ask("GET", "/", &[("if-modified-since", "Fri, 01 Jan 2021 00:00:00 GMT")]).await;
    assert_eq!((got.status.as_u16(), got.text()), (304, ""));
    assert_eq!(world.upstream.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn conditional_etag_forward_where_nothing_is_stored() {
    let world = world(CacheSettings::default(), |_, asked| async move {
        assert_eq!(asked.headers["if-none-match"], "\"a\"");
        Ok(answer(304, &[("cache-control", "max-age=60")], ""))
    });
    assert_eq!(world.ask("GET", "/", &[("if-none-match", "\"a\"")]).await.status, 304);
    assert!(world.store.is_empty());
}

#[tokio::test(start_paused = true)]
async fn partial_store_complete_reuse_partial() {
    let world = world(CacheSettings::default(), |_, asked| async move {
        if asked.headers.contains_key("range") {
            return Ok(answer(
                206,
                &[("cache-control", "max-age=60"), ("content-range", "bytes 0-1/10")],
                "01",
            ));
        }
        ok(&[("cache-control", "max-age=60"), ("etag", "\"a\"")], "0123456789")
    });
    let ask = async |lines: &[(&str, &str)]| world.ask("GET", "/", lines).await;
    let got = ask(&[("range", "bytes=0-1")]).await;
    assert_eq!((got.status.as_u16(), got.is_hit()), (206, false));
    assert!(world.store.is_empty(), "a part is not stored");
    ask(&[]).await;
    for (range, status, content_range, body) in [
        ("bytes=0-1", 206, "bytes 0-1/10", "01"),
        ("bytes=8-", 206, "bytes 8-9/10", "89"),
        ("bytes=-1", 206, "bytes 9-9/10", "9"),
        ("bytes=10-", 416, "bytes */10", ""),
        ("bytes=0-1,3-4", 200, "", "0123456789"),
    ] {
        let got = ask(&[("range", range)]).await;
        assert_eq!((got.status.as_u16(), got.text()), (status, body), "{range}");
        assert_eq!(got.header("content-range"), content_range, "{range}");
        assert_eq!(got.header("content-length"), body.len().to_string(), "{range}");
        assert!(got.is_hit());
    }
    assert_eq!(ask(&[("range", "bytes=0-1"), ("if-range", "\"a\"")]).await.status, 206);
    assert_eq!(ask(&[("range", "bytes=0-1"), ("if-range", "\"b\"")]).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn what_one_clients_condition_or_range_met_is_no_answer_for_others() {
    let fresh = ("cache-control", "public, max-age=60");
    let answers = move |_, asked: http::request::Parts| async move {
        if asked.headers.contains_key("range") {
            return Ok(answer(416, &[fresh, ("content-range", "bytes */10")], ""));
        }
        if asked.headers.contains_key("if-match") || asked.headers.contains_key("if-unmodified-since") {
            return Ok(answer(412, &[fresh], ""));
        }
        ok(&[fresh], "0123456789")
    };
    let late = "Thu, 01 Jan 2015 00:00:00 GMT";
    for (condition, status) in
        [(("range", "bytes=99999-"), 416), (("if-match", "\"x\""), 412), (("if-unmodified-since", late), 412)]
    {
        let world = world(CacheSettings::default(), answers);
        let refused = async || world.ask("GET", "/", &[condition]).await.status.as_u16();
        assert_eq!(refused().await, status);
        assert!(world.store.is_empty(), "{condition:?}: {status} is stored");
        let got = world.get("/").await;
        assert_eq!((got.status.as_u16(), got.text(), got.is_hit()), (200, "0123456789", false));
        assert_eq!(refused().await, status, "also of a stored answer");
        let got = world.get("/").await;
        assert_eq!(
            (got.status.as_u16(), got.text(), got.is_hit()),
            (200, "0123456789", true),
            "{condition:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_range_of_what_has_changed_meanwhile_is_the_whole() {
    let world = world(CacheSettings::default(), |call, asked| async move {
        assert!(!asked.headers.contains_key("range") && !asked.headers.contains_key("if-range"));
        let tag = format!("\"{call}\"");
        ok(&[("cache-control", "max-age=2"), ("etag", &tag)], format!("version {call}"))
    });
    world.get("/").await;
    later(3).await;
    let got = world.ask("GET", "/", &[("range", "bytes=3-"), ("if-range", "\"0\"")]).await;
    assert_eq!((got.status.as_u16(), got.text()), (200, "version 1"));
    let got = world.ask("GET", "/", &[("range", "bytes=8-"), ("if-range", "\"1\"")]).await;
    assert_eq!((got.status.as_u16(), got.text(), got.is_hit()), (206, "1", true));
}

#[tokio::test(start_paused = true)]
async fn head_is_answered_from_a_get_and_never_stored() {
    let world = with(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
    assert_eq!(world.ask("HEAD", "/", &[]).await.cache(), "fwd=uri-miss");
    assert!(world.store.is_empty());
    world.get("/").await;
    let got = world.ask("HEAD", "/", &[]).await;
    assert!(got.is_hit());
    assert_eq!((got.text(), got.header("content-length"), got.header("etag")), ("", "6", "\"a\""));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_says_otherwise_makes_what_is_stored_out_of_date() {
    let world = world(CacheSettings::default(), |call, _| async move {
        let tag = if call == 0 { "\"a\"" } else { "\"b\"" };
        ok(&[("cache-control", "max-age=2"), ("etag", tag)], "body")
    });
    world.get("/").await;
    later(3).await;
    world.ask("HEAD", "/", &[]).await;
    assert!(world.store.is_empty());
}

#[tokio::test(start_paused = true)]
async fn invalidate_after_what_changes_something() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"] {
        for (status, gone) in [(200, true), (201, true), (303, true), (400, false), (500, false)] {
            let world = world(CacheSettings::default(), move |_, asked| async move {
                if asked.method == "GET" {
                    return ok(&[("cache-control", "max-age=60")], "");
                }
                let lines = [
                    ("location", "/named"),
                    ("content-location", "http://host/also"),
                    ("location", "http://other/far"),
                ];
                Ok(answer(status, &lines, ""))
            });
            for uri in ["/", "/named", "/also", "/far", "http://other/far"] {
                world.get(uri).await;
            }
            assert_eq!(world.ask(method, "/", &[]).await.cache(), "fwd=method");
            for (uri, is_one) in
                [("/", true), ("/named", true), ("/also", true), ("/far", false), ("http://other/far", false)]
            {
                assert_eq!(world.get(uri).await.is_hit(), !(gone && is_one), "{method} {status}: {uri}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn headers_of_one_connection_are_not_stored() {
    let world = with(&[
        ("cache-control", "max-age=60"),
        ("connection", "a, b"),
        ("a", "1"),
        ("b", "2"),
        ("c", "3"),
        ("proxy-authenticate", "x"),
    ]);
    world.get("/").await;
    let got = world.get("/").await;
    let missing: Vec<_> = ["connection", "a", "b", "proxy-authenticate"]
        .iter()
        .filter(|n| got.headers.contains_key(**n))
        .collect();
    assert!(got.is_hit() && missing.is_empty() && got.header("c") == "3", "{:?}", got.headers);
}

#[tokio::test(start_paused = true)]
async fn query_args_different_and_same() {
    let world = with(&[("cache-control", "max-age=60")]);
    world.get("/?a=1").await;
    assert!(!world.get("/?a=2").await.is_hit());
    assert!(world.get("/?a=1").await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn what_wants_more_than_an_answer_passes() {
    let world = with(&[("cache-control", "max-age=60")]);
    world.get("/").await;
    for lines in [
        &[("upgrade", "websocket"), ("connection", "upgrade")][..],
        &[("content-type", "application/grpc")],
        &[("content-length", "5")],
        &[("transfer-encoding", "chunked")],
    ] {
        assert_eq!(world.ask("GET", "/", lines).await.cache(), "fwd=bypass", "{lines:?}");
    }
    for method in ["OPTIONS", "QUERY", "PURGE"] {
        assert_eq!(world.ask(method, "/", &[]).await.cache(), "fwd=method", "{method}");
    }
    assert!(world.get("/").await.is_hit() || world.upstream.calls() > 1);
}

#[tokio::test(start_paused = true)]
async fn rfc_9110_6_6_1_an_answer_without_a_date_gets_that_of_its_arrival() {
    let world = world(CacheSettings::default(), |call, _| async move {
        let status = if call == 0 { 200 } else { 304 };
        Ok(answer(status, &[("cache-control", "max-age=10"), ("etag", "\"a\"")], ""))
    });
    world.get("/").await;
    later(5).await;
    let first = world.get("/").await;
    later(4).await;
    let second = world.get("/").await;
    assert_eq!((first.header("age"), second.header("age")), ("5", "9"));
    assert_eq!(first.header("date"), second.header("date"), "it does not move with each answer");
    let made = httpdate::parse_http_date(first.header("date")).unwrap();
    later(20).await;
    let again = world.get("/").await;
    assert_eq!((again.cache(), again.header("age")), ("fwd=stale; fwd-status=304; stored", "0"));
    let since = httpdate::parse_http_date(again.header("date")).unwrap().duration_since(made).unwrap();
    assert!(since.as_secs().abs_diff(29) <= 1, "{since:?}");
}

#[tokio::test]
async fn the_head_of_a_request_that_is_answered_from_the_store_is_used_for_the_next() {
    let world =
        world(CacheSettings::default(), |_, _| async { ok(&[("cache-control", "max-age=60")], "body") });
    world.get("/").await;
    while spare::headers(0).capacity() > 0 {}
    let mut request = support::request("GET", "/", &[]);
    request.headers_mut().reserve(24);
    let room = request.headers().capacity();
    assert!(world.send(request).await.unwrap().is_hit());
    assert_eq!(spare::headers(0).capacity(), room);
}
