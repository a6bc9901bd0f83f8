//! `gateway limits simulate` says whom rate limits would have refused of those that logs tell of.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Finished, Gateway};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

const EXE: &str = env!("CARGO_BIN_EXE_gateway");

/// A configuration with a limit that two routes have and one has not.
fn config(limit: &str) -> String {
    format!(
        "[services.a]\nendpoints = [\"http://127.0.0.1:3002\"]\n[rate_limits]\nspare = \"1/s\"\nlimited = {limit}\n\
         [auth.jwt.shop]\nsecret = \"a secret for tests, 32 bytes long\"\naudience = \"shop\"\n\
         [[routes]]\npath = \"/a/*\"\nservice = \"a\"\nrate_limit = \"limited\"\n\
         [[routes]]\npath = \"/b/*\"\nservice = \"a\"\nrate_limit = \"limited\"\nauth = \"shop\"\n\
         [[routes]]\npath = \"/free/*\"\nservice = \"a\"\n"
    )
}

fn line(second: u64, client: &str, user: Option<&str>, uri: &str, status: u16) -> String {
    let line = json!({
        "time": format!("2024-01-15T10:30:{second:02}.000000000Z"), "client": client, "user": user,
        "method": "GET", "host": "shop.example", "uri": uri, "status": status,
    });
    format!("{line}\n")
}

fn simulate(limit: &str, log: &str, args: &[&str]) -> Finished {
    let builder = Gateway::builder(EXE).config(&config(limit)).file("access.log", log);
    builder.args(&[&["limits", "simulate"], args].concat()).run()
}

/// What is said of the limit.
fn said(limit: &str, log: &str, args: &[&str]) -> (Value, Value) {
    let finished = simulate(limit, log, &[args, &["--limit", "limited", "--format", "json"]].concat());
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{}", finished.stdout);
    let all: Value = serde_json::from_str(&finished.stdout).unwrap();
    (all["limits"][0].clone(), all)
}

/// Five at once, one as the first room is there again, one too early; and somebody else.
fn rush() -> String {
    let mut log: String = (0..5).map(|_| line(0, "192.0.2.1", None, "/a/x?q=1", 200)).collect();
    // Lines are written when requests end, so that earlier ones may come later.
    log += &line(21, "192.0.2.1", None, "/a/y", 200);
    log += &line(20, "192.0.2.1", None, "/b/x", 200);
    log += &line(3, "192.0.2.2", None, "/a/x", 200);
    log + &line(4, "192.0.2.1", None, "/free/x", 200) + "nonsense\n"
}

