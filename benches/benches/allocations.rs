//! Allocations of each case and of the stack, counted on the thread that does it.

use allocation_counter::measure;
use gateway_benches::{Kind, Stack, cases};
use gateway_testkit::Upstream;

fn row(group: &str, name: &str, run: &mut dyn FnMut()) {
    const TIMES: u32 = 100;
    (0..TIMES).for_each(|_| run()); // until buffers and caches are as they will be
    let seen = measure(|| (0..TIMES).for_each(|_| run()));
    let each = |sum: u64| sum as f64 / f64::from(TIMES);
    println!("{group:14}{name:42}{:>12.2}{:>12.0}", each(seen.count_total), each(seen.bytes_total));
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    println!("{:56}{:>12}{:>12}", "allocations, each time", "count", "bytes");
    let entered = runtime.enter();
    for mut case in cases() {
        row(case.group, &case.name, &mut *case.run);
    }
    drop(entered);
    let upstream = Upstream::named("hello");
    for kind in Kind::ALL {
        let stack = Stack::counted(kind, &upstream.url());
        row("stack", kind.name(), &mut || stack.request());
    }
}
