//! Faults in a plain service, on paused time.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_overload::{FaultLayer, FaultSettings, Faults, PacedBody};
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};

fn layer(json: serde_json::Value) -> FaultLayer {
    FaultLayer::new(&serde_json::from_value::<FaultSettings>(json).unwrap()).unwrap()
}

async fn ask(layer: &FaultLayer, request: Request<()>) -> Response<PacedBody<Full<Bytes>>> {
    let service = layer.layer(service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Full::from(vec![b'x'; 10_000])))
    }));
    service.oneshot(request).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn z11_a_request_is_delayed_and_then_goes_on_or_is_aborted() {
    for (json, status, text) in [
        (serde_json::json!({ "delay": "2s" }), 200, "x"),
        (
            serde_json::json!({ "delay": "2s", "abort": 502 }),
            502,
            "{\"type\":\"urn:gateway:problem:fault-injected\",\"title\":\"A fault was injected\",\"status\":502,",
        ),
    ] {
        let (layer, start) = (layer(json), Instant::now());
        let answer = ask(&layer, Request::new(())).await;
        assert_eq!(start.elapsed().as_secs(), 2);
        assert_eq!(answer.status(), status);
        assert_eq!(answer.extensions().get::<Faults>().unwrap().delay, Some(Duration::from_secs(2)));
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(text.as_bytes()), "{body:?}");
        assert_eq!((layer.active(), layer.injected()), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_of_every_request_reaches_no_service_and_one_without_content_has_none() {
    let layer = layer(serde_json::json!({ "abort": { "status": 204 } }));
    let reached = service_fn(|_: Request<()>| async { panic!("the service was called") });
    let answer: Result<Response<PacedBody<Full<Bytes>>>, Infallible> =
        layer.layer(reached).oneshot(Request::new(())).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 204);
    assert!(answer.body().is_end_stream() && answer.headers().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_sent_at_its_rate_and_complete() {
    let layer = layer(serde_json::json!({ "rate": "1000B" }));
    let answer = ask(&layer, Request::new(())).await;
    assert_eq!(layer.active(), 1, "it is active until its body ends");
    let (start, mut body) = (Instant::now(), answer.into_body());
    let mut left = 10_000;
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        assert!(data.len() <= 100, "{} bytes at once", data.len());
        left -= data.len();
        assert_eq!(body.size_hint().exact(), Some(left as u64));
        let allowed = start.elapsed().as_millis() as usize + 100;
        assert!(10_000 - left <= allowed, "{} bytes after {:?}", 10_000 - left, start.elapsed());
    }
    assert_eq!(left, 0);
    assert!((9.8..10.3).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
    assert_eq!(layer.active(), 0);
}

#[tokio::test(start_paused = true)]
async fn only_requests_with_the_header_have_faults() {
    let layer = layer(serde_json::json!({ "abort": 500, "header": "X-Fault" }));
    assert_eq!(ask(&layer, Request::new(())).await.status(), 200);
    let request = Request::builder().header("x-fault", "").body(()).unwrap();
    assert_eq!(ask(&layer, request).await.status(), 500);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_most_that_are_active_requests_pass_untouched_and_who_leaves_makes_room() {
    let layer = layer(serde_json::json!({ "delay": "1h", "max_active": 1 }));
    let delayed = tokio::spawn({
        let layer = layer.clone();
        async move { ask(&layer, Request::new(())).await.status() }
    });
    tokio::task::yield_now().await;
    assert_eq!(layer.active(), 1);
    let start = Instant::now();
    let untouched = ask(&layer, Request::new(())).await;
    assert!(untouched.extensions().get::<Faults>().is_none());
    assert_eq!(start.elapsed(), Duration::ZERO);
    delayed.abort();
    assert!(delayed.await.unwrap_err().is_cancelled());
    assert_eq!((layer.active(), layer.injected()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn off_injects_nothing() {
    let answer = ask(&FaultLayer::off(), Request::new(())).await;
    assert_eq!((answer.status().as_u16(), answer.body().size_hint().exact()), (200, Some(10_000)));
}

#[test]
fn settings_that_make_no_sense_say_why() {
    for (json, part) in [
        (serde_json::json!({}), "it injects nothing: give `delay`, `abort` or `rate`"),
        (serde_json::json!({ "abort": 99 }), "`abort.status` is 99; expected 200 to 599"),
        (serde_json::json!({ "abort": { "percent": 101 } }), "`abort.percent` is 101; expected 0 to 100"),
        (serde_json::json!({ "rate": "0B" }), "`rate.per_second` is 0B; expected at least 1B"),
        (
            serde_json::json!({ "delay": "1s", "header": "a b" }),
            "`header` is `a b`, which cannot name a header",
        ),
    ] {
        let settings: FaultSettings = serde_json::from_value(json).unwrap();
        let error = FaultLayer::new(&settings).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    for (json, part) in [
        (r#"{"delay": 5}"#, "expected a length of time such as"),
        (r#"{"abort": -1}"#, "-1 is no status"),
        (r#"{"rate": "fast"}"#, "`fast` is no size"),
    ] {
        let error = serde_json::from_str::<FaultSettings>(json).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
