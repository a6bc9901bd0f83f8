//! What a request costs in the whole stack of one worker, with an upstream over loopback. The difference between
//! `bare` and `all policies` is what the policies cost.
#![allow(missing_docs, clippy::unwrap_used)]

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use gateway_bin::bench::InProcess;
use gateway_core::ClientAddr;
use gateway_testkit::Upstream;
use http::Request;
use http_body_util::{BodyExt, Full};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SECRET: &str = "a secret for benchmarks, 32 bytes";

fn stack(c: &mut Criterion) {
    let upstream = Upstream::named("hello");
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let settings = gateway_auth::JwtSettings { secret: Some(SECRET.into()), ..Default::default() };
    let token =
        gateway_auth::mint(&settings, serde_json::json!({ "sub": "ada", "exp": 4_102_444_800_u64 })).unwrap();
    let bearer = format!("Bearer {token}");
    let log = dir.path().join("access.log");
    let bare = "access_log = false\nmetrics = false\n[defaults]\ncorrelation_id = false\n".to_owned();
    let all = format!("access_log = {log:?}\n[defaults]\ncors = true\nsecurity_headers = true\n");
    let mut group = c.benchmark_group("stack");
    for (name, head, route) in
        [("bare", bare, ""), ("all policies", all, "auth = \"a\"\nrate_limit = \"a\"\n")]
    {
        let config = format!(
            "{head}[services.a]\nendpoints = [\"{}\"]\n[auth.jwt.a]\nsecret = \"{SECRET}\"\n\
             [rate_limits]\na = \"100000000/s\"\n[[routes]]\npath = \"/api/*\"\nstrip = \"/api\"\nservice = \"a\"\n{route}",
            upstream.url()
        );
        let file = dir.path().join("gateway.toml");
        std::fs::write(&file, config).unwrap();
        let edge = InProcess::new(&file).unwrap();
        let client = ClientAddr(([192, 0, 2, 7], 1).into());
        group.bench_function(name, |b| {
            b.to_async(&runtime).iter(|| async {
                let request = Request::get("/api/x")
                    .header("host", "shop.example")
                    .header("authorization", &bearer)
                    .body(Full::<Bytes>::default())
                    .unwrap();
                let response = edge.call(request, client).await;
                assert_eq!(response.status(), 200);
                response.into_body().collect().await.map_err(|_| "no body").unwrap()
            });
        });
    }
}

criterion_group!(benches, stack);
criterion_main!(benches);
