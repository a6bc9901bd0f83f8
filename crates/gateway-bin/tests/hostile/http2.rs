//! HTTP/2 as nobody speaks it: malformed messages end their stream, broken framing and floods the connection
//! (RFC 9113 §5.4, §8.1.1).

use crate::case::{Seen, seen};
use crate::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITIZED, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WHOLE, WINDOW_UPDATE, block, frame, preface, request, status, upload,
};
use gateway_testkit::{Gateway, Upstream, Wire, get};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

/// How the gateway answers.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// The first stream is answered.
    Status(u16),
    /// The first stream is reset; others go on.
    Reset,
    /// The connection is ended, for one of these reasons.
    Away(&'static [u32]),
    /// The connection is closed without a word.
    Closed,
}

use Outcome::{Away, Closed, Reset, Status};

struct Row {
    what: &'static str,
    send: Vec<u8>,
    outcome: Outcome,
    seen: Vec<Seen>,
}

fn row(what: &'static str, send: impl Into<Vec<u8>>, outcome: Outcome) -> Row {
    Row { what, send: [preface(), send.into()].concat(), outcome, seen: Vec::new() }
}

fn passes(what: &'static str, send: impl Into<Vec<u8>>, expected: Seen) -> Row {
    Row { seen: vec![expected], ..row(what, send, Status(200)) }
}

/// A request made of just these fields.
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &block(fields))
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const HOST: (&str, &str) = (":authority", "a");
const PATH: (&str, &str) = (":path", "/x");

