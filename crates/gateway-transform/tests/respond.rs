//! Answers that the gateway gives by itself.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_core::units::Short;
use gateway_core::{ClientAddr, Code, Problem};
use gateway_transform::{MaintenanceLayer, MaintenanceSettings, RespondLayer, RespondSettings};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};

fn respond(settings: Value) -> Result<RespondLayer, String> {
    let settings = serde_json::from_value::<Short<RespondSettings>>(settings).map_err(|e| e.to_string())?;
    RespondLayer::new(&settings).map_err(|error| error.to_string())
}

async fn seen(response: Response<Full<Bytes>>) -> (u16, String, String) {
    let kind = response.headers().get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn an_answer_has_the_status_headers_and_body_of_its_settings() {
    let file = std::env::temp_dir().join(format!("gateway-respond-{}.html", std::process::id()));
    std::fs::write(&file, "<p>hi</p>").unwrap();
    for (settings, expected) in [
        (json!("pong"), (200, "text/plain; charset=utf-8", "pong")),
        (json!(204), (204, "", "")),
        (json!({ "status": 410, "json": { "gone": true } }), (410, "application/json", "{\"gone\":true}")),
        (json!({ "file": file }), (200, "text/html; charset=utf-8", "<p>hi</p>")),
        (json!({ "text": "<a/>", "headers": { "Content-Type": "text/xml" } }), (200, "text/xml", "<a/>")),
    ] {
        let layer = respond(settings.clone()).unwrap();
        let inner =
            service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(Full::from("inner"))) });
        let (status, kind, body) = seen(layer.layer(inner).oneshot(Request::new(())).await.unwrap()).await;
        assert_eq!((status, kind.as_str(), body.as_str()), expected, "{settings}");
        let (_, _, body) = seen(layer.answer()).await;
        assert_eq!(body, expected.2);
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn settings_that_make_no_answer_name_what_is_wrong() {
    for (settings, part) in [
        (json!({ "status": 199 }), "199 is not a status; expected 200 to 599"),
        (json!(70000), "70000 is not a status"),
        (json!({ "text": "a", "json": 1 }), "only one of `text`, `json` and `file`"),
        (json!({ "status": 204, "text": "a" }), "204 has no body"),
        (json!({ "file": "/no/such/file" }), "`/no/such/file` cannot be read"),
        (json!({ "headers": { "a b": "c" } }), "`a b` is not a header name"),
        (json!({ "headers": { "content-length": "1" } }), "rules cannot change it"),
        (json!({ "body": "x" }), "unknown field `body`"),
    ] {
        let error = respond(settings.clone()).unwrap_err();
        assert!(error.contains(part), "{settings}: {error}");
    }
}

#[tokio::test]
async fn during_maintenance_only_exempt_clients_are_served() {
    let settings = json!({ "exempt": ["10.0.0.0/8", "2001:db8::/32"], "retry_after": "1500ms" });
    let layer = MaintenanceLayer::new(&serde_json::from_value(settings).unwrap()).unwrap();
    for (client, expected) in [
        (Some("10.1.2.3:5"), 200),
        (Some("[::ffff:10.1.2.3]:5"), 200),
        (Some("[2001:db8::1]:5"), 200),
        (Some("192.0.2.1:5"), 503),
        (None, 503),
    ] {
        let mut request = Request::new(());
        if let Some(client) = client {
            request.extensions_mut().insert(ClientAddr(client.parse().unwrap()));
        }
        let inner =
            service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(Full::from("inner"))) });
        let response = layer.layer(inner).oneshot(request).await.unwrap();
        assert_eq!(response.status(), expected, "{client:?}");
        if expected == 503 {
            assert_eq!(response.headers()["retry-after"], "2");
            assert_eq!(response.headers()["cache-control"], "no-store");
            let (_, kind, body) = seen(response).await;
            assert_eq!(kind, "application/problem+json");
            assert!(body.contains("\"code\":\"maintenance\""), "{body}");
        }
    }
    let spelled_out = json!({ "answer": { "text": "back soon" } });
    let layer = MaintenanceLayer::new(&serde_json::from_value(spelled_out).unwrap()).unwrap();
    let inner = service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("inner")))
    });
    let call = Request::post("/").header("content-type", "application/grpc").body(()).unwrap();
    let response = layer.layer(inner).oneshot(call).await.unwrap();
    let problem = response.extensions().get::<Problem>().map(Problem::code);
    assert_eq!(problem, Some(Code::Maintenance), "text is nothing to a gRPC client");
    assert_eq!(response.headers()["retry-after"], "300");
    let page = json!({ "retry_after": "0s", "answer": { "status": 502, "text": "back soon" } });
    let layer = MaintenanceLayer::new(&serde_json::from_value(page).unwrap()).unwrap();
    let inner =
        service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(Full::from("inner"))) });
    let response = layer.layer(inner).oneshot(Request::new(())).await.unwrap();
    assert!(!response.headers().contains_key("retry-after"));
    assert_eq!(seen(response).await, (502, "text/plain; charset=utf-8".to_owned(), "back soon".to_owned()));
    let short: Short<MaintenanceSettings> = serde_json::from_value(json!(true)).unwrap();
    assert_eq!(short.0, MaintenanceSettings::default());
}
