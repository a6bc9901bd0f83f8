//! What a decision by policies in Cedar costs: `cargo bench -p gateway-benches --features cedar --bench cedar`.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use gateway_auth::{Cedar, CedarSettings, Head};
use gateway_core::{AuthMethod, ClientAddr, Principal};
use http::Request;
use serde_json::json;
use std::fmt::Write;
use std::hint::black_box;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SCHEMA: &str = "
entity User { id: String, method: String, roles: Set<String>, scopes: Set<String> };
entity Route { path: String, service: String, host: String };
action GET appliesTo { principal: User, resource: Route, context: { ip?: ipaddr, time: Long, headers: {} } };
";

/// Each policy is for another role on one of ten routes; the caller has the last.
fn decision(c: &mut Criterion) {
    let mut group = c.benchmark_group("cedar decision");
    for count in [1, 10, 100] {
        let dir = tempfile::tempdir().unwrap();
        let (schema, policies) = (dir.path().join("s.cedarschema"), dir.path().join("p.cedar"));
        let mut text = String::new();
        for i in 1..=count {
            let route = (count - i) % 10;
            writeln!(
                text,
                "permit(principal, action == Action::\"GET\", resource == Route::\"r{route}\") when {{ principal.roles.contains(\"role{i}\") }};"
            )
            .unwrap();
        }
        std::fs::write(&schema, SCHEMA).unwrap();
        std::fs::write(&policies, text).unwrap();
        let cedar =
            Cedar::load(&CedarSettings { policies: vec![policies], schema, ..Default::default() }).unwrap();
        let layer = cedar.layer("r0", "orders");
        let claims =
            json!({ "roles": [format!("role{count}"), "customer"], "scope": "orders:read orders:write" });
        let caller = Principal::new("ada", AuthMethod::Jwt, claims.as_object().unwrap().clone());
        let mut request = Request::get("/orders/42").header("host", "shop.example").body(()).unwrap();
        request.extensions_mut().insert(ClientAddr("192.0.2.7:4711".parse().unwrap()));
        assert!(layer.decide(Some(&caller), Head::of(&request)).allowed);
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| black_box(layer.decide(Some(&caller), Head::of(black_box(&request)))));
        });
    }
}

criterion_group!(benches, decision);
criterion_main!(benches);