/// Messages that are malformed, or only odd.
fn messages() -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, field) in [
        ("connection", ("connection", "close")),
        ("keep-alive", ("keep-alive", "timeout=5")),
        ("proxy-connection", ("proxy-connection", "close")),
        ("transfer-encoding", ("transfer-encoding", "chunked")),
        ("upgrade", ("upgrade", "websocket")),
        ("TE of something else", ("te", "gzip")),
        ("a pseudo field after others", (":path", "/y")),
        ("a pseudo field of answers", (":status", "200")),
        ("another protocol", (":protocol", "websocket")),
    ] {
        rows.push(row(what, request(1, "/x", &[("accept", "*/*"), field]), Reset));
    }
    // What is no field at all is taken for an error in the compression of fields.
    for (what, field) in [
        ("a name in capitals", ("X-Mine", "1")),
        ("a name with a colon", ("x:mine", "1")),
        ("a name with a space", ("x mine", "1")),
        ("a name with a line end", ("x\r\nmine", "1")),
        ("no name", ("", "1")),
        ("a value with CRLF", ("x-mine", "1\r\nx-user-id: root")),
        ("a value with LF", ("x-mine", "1\nx-user-id: root")),
        ("a value with CR", ("x-mine", "1\rx-user-id: root")),
        ("a value with a zero", ("x-mine", "1\0")),
        ("a pseudo field of nobody", (":mine", "1")),
    ] {
        let outcome = Away(&[PROTOCOL_ERROR]);
        rows.push(row(what, request(1, "/x", &[("accept", "*/*"), field]), outcome));
    }
    for (what, method) in [("an empty method", ""), ("a method with a line end", "GET / HTTP/1.1\r\nx: y")] {
        let all = [(":method", method), SCHEME, HOST, PATH];
        rows.push(row(what, fields(&all), Away(&[PROTOCOL_ERROR])));
    }
    for (what, all) in [
        ("no method", &[SCHEME, HOST, PATH][..]),
        ("no scheme", &[METHOD, HOST, PATH]),
        ("no path", &[METHOD, SCHEME, HOST]),
        ("two methods", &[METHOD, METHOD, SCHEME, HOST, PATH]),
        ("two schemes", &[METHOD, SCHEME, SCHEME, HOST, PATH]),
        ("two authorities", &[METHOD, SCHEME, HOST, HOST, PATH]),
        ("two paths", &[METHOD, SCHEME, HOST, PATH, PATH]),
        ("an empty path", &[METHOD, SCHEME, HOST, (":path", "")]),
        ("a path with a line end", &[METHOD, SCHEME, HOST, (":path", "/ HTTP/1.1\r\nx: y")]),
        ("a path with a space", &[METHOD, SCHEME, HOST, (":path", "/x HTTP/1.1")]),
        ("an authority with a line end", &[METHOD, SCHEME, (":authority", "a\r\nx: y"), PATH]),
        ("an authority with a path", &[METHOD, SCHEME, (":authority", "a/b"), PATH]),
        ("a relative path", &[METHOD, SCHEME, HOST, (":path", "x")]),
        ("CONNECT with a path", &[(":method", "CONNECT"), SCHEME, HOST, PATH]),
    ] {
        rows.push(row(what, fields(all), Reset));
    }
    for (what, all) in [
        ("CONNECT", &[(":method", "CONNECT"), (":authority", "a:443")][..]),
        ("a user in the authority", &[METHOD, SCHEME, (":authority", "user@a"), PATH]),
        ("a port that is none", &[METHOD, SCHEME, (":authority", "a:x"), PATH]),
        ("two hosts", &[METHOD, SCHEME, PATH, ("host", "a"), ("host", "b")]),
        ("a host that is none", &[METHOD, SCHEME, PATH, ("host", "a/b")]),
        ("an encoded slash", &[METHOD, SCHEME, HOST, (":path", "/a%2fb")]),
    ] {
        rows.push(row(what, fields(all), Status(400)));
    }
    rows.push(row("a guarded path", request(1, "/a/../admin/x", &[]), Status(401)));
    let other = [METHOD, SCHEME, HOST, PATH, ("host", "evil")];
    rows.push(passes(
        "the authority comes before the host",
        fields(&other),
        seen("GET /x").with("host", "a"),
    ));
    let only = [METHOD, SCHEME, PATH, ("host", "b")];
    rows.push(passes("a host without an authority", fields(&only), seen("GET /x").with("host", "b")));
    let rootless = [METHOD, SCHEME, (":path", "?x=1"), ("host", "b")];
    rows.push(passes("a query without a path", fields(&rootless), seen("GET /?x=1").with("host", "b")));
    let spoofed = request(1, "/x", &[("x-user-id", "root"), ("x_user_id", "root"), ("te", "trailers")]);
    let named = seen("GET /x").without(&["x-user-id", "x_user_id"]).with("te", "trailers");
    rows.push(passes("who it claims to be", spoofed, named));
    let cookies = request(1, "/x", &[("cookie", "a=1"), ("cookie", "b=2")]);
    rows.push(passes("cookies one by one", cookies, seen("GET /x").with("cookie", "a=1; b=2")));
    rows
}

/// Bodies and their lengths.
fn bodies() -> Vec<Row> {
    let data = |flags, text: &str| frame(DATA, flags, 1, text.as_bytes());
    let with_length =
        |length, text| [upload(1, &[("content-length", length)]), data(END_STREAM, text)].concat();
    let body = || seen("POST /x").body("hello");
    let trailers = |fields: &[(&str, &str)]| {
        [upload(1, &[]), data(0, "hello"), frame(HEADERS, WHOLE, 1, &block(fields))].concat()
    };
    let hidden = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    vec![
        passes("a body", [upload(1, &[]), data(END_STREAM, "hello")].concat(), body()),
        passes("a body and its length", with_length("5", "hello"), body().with("content-length", "5")),
        row("a body that is too short", with_length("6", "hello"), Reset),
        row("a body that is too long", with_length("4", "hello"), Reset),
        row("a length of 0 and a body", with_length("0", "hello"), Reset),
        row("a length that is no number", with_length("+5", "hello"), Reset),
        row("a length without a body", request(1, "/x", &[("content-length", "5")]), Reset),
        passes(
            "chunks within a body",
            [upload(1, &[]), data(END_STREAM, hidden)].concat(),
            seen("POST /x").body(hidden),
        ),
        passes(
            "trailers",
            trailers(&[("x-sum", "1"), ("authorization", "x")]),
            body().without(&["authorization"]),
        ),
        passes("a pseudo field in trailers, which is dropped", trailers(&[(":path", "/y")]), body()),
        row("connection in trailers", trailers(&[("connection", "x")]), Reset),
    ]
}

