//! What operators are told of requests that fail at their client's end: each is one line of the access log and one count,
//! both with the route it was for, the status and the code.

use crate::case::chunked;
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, WHOLE, block, frame, preface, request,
    upload,
};
use gateway_testkit::{Gateway, Upstream, Wire, get, wait_until};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// What the client does once all was sent.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// Waits for what becomes of it.
    Waits,
    /// Leaves.
    Leaves,
}

use Then::{Leaves, Waits};

struct Row {
    what: &'static str,
    send: Vec<u8>,
    then: Then,
    /// The route, the status and the code.
    told: &'static str,
}

fn http1(what: &'static str, send: impl Into<Vec<u8>>, then: Then, told: &'static str) -> Row {
    Row { what, send: send.into(), then, told }
}

fn http2(what: &'static str, send: impl Into<Vec<u8>>, then: Then, told: &'static str) -> Row {
    Row { what, send: [preface(), send.into()].concat(), then, told }
}

fn bodies() -> Vec<Row> {
    let post = |target: &str, rest: &str| format!("POST {target} HTTP/1.1\r\nHost: a\r\n{rest}").into_bytes();
    let data = |flags, text: &str| frame(DATA, flags, 1, text.as_bytes());
    let cancel = || frame(RST_STREAM, 0, 1, &8u32.to_be_bytes());
    vec![
        http1("a head that stops", "GET /x HTTP/1.1\r\nHo", Waits, "unmatched 408 request-timeout"),
        http1(
            "a body that stops",
            post("/x", "Content-Length: 9\r\n\r\nabc"),
            Waits,
            "/* 408 request-timeout",
        ),
        http1("chunks that stop", chunked("3\r\nabc\r\n"), Waits, "/* 408 request-timeout"),
        http1("a chunk that is none", chunked("3\r\nabcdef\r\n"), Waits, "/* 400 bad-request"),
        http1(
            "a body that grows too large",
            post("/small", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\nabc\r\n0\r\n\r\n"),
            Waits,
            "/small 413 body-too-large",
        ),
        http1(
            "one that stops and has an alternative",
            post("/spare", "Content-Length: 4\r\n\r\nabc"),
            Waits,
            "/spare 408 request-timeout",
        ),
        http1(
            "a client that leaves",
            post("/x", "Content-Length: 9\r\n\r\nabc"),
            Leaves,
            "/* 499 client-gone",
        ),
        http2(
            "a body that stops",
            [upload(1, &[]), data(0, "abc")].concat(),
            Waits,
            "/* 408 request-timeout",
        ),
        http2(
            "a body that is too long",
            [upload(1, &[("content-length", "4")]), data(0, "abc"), data(END_STREAM, "def")].concat(),
            Waits,
            "/* 400 bad-request",
        ),
        http2(
            "a stream that is cancelled",
            [upload(1, &[]), data(0, "abc"), cancel()].concat(),
            Waits,
            "/* 499 client-gone",
        ),
        http2(
            "a client that leaves",
            [upload(1, &[]), data(0, "abc")].concat(),
            Leaves,
            "/* 499 client-gone",
        ),
    ]
}

/// Requests that the h2 crate answers by itself. `server.max_head` is 64 KiB.
fn heads() -> Vec<Row> {
    let large = |path: usize, field: usize| {
        let (path, field) = (format!("/{}", "a".repeat(path)), "y".repeat(field));
        let pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "a")];
        let block = block(&[&pseudo[..], &[(":path", &path), ("x-field", &field)]].concat());
        let last = block.len().div_ceil(16_384) - 1;
        let frames = block.chunks(16_384).enumerate().map(|(number, piece)| {
            let ends = if number == last { END_HEADERS } else { 0 };
            match number {
                0 => frame(HEADERS, END_STREAM | ends, 1, piece),
                _ => frame(CONTINUATION, ends, 1, piece),
            }
        });
        frames.collect::<Vec<_>>().concat()
    };
    let fields = |fields: &[(&str, &str)]| frame(HEADERS, WHOLE & !END_STREAM, 1, &block(fields));
    // One entry in the table, and references to it.
    let mut bomb = block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/x")]);
    bomb.extend([0x40, 1, b'x', 127, 0x81, 0x17]);
    bomb.extend([b'y'; 3072]);
    bomb.extend([0xbe; 10_000]);
    vec![
        http2("a head over the limit", large(1, 70_000), Waits, "unmatched 431 headers-too-large"),
        http2("a head far over it", large(1, 90_000), Waits, "unmatched 431 headers-too-large"),
        http2("a head that does not fit", large(1, 400_000), Waits, "unmatched 431 headers-too-large"),
        http2(
            "a head that unfolds",
            frame(HEADERS, WHOLE, 1, &bomb),
            Waits,
            "unmatched 431 headers-too-large",
        ),
        http2("a target over the limit", large(40_000, 1), Waits, "unmatched 414 uri-too-long"),
        http2("a target that h2 does not take", large(66_000, 1), Waits, "unmatched 414 uri-too-long"),
        http2(
            "a field of a connection",
            request(1, "/x", &[("connection", "close")]),
            Waits,
            "unmatched 400 bad-request",
        ),
        http2(
            "a head that stops between two frames",
            frame(HEADERS, END_STREAM, 1, &block(&[(":method", "GET"), (":scheme", "http")])),
            Waits,
            "unmatched 408 request-timeout",
        ),
        http2(
            "a head that stops within a frame",
            request(1, "/x", &[])[..20].to_vec(),
            Waits,
            "unmatched 408 request-timeout",
        ),
        http2("no HPACK", frame(HEADERS, WHOLE, 1, &[0xff; 20]), Waits, "unmatched 400 bad-request"),
        http2(
            "a tunnel that is not granted",
            fields(&[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":authority", "a"),
                (":path", "/x"),
                ("sec-websocket-version", "13"),
            ]),
            Waits,
            "/* 502 upstream-protocol-error",
        ),
        http2("a request", [request(1, "/x", &[]), frame(0x42, 0, 0, b"x")].concat(), Waits, "/* 200 "),
    ]
}

