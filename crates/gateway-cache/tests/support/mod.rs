//! A cache in front of an upstream that does as the test says.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::needless_pass_by_value)]

use bytes::Bytes;
use gateway_cache::{CacheBody, CacheLayer, CacheSettings, CacheStore};
use gateway_core::BoxError;
use gateway_core::units::ByteSize;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

pub type UpstreamBody = UnsyncBoxBody<Bytes, std::io::Error>;
pub type Answer = Response<UpstreamBody>;
type Answering = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

/// The cache, and what the upstream has seen.
#[derive(Clone)]
pub struct World {
    pub cache: BoxCloneSyncService<Request<Empty<Bytes>>, Response<CacheBody<UpstreamBody>>, BoxError>,
    pub layer: CacheLayer,
    pub store: CacheStore,
    pub upstream: Upstream,
}

/// What the upstream has seen.
#[derive(Clone, Default)]
pub struct Upstream {
    calls: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<http::request::Parts>>>,
}

impl Upstream {
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
    /// The head of the last request.
    pub fn last(&self) -> http::request::Parts {
        self.seen.lock().unwrap().last().cloned().unwrap()
    }
}

pub fn world<F, A>(settings: CacheSettings, answer: F) -> World
where
    F: Fn(usize, http::request::Parts) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Answer, BoxError>> + Send + 'static,
{
    world_on(CacheStore::new(ByteSize::kib(1 << 20)), "test", settings, answer)
}

/// The answer function gets the number of the call, from 0, and the request.
pub fn world_on<F, A>(store: CacheStore, name: &str, settings: CacheSettings, answer: F) -> World
where
    F: Fn(usize, http::request::Parts) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Answer, BoxError>> + Send + 'static,
{
    let layer = CacheLayer::new(name, &settings, &store).unwrap();
    let upstream = Upstream::default();
    let inner = {
        let upstream = upstream.clone();
        service_fn(move |request: Request<Empty<Bytes>>| -> Answering {
            let call = upstream.calls.fetch_add(1, Ordering::SeqCst);
            let parts = request.into_parts().0;
            upstream.seen.lock().unwrap().push(parts.clone());
            Box::pin(answer(call, parts))
        })
    };
    World { cache: BoxCloneSyncService::new(layer.layer(inner)), layer, store, upstream }
}

/// An answer that the test can look at.
#[derive(Debug)]
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Result<String, String>,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
    pub fn text(&self) -> &str {
        self.body.as_deref().unwrap()
    }
    pub fn cache(&self) -> &str {
        self.header("cache-status").strip_prefix("gateway; ").unwrap_or_default()
    }
    pub fn is_hit(&self) -> bool {
        self.cache().starts_with("hit")
    }
}

pub fn request(method: &str, uri: &str, lines: &[(&str, &str)]) -> Request<Empty<Bytes>> {
    let mut request = Request::builder().method(method).uri(uri).header("host", "host");
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(Empty::new()).unwrap()
}

impl World {
    pub async fn send(&self, request: Request<Empty<Bytes>>) -> Result<Got, String> {
        let response = self.head(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string());
        let body = body.map(|body| String::from_utf8(body.to_bytes().to_vec()).unwrap());
        Ok(Got { status: parts.status, headers: parts.headers, body })
    }
    pub async fn head(
        &self,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<CacheBody<UpstreamBody>>, String> {
        self.cache.clone().oneshot(request).await.map_err(|error| error.to_string())
    }
    pub async fn ask(&self, method: &str, uri: &str, lines: &[(&str, &str)]) -> Got {
        self.send(request(method, uri, lines)).await.unwrap()
    }
    pub async fn get(&self, uri: &str) -> Got {
        self.ask("GET", uri, &[]).await
    }
}

pub fn answer(status: u16, lines: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let mut response = Response::builder().status(status);
    for (name, value) in lines {
        response = response.header(*name, *value);
    }
    response.body(Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()).unwrap()
}

pub fn ok(lines: &[(&str, &str)], body: impl Into<Bytes>) -> Result<Answer, BoxError> {
    Ok(answer(200, lines, body))
}

pub type Chunk = std::io::Result<http_body::Frame<Bytes>>;

/// An answer whose body the test sends piece by piece.
pub fn streamed(lines: &[(&str, &str)]) -> (mpsc::UnboundedSender<Chunk>, Answer) {
    let (sender, receiver) = mpsc::unbounded_channel::<Chunk>();
    let (parts, ()) = answer(200, lines, "").map(|_| ()).into_parts();
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    });
    (sender, Response::from_parts(parts, StreamBody::new(stream).boxed_unsync()))
}

pub fn data(text: impl Into<Bytes>) -> Chunk {
    Ok(http_body::Frame::data(text.into()))
}

/// Lets all tasks do what they can.
pub async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

pub async fn later(seconds: u64) {
    tokio::time::advance(std::time::Duration::from_secs(seconds)).await;
}
