//! How often a request may allocate.
#![allow(clippy::unwrap_used)]

use allocation_counter::measure;
use gateway_benches::{Kind, Stack};
use gateway_testkit::Upstream;

/// Allocations of one request on the worker's thread, its making and the reading of its answer included.
fn per_request(kind: Kind) -> f64 {
    let upstream = Upstream::named("hello");
    let stack = Stack::counted(kind, &upstream.url());
    stack.requests(200);
    // The least of some: a connection that has to be made anew on a busy machine only adds.
    let batches = (0..5).map(|_| measure(|| stack.requests(100)).count_total);
    batches.min().unwrap() as f64 / 100.0
}

/// Whoever needs one more has to raise the number here, and to say in the commit what it is good for.
#[test]
fn a_request_without_policies_allocates_no_more_than_it_did() {
    let seen = per_request(Kind::Bare);
    assert!(seen <= 11.5, "{seen} allocations per request");
}

#[test]
fn a_request_with_all_policies_allocates_no_more_than_it_did() {
    let seen = per_request(Kind::Policies);
    assert!(seen <= 24.5, "{seen} allocations per request");
}
