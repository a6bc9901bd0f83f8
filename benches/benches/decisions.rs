//! What single decisions cost.
#![allow(missing_docs, clippy::unwrap_used)]

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use gateway_auth::{JwtLayer, JwtSettings, mint};
use gateway_balance::{EndpointSet, Strategy};
use gateway_core::{ClientAddr, Endpoint};
use gateway_ratelimit::{RateLimitLayer, RateLimitSettings};
use gateway_routing::{RouteMatch, RouteTable};
use gateway_store::Store;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::Full;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll, Waker};
use tower::{Layer, Service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn route_match(c: &mut Criterion) {
    let mut group = c.benchmark_group("route match");
    for count in [10, 1_000, 10_000] {
        let routes = (0..count).map(|i| (RouteMatch::path(&format!("/api/service-{i}/*")).unwrap(), i));
        let table = RouteTable::build(routes.collect()).unwrap();
        let path = format!("/api/service-{}/items/42", count / 2);
        let headers = HeaderMap::new();
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| black_box(table.look_up(&Method::GET, "shop.example", black_box(&path), &headers)));
        });
    }
}

fn pick(c: &mut Criterion) {
    let mut group = c.benchmark_group("balance pick");
    for strategy in [Strategy::RoundRobin, Strategy::Random, Strategy::LeastRequest] {
        let endpoints = (0..8).map(|i| Endpoint::parse(&format!("http://127.0.0.1:{}", 3000 + i)).unwrap());
        let set = EndpointSet::new("bench", endpoints.collect(), strategy);
        group.bench_function(format!("{strategy:?}"), |b| b.iter(|| black_box(set.pick_endpoint())));
    }
}

/// A service that answers at once, so that only the layer is measured.
#[derive(Clone)]
struct Answer;

impl Service<Request<()>> for Answer {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(Full::default())))
    }
}

fn call<S: Service<Request<()>>>(service: &mut S, request: Request<()>) {
    let mut future = Box::pin(service.call(request));
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
}

fn token(c: &mut Criterion) {
    let mut group = c.benchmark_group("token");
    for (name, entries) in [("fresh (HS256)", 0), ("remembered", 1000)] {
        let settings = JwtSettings {
            secret: Some("a secret for benchmarks, 32 bytes".into()),
            cache_entries: Some(entries),
            ..JwtSettings::default()
        };
        let token = mint(&settings, serde_json::json!({ "sub": "ada", "exp": 4_102_444_800_u64 })).unwrap();
        let mut service = JwtLayer::new(&settings, Store::memory()).unwrap().layer(Answer);
        let bearer = format!("Bearer {token}");
        group.bench_function(name, |b| {
            b.iter(|| {
                call(&mut service, Request::get("/").header("authorization", &bearer).body(()).unwrap())
            });
        });
    }
}

fn limit(c: &mut Criterion) {
    let settings =
        RateLimitSettings { headers: false, ..RateLimitSettings::all("1000000/s".parse().unwrap()) };
    let mut service = RateLimitLayer::new("bench", &settings).unwrap().layer(Answer);
    let mut next = 0u32;
    c.bench_function("limiter decision, 10 000 clients", |b| {
        b.iter(|| {
            next = (next + 1) % 10_000;
            let mut request = Request::new(());
            request.extensions_mut().insert(ClientAddr((std::net::Ipv4Addr::from(next), 1).into()));
            call(&mut service, request);
        });
    });
}

criterion_group!(decisions, route_match, pick, token, limit);
criterion_main!(decisions);