fn start(upstream: &Upstream) -> Gateway {
    let config = format!(
        "access_log = \"@DIR@/access.log\"\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 1\n\
         header_timeout = \"1s\"\nbody_timeout = \"1s\"\n\
         [admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n[services.a]\nendpoints = [\"{url}\"]\n\
         [services.b]\nendpoints = [\"{url}\"]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n\
         [[routes]]\npath = \"/probe\"\nservice = \"a\"\n\
         [[routes]]\npath = \"/small\"\nservice = \"a\"\nmax_body = \"4B\"\n\
         [[routes]]\npath = \"/spare\"\nservice = \"a\"\nmax_body = \"4B\"\nfallback = {{ service = \"b\" }}\n",
        url = upstream.url()
    );
    Gateway::builder(env!("CARGO_BIN_EXE_gateway")).config(&config).start()
}

/// The lines of the log, those of probes left out.
fn lines(gateway: &Gateway) -> Vec<String> {
    let text = |line: &serde_json::Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let lines = gateway.access_log();
    let mut lines: Vec<_> = lines
        .iter()
        .filter(|line| line["uri"] != "/probe")
        .map(|line| format!("{} {} {}", text(line, "route"), line["status"], text(line, "reason")))
        .collect();
    lines.sort();
    lines
}

/// As many lines as were counted, those of probes left out.
fn counts(gateway: &Gateway) -> Vec<String> {
    let text = get(gateway.admin(), "/metrics").text();
    let mut counts = Vec::new();
    for series in text.lines().filter_map(|line| line.strip_prefix("http_requests_total{")) {
        let (labels, count) = series.split_once("} ").unwrap();
        let label = |name: &str| {
            let (_, value) = labels.split_once(&format!("{name}=\""))?;
            value.split_once('"').map(|(value, _)| value)
        };
        let [route, status] = ["endpoint", "status"].map(|name| label(name).unwrap());
        let line = format!("{route} {status} {}", label("code").unwrap_or_default());
        if route != "/probe" {
            counts.extend(vec![line; count.parse::<f64>().unwrap() as usize]);
        }
    }
    counts.sort();
    counts
}

fn each_is_told_once(rows: Vec<Row>) {
    let upstream = Upstream::named("a");
    let gateway = start(&upstream);
    let (mut expected, mut wrong) = (Vec::new(), Vec::new());
    for row in rows {
        let mut wire = Wire::connect(gateway.addr()).with_patience(PATIENCE);
        // Refused before all of it was sent, it may be.
        let _ = wire.send(&row.send);
        let _stays = (row.then == Waits).then_some(wire);
        expected.push(row.told.to_owned());
        expected.sort();
        let count = expected.len();
        let told = wait_until(row.what, PATIENCE, || Some(lines(&gateway)).filter(|l| l.len() >= count));
        if told != expected {
            wrong.push(format!("- {}: {told:?}", row.what));
        }
        expected = told;
    }
    let _ = get(gateway.addr(), "/probe");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(lines(&gateway), expected, "something is told more than once");
    assert_eq!(counts(&gateway), expected, "what is counted is not what is logged");
}

#[test]
fn o9_a_body_that_fails_is_told_once_by_its_own_route() {
    each_is_told_once(bodies());
}

#[test]
fn o9_what_http_2_refuses_by_itself_is_told_like_all_else() {
    each_is_told_once(heads());
}
