//! The service over a real socket.
#![allow(clippy::unwrap_used)]

use example_runner::start;
use gateway_testkit::{Client, Request, get};
use serde_json::json;
use users_example::tasks;

#[test]
fn tasks_belong_to_whom_the_gateway_says() {
    let addr = start(tasks()).unwrap();
    let mut client = Client::new(addr);
    for (user, body, status) in [
        ("ada", json!({ "title": "a letter" }), 201),
        ("eve", json!({ "title": "b" }), 201),
        ("eve", json!({}), 422),
    ] {
        let request = Request::new("POST", "/api/v1/tasks").header("Content-Type", "application/json");
        let answer = client.send(&request.header("request-user-id", user).body(body.to_string()));
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    let answer = client.send(&Request::get("/api/v1/tasks").header("request-user-id", "ada"));
    assert_eq!(answer.json(), json!([{ "id": 1, "user": "ada", "title": "a letter" }]));
    let answer = client.send(&Request::get("/api/v1/tasks/all").header("request-user-id", "root"));
    assert_eq!(answer.json().as_array().unwrap().len(), 2);
    assert_eq!(get(addr, "/api/v1/tasks").status, 401, "not through the gateway");
}