/// Frames that break the rules of the connection.
fn framing() -> Vec<Row> {
    let whole = [METHOD, SCHEME, HOST, PATH];
    let window = |stream, by: u32| frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    let setting = |id: u16, value: u32| {
        frame(SETTINGS, 0, 0, &[id.to_be_bytes().as_slice(), &value.to_be_bytes()].concat())
    };
    let on_itself = [&1u32.to_be_bytes()[..], &[16]].concat();
    // Both end the connection; which of the two codes is said is hyper's choice.
    let (protocol, size) = (|| Away(&[PROTOCOL_ERROR]), || Away(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]));
    vec![
        row("data on an idle stream", frame(DATA, END_STREAM, 1, b"x"), protocol()),
        row("data on stream 0", frame(DATA, 0, 0, b"x"), protocol()),
        row("a head on stream 0", frame(HEADERS, WHOLE, 0, &block(&whole)), protocol()),
        row("a head on an even stream", frame(HEADERS, WHOLE, 2, &block(&whole)), protocol()),
        row(
            "a stream below the last",
            [upload(5, &[]), request(3, "/x", &[])].concat(),
            Away(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
        row("a reset of an idle stream", frame(RST_STREAM, 0, 1, &[0; 4]), protocol()),
        row("a reset of stream 0", frame(RST_STREAM, 0, 0, &[0; 4]), protocol()),
        row("a reset of a wrong size", frame(RST_STREAM, 0, 1, &[0; 3]), size()),
        row("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &[]), protocol()),
        row(
            "a ping within a head",
            [frame(HEADERS, END_STREAM, 1, &block(&whole)), frame(PING, 0, 0, &[0; 8])].concat(),
            protocol(),
        ),
        row(
            "a continuation of another stream",
            [frame(HEADERS, END_STREAM, 1, &block(&whole)), frame(CONTINUATION, END_HEADERS, 3, &[])]
                .concat(),
            protocol(),
        ),
        row("more padding than frame", frame(HEADERS, WHOLE | PADDED, 1, &[200, 1]), protocol()),
        row(
            "a head that depends on itself",
            frame(HEADERS, WHOLE | PRIORITIZED, 1, &[on_itself.clone(), block(&whole)].concat()),
            Reset,
        ),
        row("a stream that depends on itself", frame(PRIORITY, 0, 1, &on_itself), Reset),
        row(
            "a push",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2], &block(&whole)[..]].concat()),
            protocol(),
        ),
        row("settings on a stream", frame(SETTINGS, 0, 1, &[]), protocol()),
        row("settings of a wrong size", frame(SETTINGS, 0, 0, &[0; 5]), size()),
        row("an acknowledgement with settings", frame(SETTINGS, ACK, 0, &[0; 6]), size()),
        row(
            "a window that is too large",
            setting(4, 0x8000_0000),
            Away(&[FLOW_CONTROL_ERROR, PROTOCOL_ERROR]),
        ),
        row("a frame size that is too small", setting(5, 1), protocol()),
        row("push enabled by 2", setting(2, 2), protocol()),
        row("a ping of a wrong size", frame(PING, 0, 0, &[0; 7]), size()),
        row("a ping on a stream", frame(PING, 0, 1, &[0; 8]), protocol()),
        row("a window that grows by 0", window(0, 0), protocol()),
        row("a window that overflows", window(0, 0x7fff_ffff), Away(&[FLOW_CONTROL_ERROR])),
        row("a window of an idle stream", window(1, 1), protocol()),
        row("a window of a stream that overflows", [upload(1, &[]), window(1, 0x7fff_ffff)].concat(), Reset),
        row("a frame over the limit", frame(PING, 0, 0, &vec![0; 20_000]), size()),
        row(
            "a head that is no HPACK",
            frame(HEADERS, WHOLE, 1, &[0xff; 20]),
            Away(&[COMPRESSION_ERROR, PROTOCOL_ERROR]),
        ),
        row(
            "an index of nothing",
            frame(HEADERS, WHOLE, 1, &[0xbe]),
            Away(&[COMPRESSION_ERROR, PROTOCOL_ERROR]),
        ),
        row(
            "data after the end",
            [upload(1, &[]), frame(DATA, END_STREAM, 1, b"x"), frame(DATA, 0, 1, b"y")].concat(),
            Away(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        passes(
            "a frame of nobody",
            [frame(0x42, 0xff, 0, b"x"), request(1, "/x", &[])].concat(),
            seen("GET /x"),
        ),
    ]
}

/// Heads of more than one frame. `server.max_head` is 16 KiB.
fn large() -> Vec<Row> {
    let get = |path: usize, field: usize| {
        let (path, field) = (format!("/{}", "a".repeat(path)), "y".repeat(field));
        let block = block(&[METHOD, SCHEME, HOST, (":path", &path), ("x-field", &field)]);
        let frames = block.chunks(16_384).enumerate();
        let frames = frames.map(|(i, piece)| {
            let ends = if (i + 1) * 16_384 >= block.len() { END_HEADERS } else { 0 };
            if i == 0 {
                frame(HEADERS, END_STREAM | ends, 1, piece)
            } else {
                frame(CONTINUATION, ends, 1, piece)
            }
        });
        frames.collect::<Vec<_>>().concat()
    };
    vec![
        row("a target over half the limit", get(10_000, 0), Status(414)),
        row("a target over the limit", get(30_000, 0), Status(414)),
        row("a target far over the limit", get(40_000, 0), Status(431)),
        row("a head over the limit", get(0, 17_000), Status(431)),
        row("a head far over the limit", get(0, 40_000), Status(431)),
    ]
}

/// More of something than any client needs.
fn floods() -> Vec<Row> {
    let resets: Vec<u8> = (0..2000)
        .flat_map(|i| {
            [request(2 * i + 1, "/stall", &[]), frame(RST_STREAM, 0, 2 * i + 1, &8u32.to_be_bytes())].concat()
        })
        .collect();
    let mut continued = frame(HEADERS, END_STREAM, 1, &block(&[METHOD, SCHEME, HOST, PATH]));
    let piece = block(&[("x", &"y".repeat(1000))]);
    continued.extend((0..2000).flat_map(|_| frame(CONTINUATION, 0, 1, &piece)));
    let mut empty = frame(HEADERS, END_STREAM, 1, &block(&[METHOD, SCHEME, HOST, PATH]));
    empty.extend((0..5000).flat_map(|_| frame(CONTINUATION, 0, 1, &[])));
    // One entry in the table, and thousands of references to it: some bytes that become megabytes.
    let mut bomb = block(&[METHOD, SCHEME, HOST, PATH]);
    bomb.extend([0x40, 1, b'x', 127, 0x81, 0x17]);
    bomb.extend([b'y'; 3072]);
    bomb.extend([0xbe; 10_000]);
    let calm = || Away(&[ENHANCE_YOUR_CALM, PROTOCOL_ERROR]);
    vec![
        row("streams that are opened and reset", resets, calm()),
        row("a head that does not end", continued, calm()),
        row("a head of nothing that does not end", empty, calm()),
        row("a head that unfolds", frame(HEADERS, WHOLE, 1, &bomb), calm()),
    ]
}

/// What the gateway said, until the connection or the first stream was decided.
fn outcome(wire: &mut Wire) -> Result<Outcome, String> {
    loop {
        let Ok(head) = wire.bytes(9) else { return Ok(Closed) };
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = wire.bytes(length).map_err(|error| error.to_string())?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match (head[3], stream) {
            (HEADERS, 1) => return status(&payload).map(Status).ok_or(format!("no status in {payload:x?}")),
            (RST_STREAM, 1) => return Ok(Reset),
            (GOAWAY, 0) => {
                let code = u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]);
                return Ok(Away(vec![code].leak()));
            }
            _ => {}
        }
    }
}

