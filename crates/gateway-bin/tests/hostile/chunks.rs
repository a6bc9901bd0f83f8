//! Chunked bodies (RFC 9112 §7.1).

use crate::case::{Case, chunked, seen};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, body) in [
        ("one chunk", "5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("several chunks", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n".to_owned()),
        ("an extension", "5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n".to_owned()),
        ("an extension with a quoted line end in words", "5;a=\"\\r\\n\"\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("zeros before the size", "0000000000000000000005\r\nhello\r\n000\r\n\r\n".to_owned()),
        ("a space after the size", "5 \r\nhello\r\n0\t\r\n\r\n".to_owned()),
        ("a space before an extension", "5 ;a\r\nhello\r\n0\r\n\r\n".to_owned()),
    ] {
        let expected = seen("POST /x").with("transfer-encoding", "chunked").without(&["content-length"]);
        cases.push(Case::passes(what, chunked(&body), expected.body("hello")));
    }
    let ten = chunked("A\r\n0123456789\r\n0\r\n\r\n");
    cases.push(Case::passes("a capital size", ten, seen("POST /x").body("0123456789")));
    let inner = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let hidden = chunked(&format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len()));
    cases.push(Case::passes("a request within a chunk", hidden, seen("POST /x").body(inner)));
    for (what, trailer) in [
        ("a trailer", "X-Sum: 1\r\n"),
        ("a trailer that frames", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        ("a trailer that routes", "Host: b\r\nConnection: x\r\n"),
        ("a trailer that says who it is", "Authorization: Bearer x\r\nX-User-Id: root\r\nCookie: a=b\r\n"),
    ] {
        let body = chunked(&format!("2\r\nhi\r\n0\r\n{trailer}\r\n"));
        let names = ["content-length", "authorization", "x-user-id", "cookie", "x-sum"];
        cases.push(Case::passes(what, body, seen("POST /x").with("host", "a").without(&names).body("hi")));
    }
    let long = "x".repeat(5000);
    for (what, body) in [
        ("a size after 0x", "0x5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a positive size", "+5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a negative size", "-5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a size after a space", " 5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("no size", "\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("only an extension", ";a\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("no digits", "five\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a size in underscores", "0_5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a size with a point", "5.0\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("two sizes", "5 5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("two sizes with a comma", "5,5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a size over 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n".to_owned()),
        (
            "a size over 64 bits that looks small",
            "fffffffff0000000000000005\r\nhello\r\n0\r\n\r\n".to_owned(),
        ),
        ("a form feed after the size", "5\x0c\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a zero after the size", "5\0\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a line that ends in LF", "5\nhello\r\n0\r\n\r\n".to_owned()),
        ("a line that ends in CR", "5\rhello\r\n0\r\n\r\n".to_owned()),
        ("an extension with LF", "5;a\nhello\r\n0\r\n\r\n".to_owned()),
        ("an extension with CR", "5;a\rb\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a chunk that ends in LF", "5\r\nhello\n0\r\n\r\n".to_owned()),
        ("a chunk without an end", "5\r\nhello0\r\n\r\n".to_owned()),
        ("a chunk that is too long", "5\r\nhello!\r\n0\r\n\r\n".to_owned()),
        ("a chunk that is too short", "8\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a last chunk that ends in LF", "5\r\nhello\r\n0\n\r\n".to_owned()),
        ("an end of LF", "5\r\nhello\r\n0\r\n\n".to_owned()),
        ("a trailer that ends in LF", "5\r\nhello\r\n0\r\nX: y\n\r\n".to_owned()),
        ("trailers that end in LF", "5\r\nhello\r\n0\r\nX: y\r\n\n".to_owned()),
        ("a trailer without a colon", "5\r\nhello\r\n0\r\nnothing\r\n\r\n".to_owned()),
        ("a trailer with a space before its colon", "5\r\nhello\r\n0\r\nX : y\r\n\r\n".to_owned()),
        ("a folded trailer", "5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n".to_owned()),
        ("a trailer with CR", "5\r\nhello\r\n0\r\nX: y\rZ: z\r\n\r\n".to_owned()),
        ("a trailer with a zero", "5\r\nhello\r\n0\r\nX: y\0\r\n\r\n".to_owned()),
        ("a long extension", format!("5;{long}\r\nhello\r\n0\r\n\r\n")),
        (
            "long trailers",
            format!("5\r\nhello\r\n0\r\nX: {long}\r\nY: {long}\r\nZ: {long}\r\nA: {long}\r\n\r\n"),
        ),
    ] {
        cases.push(Case::refused(what, chunked(&body), 400));
    }
    cases
}
