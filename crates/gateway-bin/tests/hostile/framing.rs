//! Request smuggling: lengths and transfer encodings (RFC 9112 §6).

use crate::case::{Case, get, post, seen};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let end = "0\r\n\r\n";
    for (what, fields) in [
        ("CL.TE", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n"),
        ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
        ("a length of 0 and chunks", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
        ("TE.TE: another word", "Transfer-Encoding: xchunked\r\n"),
        ("TE.TE: then identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
        ("TE.TE: twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ("TE.TE: twice in a list", "Transfer-Encoding: chunked, chunked\r\n"),
        ("identity", "Transfer-Encoding: identity\r\n"),
        ("identity, chunked", "Transfer-Encoding: identity, chunked\r\n"),
        ("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n"),
        ("chunked, then another", "Transfer-Encoding: chunked, gzip\r\n"),
        ("quoted", "Transfer-Encoding: \"chunked\"\r\n"),
        ("with a parameter", "Transfer-Encoding: chunked;q=1\r\n"),
        ("an empty list element", "Transfer-Encoding: ,chunked\r\n"),
        ("no value", "Transfer-Encoding:\r\nContent-Length: 5\r\n"),
        ("a vertical tab", "Transfer-Encoding: chunked\x0b\r\n"),
        ("a form feed", "Transfer-Encoding:\x0cchunked\r\n"),
        ("a zero in the value", "Transfer-Encoding: chunked\0\r\n"),
        ("a zero in the name", "Transfer-Encoding\0: chunked\r\n"),
        ("a space before the colon", "Transfer-Encoding : chunked\r\n"),
        ("a tab before the colon", "Transfer-Encoding\t: chunked\r\n"),
        ("a line end before the colon", "Transfer-Encoding\r\n : chunked\r\n"),
        ("a folded value", "Transfer-Encoding:\r\n chunked\r\n"),
        ("hidden behind a fold", "X: y\r\n Transfer-Encoding: chunked\r\n"),
        ("behind a bare LF", "X: y\nTransfer-Encoding: chunked\r\n"),
        ("behind a bare CR", "X: y\rTransfer-Encoding: chunked\r\n"),
        ("a non-breaking space", "Transfer-Encoding: \u{a0}chunked\r\n"),
        ("a hyphen that is none", "Transfer\u{2010}Encoding: chunked\r\n"),
        ("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n"),
        ("a list of lengths", "Content-Length: 5, 6\r\n"),
        ("a list of equal lengths", "Content-Length: 5, 5\r\n"),
        ("a positive length", "Content-Length: +5\r\n"),
        ("a negative length", "Content-Length: -5\r\n"),
        ("a hexadecimal length", "Content-Length: 0x5\r\n"),
        ("a length with a point", "Content-Length: 5.0\r\n"),
        ("a length with an exponent", "Content-Length: 5e0\r\n"),
        ("a length with a space within", "Content-Length: 5 0\r\n"),
        ("a length in underscores", "Content-Length: 5_0\r\n"),
        ("a quoted length", "Content-Length: \"5\"\r\n"),
        ("an empty length", "Content-Length:\r\n"),
        ("a length in other digits", "Content-Length: \u{665}\r\n"),
        ("a length over 64 bits", "Content-Length: 18446744073709551616\r\n"),
        ("a length far over 64 bits", "Content-Length: 99999999999999999999999999999999\r\n"),
        ("a length with a space before the colon", "Content-Length : 5\r\n"),
        ("a good length, then none", "Content-Length: 5\r\nContent-Length:\r\n"),
    ] {
        cases.push(Case::refused(what, post(fields, end), 400));
    }
    for (what, head) in [
        ("chunks in HTTP/1.0", "POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (
            "chunks in HTTP/1.0 that stays",
            "POST /x HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("both in HTTP/1.0", "POST /x HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ] {
        cases.push(Case::refused(what, format!("{head}{end}"), 400));
    }
    for (what, fields, body) in [
        ("one length twice", "Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        ("a length with zeros before it", "Content-Length: 0005\r\n", "hello"),
        ("a length with spaces around it", "Content-Length: \t 5 \t\r\n", "hello"),
        ("a name in mixed case", "cOnTeNt-LeNgTh: 5\r\n", "hello"),
        ("a length that only looks like one", "Content-Length: 5\r\nContent_Length: 3\r\n", "hello"),
        (
            "an encoding that only looks like one",
            "Content-Length: 5\r\nTransfer_Encoding: chunked\r\n",
            "hello",
        ),
    ] {
        let expected = seen("POST /x").with("content-length", "5").without(&["transfer-encoding"]);
        cases.push(Case::passes(what, post(fields, body), expected.body("hello")));
    }
    for (what, fields) in [
        ("chunked in mixed case", "Transfer-Encoding: cHuNkEd\r\n"),
        ("chunked after a tab", "Transfer-Encoding:\tchunked\t\r\n"),
    ] {
        let expected = seen("POST /x").with("transfer-encoding", "chunked").body("hello");
        cases.push(Case::passes(what, post(fields, "5\r\nhello\r\n0\r\n\r\n"), expected));
    }
    let mut of_get = get("/x", "Content-Length: 5\r\n");
    of_get.extend_from_slice(b"hello");
    cases.push(Case::passes(
        "a body of GET",
        of_get,
        seen("GET /x").with("content-length", "5").body("hello"),
    ));
    let mut of_get = get("/x", "Transfer-Encoding: chunked\r\n");
    of_get.extend_from_slice(b"5\r\nhello\r\n0\r\n\r\n");
    cases.push(Case::passes("chunks of GET", of_get, seen("GET /x").body("hello")));
    cases.push(Case::passes(
        "a POST without a length",
        post("", ""),
        seen("POST /x").with("content-length", "0").without(&["transfer-encoding"]),
    ));
    cases.extend(several());
    cases
}

/// Several requests at once, and such as are not whole.
fn several() -> Vec<Case> {
    let two = [get("/1", ""), get("/2", "")].concat();
    let after_body = post("Content-Length: 3\r\n", "abcGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    let garbage = post("Content-Length: 3\r\n", "abc0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    let bad_second = [get("/1", ""), get("/2", "Host : b\r\n"), get("/smuggled", "")].concat();
    let closing = [get("/1", "Connection: close\r\n"), get("/smuggled", "")].concat();
    let old = b"GET /1 HTTP/1.0\r\n\r\nGET /smuggled HTTP/1.0\r\n\r\n";
    let body = || seen("POST /x").body("abc");
    vec![
        Case::several("two at once", two, &[200, 200], false, vec![seen("GET /1"), seen("GET /2")]),
        Case::several("one behind a body", after_body, &[200, 200], false, vec![body(), seen("GET /2")]),
        Case::several("no request behind a body", garbage, &[200, 400], true, vec![body()]),
        Case::several("a bad one between good ones", bad_second, &[200, 400], true, vec![seen("GET /1")]),
        Case::several("one after the last", closing, &[200], true, vec![seen("GET /1")]),
        Case::several("one after the last of HTTP/1.0", old, &[200], true, vec![seen("GET /1")]),
        Case::cut("nothing", ""),
        Case::cut("half a request line", "GET /x HT"),
        Case::cut("half a head", "GET /x HTTP/1.1\r\nHost: a\r\n"),
        Case::cut("half a body", post("Content-Length: 10\r\n", "abc")).broken_off(),
        Case::cut("the longest length", post("Content-Length: 18446744073709551615\r\n", "abc")).broken_off(),
        Case::cut("half a chunk", post("Transfer-Encoding: chunked\r\n", "a\r\nabc")).broken_off(),
        Case::cut("no last chunk", post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n")).broken_off(),
        Case::cut("half the end of chunks", post("Transfer-Encoding: chunked\r\n", "0\r\n")),
        Case::cut("half an HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM"),
    ]
}