#[test]
fn the_numbers_are_those_of_the_limits_arithmetic() {
    let many = |count: usize, user: Option<&str>, client: &str| -> String {
        (0..count).map(|_| line(0, client, user, "/a/x", 200)).collect()
    };
    let spaced =
        |status: u16| -> String { (0..6).map(|i| line(i * 10, "192.0.2.1", None, "/a/x", status)).collect() };
    let by_header = r#"{ limit = "3/min", key = { header = "x-tenant" } }"#;
    for (what, limit, log, requests, refused, delayed, exempt, callers) in [
        ("a burst, then evenly", r#""3/min""#, rush(), 8, 3, 0, 0, 2),
        ("two limits at once", r#"{ limit = ["2/s", "3/min"] }"#, rush(), 8, 3, 0, 0, 2),
        ("one every twenty seconds", r#""3/min burst 1""#, spaced(200), 6, 3, 0, 0, 1),
        ("a window", r#"{ limit = "3/min", algorithm = "fixed_window" }"#, spaced(200), 6, 3, 0, 0, 1),
        (
            "a queue",
            r#"{ limit = "60/min", algorithm = "leaky_bucket", max_delay = "2s" }"#,
            rush(),
            8,
            2,
            2,
            0,
            2,
        ),
        ("each request costs two", r#"{ limit = "3/min", cost = 2 }"#, spaced(200), 6, 4, 0, 0, 1),
        (
            "who comes beyond it is held",
            r#"{ limit = "3/min burst 1", penalty = "39s" }"#,
            spaced(200),
            6,
            4,
            0,
            0,
            1,
        ),
        ("successes do not count", r#"{ limit = "3/min", count = "failures" }"#, spaced(200), 6, 0, 0, 0, 1),
        ("failures do", r#"{ limit = "2/min", count = "failures" }"#, spaced(401), 6, 3, 0, 0, 1),
        (
            "users have their own",
            r#""3/min""#,
            many(5, Some("ada"), "192.0.2.1") + &many(3, None, "192.0.2.1"),
            8,
            2,
            0,
            0,
            2,
        ),
        (
            "and another limit",
            r#"{ anonymous = "1/min", authenticated = "4/min" }"#,
            many(5, Some("ada"), "::1") + &many(3, None, "::2"),
            8,
            3,
            0,
            0,
            2,
        ),
        (
            "only some are limited",
            r#"{ anonymous = "1/min" }"#,
            many(5, Some("ada"), "::1") + &many(3, None, "::2"),
            3,
            2,
            0,
            5,
            1,
        ),
        (
            "a network is exempt",
            r#"{ limit = "1/min", exempt = { networks = ["192.0.2.2/32"] } }"#,
            rush(),
            7,
            6,
            0,
            1,
            1,
        ),
        ("all routes together", r#"{ limit = "3/min", key = "all" }"#, rush(), 8, 4, 0, 0, 1),
        (
            "each route by itself",
            r#"{ limit = "3/min", key = ["client_ip", "route"] }"#,
            rush(),
            8,
            2,
            0,
            0,
            3,
        ),
        (
            "a query",
            r#"{ limit = "3/min", key = { query = "q" }, on_missing = "skip" }"#,
            rush(),
            5,
            2,
            0,
            3,
            1,
        ),
        ("what logs do not tell", by_header, rush(), 8, 4, 0, 0, 1),
    ] {
        let (limit, _) = said(limit, &log, &["access.log"]);
        let seen =
            ["requests", "refused", "delayed", "exempt", "callers"].map(|name| limit[name].as_u64().unwrap());
        assert_eq!(seen, [requests, refused, delayed, exempt, callers], "{what}: {limit:#}");
    }
}

#[test]
fn text_tells_who_when_and_how_many() {
    let finished = simulate("\"3/min\"", &rush(), &["--limit", "limited", "access.log"]);
    let expected = "9 requests, of which 1 come to no limit\n\n\
        limited: 3/min\n  3 of 8 requests would be refused, of 1 of 2 callers\n\
        \x20 the first at 2024-01-15T10:30:00.000Z, of ip=192.0.2.1\n\
        \x20 the most in one period of 3/min: 7, of ip=192.0.2.1 from 2024-01-15T10:30:00.000Z\n\
        \x20 refused   of        key\n  3         7         ip=192.0.2.1\n\n\
        1 line was not read\n  access.log:10: `nonsense`: expected `METHOD URL`, a line of JSON with `method` and \
        `uri`, or the common log format\n";
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), expected), "{}", finished.stderr);
}

#[test]
fn echo_and_common_lines_count_as_well_and_lines_without_time_do_not() {
    let log = "{\"time\":\"2024-01-15T11:30:00+01:00\",\"remote_ip\":\"192.0.2.1\",\"host\":\"h\",\"method\":\"GET\",\"uri\":\"/a/1\",\"status\":200}\n\
        192.0.2.1 - - [15/Jan/2024:10:30:01 +0000] \"GET /a/2 HTTP/1.1\" 200 5 \"-\" \"curl\"\n\
        192.0.2.1 - ada [15/Jan/2024:10:30:01 +0000] \"GET /a/2 HTTP/1.1\" 200 5\nGET /a/1\n";
    let (limit, all) = said("\"1/min\"", log, &["access.log"]);
    assert_eq!((&limit["requests"], &limit["refused"], &limit["callers"]), (&json!(3), &json!(1), &json!(2)));
    assert_eq!(all["unread"]["examples"][0]["why"], "expected a line with the time of its request");
}

#[test]
fn a_log_given_twice_counts_twice() {
    let (limit, all) =
        said("\"3/min\"", &line(0, "192.0.2.1", None, "/a/x", 200).repeat(2), &["access.log", "access.log"]);
    assert_eq!((&limit["requests"], &limit["refused"], &all["requests"]), (&json!(4), &json!(1), &json!(4)));
}

#[test]
fn standard_input_is_a_log_too() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("gateway.toml"), config("\"3/min\"")).unwrap();
    let mut child = Command::new(EXE)
        .current_dir(dir.path())
        .args(["limits", "simulate", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(rush().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("limited: 3/min\n  3 of 8 requests would be refused"), "{text}");
    assert!(text.contains("spare: 1/s\n  0 of 0 requests would be refused"), "{text}");
}

#[test]
fn who_was_refused_for_a_token_did_not_come_to_the_limit() {
    for reason in ["missing-credentials", "auth-refused"] {
        let refused = line(0, "192.0.2.1", None, "/b/x", 401)
            .replace("\"status\"", &format!("\"reason\":\"{reason}\",\"status\""));
        let (limit, all) = said("\"3/min\"", &refused.repeat(5), &["access.log"]);
        assert_eq!((&limit["requests"], &all["unauthenticated"]), (&json!(0), &json!(5)), "{reason}");
    }
}

#[test]
fn what_was_answered_before_any_limit_takes_nothing_from_one() {
    let answered = |uri: &str, status: u16, reason: &str| {
        line(0, "192.0.2.1", None, uri, status)
            .replace("\"status\"", &format!("\"reason\":\"{reason}\",\"status\""))
    };
    let log = [
        answered("/a/x", 503, "maintenance"),
        answered("/a/x", 413, "body-too-large"),
        answered("/b/x", 503, "auth-unavailable"),
        // These came to it.
        answered("/a/x", 503, "overloaded"),
        answered("/a/x", 502, "upstream-connect-failed"),
        line(0, "192.0.2.1", None, "/a/x", 503),
    ];
    let failures = r#"{ limit = "3/min", count = "failures", statuses = [413, 502, 503] }"#;
    for (limit, requests, unauthenticated) in [("\"3/min\"", 6, 2), (failures, 8, 0)] {
        let (limit, all) = said(limit, &log.concat().repeat(2), &["access.log"]);
        assert_eq!(
            (&limit["requests"], &limit["refused"]),
            (&json!(requests), &json!(requests - 3)),
            "{all:#}"
        );
        assert_eq!(
            (&all["elsewhere"], &all["unauthenticated"]),
            (&json!(4), &json!(unauthenticated)),
            "{all:#}"
        );
    }
}

#[test]
fn who_was_refused_for_a_token_came_to_a_limit_of_failures() {
    let said_no = |status: u16, reason: &str| {
        line(0, "192.0.2.1", None, "/b/x", status)
            .replace("\"status\"", &format!("\"reason\":\"{reason}\",\"status\""))
    };
    let log = said_no(401, "missing-credentials").repeat(10) + &said_no(429, "rate-limited").repeat(5);
    let guesses = r#"{ limit = "10/min", key = "client_ip", count = "failures" }"#;
    let (limit, all) = said(guesses, &log, &["access.log"]);
    assert_eq!((&limit["requests"], &limit["refused"]), (&json!(15), &json!(5)), "{limit:#}");
    assert_eq!(all["unauthenticated"], json!(0));
}

#[test]
fn what_is_left_out_is_said() {
    let limit = r#"{ limit = "3/min", quota = "10/day", key = ["caller", { claim = "org" }], cost = { header = "x-cost" }, mode = "report", settle = { header = "x-took" } }"#;
    let (limit, _) = said(limit, &rush(), &["access.log"]);
    let notes = limit["notes"].to_string();
    for part in ["the claim `org`, so all count together", "`quota`", "costs", "`settle`", "`report`"] {
        assert!(notes.contains(part), "no {part} in {notes}");
    }
}

#[test]
fn what_cannot_be_simulated_is_named() {
    for (args, code, part) in [
        (
            vec!["--limit", "limted", "access.log"],
            2,
            "there is no rate limit `limted`; did you mean `limited`?",
        ),
        (vec!["nowhere.log"], 1, "nowhere.log cannot be read: No such file"),
        (vec![], 2, "<LOG>"),
    ] {
        let finished = simulate("\"3/min\"", "", &args);
        assert_eq!(finished.code, Some(code), "{}", finished.stderr);
        assert!(finished.stderr.contains(part), "no `{part}` in {}", finished.stderr);
    }
}

#[test]
fn requests_that_are_sent_to_the_normal_path_come_to_no_limit() {
    let log: String =
        ["/a/x/", "/a/x", "/a/x/"].iter().map(|uri| line(1, "192.0.2.1", None, uri, 308)).collect();
    let moving = config(r#""3/min""#) + "[normalize]\ntrailing_slash = \"redirect\"\n";
    let builder = Gateway::builder(EXE).config(&moving).file("access.log", &log);
    let finished = builder.args(&["limits", "simulate", "--limit", "limited", "access.log"]).run();
    assert!(finished.stdout.starts_with("3 requests, of which 2 come to no limit\n"), "{}", finished.stdout);
}
