//! Several instances over one Redis that is killed, stalled and restarted.

#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use gateway_core::{AuthMethod, Limited};
use gateway_ratelimit::{LimitCounts, RateLimitLayer, RateLimitsLayer};
use gateway_store::{RedisSettings, Store, StoreSettings};
use gateway_testkit::{Redis, RedisValue, daytime};
use http::{Request, Response};
use http_body_util::Full;
use serde_json::json;
use std::convert::Infallible;
use std::time::{Duration, Instant};
use support::{ask, from, layer, of, statuses, with};
use tower::{Layer, ServiceExt, service_fn};

/// A store whose deadline a busy machine keeps.
fn open(redis: &Redis, deadline: Duration) -> Store {
    let settings = RedisSettings {
        timeout: gateway_core::units::Timespan(deadline),
        ..RedisSettings::new(&redis.url())
    };
    Store::open(&StoreSettings { redis: Some(settings), ..StoreSettings::default() }).unwrap()
}

/// As [`ask`], of several limits.
async fn ask_all(limits: &RateLimitsLayer, request: Request<()>) -> Response<Full<Bytes>> {
    let inner = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(Full::default())) });
    limits.layer(inner).oneshot(request).await.unwrap()
}

const LONG: Duration = Duration::from_secs(5);

/// An instance of its own, with its own connection.
fn instance(redis: &Redis, settings: serde_json::Value) -> RateLimitLayer {
    layer(settings).with_store(open(redis, LONG))
}

