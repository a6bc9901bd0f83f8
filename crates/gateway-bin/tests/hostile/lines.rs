//! Request lines and fields (RFC 9112 §3 and §5).

use crate::case::{Case, get, seen};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let rest = "Host: a\r\n\r\n";
    for (what, line) in [
        ("HTTP/0.9", "GET /x\r\n"),
        ("HTTP/2.0", "GET /x HTTP/2.0\r\n"),
        ("half an HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"),
        ("HTTP/1.2", "GET /x HTTP/1.2\r\n"),
        ("HTTP/1.10", "GET /x HTTP/1.10\r\n"),
        ("HTTP/01.1", "GET /x HTTP/01.1\r\n"),
        ("http/1.1", "GET /x http/1.1\r\n"),
        ("no version", "GET /x \r\n"),
        ("another protocol", "GET /x SIP/2.0\r\n"),
        ("a space after the version", "GET /x HTTP/1.1 \r\n"),
        ("two spaces", "GET  /x HTTP/1.1\r\n"),
        ("two spaces before the version", "GET /x  HTTP/1.1\r\n"),
        ("tabs", "GET\t/x\tHTTP/1.1\r\n"),
        ("a space before the method", " GET /x HTTP/1.1\r\n"),
        ("a zero before the method", "\0GET /x HTTP/1.1\r\n"),
        ("a method with an at sign", "G@T /x HTTP/1.1\r\n"),
        ("a method with a colon", "GET: /x HTTP/1.1\r\n"),
        ("no method", "/x HTTP/1.1\r\n"),
        ("a line that ends in LF", "GET /x HTTP/1.1\n"),
        ("a line that ends in CR", "GET /x HTTP/1.1\r"),
        ("a line within the line", "GET /x\rHTTP/1.1\r\n"),
        ("an answer", "HTTP/1.1 200 OK\r\n"),
        ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\r\n"),
        ("SSH", "SSH-2.0-OpenSSH_9.2\r\n"),
        ("CONNECT", "CONNECT a:443 HTTP/1.1\r\n"),
        ("CONNECT with a path", "CONNECT /x HTTP/1.1\r\n"),
    ] {
        cases.push(Case::refused(what, format!("{line}{rest}"), 400));
    }
    for (what, field) in [
        ("no colon", "nothing\r\n"),
        ("no name", ": x\r\n"),
        ("a name with a space", "X y: z\r\n"),
        ("a name after a space", " X: y\r\n"),
        ("a name with a bracket", "X(y): z\r\n"),
        ("a name with a slash", "X/y: z\r\n"),
        ("a name with a control character", "X\x01y: z\r\n"),
        ("a name with high bytes", "X\u{e9}: z\r\n"),
        ("a folded value", "X: y\r\n\tz\r\n"),
        ("a value with a zero", "X: y\0z\r\n"),
        ("a value with DEL", "X: y\x7fz\r\n"),
        ("a value with an escape", "X: \x1b[2J\r\n"),
        ("a value with CR", "X: y\rz\r\n"),
        ("a value that ends in LF", "X: y\n"),
        ("an end of LF", "X: y\r\n\n"),
        ("an end of CR CR LF", "X: y\r\r\n"),
    ] {
        cases.push(Case::refused(what, get("/x", field), 400));
    }
    let many: String = (0..101).map(|i| format!("a{i}: b\r\n")).collect();
    for (what, bytes, status) in [
        ("a long target", get(&format!("/{}", "x".repeat(20_000)), ""), 414),
        ("an endless target", format!("GET /{}", "x".repeat(70_000)).into_bytes(), 414),
        ("a large field", get("/x", &format!("X: {}\r\n", "x".repeat(20_000))), 431),
        ("an endless field", format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(70_000)).into_bytes(), 431),
        ("a long name", get("/x", &format!("{}: x\r\n", "x".repeat(20_000))), 431),
        ("many fields", get("/x", &many), 431),
    ] {
        cases.push(Case::refused(what, bytes, status));
    }
    for (what, bytes, expected) in [
        ("line ends before the request", "\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", seen("GET /x")),
        ("a method in small letters", "get /x HTTP/1.1\r\nHost: a\r\n\r\n", seen("get /x")),
        ("a method of nobody", "BREW /x HTTP/1.1\r\nHost: a\r\n\r\n", seen("BREW /x")),
        ("an empty value", "GET /x HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", seen("GET /x").with("x", "")),
        (
            "a value with colons",
            "GET /x HTTP/1.1\r\nHost: a\r\nX:a:b\r\n\r\n",
            seen("GET /x").with("x", "a:b"),
        ),
        (
            "a value beyond ASCII",
            "GET /x HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\n\r\n",
            seen("GET /x").with("x", "\u{e9}"),
        ),
    ] {
        cases.push(Case::passes(what, bytes, expected));
    }
    let old = "GET /x HTTP/1.0\r\nHost: a\r\n\r\n";
    cases.push(Case::passes("HTTP/1.0", old, seen("GET /x").with("host", "a")).closes());
    let kept = "GET /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
    cases.push(Case::passes("HTTP/1.0 that stays", kept, seen("GET /x").without(&["connection"])));
    let head = "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n";
    // The upstream answers with a body all the same, and must not be believed.
    cases.push(Case::passes("a body in an answer to HEAD", head, seen("HEAD /x")).head_only());
    cases
}