impl Row {
    fn run(self, gateway: &Gateway, upstream: &Upstream) -> Option<String> {
        let before = upstream.hits();
        let mut wire = Wire::connect(gateway.addr()).with_patience(PATIENCE);
        let mut writer = wire.writer();
        let send = self.send;
        // Written beside, for a flood fills the buffers of both sides before it is over.
        let writing = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &send));
        let seen = outcome(&mut wire);
        let as_expected = match (&seen, &self.outcome) {
            (Ok(Away(code)), Away(codes)) => codes.contains(&code[0]),
            (Ok(seen), expected) => seen == expected,
            (Err(_), _) => false,
        };
        drop(wire);
        let _ = writing.join();
        let mut wrong = Vec::new();
        if !as_expected {
            wrong.push(format!("{seen:?}, expected {:?}", self.outcome));
        }
        if get(gateway.addr(), "/probe").status != 200 {
            wrong.push("the next request is not answered".to_owned());
        }
        let requests = upstream.requests().split_off(before);
        let requests: Vec<_> =
            requests.iter().filter(|r| r.target != "/stall" && r.target != "/probe").collect();
        if requests.len() != self.seen.len() {
            let lines: Vec<_> = requests.iter().map(|r| format!("{} {}", r.method, r.target)).collect();
            wrong.push(format!("upstream saw {lines:?}, expected {} requests", self.seen.len()));
        }
        wrong.extend(self.seen.iter().zip(requests).filter_map(|(seen, request)| seen.differs(request)));
        (!wrong.is_empty()).then(|| format!("- {}: {}", self.what, wrong.join("; ")))
    }
}

