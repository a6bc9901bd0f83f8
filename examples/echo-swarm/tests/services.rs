//! The services over real sockets.
#![allow(clippy::unwrap_used)]

use echo_swarm::{Kind, bind};
use gateway_testkit::{Client, Request, get};
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Serves on a thread of its own until the test's process ends.
fn start(kind: Kind, name: &str, file: &Path) -> SocketAddr {
    let (name, file) = (name.to_owned(), file.to_owned());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let service = bind(kind, &name, "127.0.0.1:0".parse().unwrap(), &file).await.unwrap();
            tell.send(service.addr()).unwrap();
            service.run(std::future::pending()).await.unwrap();
        });
    });
    told.recv().unwrap()
}

#[test]
fn s3_27_each_kind_creates_reads_updates_and_deletes() {
    let dir = tempfile::tempdir().unwrap();
    let order = json!({ "UserID": 1, "ProductID": 2, "Quantity": 3, "TotalPrice": 30.3, "Status": "new" });
    for (kind, row, changed) in [
        (Kind::Users, json!({ "Name": "Eve", "Email": "eve@x" }), json!({ "Name": "Eva", "Email": "eve@x" })),
        (Kind::Products, json!({ "Name": "Pen", "Price": 1.25 }), json!({ "Name": "Pen", "Price": 0.1 })),
        (Kind::Checkout, order.clone(), {
            let mut paid = order;
            paid["Status"] = "paid".into();
            paid
        }),
    ] {
        let addr = start(kind, "x", &dir.path().join(kind.name()));
        let mut client = Client::new(addr);
        let seeded = client.send(&Request::get("/")).json().as_array().unwrap().len();
        assert!(seeded > 0, "{kind:?} has no seed");
        let made = client.send(&Request::new("POST", "/").body(row.to_string()));
        assert_eq!((made.status, made.header("x-instance")), (201, Some("x")));
        let place = made.header("location").unwrap().to_owned();
        let expected = |row: &serde_json::Value| {
            let mut row = row.clone();
            row["ID"] = place[1..].parse::<i64>().unwrap().into();
            row
        };
        assert_eq!(client.send(&Request::get(&place)).json(), expected(&row));
        assert_eq!(
            client.send(&Request::new("PUT", &place).body(changed.to_string())).json(),
            expected(&changed)
        );
        assert_eq!(client.send(&Request::new("DELETE", &place)).status, 204);
        assert_eq!(client.send(&Request::get(&place)).status, 404);
        assert_eq!(client.send(&Request::new("DELETE", &place)).status, 404);
    }
}

#[test]
fn bad_bodies_are_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let addr = start(Kind::Products, "x", &dir.path().join("products"));
    for (body, part) in [
        ("{", "no JSON"),
        ("[]", "not a JSON object"),
        (r#"{"Name": "Pen"}"#, "`Price` is missing"),
        (r#"{"Name": 1, "Price": 1}"#, "`Name` is 1; expected a text"),
        (r#"{"Name": "Pen", "Price": -1}"#, "expected an amount"),
        (r#"{"Name": "Pen", "Price": 1, "Colour": "red"}"#, "no field `Colour`"),
    ] {
        let answer = Client::new(addr).send(&Request::new("POST", "/").body(body));
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.text().contains(part), "{body}: {}", answer.text());
    }
    assert_eq!(get(addr, "/no/such/place").status, 404);
}

#[test]
fn two_instances_share_a_file_and_are_seeded_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    let (a, b) = (start(Kind::Users, "a", &file), start(Kind::Users, "b", &file));
    assert_eq!(get(a, "/").json(), get(b, "/").json());
    assert_eq!(get(a, "/").json().as_array().unwrap().len(), 3);
    let row = json!({ "Name": "Eve", "Email": "eve@x" }).to_string();
    let made = Client::new(a).send(&Request::new("POST", "/").body(row));
    let seen = get(b, made.header("location").unwrap());
    assert_eq!((seen.status, seen.header("x-instance")), (200, Some("b")));
}

#[test]
fn health_slow_and_inspect_answer_with_the_name_of_the_instance() {
    let dir = tempfile::tempdir().unwrap();
    let addr = start(Kind::Users, "user-service-1", &dir.path().join("users"));
    assert_eq!(get(addr, "/health").json(), json!({ "status": "ok" }));
    let before = Instant::now();
    assert_eq!(get(addr, "/slow?ms=50").json(), json!({ "waited_ms": 50 }));
    assert!(before.elapsed() >= Duration::from_millis(50), "it answered after {:?}", before.elapsed());
    let request = Request::new("PATCH", "/inspect?q=1").header("X-A", "1").header("X-A", "2").body("hello");
    let seen = Client::new(addr).send(&request);
    assert_eq!((seen.status, seen.header("x-instance")), (200, Some("user-service-1")));
    let seen = seen.json();
    assert_eq!(
        (&seen["method"], &seen["target"], &seen["body"]),
        (&json!("PATCH"), &json!("/inspect?q=1"), &json!("hello"))
    );
    let headers = seen["headers"].as_array().unwrap();
    let repeated: Vec<_> = headers.iter().filter(|header| header[0] == "x-a").collect();
    assert_eq!(repeated, [&json!(["x-a", "1"]), &json!(["x-a", "2"])]);
}

#[test]
fn what_is_refused_is_json_with_a_message_and_the_name_of_the_instance() {
    let dir = tempfile::tempdir().unwrap();
    let addr = start(Kind::Products, "x", &dir.path().join("products"));
    for (path, status, part) in [
        ("/99", 404, "there is no 99"),
        ("/pen", 404, "there is no pen"),
        ("/no/such/place", 404, "there is nothing here"),
        ("/%ff", 400, "Invalid UTF-8"),
        ("/slow?ms=long", 400, "`ms` is `long`; expected a whole number"),
    ] {
        let answer = get(addr, path);
        assert_eq!((answer.status, answer.header("x-instance")), (status, Some("x")), "{path}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(part), "{path}: {message}");
    }
}

#[test]
fn instances_that_open_a_new_file_at_once_seed_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    let starting: Vec<_> = (0..4)
        .map(|_| {
            let file = file.clone();
            std::thread::spawn(move || start(Kind::Users, "x", &file))
        })
        .collect();
    for thread in starting {
        assert_eq!(get(thread.join().unwrap(), "/").json().as_array().unwrap().len(), 3);
    }
}
