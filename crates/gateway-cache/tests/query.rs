//! `QUERY` (RFC 10008): its body is part of the key.
#![allow(clippy::unwrap_used)]

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use gateway_cache::{CacheLayer, CacheMethod, CacheSettings, CacheStore};
use gateway_core::units::{ByteSize, Timespan};
use http::{Request, Response};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::util::{BoxCloneSyncService, option_layer};
use tower::{Layer, ServiceExt, service_fn};

type Seen = Arc<Mutex<Vec<(String, String)>>>;

struct World {
    cache: BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>,
    /// The method and the body of each request that reached the upstream, and what it was asked on condition of.
    seen: Seen,
}

/// An upstream that says what it was asked.
fn world(settings: &CacheSettings) -> World {
    let seen = Seen::default();
    let upstream = {
        let seen = seen.clone();
        service_fn(move |request: Request<Body>| {
            let seen = seen.clone();
            async move {
                let condition = request.headers().get("if-none-match").is_some();
                let method = request.method().to_string();
                let body = to_bytes(request.into_body(), 1 << 20).await.unwrap();
                let text = String::from_utf8(body.to_vec()).unwrap();
                seen.lock().unwrap().push((method, text.clone()));
                tokio::time::sleep(Duration::from_millis(10)).await;
                let response =
                    Response::builder().header("cache-control", "max-age=60").header("etag", "\"a\"");
                let response = response.status(if condition { 304 } else { 200 });
                let body = if condition { String::new() } else { format!("answer to {text}") };
                Ok::<_, Infallible>(response.body(Body::from(body)).unwrap())
            }
        })
    };
    let layer = CacheLayer::new("test", settings, &CacheStore::new(ByteSize::kib(1 << 20))).unwrap();
    let query = option_layer(layer.query());
    let cached = layer.layer(upstream).map_response(|response| response.map(Body::new));
    World { cache: BoxCloneSyncService::new(query.layer(cached)), seen }
}

fn both() -> CacheSettings {
    let methods = vec![CacheMethod::Get, CacheMethod::Head, CacheMethod::Query];
    CacheSettings { methods, max_query: ByteSize(100), ..CacheSettings::default() }
}

impl World {
    async fn ask(&self, method: &str, kind: &str, body: impl Into<Body>) -> (u16, String, String) {
        let request = Request::builder().method(method).uri("/find").header("content-type", kind);
        let response = self.cache.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        let told = parts.headers.get("cache-status").map_or("", |told| told.to_str().unwrap());
        let told = told.strip_prefix("gateway; ").unwrap_or_default().to_owned();
        (parts.status.as_u16(), String::from_utf8(body.to_vec()).unwrap(), told)
    }

    async fn told(&self, method: &str, kind: &str, body: &str) -> String {
        let (status, answer, told) = self.ask(method, kind, body.to_owned()).await;
        assert_eq!((status, answer), (200, format!("answer to {body}")), "{method} {kind} {told}");
        told
    }

