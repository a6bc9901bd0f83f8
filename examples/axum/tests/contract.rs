//! What each layer promises to the service it stands around and to whoever drives it, whatever their types: it never
//! calls what was not made ready, passes errors on as they are, and keeps nothing of a request that is given up or that
//! makes the service panic.
#![allow(clippy::unwrap_used)]

use axum::body::{Bytes, HttpBody};
use axum::http::{Request, Response};
use gateway_auth::{
    AssertionSettings, Assertions, AuthLayer, AuthPolicy, AuthorizeLayer, Check, Head, IdentityHeadersLayer,
    JwtLayer, JwtSettings, Method, OutboundCredentialsLayer, SignedBodyLayer, Verdict, mint,
};
use gateway_cache::{CacheLayer, CacheSettings, CacheStore, InvalidateLayer};
use gateway_core::units::ByteSize;
use gateway_core::{AuthMethod, ClientAddr, Principal, ProblemLayer, Scheme};
use gateway_observe::{Metrics, ObserveLayer, RouteLabels, ServerTimingLayer, prometheus};
use gateway_overload::{
    AdaptiveLimitLayer, AdmissionLayer, ConcurrencyLimitLayer, ConcurrencySettings, FaultLayer,
};
use gateway_ratelimit::{RateLimitLayer, RateLimitsLayer, SettleLayer};
use gateway_routing::{Dispatch, RouteMatch, RouteTable};
use gateway_store::Store;
use gateway_transform::{
    ClientIpLayer, CorrelationIdLayer, CorsLayer, FallbackLayer, ForwardedLayer, GrpcWebLayer, HeadersLayer,
    MaintenanceLayer, RedirectLayer, RedirectSettings, RewriteLayer, SecurityHeadersLayer, StripPrefixLayer,
    UnderscoreHeaders, UnderscoreHeadersLayer, ViaLayer,
};
use http_body::Frame;
use serde_json::{from_value, json};
use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;
use tower::{Layer, Service, ServiceExt};

const SECRET: &str = "a secret of 32 bytes or more ....";

/// A body of nobody's, that is made of bytes and no more.
struct Own(Bytes);

impl From<Bytes> for Own {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl HttpBody for Own {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = std::mem::take(&mut self.0);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }
}

/// An error of nobody's.
#[derive(Debug, PartialEq)]
struct Failed(&'static str);

#[derive(Clone, Copy, Debug)]
enum Does {
    Answer,
    NeverGetReady,
    FailToGetReady,
    Fail,
    NeverAnswer,
    Panic,
}

/// A service that panics when it is called without having been made ready, which a clone has not.
struct Strict {
    does: Does,
    is_ready: bool,
    state: Arc<State>,
}

/// How many requests it works on, and that it has begun with one.
#[derive(Default)]
struct State {
    busy: AtomicUsize,
    begun: Notify,
}

impl Strict {
    fn new(does: Does) -> Self {
        Self { does, is_ready: false, state: Arc::default() }
    }
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { does: self.does, is_ready: false, state: self.state.clone() }
    }
}

struct Busy(Arc<State>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, SeqCst);
    }
}

impl<B> Service<Request<B>> for Strict {
    type Response = Response<Own>;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Own>, Failed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        match self.does {
            Does::NeverGetReady => return Poll::Pending,
            Does::FailToGetReady => return Poll::Ready(Err(Failed("not ready"))),
            _ => self.is_ready = true,
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called without having been made ready");
        self.state.busy.fetch_add(1, SeqCst);
        let (does, busy) = (self.does, Busy(self.state.clone()));
        Box::pin(async move {
            busy.0.begun.notify_one();
            match does {
                Does::Fail => Err(Failed("no answer")),
                Does::NeverAnswer => pending().await,
                Does::Panic => panic!("on purpose"),
                _ => Ok(Response::new(Own("answer".into()))),
            }
        })
    }
}

/// A request that every layer lets pass; no two for one answer of a cache.
fn request(number: u32) -> Request<Own> {
    let token = mint(
        &JwtSettings { secret: Some(SECRET.into()), ..JwtSettings::default() },
        json!({ "sub": "ada", "exp": 4_102_444_800_u64 }),
    );
    let mut request = Request::get(format!("http://shop.example/api/{number}"))
        .header("host", "shop.example")
        .header("authorization", format!("Bearer {}", token.unwrap()))
        .body(Own(Bytes::new()))
        .unwrap();
    let facts = request.extensions_mut();
    facts.insert(ClientAddr(SocketAddr::from(([192, 0, 2, 7], 5000))));
    facts.insert(Scheme::Https);
    facts.insert(Principal::new("ada", AuthMethod::Jwt, serde_json::Map::new()));
    request
}

