//! `gateway explain --diff` says which logged requests a new configuration treats otherwise.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const OLD: &str = r#"[services.users]
endpoints = ["http://127.0.0.1:3002"]
[services.orders]
endpoints = ["http://127.0.0.1:3005"]
[rate_limits]
browsing = "20/min"
[auth.jwt.shop]
secret = "a secret for tests, 32 bytes long"
audience = "shop"
issuer = "tests"
[[routes]]
path = "/api/*"
service = "users"
[[routes]]
path = "/orders/*"
service = "orders"
rate_limit = "browsing"
[[routes]]
path = "/same/*"
service = "orders"
[[routes]]
path = "/old"
respond = "here"
"#;

/// A route of its own for one user, another limit, and one route gone.
fn new() -> String {
    OLD.replace("20/min", "10/min").replace(
        "[[routes]]\npath = \"/old\"\nrespond = \"here\"\n",
        "[[routes]]\nname = \"one\"\npath = \"/api/users/{id}\"\nservice = \"orders\"\nauth = \"shop\"\n",
    )
}

const REQUESTS: &str = r#"# yesterday
GET /api/users/7
GET /api/users/7?again=1
GET http://shop.example/api/users/8
{"time":"2024-01-15T10:30:00.001Z","id":null,"client":"192.0.2.7","method":"GET","host":"shop.example","uri":"/orders/1","status":200}
{"time":"2024-01-15T11:30:00+01:00","id":"","remote_ip":"192.0.2.7","host":"h:80","method":"POST","uri":"/orders/2","status":200}
192.0.2.7 - - [15/Jan/2024:10:30:00 +0000] "GET /same/1 HTTP/1.0" 200 2326 "-" "curl"
192.0.2.7 - - [15/Jan/2024:10:30:00 +0000] "GET /old HTTP/1.1" 200 2326
GET /nowhere
nonsense
get /api/x
"#;

struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn diff(old: &str, new: &str, requests: &str, args: &[&str]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("old.toml"), old).unwrap();
    std::fs::write(dir.path().join("new.toml"), new).unwrap();
    run_diff(dir.path(), ["old.toml", "new.toml"], requests, args)
}

