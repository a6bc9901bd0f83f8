//! One look-up in tables of more and more routes: the cost must not grow with them.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use gateway_routing::{HeaderMatch, Match, RouteMatch, RouteTable};
use http::{HeaderName, Request};
use std::hint::black_box;

/// What routes look at.
const KINDS: [(&str, &str, bool); 4] = [
    ("literal", "/r{}/*", false),
    ("deep", "/api/v1/r{}/items", false),
    ("params", "/api/v1/r{}/items/{id}", false),
    ("conditions", "/r{}/*", true),
];

/// So many routes, of which requests ask for ever other ones.
fn look_ups(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("find");
    let tenant = HeaderName::from_static("x-tenant");
    for count in [10usize, 1_000, 10_000, 50_000] {
        for (name, pattern, conditions) in KINDS {
            let at = |i: usize| pattern.replacen("{}", &i.to_string(), 1);
            let route = |i: usize| {
                let mut route = RouteMatch::path(&at(i)).ok()?;
                if conditions {
                    route.headers.push(HeaderMatch::exact(tenant.clone(), "acme"));
                }
                Some((route, i))
            };
            let Ok(table) = RouteTable::build((0..count).filter_map(route).collect()) else { continue };
            let asked: Vec<Request<()>> = (0..64)
                .filter_map(|i| {
                    let path = at(i * 7919 % count).replace("{id}", "7").replace('*', "x");
                    let request = Request::get(path).header("host", "shop.example");
                    request.header(&tenant, "acme").body(()).ok()
                })
                .collect();
            let mut next = asked.iter().cycle();
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    let Some(request) = next.next() else { return 0 };
                    match table.find(black_box(request)) {
                        Match::Found(found) => *found.route,
                        _ => 0,
                    }
                });
            });
        }
    }
    group.finish();
}

/// One route with an expression: `--features cel`.
#[cfg(feature = "cel")]
fn expressions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("when");
    for (name, when) in [
        ("method", "request.method == 'GET'"),
        ("header", "request.headers['x-tenant'] == 'acme' && request.method in ['GET', 'HEAD']"),
        ("matches", "request.path.matches('^/r[0-9]+/')"),
        ("loop", "request.headers.exists(name, name.startsWith('x-') && request.headers[name] == 'acme')"),
        ("fails", "request.headers['x-plan'] == 'gold'"),
    ] {
        let (Ok(when), Ok(any)) = (when.parse(), RouteMatch::path("/*")) else { continue };
        let route = RouteMatch { when: Some(when), ..any };
        let request =
            Request::get("/r1/x").header("host", "shop.example").header("x-tenant", "acme").body(());
        let (Ok(table), Ok(request)) = (RouteTable::build(vec![(route, 0)]), request) else { continue };
        group.bench_function(name, |bencher| {
            bencher.iter(|| matches!(table.find(black_box(&request)), Match::Found(_)));
        });
    }
    group.finish();
}

#[cfg(not(feature = "cel"))]
fn expressions(_: &mut Criterion) {}

criterion_group!(benches, look_ups, expressions);
criterion_main!(benches);