/// Holds one layer to all of it. Its state is that of one layer throughout, so that a place that is not given back is
/// missing afterwards.
async fn keeps<L, R>(layer: L)
where
    L: Layer<Strict> + Clone + Send + Sync + 'static,
    L::Service: Service<Request<Own>, Response = Response<R>, Error = Failed> + Clone + Send + Sync + 'static,
    <L::Service as Service<Request<Own>>>::Future: Send + 'static,
    R: HttpBody + Send + 'static,
{
    let name = std::any::type_name::<L>();
    // Waiting for a service, as for a place in it, is left to whoever drives the layer.
    let mut never = layer.layer(Strict::new(Does::NeverGetReady));
    assert!(
        never.poll_ready(&mut Context::from_waker(Waker::noop())).is_pending(),
        "{name} hides what is not ready"
    );
    keeps_once_ready(layer, 1).await;
}

/// All of it but what is about being ready.
async fn keeps_once_ready<L, R>(layer: L, first: u32)
where
    L: Layer<Strict> + Clone + Send + Sync + 'static,
    L::Service: Service<Request<Own>, Response = Response<R>, Error = Failed> + Clone + Send + Sync + 'static,
    <L::Service as Service<Request<Own>>>::Future: Send + 'static,
    R: HttpBody + Send + 'static,
{
    let name = std::any::type_name::<L>();
    let mut next = first;
    let mut request = || {
        next += 1;
        request(next)
    };
    for (does, error) in [(Does::FailToGetReady, "not ready"), (Does::Fail, "no answer")] {
        let failed = layer.layer(Strict::new(does)).oneshot(request()).await;
        assert_eq!(failed.map(drop), Err(Failed(error)), "{name}");
    }

    // A client that leaves takes the request with it, at whichever point.
    let never = Strict::new(Does::NeverAnswer);
    drop(layer.layer(never.clone()).oneshot(request()));
    let mut waiting = Box::pin(layer.layer(never.clone()).oneshot(request()));
    tokio::select! {
        biased;
        _ = &mut waiting => panic!("{name} answers what the service does not"),
        () = never.state.begun.notified() => {}
    }
    drop(waiting);
    assert_eq!(never.state.busy.load(SeqCst), 0, "{name} goes on with what was given up");

    let panics = Strict::new(Does::Panic);
    let panicked = tokio::spawn(layer.layer(panics.clone()).oneshot(request())).await.map(drop);
    assert!(panicked.is_err_and(|error| error.is_panic()), "{name} swallows a panic");
    assert_eq!(panics.state.busy.load(SeqCst), 0, "{name}");

    // One service, made ready for each, and a clone for each, as for connections.
    let answers = layer.layer(Strict::new(Does::Answer));
    let mut one = answers.clone();
    for i in 0..6 {
        let answer = match i % 2 {
            0 => one.ready().await.unwrap().call(request()).await,
            _ => answers.clone().oneshot(request()).await,
        };
        assert_eq!(answer.unwrap().status(), 200, "{name}: a place is missing");
    }
}

#[tokio::test]
async fn limits_keep_it() {
    let limit = |json| RateLimitLayer::new("demo", &from_value(json).unwrap()).unwrap();
    keeps(limit(json!({ "limit": "100/min" }))).await;
    keeps(limit(json!({ "limit": "1000/s", "algorithm": "leaky_bucket", "max_delay": "10s" }))).await;
    keeps(RateLimitsLayer::new([limit(json!({ "limit": "100/min" })), limit(json!({ "limit": "200/h" }))]))
        .await;
    keeps(SettleLayer).await;
}

#[tokio::test]
async fn the_cache_keeps_it() {
    let settings: CacheSettings =
        from_value(json!({ "methods": ["GET", "QUERY"], "isolation": "shared" })).unwrap();
    let cache = CacheLayer::new("demo", &settings, &CacheStore::new(ByteSize::kib(8 * 1024))).unwrap();
    keeps(cache.clone()).await;
    keeps(cache.query().unwrap()).await;
    keeps(InvalidateLayer::of([&cache])).await;
}

