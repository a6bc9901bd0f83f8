//! `POST /explain` of the admin listener says what `gateway explain` does, by the configuration in force.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Gateway, Upstream, raw};
use serde_json::{Value, json};

const EXE: &str = env!("CARGO_BIN_EXE_gateway");

fn config(service: &str) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:@PORT@\"\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n\
         [services.a]\nendpoints = [\"{service}\"]\n[rate_limits]\nfew = \"2/h\"\n\
         [auth.jwt.shop]\nsecret = \"a secret for tests, 32 bytes long\"\naudience = \"shop\"\n\
         [defaults]\ncorrelation_id = {{ trust_inbound = true }}\n\
         headers = {{ request = {{ set = {{ \"x-key\" = \"${{THE_KEY}}\" }} }} }}\n\
         [[routes]]\npath = \"/a/{{id}}\"\nservice = \"a\"\nrate_limit = \"few\"\n\
         [[routes]]\npath = \"/b/*\"\nservice = \"a\"\nauth = \"shop\"\nmatch = {{ headers = {{ \"x-tenant\" = \"acme\" }} }}\n"
    )
}

/// The status and body of an answer of the admin listener.
fn post(gateway: &Gateway, body: &str) -> (u16, String) {
    let head = "POST /explain HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length";
    let answer = raw(gateway.admin(), format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[test]
fn it_says_what_the_command_says_and_counts_nothing() {
    let upstream = Upstream::named("a");
    let config = config(&upstream.url());
    let gateway = Gateway::builder(EXE).config(&config).env("THE_KEY", "hunter2hunter2").start();
    let asked = json!({
        "method": "GET", "url": "http://shop.example/a/7?q=1", "client": "192.0.2.1",
        "headers": { "x-correlation-id": "c1", "accept": ["a/b", "c/d"] },
    });
    for _ in 0..4 {
        let (status, body) = post(&gateway, &asked.to_string());
        assert_eq!(status, 200, "{body}");
        let said: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&said["outcome"], &said["params"]), (&json!("found"), &json!({ "id": "7" })));
        assert_eq!(said["upstream"]["headers"].to_string().matches("accept").count(), 2, "{body}");
        for secret in ["hunter2", "a secret for tests"] {
            assert!(!body.contains(secret), "{body}");
        }
    }
    assert_eq!(upstream.hits(), 0, "nothing is sent to a service");
    let (_, body) = post(&gateway, &asked.to_string());
    let said = Gateway::builder(EXE).config(&config).env("THE_KEY", "hunter2hunter2");
    let said = said.args(&[
        "explain",
        "GET",
        "http://shop.example/a/7?q=1",
        "--client",
        "192.0.2.1",
        "--format",
        "json",
        "-H",
        "accept: a/b",
        "-H",
        "accept: c/d",
        "-H",
        "x-correlation-id: c1",
    ]);
    assert_eq!(
        serde_json::from_str::<Value>(&said.run().stdout).unwrap(),
        serde_json::from_str::<Value>(&body).unwrap()
    );
    // The limit of two is as it was.
    let status = || {
        raw(gateway.addr(), b"GET /a/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")[9..12].to_owned()
    };
    assert_eq!([status(), status(), status()], ["200", "200", "429"]);
}

#[test]
fn what_no_route_takes_is_explained_too() {
    let gateway = Gateway::builder(EXE).config(&config("http://127.0.0.1:1")).env("THE_KEY", "k").start();
    let (status, body) = post(&gateway, r#"{"method":"GET","url":"/b/1"}"#);
    let said: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &said["outcome"], &said["status"]), (200, &json!("no-route"), &json!(404)));
    assert_eq!(said["candidates"][0]["refusals"][0], "the header `x-tenant` is missing; expected `acme`");
}

#[test]
fn bad_questions_are_told_what_was_expected() {
    let gateway = Gateway::builder(EXE).config(&config("http://127.0.0.1:1")).env("THE_KEY", "k").start();
    for (body, part) in [
        ("", "expected {\\\"method\\\""),
        ("{\"method\":\"GET\"}", "missing field `url`"),
        ("{\"method\":\"get\",\"url\":\"/\"}", "`get` is not a method"),
        ("{\"method\":\"GET\",\"url\":\"ftp://x/\"}", "is not a URL"),
        ("{\"method\":\"GET\",\"url\":\"/\",\"headers\":{\"a b\":\"c\"}}", "is not a header"),
        ("{\"method\":\"GET\",\"url\":\"/\",\"client\":\"home\"}", "expected {\\\"method\\\""),
        ("{\"method\":\"GET\",\"url\":\"/\",\"body\":\"x\"}", "unknown field `body`"),
    ] {
        let (status, answer) = post(&gateway, body);
        assert_eq!(status, 400, "{body}: {answer}");
        assert!(answer.contains(part), "no {part} in {answer}");
    }
    let answer = raw(gateway.admin(), b"GET /explain HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: POST"), "{answer}");
}
