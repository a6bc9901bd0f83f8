//! Another service, then an answer of our own.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_core::{Code, Problem};
use gateway_transform::{FallbackLayer, FallbackSettings};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use tower::util::BoxCloneService;
use tower::{Layer, ServiceExt, service_fn};

type Answer = Response<Full<Bytes>>;
type Backend = BoxCloneService<Request<Full<Bytes>>, Answer, Infallible>;

fn settings(json: serde_json::Value) -> FallbackSettings {
    serde_json::from_value(json).unwrap()
}

/// Answers with its name and what it was asked, or with a status, or with a failure of the gateway's.
fn backend(name: &'static str, gives: &'static str, asked: Arc<AtomicU32>) -> Backend {
    BoxCloneService::new(service_fn(move |request: Request<Full<Bytes>>| {
        asked.fetch_add(1, SeqCst);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let seen = format!("{name}: {} {} {}", parts.method, parts.uri, String::from_utf8_lossy(&body));
            Ok(match (gives.parse::<u16>(), Code::from_name(gives)) {
                (Ok(status), _) => Response::builder().status(status).body(Full::from(seen)).unwrap(),
                (_, Some(code)) => Problem::new(code).into_response(),
                (Err(_), None) => panic!("{gives} is no status and no code"),
            })
        }
    }))
}

async fn ask(
    json: serde_json::Value,
    first: &'static str,
    second: Option<&'static str>,
    body: &'static str,
) -> (u16, String, u32) {
    let asked = Arc::new(AtomicU32::new(0));
    let second = second.map(|gives| backend("second", gives, asked.clone()));
    let layer = FallbackLayer::new(&settings(json), second).unwrap();
    let service = layer.layer(backend("first", first, asked.clone()));
    let request = Request::post("/a?b").header("x-a", "b").body(Full::from(body)).unwrap();
    let answer = service.oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned(), asked.load(SeqCst))
}

#[tokio::test]
async fn z13_the_other_service_is_asked_then_the_static_answer_is_given() {
    let first = |status: u16, body: &str| (status, format!("first: POST /a?b {body}"), 1);
    let second = |status: u16, body: &str| (status, format!("second: POST /a?b {body}"), 2);
    let fixed = |asked: u32| (200, "later".to_owned(), asked);
    let both = json!({ "on": ["5xx", "connect"], "service": "b", "respond": "later" });
    for (settings, gives, other, body, expected) in [
        (both.clone(), "200", Some("200"), "hello", first(200, "hello")),
        (both.clone(), "404", Some("200"), "", first(404, "")),
        (both.clone(), "503", Some("200"), "", second(200, "")),
        (both.clone(), "500", Some("200"), "hello", second(200, "hello")),
        (both.clone(), "upstream-connect-failed", Some("200"), "hello", second(200, "hello")),
        (both.clone(), "502", Some("503"), "hello", fixed(2)),
        (both.clone(), "circuit-open", None, "hello", fixed(1)),
        (json!({ "service": "b" }), "503", Some("200"), "", first(503, "")),
        (json!({ "service": "b" }), "upstream-timeout", Some("200"), "", second(200, "")),
        (json!({ "service": "b" }), "upstream-reset", Some("200"), "", second(200, "")),
        (json!({ "on": ["connect"], "service": "b" }), "circuit-open", Some("200"), "", second(200, "")),
        (json!({ "on": ["connect"], "service": "b" }), "no-endpoint", Some("200"), "", second(200, "")),
        (json!({ "service": "b" }), "no-endpoint", Some("200"), "", second(200, "")),
        (json!({ "on": ["500-502"], "service": "b" }), "503", Some("200"), "", first(503, "")),
        (json!({ "on": ["404"], "service": "b" }), "404", Some("200"), "", second(200, "")),
        (json!({ "on": ["4xx"], "service": "b" }), "410", Some("410"), "", second(410, "")),
        // Too large to keep: not asked twice.
        (
            json!({ "on": ["5xx"], "service": "b", "respond": "later", "max_body": "4B" }),
            "503",
            Some("200"),
            "hello",
            fixed(1),
        ),
        (
            json!({ "on": ["5xx"], "service": "b", "max_body": "4B" }),
            "503",
            Some("200"),
            "hello",
            first(503, "hello"),
        ),
        (
            json!({ "on": [503], "service": "b", "max_body": "5B" }),
            "503",
            Some("200"),
            "hello",
            second(200, "hello"),
        ),
    ] {
        let seen = ask(settings.clone(), gives, other, body).await;
        assert_eq!(seen, expected, "{settings} {gives} {other:?} {body}");
    }
}

#[test]
fn settings_that_make_no_fallback_say_why() {
    for (text, part) in [
        (r#"{"on": ["6xx"]}"#, "`6xx` is nothing to fall back on; expected `connect`, `failure`"),
        (r#"{"on": ["504-500"]}"#, "nothing to fall back on"),
        (r#"{"on": ["200"]}"#, "nothing to fall back on"),
        (r#"{"on": [200]}"#, "`200` is nothing to fall back on"),
        (r#"{"on": [true]}"#, "boolean `true`, expected `connect`, `failure`, `5xx`"),
        (r#"{"sevice": "b"}"#, "unknown field `sevice`"),
    ] {
        let error = serde_json::from_str::<FallbackSettings>(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    for json in [json!({}), json!({ "on": [], "respond": "later" })] {
        let error = FallbackLayer::<Backend>::new(&settings(json.clone()), None).unwrap_err().to_string();
        assert!(error.contains("falls back on nothing"), "{json}: {error}");
    }
}
