//! Keys, tiers, costs, quotas and answers, on paused time.

#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use gateway_core::AuthMethod::{ApiKey, Jwt};
use gateway_core::{Captures, Principal};
use gateway_ratelimit::{
    Condition, QuotaEvent, RateLimitLayer, RateLimitSettings, RateLimitsLayer, SettleLayer,
};
use http::{Extensions, HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use serde_json::json;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use support::{ask, from, layer, of, statuses, with};
use tower::{Layer, ServiceExt, service_fn};

type Parts<'a> = (&'a Method, &'a Uri, &'a HeaderMap, &'a Extensions);

#[tokio::test(start_paused = true)]
async fn s4_18_s4_19_s4_20_the_tiers_of_the_reference_system() {
    let tiers = layer(
        json!({ "anonymous": "100/h", "authenticated": "1000/h", "api_key": "10000/h", "legacy_headers": true }),
    );
    for (request, limit) in [
        (from("192.0.2.1"), "100"),
        (of("ada", Jwt, json!({})), "1000"),
        (of("ada", ApiKey, json!({})), "10000"),
    ] {
        let response = ask(&tiers, request).await;
        assert_eq!(response.headers()["x-ratelimit-limit"], limit);
        assert_eq!(response.headers()["ratelimit-policy"], format!("\"demo\";q={limit};w=3600"));
    }
}

#[tokio::test(start_paused = true)]
async fn s4_21_a_fixed_window_begins_with_the_first_hit() {
    let limit = layer(json!({ "limit": "2/min", "algorithm": "fixed_window" }));
    assert_eq!(statuses(&limit, 3, || from("192.0.2.1")).await, [200, 200, 429]);
    tokio::time::advance(Duration::from_secs(59)).await;
    assert_eq!(ask(&limit, from("192.0.2.1")).await.headers()["retry-after"], "1");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(statuses(&limit, 3, || from("192.0.2.1")).await, [200, 200, 429]);
}

#[tokio::test(start_paused = true)]
async fn several_limits_are_all_told_and_the_refusing_one_is_named() {
    let limit = layer(json!({ "limit": ["2/s", "3/h"], "legacy_headers": true }));
    let first = ask(&limit, from("192.0.2.1")).await;
    assert_eq!(first.headers()["ratelimit"], "\"demo-s\";r=1;t=1, \"demo-h\";r=2;t=1200");
    assert_eq!(first.headers()["ratelimit-policy"], "\"demo-s\";q=2;w=1, \"demo-h\";q=3;w=3600");
    assert_eq!(first.headers()["x-ratelimit-limit"], "2");
    assert_eq!(statuses(&limit, 2, || from("192.0.2.1")).await, [200, 429]);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(statuses(&limit, 1, || from("192.0.2.1")).await, [200], "the refused one was not counted");
    let refused = ask(&limit, from("192.0.2.1")).await;
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("more than 3/h, the limit `demo-h`"), "{body:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_by_what_the_key_names() {
    type Ask = fn() -> Request<()>;
    let cases: [(serde_json::Value, Ask, Ask, Ask); 9] = [
        (
            json!({ "header": "X-T" }),
            || with("/", "x-t", "a"),
            || with("/x", "x-t", "a"),
            || with("/", "x-t", "b"),
        ),
        (
            json!({ "cookie": "sid" }),
            || with("/", "cookie", "x=1; sid=a"),
            || with("/", "cookie", "sid=a"),
            || with("/", "cookie", "sid=b"),
        ),
        (
            json!({ "query": "u" }),
            || with("/?u=ab", "x", "a"),
            || with("/?v=1&u=%61b", "x", "a"),
            || with("/?u=b", "x", "a"),
        ),
        (
            json!({ "query": "user id" }),
            || with("/?user%20id=a", "x", "a"),
            || with("/?user&us%65r+id=a", "x", "a"),
            || with("/?user%2520id=a", "x", "a"),
        ),
        (
            json!("principal"),
            || of("ada", Jwt, json!({})),
            || of("ada", ApiKey, json!({})),
            || from("192.0.2.1"),
        ),
        (
            json!({ "claim": "org.id" }),
            || of("ada", Jwt, json!({ "org": { "id": 7 } })),
            || of("bob", Jwt, json!({ "org.id": 7 })),
            || of("ada", Jwt, json!({ "org": { "id": 8 } })),
        ),
        (
            json!("api_key"),
            || of("ada", ApiKey, json!({})),
            || of("ada", ApiKey, json!({})),
            || of("ada", Jwt, json!({})),
        ),
        (json!("all"), || from("192.0.2.1"), || of("ada", Jwt, json!({})), || from("192.0.2.1")),
        (
            json!(["client_ip", { "header": "x-t" }]),
            || with("/", "x-t", "a"),
            || with("/", "x-t", "a"),
            || with("/", "x-t", "b"),
        ),
    ];
    for (key, one, same, other) in cases {
        let limit = layer(json!({ "limit": "1/h", "key": key }));
        assert_eq!(ask(&limit, one()).await.status(), 200, "{key}");
        assert_eq!(ask(&limit, same()).await.status(), 429, "{key}");
        let expected = if key == "all" { 429 } else { 200 };
        assert_eq!(ask(&limit, other()).await.status(), expected, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn s1_14_one_limit_counts_each_route_by_itself_where_the_key_says_so() {
    let limit = layer(json!({ "limit": "1/h", "key": ["client_ip", "route", "service"] }));
    for route in ["login", "users", "orders", "health"] {
        let limit = limit.with_route(route).with_service("all");
        assert_eq!(statuses(&limit, 2, || from("192.0.2.1")).await, [200, 429], "{route}");
    }
    let limit = layer(json!({ "limit": "1/h", "key": "service" }));
    for (route, service, expected) in [("a", "users", 200), ("b", "users", 429), ("a", "orders", 200)] {
        let limit = limit.with_route(route).with_service(service);
        assert_eq!(ask(&limit, from("192.0.2.1")).await.status(), expected, "{route} of {service}");
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_that_name_nobody_are_not_all_one_caller() {
    let nobody = |ip: &str| {
        let mut request = of("", Jwt, json!({}));
        request.extensions_mut().extend(from(ip).extensions().clone());
        request
    };
    let limit = layer(json!({ "authenticated": "1/h" }));
    assert_eq!(statuses(&limit, 2, || nobody("192.0.2.1")).await, [200, 429]);
    assert_eq!(ask(&limit, nobody("192.0.2.2")).await.status(), 200);
    let skipped = layer(json!({ "limit": "1/h", "key": "principal", "on_missing": "skip" }));
    assert_eq!(statuses(&skipped, 2, || nobody("192.0.2.1")).await, [200, 200]);
}

#[tokio::test(start_paused = true)]
async fn who_lacks_the_key_shares_a_count_or_is_passed_over() {
    let shared = layer(json!({ "limit": "1/h", "key": { "header": "x-t" } }));
    assert_eq!(ask(&shared, from("192.0.2.1")).await.status(), 200);
    assert_eq!(ask(&shared, from("192.0.2.2")).await.status(), 429);
    let skipped = layer(json!({ "limit": "1/h", "key": { "header": "x-t" }, "on_missing": "skip" }));
    assert_eq!(statuses(&skipped, 3, || from("192.0.2.1")).await, [200; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_claim_chooses_the_tier_or_is_the_limit() {
    let tiers = layer(json!({
        "tiers": {
            "by": { "claim": "plan" },
            "values": { "free": "1/h", "pro": ["3/h", "2/s"], "7": "7/h", "true": "8/h" },
            "default": "1/min",
        },
        "limit_from": { "claim": "rate_limit" },
    }));
    let policy = async |claims: serde_json::Value| {
        let response = ask(&tiers, of("ada", Jwt, claims)).await;
        response.headers()["ratelimit-policy"].to_str().unwrap().to_owned()
    };
    for (claims, expected) in [
        (json!({ "plan": "free" }), "\"demo\";q=1;w=3600"),
        (json!({ "plan": "pro" }), "\"demo-h\";q=3;w=3600, \"demo-s\";q=2;w=1"),
        (json!({ "plan": "other" }), "\"demo\";q=1;w=60"),
        (json!({}), "\"demo\";q=1;w=60"),
        (json!({ "rate_limit": "500/min", "plan": "free" }), "\"demo\";q=500;w=60"),
        (json!({ "rate_limit": 7 }), "\"demo\";q=7;w=60"),
        (json!({ "rate_limit": "plenty", "plan": "free" }), "\"demo\";q=1;w=3600"),
        (json!({ "plan": 7 }), "\"demo\";q=7;w=3600"),
        (json!({ "plan": true }), "\"demo\";q=8;w=3600"),
        (json!({ "plan": ["staff", "free", "pro"] }), "\"demo\";q=1;w=3600"),
        (json!({ "plan": ["staff", 7] }), "\"demo\";q=7;w=3600"),
        (json!({ "plan": ["staff", ["free"], null, {}] }), "\"demo\";q=1;w=60"),
    ] {
        assert_eq!(policy(claims.clone()).await, expected, "{claims}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_condition_that_holds_chooses_the_tier() {
    let settings = |values: serde_json::Value| {
        let expressions = ["many", "many", "few"].map(|tier| json!({ "tier": tier, "when": "" }));
        let tiers = json!({ "by": { "expressions": expressions }, "values": values, "default": "4/h" });
        serde_json::from_value(json!({ "tiers": tiers })).unwrap()
    };
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = |of: fn(&Parts<'_>) -> bool| {
        let asked = asked.clone();
        Condition::new(move |method, uri, headers, extensions| {
            asked.fetch_add(1, Ordering::Relaxed);
            of(&(method, uri, headers, extensions))
        })
    };
    let conditions = vec![
        seen(|(.., extensions)| extensions.get::<Principal>().is_some_and(|caller| caller.id() == "ada")),
        seen(|(_, _, headers, _)| headers.contains_key("x-many")),
        seen(|(method, uri, ..)| *method == "GET" && uri.path() == "/"),
    ];
    let values = json!({ "many": "9/h", "few": "2/h" });
    let tiers = RateLimitLayer::new_with("demo", &settings(values.clone()), conditions.clone()).unwrap();
    let post = || Request::post("/").body(()).unwrap();
    for (request, tier, limit, expected) in [
        (of("ada", Jwt, json!({})), "many", 9, 1),
        (of("bob", Jwt, json!({})), "few", 2, 3),
        (with("/a", "x-many", "1"), "many", 9, 2),
        (post(), "default", 4, 3),
    ] {
        let policy = format!("\"demo\";q={limit};w=3600");
        assert_eq!(tiers.tier_of(&request).as_deref(), Some(tier));
        asked.store(0, Ordering::Relaxed);
        assert_eq!(ask(&tiers, request).await.headers()["ratelimit-policy"], policy, "{tier}");
        assert_eq!(asked.load(Ordering::Relaxed), expected, "{tier}");
    }
    // Other numbers and other conditions, but the same tiers: the counts go on.
    let values = json!({ "many": "10/h", "few": "2/h" });
    let reloaded =
        RateLimitLayer::new_with("demo", &settings(values), conditions).unwrap().learn_from(&tiers);
    assert_eq!(statuses(&reloaded, 2, || of("bob", Jwt, json!({}))).await, [200, 429]);
    assert_eq!(layer(json!({ "limit": "2/h" })).tier_of(&post()), None);
}

#[test]
fn conditions_that_do_not_fit_their_expressions_are_mistakes() {
    let always = Condition::new(|_, _, _, _| true);
    for (expressions, conditions, part) in [
        (json!([]), vec![], "`tiers.by.expressions` is empty"),
        (json!([{ "tier": "a", "when": "" }]), vec![], "has 1 expressions, of which 0 were read"),
        (
            json!([{ "tier": "a", "when": "" }, { "tier": "b", "when": "" }]),
            vec![always.clone(); 2],
            "`tiers.by.expressions[1].tier` is `b`, which is neither",
        ),
    ] {
        let json = json!({ "tiers": { "by": { "expressions": expressions }, "values": { "a": "1/s" } } });
        let settings: RateLimitSettings = serde_json::from_value(json).unwrap();
        let error = RateLimitLayer::new_with("x", &settings, conditions).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_cost_what_they_say_within_bounds() {
    let fixed = layer(json!({ "limit": "10/h", "cost": 4 }));
    assert_eq!(statuses(&fixed, 3, || from("192.0.2.1")).await, [200, 200, 429]);
    let said = layer(json!({ "limit": "10/h", "cost": { "header": "x-cost", "max": 6 } }));
    assert_eq!(ask(&said, with("/", "x-cost", "99")).await.headers()["ratelimit"], "\"demo\";r=4;t=2160");
    assert_eq!(ask(&said, with("/", "x-cost", "5")).await.status(), 429);
    assert_eq!(
        ask(&said, with("/", "x-cost", "nonsense")).await.headers()["ratelimit"],
        "\"demo\";r=3;t=2520"
    );
}

#[tokio::test(start_paused = true)]
async fn the_answer_settles_what_was_taken_into_debt_or_back() {
    let limit = layer(json!({ "limit": "60/h", "cost": 10, "settle": { "header": "X-Tokens-Used" } }));
    ask(&limit, with("/", "used", "2")).await;
    let next = ask(&limit, with("/", "used", "100")).await;
    assert_eq!(next.headers()["ratelimit"], "\"demo\";r=48;t=720", "8 were given back");
    let refused = ask(&limit, from("192.0.2.1")).await;
    assert_eq!(refused.status(), 429);
    // 102 are owed, 10 are wanted and 60 fit: 52 minutes.
    assert_eq!(refused.headers()["retry-after"], "3120");
}

#[tokio::test(start_paused = true)]
async fn the_body_of_an_answer_passes_and_settles_at_its_end() {
    let limit = layer(json!({ "limit": "60/h", "cost": 10, "settle": { "json": "/usage/total_tokens" } }));
    assert!(limit.settles_bodies());
    let body = r#"{"text":"hello","usage":{"total_tokens":3}}"#;
    let service = tower::ServiceBuilder::new().layer(SettleLayer).layer(limit.clone()).service(service_fn(
        move |_: Request<()>| async move { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(body))) },
    ));
    let response = service.oneshot(from("192.0.2.1")).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
    assert_eq!(ask(&limit, from("192.0.2.1")).await.headers()["ratelimit"], "\"demo\";r=47;t=780");
}

#[tokio::test(start_paused = true)]
async fn what_answers_do_not_say_is_missing_and_counted() {
    const BODY: &str = r#"{"usage":{"total_tokens":3}}"#;
    for (what, status, body, encoding, read, left, unsettled) in [
        ("it is said", 200, BODY, "", true, 57, 0),
        ("it is said, to a client who leaves then", 200, BODY, "", false, 57, 0),
        ("it is not said", 200, "{}", "", true, 35, 1),
        ("it cannot be read", 200, "\u{1f}gzip", "gzip", true, 35, 1),
        ("the service fails", 503, "{}", "", true, 50, 0),
        ("the service fails, and says it", 503, BODY, "", true, 57, 0),
    ] {
        let limit = layer(json!({ "limit": "60/h", "cost": 10,
            "settle": { "json": "/usage/total_tokens", "missing": 25 } }));
        let service = SettleLayer.layer(limit.layer(service_fn(move |request: Request<()>| async move {
            assert_eq!(request.headers()["accept-encoding"], "identity");
            let answer = Response::builder().status(status).header("content-encoding", encoding);
            Ok::<_, Infallible>(answer.body(Full::<Bytes>::from(body)).unwrap())
        })));
        let mut answer = service.oneshot(with("/", "accept-encoding", "gzip")).await.unwrap().into_body();
        while let Some(frame) = answer.frame().await {
            frame.unwrap();
            if !read {
                break;
            }
        }
        drop(answer);
        let next = ask(&limit, with("/", "answer", "500")).await;
        let told = next.headers()["ratelimit"].to_str().unwrap();
        assert!(told.starts_with(&format!("\"demo\";r={};", left - 10)), "{what}: {told}");
        assert_eq!(limit.unsettled(), Some(unsettled), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_hangs_up_before_the_answer_has_taken_what_is_missing() {
    for settle in
        [json!({ "json": "/tokens", "missing": 25 }), json!({ "header": "x-tokens-used", "missing": 25 })]
    {
        let limit = layer(json!({ "limit": "60/h", "cost": 10, "settle": settle }));
        let both = RateLimitsLayer::new([limit.clone()]);
        let never = || {
            service_fn(|_: Request<()>| std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>())
        };
        let now = |future| tokio::time::timeout(Duration::from_millis(1), future);
        assert!(now(limit.layer(never()).oneshot(from("192.0.2.1"))).await.is_err());
        assert_eq!(limit.unsettled(), Some(1));
        let now = |future| tokio::time::timeout(Duration::from_millis(1), future);
        assert!(now(both.layer(never()).oneshot(from("192.0.2.1"))).await.is_err());
        assert_eq!(limit.unsettled(), Some(2));
        let next = ask(&limit, with("/", "answer", "500")).await;
        assert!(next.headers()["ratelimit"].to_str().unwrap().starts_with("\"demo\";r=0;"), "{next:?}");
    }
    let silent =
        layer(json!({ "limit": "60/h", "cost": 10, "settle": { "header": "x-tokens-used", "missing": 25 } }));
    ask(&silent, from("192.0.2.1")).await;
    assert_eq!(silent.unsettled(), Some(1), "no header, and a good answer");
    assert_eq!(layer(json!({ "limit": "1/h" })).unsettled(), None);
}

#[tokio::test(start_paused = true)]
async fn a_path_a_method_and_what_the_route_captured_have_counts_of_their_own() {
    let captured = |value: &str| Captures::from_iter([(Arc::from("id"), value.to_owned())]);
    let request = |method: &str, target: &str, id: &str| {
        let mut request = with(target, "x", "y");
        *request.method_mut() = method.parse().unwrap();
        request.extensions_mut().insert(captured(id));
        request
    };
    for (key, same, other) in [
        (json!("path"), request("PUT", "/a?x=2", "8"), request("GET", "/b?x=1", "7")),
        (json!("method"), request("GET", "/b", "8"), request("PUT", "/a?x=1", "7")),
        (json!({ "capture": "id" }), request("PUT", "/b", "7"), request("GET", "/a?x=1", "8")),
    ] {
        let limit = layer(json!({ "limit": "1/h", "key": key }));
        let mut seen = Vec::new();
        for request in [request("GET", "/a?x=1", "7"), same, other] {
            seen.push(ask(&limit, request).await.status().as_u16());
        }
        assert_eq!(seen, [200, 429, 200], "{key}");
    }
    let limit = layer(json!({ "limit": "1/h", "key": ["path", "method", { "capture": "id" }] }));
    assert_eq!(limit.captures().collect::<Vec<_>>(), ["id"]);
    assert_eq!(limit.key_of(&request("GET", "/a", "7")).unwrap(), "path=/a|method=GET|capture=7");
}

#[tokio::test(start_paused = true)]
async fn only_failures_count_where_the_settings_say_so() {
    let guard = layer(json!({ "limit": "2/h", "key": "client_ip", "count": "failures" }));
    let failing = || with("/login", "answer", "401");
    assert_eq!(statuses(&guard, 5, || from("192.0.2.1")).await, [200; 5]);
    assert_eq!(statuses(&guard, 3, failing).await, [401, 401, 429]);
    assert_eq!(ask(&guard, from("192.0.2.1")).await.status(), 429, "the right password comes too late");
    assert_eq!(ask(&guard, from("192.0.2.2")).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn who_is_exempt_is_not_counted() {
    let limit = layer(json!({ "limit": "1/h", "key": "all", "exempt": {
        "networks": ["10.0.0.0/8"], "principals": ["root"], "keys": ["ci"], "claims": { "roles": "admin" },
    } }));
    assert_eq!(statuses(&limit, 2, || from("192.0.2.1")).await, [200, 429]);
    for request in [
        || from("10.1.2.3"),
        || of("root", Jwt, json!({})),
        || of("ci", ApiKey, json!({})),
        || of("ada", Jwt, json!({ "roles": ["user", "admin"] })),
    ] {
        let response = ask(&limit, request()).await;
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("ratelimit"));
    }
    assert_eq!(ask(&limit, of("ci", Jwt, json!({}))).await.status(), 429);
}

#[tokio::test(start_paused = true)]
async fn a_leaky_bucket_delays_and_then_refuses() {
    let limit = layer(json!({ "limit": "10/s", "algorithm": "leaky_bucket", "max_delay": "200ms" }));
    let start = tokio::time::Instant::now();
    let asking = (0..5).map(|_| ask(&limit, from("192.0.2.1")));
    let all = futures_util::future::join_all(asking).await;
    let passed = all.iter().filter(|response| response.status() == 200).count();
    assert_eq!((passed, start.elapsed().as_millis() / 100), (3, 2));
}

fn at(text: &str) -> SystemTime {
    humantime::parse_rfc3339(text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_quota_has_a_code_of_its_own_ends_with_its_month_and_says_when_it_nears_its_end() {
    let events: Arc<Mutex<Vec<QuotaEvent>>> = Arc::default();
    let heard = events.clone();
    let quota = layer(json!({ "quota": "5/month", "timezone": "+02:00" }))
        .starting_at(at("2024-02-29T21:59:50Z"))
        .on_quota(move |event| heard.lock().unwrap().push(event.clone()));
    assert_eq!(statuses(&quota, 6, || from("192.0.2.1")).await, [200, 200, 200, 200, 200, 429]);
    let refused = ask(&quota, from("192.0.2.1")).await;
    assert_eq!(refused.headers()["retry-after"], "10");
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("urn:gateway:problem:quota-exceeded"), "{body:?}");
    let said: Vec<_> = events.lock().unwrap().iter().map(|e| (e.percent, e.caller.clone())).collect();
    assert_eq!(said, [(80, "ip=192.0.2.1".to_owned()), (100, "ip=192.0.2.1".to_owned())]);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(ask(&quota, from("192.0.2.1")).await.headers()["ratelimit"], "\"demo\";r=4;t=2678400");
}

#[tokio::test]
async fn quotas_outlive_the_process_in_their_file() {
    let dir = tempfile::tempdir().unwrap();
    let settings = json!({ "quota": "3/month", "quota_file": dir.path().join("quotas") });
    let layer = |settings| layer(settings).starting_at(at("2024-02-15T12:00:00Z"));
    let first = layer(settings.clone()).restored().unwrap();
    assert_eq!(statuses(&first, 2, || from("192.0.2.1")).await, [200, 200]);
    first.background().unwrap().run(async {}).await;
    let second = layer(settings.clone()).restored().unwrap();
    assert_eq!(statuses(&second, 2, || from("192.0.2.1")).await, [200, 429]);
    std::fs::write(dir.path().join("quotas"), "damaged").unwrap();
    let third = layer(settings).restored().unwrap();
    assert_eq!(ask(&third, from("192.0.2.1")).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_counts_where_they_mean_the_same() {
    let old = layer(json!({ "limit": "2/h", "algorithm": "fixed_window" }));
    assert_eq!(statuses(&old, 2, || from("192.0.2.1")).await, [200, 200]);
    let more = layer(json!({ "limit": "3/h", "algorithm": "fixed_window" })).learn_from(&old);
    assert_eq!(statuses(&more, 2, || from("192.0.2.1")).await, [200, 429], "one more than before");
    let other = layer(json!({ "limit": "2/h", "algorithm": "token_bucket" })).learn_from(&old);
    assert_eq!(ask(&other, from("192.0.2.1")).await.headers()["ratelimit"], "\"demo\";r=1;t=1800");
}

#[tokio::test(start_paused = true)]
async fn each_field_can_be_switched_off() {
    let bare = layer(json!({ "limit": "1/h", "headers": false, "retry_after": false }));
    for status in [200, 429] {
        let response = ask(&bare, from("192.0.2.1")).await;
        assert_eq!(response.status(), status);
        for name in ["ratelimit", "ratelimit-policy", "x-ratelimit-limit", "retry-after"] {
            assert!(!response.headers().contains_key(name), "{name}");
        }
    }
}

#[test]
fn settings_that_cannot_work_say_why() {
    for (json, part) in [
        (json!({ "limit": "9/h burst 2", "algorithm": "fixed_window" }), "burst"),
        (json!({ "limit": ["1/s", "2/s", "3/s", "4/s", "5/s", "6/s", "7/s"] }), "at most 6"),
        (json!({ "limit": "1/s", "settle": {} }), "neither"),
        (json!({ "limit": "1/s", "settle": { "json": "usage" } }), "no JSON pointer"),
        (json!({ "limit": "1/s", "count": "failures", "statuses": [42] }), "42"),
        (json!({ "limit": "1/s", "key": { "header": "a b" } }), "`a b` is no name"),
        (json!({ "limit": "1/s", "replicas": 0 }), "`replicas` is 0"),
        (json!({ "limit": "9/s", "cost": { "header": "x", "min": 3, "max": 2 } }), "`cost.min` is 3"),
        (json!({ "limit": "9/s", "count": "failures", "settle": { "header": "x" } }), "no room beside"),
        (json!({ "limit": "1/s", "penalty": "0s" }), "would hold nobody"),
        (json!({ "limit": "1/s", "penalty": "1m", "shared": "leased" }), "`penalty` begins with the first"),
        (json!({ "limit": ["9/s", "100/h"], "cost": 10 }), "`9/s` has no room for more than 9"),
        (json!({ "limit": "100/h burst 5", "cost": { "default": 6 } }), "no room for more than 5"),
        (json!({ "limit": "10/s", "quota": "9/day", "cost": 10 }), "`9/day` has no room"),
        (json!({ "limit": "1/s", "shared": "leased", "algorithm": "leaky_bucket" }), "exact"),
    ] {
        let settings: RateLimitSettings = serde_json::from_value(json.clone()).unwrap();
        let error = RateLimitLayer::new("x", &settings).unwrap_err().to_string();
        assert!(error.contains(part), "{json}: {error}");
    }
    for (json, part) in [
        (json!({ "limit": [] }), "a list of them"),
        (json!({ "limit": 5 }), "\"100/min\""),
        (json!({ "key": "ip" }), "unknown variant `ip`"),
        (json!({ "key": { "heder": "x" } }), "unknown variant `heder`"),
        (json!({ "quota": "5/year" }), "10000/day"),
        (json!({ "cost": 0 }), "cannot cost 0"),
        (json!({ "algorithm": "gcar" }), "`gcra`"),
    ] {
        let error = serde_json::from_value::<RateLimitSettings>(json.clone()).unwrap_err().to_string();
        assert!(error.contains(part), "{json}: {error}");
    }
}

/// The layer lets any service pass that can be cloned.
#[test]
fn the_layer_needs_no_more_of_a_service_than_that_it_can_be_cloned() {
    fn takes<S: tower::Service<Request<()>> + Clone>(_: S) {}
    takes(layer(json!({ "limit": "1/s" })).layer(service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    })));
}

#[tokio::test(start_paused = true)]
async fn who_comes_beyond_the_limit_is_held_for_as_long_as_the_penalty_says() {
    for algorithm in ["gcra", "token_bucket", "fixed_window", "sliding_window", "leaky_bucket"] {
        let limit = layer(json!({
            "limit": ["2/s", "1000/h"], "algorithm": algorithm, "max_delay": "1ms", "penalty": "10m",
            "legacy_headers": true,
        }));
        while ask(&limit, from("192.0.2.1")).await.status() == 200 {}
        for (waited, left) in [(0, "600"), (200, "400"), (399, "1")] {
            tokio::time::advance(Duration::from_secs(waited)).await;
            let refused = ask(&limit, from("192.0.2.1")).await;
            assert_eq!(refused.status(), 429, "{algorithm}, {left}");
            let told = |name: &str| refused.headers()[name].to_str().unwrap();
            assert_eq!(told("retry-after"), left, "{algorithm}: not prolonged by those who ask");
            assert_eq!(told("x-ratelimit-remaining"), "0", "{algorithm}");
            assert!(told("ratelimit").starts_with(&format!("\"demo-s\";r=0;t={left},")), "{algorithm}");
            assert_eq!(told("ratelimit-policy"), "\"demo-s\";q=2;w=1, \"demo-h\";q=1000;w=3600");
        }
        assert_eq!(ask(&limit, from("192.0.2.2")).await.status(), 200, "{algorithm}: only that caller");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(ask(&limit, from("192.0.2.1")).await.status(), 200, "{algorithm}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_lasts_longer_than_the_penalty_counts_and_who_fails_too_often_is_held() {
    let day = layer(json!({ "limit": "1/d", "penalty": "1m" }));
    assert_eq!(statuses(&day, 2, || from("192.0.2.1")).await, [200, 429]);
    assert_eq!(ask(&day, from("192.0.2.1")).await.headers()["retry-after"], "86400");

    let guard = json!({ "limit": "2/s", "key": "client_ip", "count": "failures", "penalty": "1h" });
    let guard = layer(guard);
    assert_eq!(statuses(&guard, 3, || with("/login", "answer", "401")).await, [401, 401, 429]);
    tokio::time::advance(Duration::from_secs(3599)).await;
    assert_eq!(ask(&guard, from("192.0.2.1")).await.headers()["retry-after"], "1");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(ask(&guard, from("192.0.2.1")).await.status(), 200);

    let report = layer(json!({ "limit": "1/s", "penalty": "1h", "mode": "report" }));
    assert_eq!(statuses(&report, 9, || from("192.0.2.1")).await, [200; 9]);
    assert_eq!(report.counts().would_limit, 8);
}

#[tokio::test(start_paused = true)]
async fn claims_that_hold_different_limits_are_counted_apart() {
    let limit = layer(json!({ "limit_from": { "claim": "limit" }, "algorithm": "fixed_window" }));
    let mut passed = Vec::new();
    for (text, status) in [
        ("2/h", 200),
        ("2/h, 3/d", 200),
        ("2/h", 200),
        ("3/d,2/h", 200),
        ("2/h", 429),
        ("2/h, 3/d", 429),
        ("3/d, 2/h", 429),
        ("2/min", 200),
        ("2/h", 429),
    ] {
        let answer = ask(&limit, of("ada", Jwt, json!({ "limit": text }))).await;
        passed.push((text, answer.status().as_u16()));
        assert_eq!(answer.status(), status, "{passed:?}");
    }
    // Another number is the same limit.
    let more = ask(&limit, of("ada", Jwt, json!({ "limit": "3/h" }))).await;
    assert_eq!(more.headers()["ratelimit"], "\"demo\";r=0;t=3600");
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_adds_or_changes_a_tier_leaves_the_counts_of_others() {
    let settings = |tiers: serde_json::Value| {
        layer(json!({ "quota": "2/day", "tiers": { "by": { "claim": "plan" }, "values": tiers } }))
    };
    let caller = |plan: &'static str| move || of("ada", Jwt, json!({ "plan": plan }));
    let old = settings(json!({ "gold": "9/h" }));
    for plan in ["none", "gold"] {
        assert_eq!(statuses(&old, 3, caller(plan)).await, [200, 200, 429], "{plan}");
    }
    let more = settings(json!({ "free": "9/h", "gold": "9/h" })).learn_from(&old);
    for (plan, expected) in [("none", 429), ("gold", 429), ("free", 200)] {
        assert_eq!(statuses(&more, 1, caller(plan)).await, [expected], "{plan}");
    }
    let other = settings(json!({ "free": "9/h", "gold": "9/min" })).learn_from(&more);
    for (plan, expected) in [("none", [429, 429]), ("gold", [429, 429]), ("free", [200, 429])] {
        assert_eq!(statuses(&other, 2, caller(plan)).await, expected, "{plan}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_adds_a_limit_beside_a_quota_leaves_what_is_used_of_it() {
    let time = at("2024-02-15T12:00:00Z");
    let caller = |ip: &'static str| move || from(ip);
    let left = async |limit: &RateLimitLayer, ip| {
        let answer = ask(limit, from(ip)).await;
        answer.headers()["ratelimit"].to_str().unwrap().to_owned()
    };
    let old = layer(json!({ "quota": "5/month" })).starting_at(time);
    assert_eq!(statuses(&old, 3, caller("192.0.2.1")).await, [200, 200, 200]);
    assert_eq!(statuses(&old, 4, caller("192.0.2.2")).await, [200, 200, 200, 200]);
    assert_eq!(statuses(&old, 5, caller("192.0.2.3")).await, [200; 5]);

    let both = json!({ "quota": "5/month", "limit": "9/h", "algorithm": "fixed_window" });
    let both = layer(both).learn_from(&old);
    let said = left(&both, "192.0.2.1").await;
    assert!(said.contains("\"demo-h\";r=8;") && said.contains("\"demo-month\";r=1;"), "{said}");
    assert_eq!(statuses(&both, 2, caller("192.0.2.1")).await, [200, 429], "five in all");

    // Others come back only after another reload, to other limits in another order.
    let more = json!({ "quota": ["100/week", "5/month"], "limit": "20/h", "algorithm": "fixed_window" });
    let more = layer(more).learn_from(&both);
    assert_eq!(statuses(&more, 2, caller("192.0.2.2")).await, [200, 429]);
    assert_eq!(statuses(&more, 1, caller("192.0.2.1")).await, [429]);
    let again = layer(json!({ "quota": "6/month" })).learn_from(&more);
    assert_eq!(statuses(&again, 2, caller("192.0.2.1")).await, [200, 429], "one more than before");
    assert_eq!(statuses(&again, 2, caller("192.0.2.3")).await, [200, 429]);
}

#[tokio::test(start_paused = true)]
async fn a_bucket_of_tokens_that_counts_in_other_units_begins_anew() {
    let tokens = |limit: &str| layer(json!({ "limit": limit, "algorithm": "token_bucket" }));
    let caller = || from("192.0.2.1");
    let sevenths = tokens("7/h");
    assert_eq!(statuses(&sevenths, 8, caller).await, [[200; 7].as_slice(), &[429]].concat());
    assert_eq!(statuses(&tokens("8/h").learn_from(&sevenths), 1, caller).await, [200]);
    let tenths = tokens("10/h");
    assert_eq!(statuses(&tenths, 10, caller).await, [200; 10]);
    assert_eq!(statuses(&tokens("5/h").learn_from(&tenths), 1, caller).await, [429]);
}

#[tokio::test(start_paused = true)]
async fn quotas_of_which_little_is_used_outlive_the_process_too() {
    let dir = tempfile::tempdir().unwrap();
    let settings = json!({ "quota": "1000000/day", "quota_file": dir.path().join("quotas") });
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let mut limit = layer(settings.clone()).starting_at(time).restored().unwrap();
    assert_eq!(statuses(&limit, 100, || from("192.0.2.1")).await, [200; 100]);
    for _ in 0..2 {
        tokio::time::advance(Duration::from_secs(60)).await;
        limit.background().unwrap().run(async {}).await;
        limit = layer(settings.clone()).starting_at(time).restored().unwrap();
    }
    let left = ask(&limit, from("192.0.2.1")).await.headers()["ratelimit"].clone();
    assert!(left.to_str().unwrap().starts_with("\"demo\";r=999899;"), "{left:?}");
}
