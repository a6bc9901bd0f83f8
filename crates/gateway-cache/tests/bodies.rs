//! Requests with a body, which nothing but the key of a `QUERY` takes into account.
#![allow(clippy::unwrap_used)]

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use gateway_cache::{CacheLayer, CacheSettings, CacheStore};
use gateway_core::units::ByteSize;
use http::{Request, Response};
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};

#[tokio::test]
async fn a_body_that_no_header_announces_does_not_become_the_urls_answer() {
    let echo = service_fn(|request: Request<Body>| async move {
        let response = Response::builder().header("cache-control", "max-age=60");
        Ok::<_, Infallible>(response.body(request.into_body()).unwrap())
    });
    let store = CacheStore::new(ByteSize::kib(1 << 10));
    let cache = CacheLayer::new("test", &CacheSettings::default(), &store).unwrap().layer(echo);
    let ask = async |method: &str, body: Body| {
        let request = Request::builder().method(method).uri("http://host/").body(body).unwrap();
        let (parts, body) = cache.clone().oneshot(request).await.unwrap().into_parts();
        let text = to_bytes(Body::new(body), 1 << 10).await.unwrap();
        (parts.headers["cache-status"].to_str().unwrap().to_owned(), text)
    };
    let bypassed = |text: &'static str| ("gateway; fwd=bypass".to_owned(), Bytes::from(text));
    // As of HTTP/2, which needs neither `Content-Length` nor `Transfer-Encoding`.
    assert_eq!(ask("GET", Body::from("evil")).await, bypassed("evil"));
    let (told, text) = ask("GET", Body::empty()).await;
    assert_eq!((told.as_str(), &*text), ("gateway; fwd=uri-miss; stored", &b""[..]));
    assert!(ask("GET", Body::empty()).await.0.contains("hit"));
    for method in ["GET", "HEAD"] {
        assert_eq!(ask(method, Body::from("evil")).await, bypassed("evil"), "also over a stored answer");
    }
}
