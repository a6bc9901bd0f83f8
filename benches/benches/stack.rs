//! What a request costs in the whole stack of one worker, with an upstream over loopback. The difference between
//! `bare` and `policies` is what the policies cost.
#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use gateway_benches::{Kind, Stack};
use gateway_testkit::Upstream;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn stack(c: &mut Criterion) {
    let upstream = Upstream::named("hello");
    let mut group = c.benchmark_group("stack");
    for kind in Kind::ALL {
        let stack = Stack::new(kind, &upstream.url());
        group.bench_function(kind.name(), |b| b.iter(|| stack.request()));
    }
}

criterion_group!(benches, stack);
criterion_main!(benches);
