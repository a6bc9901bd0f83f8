//! Stale answers: while a new one is fetched, and while the upstream fails (RFC 5861).
#![allow(clippy::unwrap_used)]

mod support;

use gateway_cache::{CacheLayer, CacheSettings, CacheStore, LocalExecutor};
use gateway_core::units::{ByteSize, Timespan};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;
use support::{answer, later, ok, request, settle, world};
use tower::{Layer, ServiceExt, service_fn};

const LENIENT: &[(&str, &str)] =
    &[("cache-control", "max-age=10, stale-while-revalidate=20, stale-if-error=60")];

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_given_at_once_and_refreshed_once_in_the_background() {
    let world = world(CacheSettings::default(), |call, _| async move {
        tokio::time::sleep(Duration::from_millis(if call == 0 { 0 } else { 500 })).await;
        ok(LENIENT, format!("{call}"))
    });
    world.get("/").await;
    later(15).await;
    for _ in 0..10 {
        let got = world.ask("GET", "/", &[("range", "bytes=0-0"), ("if-none-match", "\"x\"")]).await;
        assert_eq!((got.cache(), got.text()), ("hit; ttl=-5", "0"));
    }
    settle().await;
    assert_eq!(world.upstream.calls(), 2);
    let asked = world.upstream.last();
    assert!(!asked.headers.contains_key("range") && asked.method == "GET", "{asked:?}");
    // It is not about what this client has: a 304 to that would leave the stored answer as it is.
    assert!(!asked.headers.contains_key("if-none-match"), "{asked:?}");
    later(1).await;
    settle().await;
    let got = world.get("/").await;
    assert_eq!((got.cache(), got.text()), ("hit; ttl=9", "1"), "it was a second under way");
    later(31).await;
    assert_eq!(world.get("/").await.text(), "2", "too old to be given");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_asks_if_the_stored_answer_still_is_right() {
    let world = world(CacheSettings::default(), |call, asked| async move {
        let lines = [LENIENT[0], ("etag", "\"a\"")];
        if call == 0 {
            return ok(&lines, "body");
        }
        assert_eq!(asked.headers["if-none-match"], "\"a\"");
        Ok(answer(304, &lines, ""))
    });
    world.get("/").await;
    later(15).await;
    assert_eq!(world.ask("HEAD", "/", &[]).await.cache(), "hit; ttl=-5");
    settle().await;
    assert_eq!(world.get("/").await.cache(), "hit; ttl=10");
    assert_eq!(world.upstream.calls(), 2);
}

#[tokio::test]
async fn what_stays_on_one_thread_is_refreshed_there() {
    let local = tokio::task::LocalSet::new();
    tokio::time::pause();
    local
        .run_until(async {
            let calls = Rc::new(Cell::new(0));
            let inner = {
                let calls = calls.clone();
                service_fn(move |_: Request<Empty<bytes::Bytes>>| {
                    let calls = calls.clone();
                    async move {
                        calls.set(calls.get() + 1);
                        let response = Response::builder().header(LENIENT[0].0, LENIENT[0].1);
                        Ok::<_, Infallible>(response.body(Full::from(calls.get().to_string())).unwrap())
                    }
                })
            };
            let store = CacheStore::new(ByteSize::kib(1 << 20));
            let layer = CacheLayer::new("local", &CacheSettings::default(), &store).unwrap();
            let cache = layer.with_executor(LocalExecutor).layer(inner);
            let get = async || {
                let response = cache.clone().oneshot(request("GET", "/", &[])).await.unwrap();
                response.into_body().collect().await.unwrap().to_bytes()
            };
            assert_eq!(get().await, "1");
            later(15).await;
            assert_eq!(get().await, "1");
            settle().await;
            assert_eq!((get().await, calls.get()), ("2".into(), 2));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_better_than_an_error_where_it_says_so() {
    for (directives, status, helps) in [
        ("max-age=10, stale-if-error=60", Some(503), true),
        ("max-age=10, stale-if-error=60", Some(500), true),
        ("max-age=10, stale-if-error=60", None, true),
        ("max-age=10, stale-if-error=60", Some(404), false),
        ("max-age=10, stale-if-error=5", Some(503), false),
        ("max-age=10", Some(503), false),
        ("max-age=10, stale-if-error=60, must-revalidate", Some(503), false),
        ("max-age=10, stale-if-error=60, proxy-revalidate", None, false),
        ("no-cache, stale-if-error=60", None, false),
        ("s-maxage=10, stale-if-error=60", None, false),
    ] {
        let world = world(CacheSettings::default(), move |call, _| async move {
            match status {
                _ if call == 0 => ok(&[("cache-control", directives), ("etag", "\"a\"")], "body"),
                Some(status) => Ok(answer(status, &[], "failed")),
                None => Err("closed".into()),
            }
        });
        world.get("/").await;
        later(20).await;
        let got = world.send(request("GET", "/", &[])).await;
        match got {
            Ok(got) if helps => {
                let told = status.map(|status| format!("; fwd-status={status}")).unwrap_or_default();
                assert_eq!((got.status.as_u16(), got.text()), (200, "body"), "{directives} {status:?}");
                assert_eq!(got.cache(), format!("fwd=stale{told}; ttl=-10; detail=stale-if-error"));
            }
            Ok(got) => assert_eq!(Some(got.status.as_u16()), status, "{directives}"),
            Err(error) => assert!(!helps && status.is_none() && error == "closed", "{directives}: {error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_settings_stand_in_for_what_the_answer_does_not_say() {
    let settings = CacheSettings {
        stale_while_revalidate: Timespan::secs(10),
        stale_if_error: Timespan::secs(100),
        ..CacheSettings::default()
    };
    let world = world(settings, |call, _| async move {
        if call == 0 { ok(&[("cache-control", "max-age=10")], "body") } else { Err("closed".into()) }
    });
    world.get("/").await;
    later(15).await;
    assert_eq!(world.get("/").await.cache(), "hit; ttl=-5");
    settle().await;
    later(15).await;
    assert_eq!(world.get("/").await.cache(), "fwd=stale; ttl=-20; detail=stale-if-error");
}

#[tokio::test(start_paused = true)]
async fn of_many_who_wait_for_a_failing_upstream_one_asks_and_all_get_the_stale_answer() {
    let world = world(CacheSettings::default(), |call, _| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if call == 0 {
            ok(&[("cache-control", "max-age=10, stale-if-error=60")], "body")
        } else {
            Err("closed".into())
        }
    });
    world.get("/").await;
    later(20).await;
    let all: Vec<_> = (0..10)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.send(request("GET", "/", &[])).await.unwrap() })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap().text(), "body");
    }
    assert_eq!(world.upstream.calls(), 2);
}