fn run_diff(dir: &Path, configs: [&str; 2], requests: &str, args: &[&str]) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .current_dir(dir)
        .args(["explain", "--diff"])
        .args(configs)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A gateway that has already said what is wrong reads nothing.
    let _ = child.stdin.take().unwrap().write_all(requests.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn requests_that_change_are_grouped_by_how() {
    let expected = r#"6 of 8 requests change, in 3 ways

3 requests: /api/* (old.toml:11:1) → /api/users/{id} named `one` (new.toml:21:1)
  service    "users" → "orders"
  endpoints  ["http://127.0.0.1:3002"] → ["http://127.0.0.1:3005"]
  auth       none → "shop" = { audience = "shop", issuer = "tests" }
  such as GET /api/users/7

2 requests, still to /orders/*
  rate_limit  "browsing" = "20/min" → "browsing" = "10/min"
  such as GET /orders/1 at shop.example from 192.0.2.7

1 request: /old (old.toml:21:1) → no-route
  such as GET /old from 192.0.2.7

2 lines were not read, such as
  line 10: `nonsense`: expected `METHOD URL`, a line of JSON with `method` and `uri`, or the common log format
  line 11: `get /api/x`: expected `METHOD URL`, a line of JSON with `method` and `uri`, or the common log format
"#;
    let run = diff(OLD, &new(), REQUESTS, &[]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""), "{}", run.stdout);
    assert_eq!(run.stdout, expected);
}

#[test]
fn options_that_the_gateway_answers_itself_are_not_called_refused() {
    let any = "[[routes]]\npath = \"/x\"\nrespond = \"x\"\n";
    let get = any.to_owned() + "methods = [\"GET\"]\n";
    let run = diff(any, &get, "OPTIONS /x\nOPTIONS *\nPOST /x\n", &[]);
    let expected = "2 of 3 requests change, in 2 ways\n\n\
        1 request: /x (old.toml:1:1) → options\n  such as OPTIONS /x\n\n\
        1 request: /x (old.toml:1:1) → method-not-allowed\n  such as POST /x\n";
    assert_eq!((run.code, run.stderr.as_str(), run.stdout.as_str()), (Some(1), "", expected));
}

/// Two configurations in folders of their own, each with these files beside it; paths in them are relative to their
/// common parent.
fn diff_files(config: impl Fn(&str) -> String, files: &[(&str, &str, &str)], requests: &str) -> Run {
    let dir = tempfile::tempdir().unwrap();
    for side in ["old", "new"] {
        std::fs::create_dir(dir.path().join(side)).unwrap();
        std::fs::write(dir.path().join(side).join("gateway.toml"), config(side)).unwrap();
    }
    for (name, old, new) in files {
        std::fs::write(dir.path().join("old").join(name), old).unwrap();
        std::fs::write(dir.path().join("new").join(name), new).unwrap();
    }
    run_diff(dir.path(), ["old/gateway.toml", "new/gateway.toml"], requests, &[])
}

#[test]
fn a_file_that_a_policy_names_shows_where_it_says_something_else_but_not_what() {
    let config = |side: &str| {
        format!(
            "[services.a]\nendpoints = [\"http://127.0.0.1:1\"]\n\
             [auth.basic.staff]\nfile = \"{side}/staff\"\n\
             [auth.jwt.shop]\njwks_file = \"{side}/jwks.json\"\nkeys = [{{ secret_file = \"{side}/secret\" }}]\n\
             [[routes]]\npath = \"/staff\"\nservice = \"a\"\nauth = \"staff\"\n\
             [[routes]]\npath = \"/shop\"\nservice = \"a\"\nauth = [\"shop\"]\n\
             [[routes]]\npath = \"/page\"\nrespond = {{ file = \"{side}/page.txt\" }}\n\
             [[routes]]\npath = \"/open\"\nservice = \"a\"\n"
        )
    };
    let hash = "$2y$05$abcdefghijklmnopqrstuuLfp3LW8fGqOBFUPUrN8qRSbmkNvQdHC";
    let (ada, both) = (format!("ada:{hash}\n"), format!("ada:{hash}\nbob:{hash}\n"));
    let jwks = r#"{"keys":[{"kty":"oct","kid":"1","alg":"HS256","k":"YSBzZWNyZXQgZm9yIHRlc3RzLCAzMiBieXRlcyBsb25n"}]}"#;
    let files = [
        ("staff", ada.as_str(), both.as_str()),
        ("jwks.json", jwks, jwks),
        ("secret", "a secret for tests, 32 bytes long\n", "another secret, 32 bytes long too\n"),
        ("page.txt", "one\ntwo\n", "two\none\n"),
    ];
    let run = diff_files(config, &files, "GET /staff\nGET /shop\nGET /page\nGET /open\n");
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""), "{}", run.stdout);
    assert!(run.stdout.starts_with("3 of 4 requests change, in 3 ways\n"), "{}", run.stdout);
    let file = |name: &str, counts: [(usize, usize); 2]| {
        let shown = |side: &str, (lines, only_here): (usize, usize)| {
            format!("{{ lines = {lines}, name = \"{side}/{name}\", only_here = {only_here} }}")
        };
        format!(" file  {} → {}\n", shown("old", counts[0]), shown("new", counts[1]))
    };
    for expected in [
        "auth".to_owned() + &file("staff", [(1, 0), (2, 1)]),
        "auth".to_owned() + &file("secret", [(1, 1), (1, 1)]),
        "respond".to_owned() + &file("page.txt", [(2, 0), (2, 0)]),
    ] {
        assert!(run.stdout.contains(&expected), "no {expected} in {}", run.stdout);
    }
    assert_eq!(run.stdout.matches(" file  {").count(), 3, "the key set is the same: {}", run.stdout);
    assert!(!run.stdout.contains("another") && !run.stdout.contains("bob"), "{}", run.stdout);
}

#[test]
fn programs_get_the_same_as_json() {
    let run = diff(OLD, &new(), REQUESTS, &["--format", "json"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let said: Value = serde_json::from_str(&run.stdout).unwrap();
    let counts = [&said["requests"], &said["distinct"], &said["changed"], &said["unread"]["lines"]];
    assert_eq!(counts, [8, 7, 6, 2], "the query does not tell requests apart where no route looks at it");
    assert_eq!(said["changes"][1]["routes"], json!(["/orders/*"]));
    assert_eq!(said["changes"][2]["to"]["outcome"], "no-route");
    assert!(!run.stdout.contains("a secret for tests"), "{}", run.stdout);
}

#[test]
fn nothing_that_changes_ends_with_0_and_a_mistake_with_2() {
    let run = diff(OLD, OLD, REQUESTS, &[]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.starts_with("None of 8 requests changes\n"), "{}", run.stdout);
    let run = diff(OLD, &OLD.replace("service = \"users\"", "service = \"user\""), REQUESTS, &[]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    assert!(run.stderr.contains("there is no service `user`"), "{}", run.stderr);
    assert!(run.stderr.contains("new.toml:13"), "{}", run.stderr);
    let run = diff(OLD, OLD, "", &["GET", "/"]);
    assert_eq!(run.code, Some(2), "one request and many at once: {}", run.stdout);
}

#[test]
fn query_and_client_tell_requests_apart_where_routes_look_at_them() {
    let by_query = OLD.to_owned()
        + "[[routes]]\npath = \"/same/*\"\nservice = \"users\"\nmatch = { query = { v = \"2\" } }\n\
           [[routes]]\npath = \"/same/*\"\nservice = \"users\"\nmatch = { clients = [\"192.0.2.0/24\"] }\n\
           [[routes]]\npath = \"/same/*\"\nservice = \"users\"\nmatch = { headers = { x-a = true } }\n";
    let requests = "GET /same/1?v=1\nGET /same/1?v=2\nGET /same/1?v=2&a\n\
        {\"method\":\"GET\",\"uri\":\"/same/1\",\"client\":\"192.0.2.1\"}\n\
        {\"method\":\"GET\",\"uri\":\"/same/1\",\"client\":\"192.0.3.1\"}\n";
    let run = diff(OLD, &by_query, requests, &[]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stdout.starts_with("3 of 5 requests change, all in the same way\n"), "{}", run.stdout);
    assert!(
        run.stdout.contains("\n1 route looks at headers or cookies, which logs do not tell"),
        "{}",
        run.stdout
    );
}

#[test]
fn what_changes_on_the_way_to_a_service_and_before_a_route_is_told() {
    let services = |service: &str| {
        OLD.replace("[\"http://127.0.0.1:3002\"]", &format!("[\"http://127.0.0.1:3002\"]\n{service}"))
    };
    for (new, told) in [
        (services("outbound = \"remove\""), "outbound  none → \"remove\""),
        (services("connection = { host = \"endpoint\" }"), "connection  none → { host = \"endpoint\" }"),
        (services("assertion = true") + "[assertion]\n", "assertion  none → true"),
        (
            OLD.replace(
                "\"http://127.0.0.1:3002\"",
                "{ url = \"http://127.0.0.1:3002\", weight = 5, priority = 1 }",
            ),
            "endpoints  [\"http://127.0.0.1:3002\"] → \
             [{ priority = 1, url = \"http://127.0.0.1:3002\", weight = 5 }]",
        ),
        (
            OLD.to_owned() + "[normalize]\ntrailing_slash = \"strip\"\n",
            "normalize  {} → { trailing_slash = \"strip\" }",
        ),
    ] {
        let run = diff(OLD, &new, "GET /api/x/\n", &[]);
        assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""), "{}\nfor\n{new}", run.stdout);
        assert!(run.stdout.contains(&format!("still to /api/*\n  {told}\n")), "no {told} in {}", run.stdout);
    }
    let new = OLD.to_owned() + "[normalize]\ntrailing_slash = \"redirect\"\n";
    let run = diff(OLD, &new, "GET /api/x/\nGET /api/x\nGET /nowhere/\n", &[]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let expected = "1 of 3 requests change, all in the same way\n\n1 request: /api/* (old.toml:11:1) → moved\n  \
        normalize  {} → { trailing_slash = \"redirect\" }\n  such as GET /api/x/\n";
    assert_eq!(run.stdout.as_str(), expected);

    let listed = OLD.replace("rate_limit = \"browsing\"", "rate_limit = [\"browsing\", \"more\"]")
        + "[rate_limits.more]\nlimit = \"9/s\"\n";
    let run = diff(&listed, &listed.replace("20/min", "10/min"), "GET /orders/1\n", &[]);
    assert_eq!(run.code, Some(1), "one of several limits says something else: {}", run.stdout);
}

#[test]
fn lines_of_which_none_can_be_read_end_with_2() {
    let run = diff(OLD, OLD, "nonsense\nmore\n", &[]);
    assert_eq!(run.code, Some(2), "{}", run.stdout);
    assert!(run.stdout.contains("No requests were read") && run.stdout.contains("2 lines were not read"));
    assert_eq!(diff(OLD, OLD, "nonsense\nGET /api/x\n", &[]).code, Some(0));
    assert_eq!(diff(OLD, OLD, "", &[]).code, Some(0), "there was nothing to read");
}
