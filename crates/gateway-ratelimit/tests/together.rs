//! Several limits on one route: all or nothing, and the tightest speaks.

#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use gateway_core::Limited;
use gateway_ratelimit::{LimitCounts, RateLimitLayer, RateLimitSettings, RateLimitsLayer, SettleLayer};
use gateway_store::{RedisSettings, Store, StoreSettings};
use gateway_testkit::{Redis, RedisValue};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::time::Duration;
use support::from;
use tower::{Layer, ServiceExt, service_fn};

fn limit(name: &str, settings: Value) -> RateLimitLayer {
    let settings: RateLimitSettings = serde_json::from_value(settings).unwrap();
    RateLimitLayer::new(name, &settings).unwrap()
}

async fn ask(layer: &RateLimitsLayer, request: Request<()>) -> Response<Full<Bytes>> {
    let inner = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(Full::default())) });
    layer.layer(inner).oneshot(request).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_refusal_takes_from_no_other_limit_and_the_longest_refusal_speaks() {
    let [a, b] = [
        limit("a", json!({ "limit": "2/s", "legacy_headers": true })),
        limit("b", json!({ "limit": "3/h" })),
    ];
    let both = RateLimitsLayer::new([a.clone(), b.clone()]);
    for told in ["\"a\";r=1;t=1", "\"a\";r=0;t=1"] {
        assert_eq!(ask(&both, from("192.0.2.1")).await.headers()["ratelimit"], told);
    }
    for _ in 0..5 {
        let refused = ask(&both, from("192.0.2.1")).await;
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["retry-after"]),
            (429, &"1".parse().unwrap())
        );
        assert_eq!(refused.headers()["x-ratelimit-limit"], "2");
        assert_eq!(refused.extensions().get(), Some(&Limited::By("a".into())));
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    let last = ask(&both, from("192.0.2.1")).await;
    assert_eq!(
        (last.status().as_u16(), &last.headers()["ratelimit"]),
        (200, &"\"b\";r=0;t=3599".parse().unwrap())
    );
    let refused = ask(&both, from("192.0.2.1")).await;
    assert_eq!(refused.headers()["ratelimit"], "\"b\";r=0;t=1199");
    assert_eq!(refused.headers()["ratelimit-policy"], "\"a\";q=2;w=1, \"b\";q=3;w=3600");
    assert_eq!(refused.headers()["retry-after"], "1199");
    let counts = |allowed, limited| LimitCounts { allowed, limited, ..LimitCounts::default() };
    assert_eq!((a.counts(), b.counts()), (counts(3, 5), counts(3, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_only_reports_neither_refuses_nor_speaks_where_another_does() {
    let report = limit("new", json!({ "limit": "1/h", "mode": "report" }));
    let both = RateLimitsLayer::new([report.clone(), limit("old", json!({ "limit": "3/h" }))]);
    let mut said = Vec::new();
    for _ in 0..4 {
        let answer = ask(&both, from("192.0.2.1")).await;
        assert!(answer.headers()["ratelimit"].to_str().unwrap().starts_with("\"old\""));
        said.push(answer.extensions().get::<Limited>().cloned());
    }
    let would = Some(Limited::Would("new".into()));
    assert_eq!(said, [None, would.clone(), would, Some(Limited::By("old".into()))]);
    assert_eq!(report.counts(), LimitCounts { allowed: 1, would_limit: 2, ..LimitCounts::default() });
}

#[tokio::test(start_paused = true)]
async fn each_limit_that_reads_bodies_is_settled_by_its_own_number() {
    let limits = [("total", "/usage/total"), ("output", "/usage/output"), ("plain", "/usage/none")];
    let limits = limits.map(|(name, pointer)| {
        limit(name, json!({ "limit": "60/h", "cost": 10, "settle": { "json": pointer } }))
    });
    let all = RateLimitsLayer::new(limits.clone());
    let body = r#"{"usage":{"total":30,"output":4}}"#;
    let service = service_fn(move |_: Request<()>| async move {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(body)))
    });
    let service = SettleLayer.layer(all.layer(service));
    let answer = service.oneshot(from("192.0.2.1")).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), body);
    for (layer, told) in limits.iter().zip(["\"total\";r=20;", "\"output\";r=46;", "\"plain\";r=40;"]) {
        let left = support::ask(layer, from("192.0.2.1")).await;
        let left = left.headers()["ratelimit"].to_str().unwrap();
        assert!(left.starts_with(told), "{left}, expected {told}");
    }
}