fn all_are_as_they_should_be(rows: Vec<Row>) {
    let upstream = Upstream::named("a");
    let gateway = crate::start(&upstream);
    let count = rows.len();
    let wrong: Vec<_> = rows.into_iter().filter_map(|row| row.run(&gateway, &upstream)).collect();
    assert!(wrong.is_empty(), "{} of {count} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    let finished = gateway.stop();
    assert!(!finished.stderr.contains("panic"), "{}", finished.stderr);
}

#[test]
fn malformed_messages_are_reset_and_odd_ones_are_as_in_http1() {
    all_are_as_they_should_be(messages());
}

#[test]
fn bodies_are_as_long_as_they_say() {
    all_are_as_they_should_be(bodies());
}

#[test]
fn broken_framing_ends_the_connection() {
    all_are_as_they_should_be(framing());
}

#[test]
fn heads_over_the_limit_are_refused_by_what_is_too_large() {
    all_are_as_they_should_be(large());
}

#[test]
fn floods_end_the_connection_and_cost_little() {
    all_are_as_they_should_be(floods());
}

/// Settings and pings must be answered, so a client that never reads would have answers pile up.
#[test]
fn answers_to_settings_and_pings_that_nobody_reads_do_not_pile_up() {
    let upstream = Upstream::named("a");
    let gateway = crate::start(&upstream);
    for (what, flood) in [("settings", frame(SETTINGS, 0, 0, &[])), ("pings", frame(PING, 0, 0, &[0; 8]))] {
        let before = gateway.process().memory();
        let wire = Wire::connect(gateway.addr());
        let mut writer = wire.writer();
        writer.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let many = flood.repeat(1000);
        let _ = std::io::Write::write_all(&mut writer, &preface());
        // 40 MB, unless the gateway stops reading or ends the connection before.
        for _ in 0..2500 {
            if std::io::Write::write_all(&mut writer, &many).is_err() {
                break;
            }
        }
        let grown = gateway.process().memory().saturating_sub(before);
        assert!(grown < 8 << 20, "{what}: the gateway has grown by {grown} bytes");
    }
    assert_eq!(get(gateway.addr(), "/").status, 200);
}
