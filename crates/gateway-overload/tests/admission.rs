//! Admission control in a plain service, on paused time.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_core::ClientAddr;
use gateway_overload::{AdmissionLayer, AdmissionSettings, Priority};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use std::time::Duration;
use tower::{Layer, ServiceExt, service_fn};

fn layer(json: serde_json::Value) -> AdmissionLayer {
    fastrand::seed(7);
    AdmissionLayer::new(&serde_json::from_value::<AdmissionSettings>(json).unwrap()).unwrap()
}

/// What the service below answers.
#[derive(Clone, Copy)]
enum Below {
    Status(u16),
    Error,
}

async fn ask(layer: &AdmissionLayer, below: Below, request: Request<()>) -> Option<Response<Full<Bytes>>> {
    let service = layer.layer(service_fn(move |_: Request<()>| async move {
        match below {
            Below::Status(status) => Ok(Response::builder().status(status).body(Full::default()).unwrap()),
            Below::Error => Err("gone"),
        }
    }));
    service.oneshot(request).await.ok()
}

fn of(class: Priority) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(class);
    request
}

async fn fill(layer: &AdmissionLayer, below: Below, class: Priority, times: usize) {
    for _ in 0..times {
        ask(layer, below, of(class)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn z10_while_requests_fail_a_share_is_503_overloaded_and_time_heals_it() {
    let layer = layer(serde_json::json!({ "priority": "default" }));
    fill(&layer, Below::Status(500), Priority::Default, 200).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    let (mut shed, mut last) = (0, None);
    for _ in 0..1000 {
        let answer = ask(&layer, Below::Status(500), Request::new(())).await.unwrap();
        if answer.status() == 503 {
            shed += 1;
            last = Some(answer);
        }
    }
    assert!((750..850).contains(&shed), "{shed} of 1000 were shed, not 80 %");
    let answer = last.unwrap();
    assert_eq!(answer.headers()["retry-after"], "1");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(std::str::from_utf8(&body).unwrap().contains("\"code\":\"overloaded\""), "{body:?}");
    assert_eq!(layer.refused(Priority::Default), shed);

    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(ask(&layer, Below::Status(200), Request::new(())).await.unwrap().status(), 200);
    assert_eq!(layer.probability(Priority::Default), 0.0);
}

#[tokio::test(start_paused = true)]
async fn the_least_important_are_shed_first() {
    let layer = layer(serde_json::json!({}));
    for _ in 0..100 {
        // 60 % succeed, so that 1 - 0.6 / 0.95 = 37 % are to be shed: the 30 % that are sheddable and some more.
        for (good, bad, class) in
            [(1, 2, Priority::Sheddable), (4, 2, Priority::Default), (1, 0, Priority::Critical)]
        {
            fill(&layer, Below::Status(200), class, good).await;
            fill(&layer, Below::Status(500), class, bad).await;
        }
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    ask(&layer, Below::Status(200), of(Priority::Critical)).await;
    let [sheddable, default, critical] = Priority::ALL.map(|class| layer.probability(class));
    assert_eq!((sheddable, critical), (1.0, 0.0));
    assert!((0.08..0.14).contains(&default), "{default}");
    assert_eq!(ask(&layer, Below::Status(200), of(Priority::Sheddable)).await.unwrap().status(), 503);
    for _ in 0..100 {
        assert_eq!(ask(&layer, Below::Status(200), of(Priority::Critical)).await.unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn panics_are_failures() {
    for at_once in [true, false] {
        let layer = layer(serde_json::json!({ "mode": "report" }));
        let service = layer.layer(service_fn(move |_: Request<()>| {
            assert!(!at_once, "it panics as it is called");
            async { panic!("it panics later") as Result<Response<Full<Bytes>>, &str> }
        }));
        for _ in 0..100 {
            assert!(tokio::spawn(service.clone().oneshot(Request::new(()))).await.unwrap_err().is_panic());
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(layer.probability(Priority::Default) > 0.0, "at once: {at_once}");
    }
}

#[tokio::test(start_paused = true)]
async fn errors_and_5xx_are_failures_and_4xx_are_not() {
    for (below, sheds) in [
        (Below::Error, true),
        (Below::Status(502), true),
        (Below::Status(404), false),
        (Below::Status(429), false),
    ] {
        let layer = layer(serde_json::json!({ "mode": "report" }));
        fill(&layer, below, Priority::Default, 100).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        fill(&layer, below, Priority::Default, 50).await;
        assert_eq!(layer.refused(Priority::Default) > 0, sheds);
        if let Below::Status(status) = below {
            assert_eq!(
                ask(&layer, below, Request::new(())).await.unwrap().status(),
                status,
                "report refuses nobody"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn few_requests_shed_nothing() {
    let layer = layer(serde_json::json!({ "min_requests": 20 }));
    for _ in 0..20 {
        tokio::time::advance(Duration::from_millis(150)).await;
        assert_eq!(ask(&layer, Below::Status(500), Request::new(())).await.unwrap().status(), 500);
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    ask(&layer, Below::Status(500), Request::new(())).await;
    assert_eq!(layer.probability(Priority::Default), 0.8);
    // What has failed is forgotten, also where nobody comes who would look.
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(layer.probability(Priority::Default), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_header_names_the_class_only_when_a_trusted_peer_sends_it() {
    let layer = layer(
        serde_json::json!({ "priority_header": "x-priority", "trusted": ["10.0.0.0/8"], "priority": "sheddable" }),
    );
    // All sheddable requests are shed.
    for _ in 0..200 {
        ask(&layer, Below::Status(500), of(Priority::Critical)).await;
        ask(&layer, Below::Status(500), of(Priority::Sheddable)).await;
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    fill(&layer, Below::Status(200), Priority::Critical, 1).await;
    assert_eq!(layer.probability(Priority::Sheddable), 1.0);
    let before = layer.refused(Priority::Sheddable);
    for (peer, value, believed) in [
        (Some("10.1.2.3"), "critical", true),
        (Some("10.1.2.3"), "Critical", true),
        (Some("10.1.2.3"), "urgent", false),
        (Some("192.0.2.1"), "critical", false),
        (None, "critical", false),
    ] {
        let mut request = Request::builder().header("x-priority", value).body(()).unwrap();
        if let Some(peer) = peer {
            request.extensions_mut().insert(ClientAddr(format!("{peer}:1").parse().unwrap()));
        }
        let refused = layer.refused(Priority::Sheddable);
        ask(&layer, Below::Status(200), request).await;
        assert_eq!(layer.refused(Priority::Sheddable) == refused, believed, "{value} of {peer:?}");
    }
    assert_eq!(layer.refused(Priority::Sheddable) - before, 3);
}

#[test]
fn settings_that_make_no_sense_say_why() {
    for (json, part) in [
        (serde_json::json!({ "success_rate": 0 }), "`success_rate` is 0; expected 0.01 to 1"),
        (serde_json::json!({ "aggression": 0 }), "`aggression` is 0; expected 0.1 to 10"),
        (serde_json::json!({ "max_shed": 80 }), "`max_shed` is 80; expected 0 to 1"),
        (serde_json::json!({ "window": "1ms" }), "`window` is 1ms; expected 1s to 1h"),
        (serde_json::json!({ "priority_header": "x-priority" }), "`trusted` names no network"),
        (serde_json::json!({ "priority_header": "a b", "trusted": ["::/0"] }), "`priority_header` is `a b`"),
    ] {
        let settings: AdmissionSettings = serde_json::from_value(json).unwrap();
        let error = AdmissionLayer::new(&settings).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn layers_below_learn_the_class() {
    let layer = layer(serde_json::json!({ "priority_header": "x-priority", "trusted": ["::1/128"] }));
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        let class = request.extensions().get::<Priority>().copied().unwrap_or_default();
        Ok::<_, ()>(Response::new(Full::<Bytes>::from(class.name())))
    }));
    for class in Priority::ALL {
        let mut request = Request::builder().header("x-priority", class.name()).body(()).unwrap();
        request.extensions_mut().insert(ClientAddr("[::1]:1".parse().unwrap()));
        let answer = service.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), class.name());
    }
}