/// Waits for something that happens in the background.
async fn wait_until(what: &str, mut there: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !there().await {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn s4_23_three_replicas_pass_exactly_the_limit_together() {
    let redis = Redis::start();
    for algorithm in ["gcra", "token_bucket", "fixed_window", "leaky_bucket"] {
        let settings =
            json!({ "limit": "60/h", "algorithm": algorithm, "max_delay": "0s", "key": "client_ip" });
        // Without waiting, a leaky bucket passes one.
        let expected = if algorithm == "leaky_bucket" { 1 } else { 60 };
        let replicas: Vec<_> = (0..3).map(|_| instance(&redis, settings.clone())).collect();
        let asking = (0..120).map(|i| ask(&replicas[i % 3], from("192.0.2.1")));
        let all = futures_util::future::join_all(asking).await;
        assert_eq!(all.iter().filter(|r| r.status() == 200).count(), expected, "{algorithm}");
        let _ = redis.command(&["FLUSHALL"]);
    }
}

#[tokio::test]
async fn s4_21_the_key_names_client_and_limit_and_is_never_without_time_to_live() {
    let redis = Redis::start();
    let limit = instance(&redis, json!({ "anonymous": "100/h", "algorithm": "fixed_window" }));
    assert_eq!(ask(&limit, from("192.0.2.1")).await.headers()["ratelimit"], "\"demo\";r=99;t=3600");
    let key = "gateway:rate_limit:{ip=192.0.2.1}:demo.anonymous";
    assert_eq!(redis.keys("*"), [key]);
    let RedisValue::Int(ttl) = redis.command(&["PTTL", key]) else { panic!("no TTL") };
    assert!((3_590_000..=3_601_000).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn several_limits_take_all_or_nothing_in_one_step() {
    let redis = Redis::start();
    let settings = json!({ "limit": ["2/h", "5/d"], "quota": "3/month", "timezone": daytime() });
    let (limit, other) = (instance(&redis, settings.clone()), instance(&redis, settings));
    assert_eq!(statuses(&limit, 1, || from("192.0.2.1")).await, [200]);
    assert_eq!(statuses(&other, 3, || from("192.0.2.1")).await, [200, 429, 429]);
    let refused = ask(&limit, from("192.0.2.1")).await;
    let fields = refused.headers()["ratelimit"].to_str().unwrap();
    assert!(fields.contains("\"demo-d\";r=3") && fields.contains("\"demo-month\";r=1"), "{fields}");
}

#[tokio::test]
async fn final_costs_and_failures_are_told_in_the_background() {
    let redis = Redis::start();
    let settings = json!({ "limit": "100/h", "cost": 10, "settle": { "header": "x-tokens-used" } });
    let (limit, other) = (instance(&redis, settings.clone()), instance(&redis, settings));
    let background = tokio::spawn(limit.background().unwrap().run(std::future::pending()));
    ask(&limit, with("/", "used", "80")).await;
    wait_until("the settlement", async || {
        let response = ask(&other, with("/", "used", "0")).await;
        response.status() == 200 && response.headers()["ratelimit"].to_str().unwrap().contains("r=10;")
            || response.status() == 429
    })
    .await;
    background.abort();
}

#[tokio::test]
async fn no_request_waits_longer_than_the_deadline_whatever_becomes_of_the_server() {
    let mut redis = Redis::start();
    let store = || open(&redis, Duration::from_millis(100));
    let local = layer(json!({ "limit": "4/h", "replicas": 2 })).with_store(store());
    let allow = layer(json!({ "limit": "1/h", "on_store_failure": "allow" })).with_store(store());
    let deny = layer(json!({ "limit": "1/h", "on_store_failure": "deny" })).with_store(store());
    for limit in [&local, &allow, &deny] {
        wait_until("the connection", async || {
            let answer = ask(limit, from("192.0.2.9")).await;
            answer.status() != 503 && answer.headers().contains_key("ratelimit")
        })
        .await;
    }
    redis.stall();
    let start = Instant::now();
    assert_eq!(statuses(&local, 4, || from("192.0.2.1")).await, [200, 200, 429, 429], "half of the limit");
    assert_eq!(statuses(&allow, 4, || from("192.0.2.1")).await, [200; 4]);
    assert_eq!(statuses(&deny, 4, || from("192.0.2.1")).await, [503; 4]);
    let only = layer(json!({ "limit": "1/h", "on_store_failure": "deny", "mode": "report" }));
    let only = only.with_store(store());
    let both = RateLimitsLayer::new([only.clone(), layer(json!({ "limit": "100/h" }))]);
    for answer in [ask(&only, from("192.0.2.1")).await, ask_all(&both, from("192.0.2.1")).await] {
        assert_eq!(answer.status(), 200, "what only reports refuses nobody");
        assert_eq!(answer.extensions().get(), Some(&Limited::Would("demo".into())));
    }
    assert_eq!(only.counts(), LimitCounts { would_limit: 2, without_store: 2, ..LimitCounts::default() });
    let took = start.elapsed();
    assert!(took < Duration::from_millis(1700), "14 requests took {took:?}");
    redis.resume();
    redis.kill();
    assert_eq!(statuses(&allow, 4, || from("192.0.2.1")).await, [200; 4]);
    redis.restart();
    // What was let pass meanwhile is made good: of four, two are left.
    let mut after = None;
    wait_until("Redis to be found again", async || {
        let response = ask(&local, from("192.0.2.1")).await;
        after = Some(response.headers()["ratelimit"].to_str().unwrap().to_owned());
        !redis.keys("*192.0.2.1*").is_empty()
    })
    .await;
    let after = after.unwrap();
    assert!(after.contains(";r=1;"), "{after}");
}

#[tokio::test]
async fn while_the_server_says_nothing_its_limit_does_not_begin_anew_each_time_it_is_asked() {
    for shared in ["exact", "leased"] {
        let redis = Redis::start();
        let settings = json!({ "limit": "8/h", "shared": shared, "replicas": 2 });
        let limit = layer(settings).with_store(open(&redis, Duration::from_millis(100)));
        if let Some(background) = limit.background() {
            tokio::spawn(background.run(std::future::pending()));
        }
        assert_eq!(ask(&limit, from("192.0.2.9")).await.status(), 200);
        redis.stall();
        let mut passed = 0;
        // It is asked again once a second, by one request; the others do not wait for that.
        for _ in 0..12 {
            let all = (0..20).map(|_| ask(&limit, from("192.0.2.1")));
            let all = futures_util::future::join_all(all).await;
            passed += all.iter().filter(|answer| answer.status() == 200).count();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        // Half of the limit, and with shares those that pass before the first answer is missed.
        assert!((4..=6).contains(&passed), "{shared}: {passed}");
    }
}

#[tokio::test]
async fn leased_instances_pass_no_more_than_the_limit_and_a_lease_each() {
    let redis = Redis::start();
    let settings = json!({ "limit": "200/h", "shared": "leased", "lease": 5, "key": "client_ip" });
    let instances: Vec<_> = (0..3).map(|_| instance(&redis, settings.clone())).collect();
    let background: Vec<_> = instances
        .iter()
        .map(|limit| tokio::spawn(limit.background().unwrap().run(std::future::pending())))
        .collect();
    let mut passed = 0;
    let start = Instant::now();
    // Until all of them know that nothing is left.
    let mut refusals = 0;
    while refusals < 300 {
        assert!(start.elapsed() < Duration::from_secs(20), "{passed} passed, {refusals} refused in a row");
        for limit in &instances {
            if ask(limit, from("192.0.2.1")).await.status() == 200 {
                (passed, refusals) = (passed + 1, 0);
            } else {
                refusals += 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!((200..=200 + 3 * 5 + 1).contains(&passed), "{passed} of 200 with three leases of 5");
    background.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn unused_shares_are_given_back() {
    let redis = Redis::start();
    let settings = json!({ "limit": "10/h", "shared": "leased", "lease": 8, "lease_ttl": "100ms" });
    let (one, other) = (instance(&redis, settings), instance(&redis, json!({ "limit": "10/h" })));
    let background = tokio::spawn(one.background().unwrap().run(std::future::pending()));
    assert_eq!(ask(&one, from("192.0.2.1")).await.status(), 200);
    // The share is taken before the other instance asks, so that it finds too little until it is given back.
    wait_until("the lease to be taken", async || !redis.keys("*192.0.2.1*").is_empty()).await;
    let mut passed = 0;
    wait_until("all but the one that passed", async || {
        passed += usize::from(ask(&other, from("192.0.2.1")).await.status() == 200);
        passed == 9
    })
    .await;
    assert_eq!(ask(&other, from("192.0.2.1")).await.status(), 429, "ten in all");
    background.abort();
}

#[tokio::test]
async fn answers_that_cost_more_than_a_lease_do_not_end_it_for_the_only_caller() {
    let redis = Redis::start();
    let limit = instance(
        &redis,
        json!({ "limit": "100000/h", "shared": "leased", "lease": 20, "key": "all",
                "settle": { "header": "x-tokens-used" } }),
    );
    let background = tokio::spawn(limit.background().unwrap().run(std::future::pending()));
    let mut passed = 0;
    wait_until("20 of the limit's requests", async || {
        passed += usize::from(ask(&limit, with("/", "used", "30")).await.status() == 200);
        passed == 20
    })
    .await;
    background.abort();
}

#[tokio::test]
async fn a_caller_who_owes_when_the_server_goes_is_served_when_it_is_back() {
    let redis = Redis::start();
    let settings = json!({
        "limit": "100/h", "shared": "leased", "lease": 4, "lease_ttl": "100ms", "key": "all",
        "on_store_failure": "deny",
    });
    let limit = layer(settings).with_store(open(&redis, Duration::from_millis(100)));
    let background = tokio::spawn(limit.background().unwrap().run(std::future::pending()));
    wait_until("the first share", async || {
        ask(&limit, from("192.0.2.1")).await;
        !redis.keys("*demo*").is_empty()
    })
    .await;
    redis.stall();
    wait_until("the share to be used up", async || ask(&limit, from("192.0.2.1")).await.status() == 503)
        .await;
    // It is looked for who owes, and the server is asked in vain, a few times.
    tokio::time::sleep(Duration::from_millis(800)).await;
    redis.resume();
    wait_until("requests to pass", async || ask(&limit, from("192.0.2.1")).await.status() == 200).await;
    background.abort();
}

#[tokio::test]
async fn claims_that_hold_different_limits_are_counted_apart_on_the_server() {
    let redis = Redis::start();
    let limit = instance(&redis, json!({ "limit_from": { "claim": "limit" } }));
    let mut passed = 0;
    for i in 0..16 {
        let claim = json!({ "limit": if i % 2 == 0 { "2/h" } else { "2/h, 3/d" } });
        passed += usize::from(ask(&limit, of("ada", AuthMethod::Jwt, claim)).await.status() == 200);
    }
    assert_eq!(passed, 4, "two of each");
}

#[tokio::test]
async fn requests_that_cost_more_than_a_lease_pass_as_long_as_there_is_room() {
    let redis = Redis::start();
    for (case, settings) in [
        json!({ "limit": "100/h", "shared": "leased", "cost": 20 }),
        json!({ "limit": "100/h", "shared": "leased", "lease": 5, "cost": 20 }),
        json!({ "limit": "100/h", "shared": "leased", "cost": { "header": "x-cost" } }),
    ]
    .into_iter()
    .enumerate()
    {
        let limit = instance(&redis, settings);
        let background = tokio::spawn(limit.background().unwrap().run(std::future::pending()));
        let mut passed = 0;
        wait_until("five requests to pass", async || {
            passed += usize::from(ask(&limit, with("/", "x-cost", "20")).await.status() == 200);
            passed == 5
        })
        .await;
        // On credit one more at most, where a lease is as much as a request costs.
        for _ in 0..100 {
            passed += usize::from(ask(&limit, with("/", "x-cost", "20")).await.status() == 200);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(passed <= 5 + usize::from(case == 0), "case {case}: {passed}");
        background.abort();
        let _ = redis.command(&["FLUSHALL"]);
    }
}

#[tokio::test]
async fn a_rule_that_is_new_begins_anew_on_the_server_and_the_others_go_on() {
    let redis = Redis::start();
    let left = async |settings: serde_json::Value, times: usize| {
        let limit = instance(&redis, settings);
        let mut left = Vec::new();
        for _ in 0..times {
            let answer = ask(&limit, from("192.0.2.1")).await;
            let fields = answer.headers()["ratelimit"].to_str().unwrap().to_owned();
            left =
                fields.split("r=").skip(1).map(|rest| rest.split(';').next().unwrap().to_owned()).collect();
        }
        left.join(" ")
    };
    // As while a new configuration is rolled out: there are instances of both.
    assert_eq!(left(json!({ "limit": "20/h" }), 16).await, "4");
    assert_eq!(left(json!({ "limit": "20/d" }), 1).await, "19");
    assert_eq!(left(json!({ "limit": "20/h" }), 1).await, "3");
    assert_eq!(left(json!({ "limit": "20/d" }), 1).await, "18");
    assert_eq!(left(json!({ "limit": "20/h", "algorithm": "fixed_window" }), 1).await, "19");
    assert_eq!(left(json!({ "limit": ["9/2d", "20/d", "20/h"] }), 1).await, "8 17 2");
    let _ = redis.command(&["FLUSHALL"]);

    // Who limits a rate as well forgets nobody's month.
    let zone = daytime();
    assert_eq!(left(json!({ "quota": "10/month", "timezone": zone }), 3).await, "7");
    let rates = json!({ "limit": "9/d", "quota": ["20/month", "9/week"], "timezone": zone });
    assert_eq!(left(rates, 1).await, "8 16 8");
    assert_eq!(left(json!({ "quota": "10/month", "timezone": zone, "penalty": "1h" }), 1).await, "5");
    let RedisValue::Int(ttl) = redis.command(&["PTTL", "gateway:rate_limit:{ip=192.0.2.1}:demo"]) else {
        panic!("no TTL")
    };
    assert!((1..=33 * 86_400_000).contains(&ttl), "{ttl}");
    let _ = redis.command(&["FLUSHALL"]);

    // Sevenths of an hour are counted in other units than eighths.
    let tokens = |limit: &str| json!({ "limit": limit, "algorithm": "token_bucket" });
    assert_eq!(left(tokens("7/h"), 7).await, "0");
    assert_eq!(left(tokens("8/h"), 1).await, "7");
}

#[tokio::test]
async fn what_requests_under_way_take_at_a_reload_is_told_by_the_new_limit() {
    let redis = Redis::start();
    let settings = json!({ "limit": "100/h", "cost": 10, "settle": { "header": "x-tokens-used" } });
    let old = instance(&redis, settings.clone());
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let background = tokio::spawn(old.background().unwrap().run(async { drop(ended.await) }));
    let (answer, awaited) = tokio::sync::oneshot::channel();
    let awaited = std::sync::Arc::new(std::sync::Mutex::new(Some(awaited)));
    let (come, mut came) = tokio::sync::mpsc::unbounded_channel();
    let service = old.layer(service_fn(move |_: Request<()>| {
        let awaited = awaited.lock().unwrap().take().unwrap();
        come.send(()).unwrap();
        async move { Ok::<Response<Full<Bytes>>, Infallible>(awaited.await.unwrap()) }
    }));
    let under_way = tokio::spawn(async { service.oneshot(from("192.0.2.1")).await });
    came.recv().await.unwrap();
    let new = instance(&redis, settings).learn_from(&old);
    let next = tokio::spawn(new.background().unwrap().run(std::future::pending()));
    end.send(()).unwrap();
    background.await.unwrap();
    let mut used = Response::new(Full::default());
    used.headers_mut().insert("x-tokens-used", "80".parse().unwrap());
    answer.send(used).unwrap();
    under_way.await.unwrap().unwrap();
    wait_until("the settlement", async || {
        let peek = layer(json!({ "limit": "100/h", "cost": { "header": "x-cost", "min": 0 } }))
            .with_store(open(&redis, LONG));
        let left = ask(&peek, with("/", "x-cost", "0")).await.headers()["ratelimit"].clone();
        left.to_str().unwrap().starts_with("\"demo\";r=20;")
    })
    .await;
    next.abort();
}
