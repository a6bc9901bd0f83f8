//! Which host a request is for (RFC 9112 §3.2, RFC 9110 §7.2).

use crate::case::{Case, seen};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let request = |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\n{fields}\r\n");
    for (what, fields) in [
        ("no host", ""),
        ("two hosts", "Host: a\r\nHost: b\r\n"),
        ("one host twice", "Host: a\r\nHost: a\r\n"),
        ("a host and an empty one", "Host: a\r\nHost:\r\n"),
        ("two hosts in one field", "Host: a, b\r\n"),
        ("a host with a space", "Host: a b\r\n"),
        ("a host with a path", "Host: a/x\r\n"),
        ("a host with a backslash", "Host: a\\x\r\n"),
        ("a host with a query", "Host: a?x\r\n"),
        ("a host with a fragment", "Host: a#x\r\n"),
        ("a user", "Host: user@a\r\n"),
        ("a user and a password", "Host: user:secret@a\r\n"),
        ("a URL", "Host: http://a/\r\n"),
        ("two ports", "Host: a:80:90\r\n"),
        ("a port that is none", "Host: a:x\r\n"),
        ("a port that is too high", "Host: a:65536\r\n"),
        ("only a port", "Host: :80\r\n"),
        ("an open bracket", "Host: [::1\r\n"),
        ("a closing bracket", "Host: ::1]\r\n"),
        ("a host in quotes", "Host: \"a\"\r\n"),
        ("markup", "Host: <a>\r\n"),
        ("a host beyond ASCII", "Host: b\u{fc}cher\r\n"),
    ] {
        cases.push(Case::turned_away(what, request("/x", fields), 400));
    }
    for (what, target) in
        [("a user in the target", "http://user@a/x"), ("a host that looks like a user", "http://a:80@b/x")]
    {
        cases.push(Case::turned_away(what, request(target, "Host: a\r\n"), 400));
    }
    for target in ["http://[::1/x", "http://a\\b/x", "://a/x", "ftp://a/x"] {
        let fields = "Host: a\r\n";
        cases.push(Case::refused(format!("target {target}"), request(target, fields), 400));
    }
    let without = "GET http://b/x HTTP/1.1\r\n\r\n";
    cases.push(Case::turned_away("a host in the target only", without, 400));
    for (what, target, fields, host) in [
        ("the target's host comes first", "http://b/x", "Host: a\r\n", "b"),
        ("and its port", "http://b:8080/x", "Host: a\r\n", "b:8080"),
        ("an address in the target", "http://[::1]:80/x", "Host: a\r\n", "[::1]:80"),
        ("a port", "/x", "Host: a:8080\r\n", "a:8080"),
        ("an address", "/x", "Host: [2001:db8::1]:80\r\n", "[2001:db8::1]:80"),
        ("a host with an underscore", "/x", "Host: my_service\r\n", "my_service"),
        ("a host with a dot at its end", "/x", "Host: a.example.\r\n", "a.example."),
        ("an empty port", "/x", "Host: a:\r\n", "a:"),
    ] {
        let expected = seen("GET /x").with("host", host).with("x-forwarded-host", host);
        cases.push(Case::passes(what, request(target, fields), expected));
    }
    for (what, fields) in [
        ("X-Forwarded-Host", "X-Forwarded-Host: evil\r\n"),
        ("X_Forwarded_Host", "X_Forwarded_Host: evil\r\n"),
        ("X-Forwarded-Server and the like", "X-Forwarded-Host: evil\r\nForwarded: host=evil\r\n"),
    ] {
        let expected = seen("GET /x").with("host", "a").with("x-forwarded-host", "a");
        let fields = format!("Host: a\r\n{fields}");
        cases.push(Case::passes(
            what,
            request("/x", &fields),
            expected.without(&["x_forwarded_host", "forwarded"]),
        ));
    }
    let old = "GET /x HTTP/1.0\r\n\r\n";
    cases.push(Case::passes("HTTP/1.0 without a host", old, seen("GET /x")).closes());
    cases
}
