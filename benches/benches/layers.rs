//! What single decisions and layers cost.
#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn layers(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _entered = runtime.enter();
    for mut case in gateway_benches::cases() {
        c.benchmark_group(case.group).bench_function(&case.name, |b| b.iter(|| (case.run)()));
    }
}

criterion_group!(benches, layers);
criterion_main!(benches);
