//! Bodies: of requests, which nothing but the key of a `QUERY` takes into account, and of what is stored.
#![allow(clippy::unwrap_used)]

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use gateway_cache::{CacheLayer, CacheSettings, CacheStore};
use gateway_core::units::ByteSize;
use http::{HeaderValue, Request, Response};
use std::convert::Infallible;
use tower::{Layer, Service, ServiceExt, service_fn};

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

#[tokio::test]
async fn what_is_stored_does_not_hold_the_buffers_that_it_came_in() {
    let buffer = Bytes::from(vec![b'x'; 1 << 20]);
    let came = buffer.clone();
    let service = service_fn(move |_: Request<Body>| {
        let pieces = [came.slice(10..20), came.slice(30..200_000)].map(Ok::<_, Infallible>);
        let response = Response::builder()
            .header("cache-control", "max-age=60")
            .header("x-tag", HeaderValue::from_maybe_shared(came.slice(0..5)).unwrap());
        let response = response.body(Body::from_stream(futures_util::stream::iter(pieces))).unwrap();
        async move { Ok::<_, Infallible>(response) }
    });
    let store = CacheStore::new(ByteSize::kib(1 << 10));
    let mut cache = CacheLayer::new("test", &CacheSettings::default(), &store).unwrap().layer(service);
    for told in ["gateway; fwd=uri-miss; stored", "gateway; hit; ttl=60"] {
        let request = Request::get("http://host/").body(Body::empty()).unwrap();
        let (parts, body) = cache.call(request).await.unwrap().into_parts();
        let header = |name: &str| parts.headers[name].to_str().unwrap().to_owned();
        assert_eq!((header("cache-status").as_str(), header("x-tag").as_str()), (told, "xxxxx"));
        assert_eq!(to_bytes(Body::new(body), 1 << 20).await.unwrap(), buffer.slice(0..199_980));
    }
    drop(cache);
    assert_eq!(store.len(), 1);
    assert!(buffer.is_unique(), "a few bytes of it are kept, and with them all");
}