#[tokio::test]
async fn a_stream_of_refusals_on_redis_gives_back_what_the_other_limit_gave() {
    let redis = Redis::start();
    let settings =
        RedisSettings { timeout: gateway_core::units::Timespan::secs(5), ..RedisSettings::new(&redis.url()) };
    let store = Store::open(&StoreSettings { redis: Some(settings), ..StoreSettings::default() }).unwrap();
    let all = limit("all", json!({ "key": "all", "limit": "20/h", "algorithm": "fixed_window" }))
        .with_store(store.clone());
    let each = limit("each", json!({ "key": "client_ip", "limit": "4/h" })).with_store(store);
    let both = RateLimitsLayer::new([all, each]);
    let mut passed = [0; 8];
    for (i, count) in passed.iter_mut().enumerate() {
        for _ in 0..12 {
            *count += usize::from(ask(&both, from(&format!("192.0.2.{i}"))).await.status() == 200);
        }
    }
    assert_eq!(passed, [4, 4, 4, 4, 4, 0, 0, 0]);
}

#[tokio::test]
async fn who_hangs_up_before_the_servers_answer_has_not_taken_from_the_other_limit() {
    let redis = Redis::start();
    let settings =
        RedisSettings { timeout: gateway_core::units::Timespan::secs(5), ..RedisSettings::new(&redis.url()) };
    let store = Store::open(&StoreSettings { redis: Some(settings), ..StoreSettings::default() }).unwrap();
    let all = limit("all", json!({ "key": "all", "limit": "20/h", "algorithm": "fixed_window" }))
        .with_store(store.clone());
    let each = limit("each", json!({ "key": "client_ip", "limit": "1/h" })).with_store(store);
    let both = RateLimitsLayer::new([all, each]);
    assert_eq!(ask(&both, from("192.0.2.1")).await.status(), 200);
    redis.stall();
    for _ in 0..5 {
        let asking = tokio::time::timeout(Duration::from_millis(50), ask(&both, from("192.0.2.1")));
        assert!(asking.await.is_err(), "nobody can have answered");
    }
    redis.resume();
    // Comes after those on the same connection, and with its one the first of all.
    assert_eq!(ask(&both, from("192.0.2.2")).await.status(), 200);
    let used = || {
        let RedisValue::Text(state) = redis.command(&["GET", &redis.keys("*:all")[0]]) else {
            panic!("there is no count")
        };
        state
    };
    let start = std::time::Instant::now();
    while !used().contains(" 2 ") {
        assert!(start.elapsed() < Duration::from_secs(10), "of two: {}", used());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

proptest! {
    /// Each limit by itself is a bucket; a request passes if all have room, and then takes from all.
    #[test]
    fn requests_pass_exactly_where_all_limits_have_room(
        counts in prop::collection::vec(1u32..6, 1..4), callers in prop::collection::vec(0u8..3, 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            // The first counts all together, the others each caller.
            let limits = counts.iter().enumerate().map(|(i, count)| {
                let key = if i == 0 { "all" } else { "client_ip" };
                limit(&format!("l{i}"), json!({ "limit": format!("{count}/h"), "key": key, "algorithm": "fixed_window" }))
            });
            let layer = RateLimitsLayer::new(limits);
            let mut used = vec![[0u32; 3]; counts.len()];
            for caller in callers {
                let of = |i: usize| if i == 0 { 0 } else { usize::from(caller) };
                let room = counts.iter().enumerate().all(|(i, count)| used[i][of(i)] < *count);
                let status = ask(&layer, from(&format!("192.0.2.{caller}"))).await.status();
                assert_eq!(status == 200, room, "{used:?} of {counts:?}");
                for (i, used) in used.iter_mut().enumerate() {
                    used[of(i)] += u32::from(room);
                }
            }
        });
    }
}
