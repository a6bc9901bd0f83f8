//! The services over real sockets.
#![allow(clippy::unwrap_used)]

use example_runner::start;
use gateway_testkit::{Client, Request, get};
use platform::{service, user_service};
use serde_json::json;

#[test]
fn each_service_says_who_it_is_and_what_it_was_told() {
    let addr = start(service("orders")).unwrap();
    assert_eq!(get(addr, "/health").status, 200);
    let asked = Request::new("DELETE", "/api/v1/orders/7").header("X-User-ID", "ada");
    let answer = Client::new(addr).send(&asked).json();
    assert_eq!(
        answer,
        json!({ "service": "orders", "method": "DELETE", "path": "/api/v1/orders/7", "user": "ada", "roles": null,
                "correlation_id": null })
    );
}

#[test]
fn who_logs_in_is_known_by_the_token() {
    let mut client = Client::new(start(user_service("users")).unwrap());
    let mut login = |name: &str| {
        let body = json!({ "name": name }).to_string();
        let request = Request::new("POST", "/api/v1/auth/login").header("Content-Type", "application/json");
        client.send(&request.body(body))
    };
    assert_eq!(login("mallory").status, 401);
    let token = login("ada").json()["access_token"].as_str().unwrap().to_owned();
    let mut me = |token: &str| {
        let bearer = format!("Bearer {token}");
        client.send(&Request::get("/api/v1/auth/me").header("Authorization", &bearer))
    };
    assert_eq!(me(&token).json(), json!({ "id": "ada", "roles": ["user", "admin"] }));
    assert_eq!(me("made up").status, 401);
}