#[tokio::test]
async fn overload_protection_keeps_it() {
    keeps(ConcurrencyLimitLayer::new(&ConcurrencySettings::all(1)).unwrap()).await;
    let queue = json!({ "max": 1, "key": "client_ip", "queue": { "length": 1, "timeout": "10s" } });
    keeps(ConcurrencyLimitLayer::new(&from_value(queue).unwrap()).unwrap()).await;
    let one = json!({ "initial": 2, "min": 2, "max": 2 });
    keeps(AdaptiveLimitLayer::new(&from_value(one).unwrap()).unwrap()).await;
    keeps(AdmissionLayer::new(&from_value(json!({})).unwrap()).unwrap()).await;
    let delay = json!({ "delay": { "time": "1ms", "percent": 100 }, "max_active": 1 });
    keeps(FaultLayer::new(&from_value(delay).unwrap()).unwrap()).await;
}

/// Recognises everybody, once it has slept on it.
#[derive(Debug)]
struct Slow;

impl Method for Slow {
    fn check(&self, _: Head<'_>) -> Check {
        Check::Wait(Box::pin(async {
            tokio::task::yield_now().await;
            Verdict::passed(Principal::new("ada", AuthMethod::Jwt, serde_json::Map::new()))
        }))
    }
}

#[tokio::test]
async fn authentication_keeps_it() {
    let jwt = JwtSettings { secret: Some(SECRET.into()), ..JwtSettings::default() };
    keeps(JwtLayer::new(&jwt, Store::memory()).unwrap()).await;
    let slow = AuthLayer::new(vec![Arc::new(Slow)], &AuthPolicy::default());
    keeps(SignedBodyLayer::new(&slow)).await;
    keeps(slow).await;
    keeps(AuthorizeLayer::new(&from_value(json!({ "authenticated": true })).unwrap()).unwrap()).await;
    keeps(
        IdentityHeadersLayer::new(&from_value(json!({ "headers": { "X-User": "sub" } })).unwrap()).unwrap(),
    )
    .await;
    keeps(Assertions::new(&AssertionSettings::default()).unwrap().layer("route", "service")).await;
    keeps(
        OutboundCredentialsLayer::new(&from_value(json!({ "header": { "value": "x" } })).unwrap()).unwrap(),
    )
    .await;
}

#[tokio::test]
async fn transformations_keep_it() {
    let forwarded = from_value(json!({})).unwrap();
    keeps(ClientIpLayer::new(&forwarded)).await;
    keeps(ForwardedLayer::new(&forwarded)).await;
    keeps(CorrelationIdLayer::new(&from_value(json!({})).unwrap()).unwrap()).await;
    keeps(CorsLayer::new(&from_value(json!({})).unwrap()).unwrap()).await;
    keeps(SecurityHeadersLayer::new(&from_value(json!({})).unwrap()).unwrap()).await;
    keeps(HeadersLayer::new(&from_value(json!({})).unwrap()).unwrap()).await;
    keeps(ViaLayer::new(&from_value(json!({})).unwrap()).unwrap()).await;
    keeps(StripPrefixLayer::new("/api").unwrap()).await;
    keeps(RewriteLayer::new(&from_value(json!({ "path": "/x" })).unwrap()).unwrap()).await;
    keeps(RedirectLayer::new(&RedirectSettings::https()).unwrap()).await;
    keeps(MaintenanceLayer::new(&from_value(json!({ "exempt": ["192.0.2.0/24"] })).unwrap()).unwrap()).await;
    keeps(UnderscoreHeadersLayer::new(UnderscoreHeaders::Reject)).await;
    keeps(GrpcWebLayer).await;
    let other = Strict::new(Does::Answer);
    keeps(FallbackLayer::new(&from_value(json!({})).unwrap(), Some(other)).unwrap()).await;
}

#[tokio::test]
async fn observation_keeps_it() {
    let metrics = Metrics::new(prometheus().unwrap().0);
    let labels = RouteLabels { endpoint: "/api/*".into(), service: "shop".into() };
    keeps(ObserveLayer::new(labels, Some(metrics), None)).await;
    keeps(ServerTimingLayer::around_service()).await;
    keeps(ProblemLayer::default()).await;
}

/// A route table in front of one service: it makes ready what a request is for.
#[derive(Clone)]
struct OneRoute;

impl Layer<Strict> for OneRoute {
    type Service = Dispatch<Strict>;

    fn layer(&self, inner: Strict) -> Dispatch<Strict> {
        Dispatch::new(RouteTable::build(vec![(RouteMatch::path("/api/*").unwrap(), inner)]).unwrap())
    }
}

#[tokio::test]
async fn routes_keep_it() {
    keeps_once_ready(OneRoute, 1).await;
}