    fn hits(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

/// A body that comes in pieces and does not say how long it is.
fn pieces(pieces: Vec<Result<&'static str, std::io::Error>>) -> Body {
    Body::from_stream(futures_util::stream::iter(pieces))
}

#[tokio::test(start_paused = true)]
async fn the_same_query_is_answered_from_the_cache_and_no_other() {
    let world = world(&both());
    let (text, json) = ("text/plain", "application/json");
    for (method, kind, body, expected) in [
        ("QUERY", text, "a", "fwd=uri-miss; stored"),
        ("QUERY", text, "a", "hit; ttl=60"),
        ("QUERY", text, "b", "fwd=uri-miss; stored"),
        ("QUERY", text, "", "fwd=uri-miss; stored"),
        ("QUERY", json, "a", "fwd=uri-miss; stored"),
        ("QUERY", json, "{\"a\":[1]}", "fwd=uri-miss; stored"),
        ("GET", text, "", "fwd=uri-miss; stored"),
        ("QUERY", text, "a", "hit; ttl=60"),
        ("QUERY", text, "", "hit; ttl=60"),
        ("GET", text, "", "hit; ttl=60"),
        ("POST", text, "a", "fwd=method"),
        ("QUERY", text, "a", "fwd=uri-miss; stored"),
    ] {
        assert_eq!(world.told(method, kind, body).await, expected, "{method} {kind} {body}");
    }
    world.told("QUERY", json, "{\"a\":[1]}").await;
    let (_, answer, told) = world.ask("QUERY", json, "{ \"a\": [ 1 ] }").await;
    assert_eq!(
        (answer.as_str(), told.as_str()),
        ("answer to {\"a\":[1]}", "hit; ttl=60"),
        "as it was asked first"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_too_long_or_does_not_say_how_long_it_is_passes_as_it_comes() {
    let world = world(&both());
    let long = "x".repeat(101);
    for _ in 0..2 {
        assert_eq!(world.told("QUERY", "text/plain", &long).await, "fwd=bypass");
        let (_, answer, told) = world.ask("QUERY", "text/plain", pieces(vec![Ok("a"), Ok("b")])).await;
        assert_eq!((answer.as_str(), told.as_str()), ("answer to ab", "fwd=bypass"));
    }
    assert_eq!(world.hits(), 4);
    let most = "x".repeat(100);
    world.told("QUERY", "text/plain", &most).await;
    assert_eq!(world.told("QUERY", "text/plain", &most).await, "hit; ttl=60");
}

#[tokio::test(start_paused = true)]
async fn a_query_that_breaks_off_is_refused_and_reaches_nobody() {
    struct Broken(bool);
    impl http_body::Body for Broken {
        type Data = Bytes;
        type Error = std::io::Error;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
            let first = !std::mem::replace(&mut self.0, true);
            std::task::Poll::Ready(Some(if first {
                Ok(http_body::Frame::data("a".into()))
            } else {
                Err(std::io::Error::other("gone"))
            }))
        }
        fn size_hint(&self) -> http_body::SizeHint {
            http_body::SizeHint::with_exact(2)
        }
    }
    let world = world(&both());
    let (status, problem, _) = world.ask("QUERY", "text/plain", Body::new(Broken(false))).await;
    assert_eq!((status, world.hits()), (400, 0));
    assert!(problem.contains("broke off"), "{problem}");
}

#[tokio::test(start_paused = true)]
async fn of_many_equal_queries_one_asks_and_when_stale_its_body_is_asked_again() {
    let mut settings = both();
    settings.stale_while_revalidate = Timespan::secs(10);
    let world = Arc::new(world(&settings));
    let all: Vec<_> = (0..20)
        .map(|number| {
            let world = world.clone();
            tokio::spawn(async move { world.told("QUERY", "text/plain", ["a", "b"][number % 2]).await })
        })
        .collect();
    for one in all {
        one.await.unwrap();
    }
    assert_eq!(world.hits(), 2);
    tokio::time::advance(Duration::from_secs(65)).await;
    assert_eq!(world.told("QUERY", "text/plain", "a").await, "hit; ttl=-5");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.seen.lock().unwrap()[2], ("QUERY".to_owned(), "a".to_owned()), "in the background");
    assert!(world.told("QUERY", "text/plain", "a").await.starts_with("hit; ttl=5"));
    tokio::time::advance(Duration::from_secs(100)).await;
    assert_eq!(world.told("QUERY", "text/plain", "a").await, "fwd=stale; fwd-status=304; stored");
}

#[tokio::test(start_paused = true)]
async fn by_default_queries_pass() {
    let world = world(&CacheSettings::default());
    for _ in 0..2 {
        assert_eq!(world.told("QUERY", "text/plain", "a").await, "fwd=method");
    }
    assert_eq!(world.hits(), 2);
}
