//! The services over a real socket.
#![allow(clippy::unwrap_used)]

use example_runner::start;
use gateway_testkit::{Client, Request, get};
use microshop::service;
use serde_json::json;

#[test]
fn a_service_says_who_it_is_what_it_was_told_and_what_it_does() {
    let addr = start(service("orders")).unwrap();
    let asked = Request::new("PATCH", "/api/v1/orders/7").header("user_id", "7");
    assert_eq!(
        Client::new(addr).send(&asked).json(),
        json!({ "service": "orders", "method": "PATCH", "path": "/api/v1/orders/7", "user_id": "7", "role": null })
    );
    assert!(get(addr, "/docs").text().contains("<h1>orders</h1>"));
    assert_eq!(get(addr, "/openapi.json").json()["info"]["title"], "orders");
}
