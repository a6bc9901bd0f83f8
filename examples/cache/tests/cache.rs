//! The cache's example through the compiled binary.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Client, Gateway, Recorded, Reply, Request, Upstream, get};
use std::path::Path;
use std::process::Command;

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const EXAMPLE: &str = include_str!("../gateway.toml");

#[test]
fn the_example_is_accepted_as_it_stands() {
    let checked = Gateway::builder(EXE).config(EXAMPLE).args(&["check", "--config", "gateway.toml"]).run();
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
    assert_eq!(checked.stderr, "", "without a warning");
    assert!(EXAMPLE.contains("\"127.0.0.1:8002\"") && EXAMPLE.contains("\"http://127.0.0.1:8000\""));
}

#[test]
fn it_caches_and_leaves_everything_else_alone() {
    let origin = Upstream::start(|request: &Recorded| {
        let fresh = if request.target == "/kept" { "max-age=60" } else { "no-store" };
        Reply::with(200, &[("Cache-Control", fresh), ("X-Origin", "a"), ("X-Origin", "b")], "body")
    });
    let config =
        EXAMPLE.replace("127.0.0.1:8002", "127.0.0.1:@PORT@").replace("http://127.0.0.1:8000", &origin.url());
    let gateway = Gateway::builder(EXE).config(&config).start();
    for (path, hits) in [("/kept", 1), ("/not", 2)] {
        let before = origin.hits();
        for _ in 0..2 {
            let answer = get(gateway.addr(), path);
            assert_eq!((answer.status, answer.text().as_str()), (200, "body"));
            assert_eq!(answer.all("x-origin"), ["a", "b"]);
            let mut added: Vec<_> = answer.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
            added.retain(|name| {
                let expected = [
                    "cache-control",
                    "x-origin",
                    "content-length",
                    "date",
                    "age",
                    "cache-status",
                    "content-type",
                ];
                !expected.contains(&name.as_str())
            });
            assert_eq!(added, Vec::<String>::new(), "{path}");
        }
        assert_eq!(origin.hits() - before, hits, "{path}");
    }
    Client::new(gateway.addr()).send(&Request::get("/not").header("X-Client", "1"));
    let seen = origin.requests().pop().unwrap();
    let mut names: Vec<_> = seen.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
    names.sort();
    assert_eq!(names, ["host", "x-client"], "the origin sees what the client sent");
}

/// What docs/caching.md says of the public test-suite.
#[test]
fn the_public_suite_passes_as_documented() {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/cache/suite");
    let output = Command::new(suite).arg(EXE).output().unwrap();
    let [said, error] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "needs npm, and ports 8000 and 8002: {error}{said}");
    for expected in ["required: 139 of 157", "optimal: 64 of 86"] {
        assert!(said.lines().any(|line| line == expected), "not {expected}:\n{said}");
    }
}
