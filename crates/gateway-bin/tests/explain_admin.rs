//! `POST /explain` of the admin listener says what `gateway explain` does, by the configuration in force.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Gateway, Reply, Upstream, raw};
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
    let mut live: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(live["counted"], json!([{ "limit": "few", "key": "ip=192.0.2.1", "left": 2 }]));
    live["counted"][0].as_object_mut().unwrap().remove("left");
    let said: Value = serde_json::from_str(&said.run().stdout).unwrap();
    assert_eq!(said, live, "only a running gateway knows what is left");
    // The limit of two is as it was.
    let status = || {
        raw(gateway.addr(), b"GET /a/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")[9..12].to_owned()
    };
    assert_eq!([status(), status(), status()], ["200", "200", "429"]);
    let (_, body) = post(&gateway, r#"{"method":"GET","url":"/a/7"}"#);
    let said: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(said["counted"][0]["left"], 0, "{body}");
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

#[test]
fn what_is_cached_stays_so_when_a_request_is_explained_that_would_change_it() {
    let upstream = Upstream::start(|_| Reply::with(200, &[("cache-control", "max-age=60")], "a"));
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:@PORT@\"\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n\
         [services.a]\nendpoints = [\"{}\"]\n[[routes]]\npath = \"/a\"\nmethods = [\"GET\"]\nservice = \"a\"\ncache = true\n\
         [[routes]]\npath = \"/a\"\nmethods = [\"POST\"]\nservice = \"a\"\n",
        upstream.url()
    );
    let gateway = Gateway::builder(EXE).config(&config).start();
    let get = || raw(gateway.addr(), b"GET /a HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n");
    get();
    assert!(get().contains("hit"), "it is cached");
    let (status, body) = post(&gateway, r#"{"method":"POST","url":"http://shop.example/a"}"#);
    assert_eq!(status, 200, "{body}");
    assert!(get().contains("hit"), "and stays so");
}

#[test]
fn routes_are_listed_in_the_order_they_are_tried_with_all_that_tells_them_apart() {
    let config = "[server]\nlisten = \"127.0.0.1:@PORT@\"\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n\
        [services.a]\nendpoints = [\"http://127.0.0.1:1\"]\n\
        [[routes]]\nname = \"any\"\npath = \"/api/*\"\nservice = \"a\"\n\
        [[routes]]\nname = \"first\"\npath = \"/*\"\nservice = \"a\"\npriority = 5\nmatch = { headers = { x-key = \"${THE_KEY}\" } }\n\
        [[routes]]\nname = \"v2\"\npath = \"/api/*\"\nservice = \"a\"\ncase_sensitive = false\n\
        match = { query = { v = { at_least = 2 } }, clients = [\"10.0.0.0/8\"] }\n\
        [[routes]]\nname = \"host\"\npath = \"/*\"\nhosts = [\"shop.example\"]\nservice = \"a\"\n";
    let builder = || Gateway::builder(EXE).config(config).env("THE_KEY", "hunter2hunter2");
    let gateway = builder().start();
    let listed = raw(gateway.admin(), b"GET /routes HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let rows: Value = serde_json::from_str(listed.split_once("\r\n\r\n").unwrap().1).unwrap();
    let of = |key: &str| rows.as_array().unwrap().iter().map(|row| row[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("name"), ["first", "host", "v2", "any"]);
    assert_eq!(of("priority"), [5, 0, 0, 0]);
    assert_eq!(of("case_sensitive"), [true, true, false, true]);
    assert_eq!(of("match")[2], json!({ "query": { "v": { "at_least": 2 } }, "clients": ["10.0.0.0/8"] }));
    assert_eq!(of("match")[0], json!({ "headers": { "x-key": "${THE_KEY}" } }), "it may be a secret");
    let text = builder().args(&["routes"]).run().stdout;
    for (row, conditions) in [
        (1, r#"correlation-id  priority 5, headers { x-key = "${THE_KEY}" }"#),
        (3, r#"correlation-id  any case, "#),
        (3, r#"query { v = { at_least = 2 } }"#),
        (3, r#"clients ["10.0.0.0/8"]"#),
    ] {
        let line = text.lines().nth(row).unwrap();
        assert!(line.contains(conditions), "no {conditions} in {line}");
    }
    assert!(text.lines().nth(4).unwrap().ends_with("correlation-id"), "{text}");
}
