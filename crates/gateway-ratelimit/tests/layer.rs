//! The layer in a plain service, on paused time.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_core::{AuthMethod, ClientAddr, Principal};
use gateway_ratelimit::{Decision, RateLimitLayer, RateLimitSettings};
use http::{Request, Response};
use http_body_util::Full;
use std::convert::Infallible;
use std::time::Duration;
use tower::{Layer, ServiceExt, service_fn};

fn settings(toml: serde_json::Value) -> RateLimitSettings {
    serde_json::from_value(toml).unwrap()
}

/// Asks once and returns the status with what is left.
async fn ask(
    layer: &RateLimitLayer,
    ip: &str,
    principal: Option<(&str, AuthMethod)>,
) -> Response<Full<Bytes>> {
    let service = layer
        .layer(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(Full::default())) }));
    let mut request = Request::new(());
    request.extensions_mut().insert(ClientAddr(format!("{ip}:1").parse().unwrap()));
    if let Some((id, method)) = principal {
        request.extensions_mut().insert(Principal::new(id, method, serde_json::Map::new()));
    }
    service.oneshot(request).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn s4_22_one_over_the_limit_is_429_with_retry_after_and_time_heals_it() {
    let layer = RateLimitLayer::new("demo", &RateLimitSettings::all("2/min".parse().unwrap())).unwrap();
    for left in ["\"demo\";r=1;t=30", "\"demo\";r=0;t=60"] {
        let response = ask(&layer, "192.0.2.1", None).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["ratelimit"], left);
        assert_eq!(response.headers()["ratelimit-policy"], "\"demo\";q=2;w=60");
    }
    let refused = ask(&layer, "192.0.2.1", None).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "30");
    assert_eq!(refused.headers()["ratelimit"], "\"demo\";r=0;t=30");
    assert_eq!(ask(&layer, "192.0.2.2", None).await.status(), 200, "another client has its own count");
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(ask(&layer, "192.0.2.1", None).await.status(), 200);
    assert_eq!(ask(&layer, "192.0.2.1", None).await.status(), 429);
}

#[tokio::test(start_paused = true)]
async fn s4_18_each_kind_of_caller_has_its_own_tier() {
    let tiers =
        settings(serde_json::json!({ "anonymous": "1/h", "authenticated": "2/h", "legacy_headers": true }));
    let layer = RateLimitLayer::new("standard", &tiers).unwrap();
    let jwt = Some(("ada", AuthMethod::Jwt));
    let key = Some(("ada", AuthMethod::ApiKey));
    for (who, statuses) in [(None, [200, 429, 429]), (jwt, [200, 200, 429]), (key, [200, 200, 200])] {
        for status in statuses {
            let response = ask(&layer, "192.0.2.1", who).await;
            assert_eq!(response.status(), status, "{who:?}");
            assert_eq!(response.headers().contains_key("x-ratelimit-limit"), who != key, "{who:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ipv6_clients_are_counted_by_network_and_nobody_poses_as_an_address() {
    let layer = RateLimitLayer::new("demo", &RateLimitSettings::all("1/h".parse().unwrap())).unwrap();
    assert_eq!(ask(&layer, "[2001:db8::1]", None).await.status(), 200);
    assert_eq!(ask(&layer, "[2001:db8::2]", None).await.status(), 429);
    assert_eq!(ask(&layer, "[2001:db8:0:1::1]", None).await.status(), 200);
    assert_eq!(ask(&layer, "192.0.2.1", None).await.status(), 200);
    assert_eq!(ask(&layer, "[::ffff:192.0.2.1]", None).await.status(), 429, "the same client over IPv6");
    assert_eq!(ask(&layer, "192.0.2.1", Some(("192.0.2.1", AuthMethod::Jwt))).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn report_mode_refuses_nobody_and_says_so() {
    let report = settings(serde_json::json!({ "limit": "1/h", "mode": "report" }));
    let layer = RateLimitLayer::new("demo", &report).unwrap();
    assert!(ask(&layer, "192.0.2.1", None).await.extensions().get::<Decision>().is_none());
    let over = ask(&layer, "192.0.2.1", None).await;
    assert_eq!(over.status(), 200);
    assert!(matches!(over.extensions().get(), Some(Decision::Refuse { .. })));
}

#[test]
fn settings_that_make_no_limit_say_why() {
    for (name, json, part) in [
        ("x", serde_json::json!({}), "limits nothing"),
        ("x", serde_json::json!({ "limit": "1/s", "anonymous": "1/s" }), "no room for `anonymous`"),
        ("a b", serde_json::json!({ "limit": "1/s" }), "cannot name a limit"),
        ("x", serde_json::json!({ "limit": "1/s", "max_keys": 0 }), "at least 1"),
    ] {
        let error = RateLimitLayer::new(name, &settings(json)).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let error = serde_json::from_str::<RateLimitSettings>(r#"{"limt": "1/s"}"#).unwrap_err().to_string();
    assert!(error.contains("unknown field `limt`"), "{error}");
}
