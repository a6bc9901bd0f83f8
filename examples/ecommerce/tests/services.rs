//! The services over real sockets.
#![allow(clippy::unwrap_used)]

use ecommerce::{chat, orders, products};
use example_runner::start;
use gateway_testkit::{Client, Frame, Opcode, Request, WebSocket, get};
use serde_json::json;

fn send(
    client: &mut Client,
    method: &str,
    path: &str,
    user: &str,
    body: &serde_json::Value,
) -> (u16, String) {
    let mut request = Request::new(method, path).header("X-User-ID", user);
    if !body.is_null() {
        request = request.header("Content-Type", "application/json").body(body.to_string());
    }
    let answer = client.send(&request);
    (answer.status, answer.text())
}

#[test]
fn products_are_everybodys_and_orders_their_owners() {
    for (service, path, others) in [(products(), "/api/products", 200), (orders(), "/api/orders", 404)] {
        let mut client = Client::new(start(service).unwrap());
        let nothing = json!(null);
        let (status, row) = send(&mut client, "POST", path, "ada", &json!({ "name": "Pen" }));
        let row: serde_json::Value = serde_json::from_str(&row).unwrap();
        assert_eq!((status, &row["name"]), (201, &json!("Pen")));
        let one = format!("{path}/{}", row["id"]);
        assert_eq!(send(&mut client, "GET", &one, "ada", &nothing), (200, row.to_string()));
        assert_eq!(send(&mut client, "GET", &one, "eve", &nothing).0, others, "{path}");
        assert_eq!(send(&mut client, "PUT", &one, "ada", &json!({ "name": "Ink" })).0, 200);
        assert!(send(&mut client, "GET", path, "ada", &nothing).1.contains("Ink"));
        assert_eq!(send(&mut client, "PUT", &one, "ada", &json!(["no object"])).0, 400);
        assert_eq!(send(&mut client, "DELETE", &one, "ada", &nothing).0, 204);
        assert_eq!(send(&mut client, "DELETE", &one, "ada", &nothing).0, 404);
    }
}

#[test]
fn what_anybody_says_in_the_chat_everybody_hears() {
    let addr = start(chat()).unwrap();
    let (mut ada, mut eve) =
        (WebSocket::open(addr, "/api/chat").unwrap(), WebSocket::open(addr, "/api/chat").unwrap());
    // Whoever hears themselves is in the room.
    for person in [&mut ada, &mut eve] {
        person.send(&Frame::new(Opcode::Text, "here")).unwrap();
    }
    let hello = Frame::new(Opcode::Text, "hello");
    let hears = |person: &mut WebSocket, what: &Frame| {
        while person.receive().unwrap() != *what {}
    };
    hears(&mut ada, &Frame::new(Opcode::Text, "here"));
    hears(&mut eve, &Frame::new(Opcode::Text, "here"));
    ada.send(&hello).unwrap();
    hears(&mut eve, &hello);
    hears(&mut ada, &hello);
}

#[test]
fn a_text_comes_as_events_of_one_word() {
    let answer = get(start(chat()).unwrap(), "/api/generate?prompt=tea");
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert!(
        answer.text().starts_with("data: You\n\ndata: asked\n\ndata: about\n\ndata: tea\n\n"),
        "{}",
        answer.text()
    );
}
