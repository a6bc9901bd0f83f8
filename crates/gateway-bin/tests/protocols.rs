//! Protocols as real clients speak them: curl, WebSockets, event streams, and bodies that flow both ways.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{
    Client, Exchange, Frame, Gateway, Opcode, Reply, Request, Upstream, WebSocket, Wire, scripted,
    wait_until, websocket_echo,
};
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::mpsc::Receiver;
use std::time::{Duration, SystemTime};

const SOON: Duration = Duration::from_secs(10);
const MIB: usize = 1 << 20;

fn gateway(upstream: SocketAddr) -> Gateway {
    let config = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 1\n[services.a]\n\
         endpoints = [\"http://{upstream}\"]\ntimeout = \"60s\"\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n"
    );
    Gateway::builder(env!("CARGO_BIN_EXE_gateway")).config(&config).start()
}

fn logging_gateway(upstream: SocketAddr) -> Gateway {
    let config = format!(
        "[access_log]\npath = \"@DIR@/access.log\"\nflush = \"10ms\"\n[server]\nlisten = \"127.0.0.1:@PORT@\"\n\
         workers = 1\n[services.a]\nendpoints = [\"http://{upstream}\"]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n"
    );
    Gateway::builder(env!("CARGO_BIN_EXE_gateway")).config(&config).start()
}

/// Bytes that do not repeat with any period that a buffer might have.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..count).map(|_| next()).collect()
}

fn curl(args: &[&str]) -> Output {
    let finished =
        Command::new("curl").args(["--silent", "--show-error", "--max-time", "60"]).args(args).output();
    let output = finished.expect("curl; install it");
    assert!(output.status.success(), "curl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// An upstream that sends every body back.
fn echo() -> Upstream {
    Upstream::start(|request| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
        Reply::raw(&[head.as_bytes(), &request.body].concat(), false)
    })
}

fn next<T>(from: &Receiver<T>) -> T {
    from.recv_timeout(SOON).expect("a request at the upstream")
}

#[test]
fn curl_uploads_and_downloads_32_mib_unchanged_over_both_versions() {
    let upstream = echo();
    let gateway = gateway(upstream.addr());
    let url = format!("http://{}/x", gateway.addr());
    let sent = bytes(32 * MIB);
    let (from, to) = (gateway.dir().join("from"), gateway.dir().join("to"));
    std::fs::write(&from, &sent).unwrap();
    let data = format!("@{}", from.display());
    for (version, how, said) in [
        ("--http1.1", "Expect:", "1.1"),
        ("--http1.1", "Transfer-Encoding: chunked", "1.1"),
        ("--http1.1", "Expect: 100-continue", "1.1"),
        ("--http1.0", "Expect:", "1.1"),
        ("--http2-prior-knowledge", "Expect:", "2"),
    ] {
        let to = to.to_str().unwrap();
        let output = curl(&[
            version,
            "-H",
            how,
            "--data-binary",
            &data,
            "-o",
            to,
            "-w",
            "%{http_code} %{http_version}",
            &url,
        ]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("200 {said}"), "{version} {how}");
        // Not `assert_eq`, which would show both.
        assert!(std::fs::read(to).unwrap() == sent, "{version} {how}: the bytes have changed");
        assert!(
            upstream.requests().last().unwrap().body == sent,
            "{version} {how}: the upstream's have changed"
        );
    }
}

#[test]
fn curl_waits_for_100_continue_and_then_sends_its_body() {
    let upstream = echo();
    let gateway = gateway(upstream.addr());
    let url = format!("http://{}/x", gateway.addr());
    // Longer than the test may take: without `100 Continue` there would be no body.
    let output = curl(&[
        "--http1.1",
        "-v",
        "--expect100-timeout",
        "50",
        "-H",
        "Expect: 100-continue",
        "--data-binary",
        "hello",
        &url,
    ]);
    assert_eq!(output.stdout, b"hello");
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(talk.contains("< HTTP/1.1 100 Continue"), "{talk}");
    assert_eq!(upstream.requests()[0].header("expect"), None);
}

#[test]
fn curl_sees_trailers_over_both_versions() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n";
    let upstream = Upstream::start(move |_| Reply::raw(answer.as_bytes(), false));
    let gateway = gateway(upstream.addr());
    let url = format!("http://{}/x", gateway.addr());
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let output = curl(&[version, "--raw", "-v", &url]);
        let all = [output.stdout, output.stderr].concat();
        let all = String::from_utf8_lossy(&all).to_lowercase();
        assert!(all.contains("hello") && all.contains("x-sum: 42"), "{version}: {all}");
    }
}

#[test]
fn curl_changes_protocols_and_stays_in_http2() {
    let gateway = gateway(websocket_echo());
    let url = format!("http://{}/ws", gateway.addr());
    let fields = [
        "-H",
        "Connection: upgrade",
        "-H",
        "Upgrade: websocket",
        "-H",
        "Sec-WebSocket-Version: 13",
        "-H",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    // The tunnel stays open, so curl ends by its own clock.
    let all = [&["--http1.1", "-s", "-i", "--max-time", "3"], &fields[..], &[&url]].concat();
    let output = Command::new("curl").args(all).output().expect("curl; install it");
    let head = String::from_utf8_lossy(&output.stdout).to_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("\r\nupgrade: websocket\r\n"), "{head}");
    // An offer of h2c is not taken, and does not pass.
    let upstream = echo();
    let gateway = self::gateway(upstream.addr());
    let output = curl(&[
        "--http2",
        "-w",
        "%{http_version}",
        "--data-binary",
        "hello",
        &format!("http://{}/x", gateway.addr()),
    ]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello1.1");
    assert_eq!(upstream.requests()[0].header("upgrade"), None);
}

#[test]
fn websockets_carry_every_kind_of_frame_unchanged() {
    let gateway = gateway(websocket_echo());
    let mut socket = WebSocket::open(gateway.addr(), "/ws").unwrap();
    let part = |last, opcode, text: &str| Frame { last, opcode, payload: text.into() };
    for frame in [
        Frame::new(Opcode::Text, "hello"),
        Frame::new(Opcode::Text, ""),
        Frame::new(Opcode::Binary, bytes(125)),
        Frame::new(Opcode::Binary, bytes(126)),
        Frame::new(Opcode::Binary, bytes(70_000)),
        part(false, Opcode::Text, "in "),
        part(false, Opcode::Continuation, "three "),
        Frame::new(Opcode::Pong, "unasked"),
        part(true, Opcode::Continuation, "parts"),
    ] {
        socket.send(&frame).unwrap();
        assert!(socket.receive().unwrap() == frame, "{:?} of {} bytes", frame.opcode, frame.payload.len());
    }
    socket.send(&Frame::new(Opcode::Ping, "are you there?")).unwrap();
    assert_eq!(socket.receive().unwrap(), Frame::new(Opcode::Pong, "are you there?"));
    let close = Frame::new(Opcode::Close, [&[3, 232], b"bye".as_slice()].concat());
    socket.send(&close).unwrap();
    assert_eq!(socket.receive().unwrap(), close);
    assert!(socket.is_closed(), "what the upstream closes is closed for the client");
}

#[test]
fn n3_a_websocket_reaches_a_service_that_speaks_only_http2() {
    // The gateway in front speaks HTTP/2 to the one behind, and that to the service what it understands.
    let behind = gateway(websocket_echo());
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:@PORT@\"\n[services.a]\nendpoints = [\"http://{}\"]\n\
         connection.protocol = \"http2\"\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n",
        behind.addr()
    );
    let front = Gateway::builder(env!("CARGO_BIN_EXE_gateway")).config(&config).start();
    let mut socket = WebSocket::open(front.addr(), "/ws").unwrap();
    for frame in [Frame::new(Opcode::Text, "hello"), Frame::new(Opcode::Binary, bytes(MIB))] {
        socket.send(&frame).unwrap();
        assert!(socket.receive().unwrap() == frame, "{:?} has changed", frame.opcode);
    }
    let close = Frame::new(Opcode::Close, [&[3, 232], b"bye".as_slice()].concat());
    socket.send(&close).unwrap();
    assert_eq!(socket.receive().unwrap(), close);
    assert!(socket.is_closed(), "what the service closes is closed for the client");
}

#[test]
fn a_websocket_message_of_1_mib_comes_back_whole_and_many_small_ones_in_order() {
    let gateway = gateway(websocket_echo());
    let mut socket = WebSocket::open(gateway.addr(), "/ws").unwrap();
    let large = Frame::new(Opcode::Binary, bytes(MIB));
    socket.send(&large).unwrap();
    assert!(socket.receive().unwrap() == large, "it has changed");
    for i in 0..1000 {
        socket.send(&Frame::new(Opcode::Text, format!("message {i}"))).unwrap();
    }
    for i in 0..1000 {
        assert_eq!(socket.receive().unwrap(), Frame::new(Opcode::Text, format!("message {i}")));
    }
}

#[test]
fn a_silent_websocket_stays_open_beside_a_busy_one() {
    let gateway = gateway(websocket_echo());
    let mut silent = WebSocket::open(gateway.addr(), "/ws").unwrap();
    let mut busy = WebSocket::open(gateway.addr(), "/ws").unwrap();
    let frame = Frame::new(Opcode::Text, "tick");
    // Two seconds, in which only the other one speaks.
    for _ in 0..40 {
        busy.send(&frame).unwrap();
        assert_eq!(busy.receive().unwrap(), frame);
        std::thread::sleep(Duration::from_millis(50));
    }
    silent.send(&frame).unwrap();
    assert_eq!(silent.receive().unwrap(), frame);
}

#[test]
fn a_websocket_that_has_lasted_long_enough_is_told_to_go() {
    let upstream = websocket_echo();
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:@PORT@\"\ntunnel_max_age = \"3s\"\n\
         [services.a]\nendpoints = [\"http://{upstream}\"]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n"
    );
    let gateway = Gateway::builder(env!("CARGO_BIN_EXE_gateway")).config(&config).start();
    let mut websocket = WebSocket::open(gateway.addr(), "/ws").unwrap();
    let frame = Frame::new(Opcode::Text, "tick");
    websocket.send(&frame).unwrap();
    assert_eq!(websocket.receive().unwrap(), frame);
    let last = websocket.receive().unwrap();
    assert_eq!((last.opcode, &last.payload[..]), (Opcode::Close, &1001_u16.to_be_bytes()[..]));
}

#[test]
fn what_declines_a_websocket_is_answered_like_any_request() {
    let upstream = Upstream::named("no");
    let gateway = gateway(upstream.addr());
    let refused = WebSocket::open(gateway.addr(), "/ws").unwrap_err();
    assert!(refused.contains("status: 200"), "{refused}");
}

#[test]
fn each_event_of_a_stream_arrives_before_the_next_is_sent() {
    for framing in ["Transfer-Encoding: chunked\r\n", "Connection: close\r\n"] {
        let (addr, requests) = scripted();
        let gateway = gateway(addr);
        let mut reader = Wire::connect(gateway.addr()).with_patience(SOON);
        reader.send(b"GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n").unwrap();
        let mut upstream = next(&requests);
        assert!(upstream.head.contains("accept: text/event-stream\r\n"), "{}", upstream.head);
        upstream
            .send(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n").as_bytes())
            .unwrap();
        while reader.line().unwrap() != "\r\n" {}
        for id in 0..50 {
            let event = format!("id: {id}\ndata: something\n\n");
            let sent = match framing.contains("chunked") {
                true => format!("{:x}\r\n{event}\r\n", event.len()),
                false => event.clone(),
            };
            upstream.send(sent.as_bytes()).unwrap();
            // The next event is not sent before this one has come: were it held back, nothing would come.
            let size = usize::from_str_radix(reader.line().unwrap().trim(), 16).unwrap();
            assert_eq!(String::from_utf8(reader.bytes(size + 2).unwrap()).unwrap(), format!("{event}\r\n"));
        }
    }
}

/// Runs a program of `tests/clients` with Node, which has the clients of browsers; what it prints is JSON.
fn node(program: &str, args: &[&str]) -> serde_json::Value {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(program);
    let mut node = Command::new("node");
    node.args(["--experimental-websocket", "--experimental-eventsource"]).arg(file).args(args);
    let output = node.output().expect("node; `scripts/test.sh` installs it");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_browsers_websocket_says_hello_and_goodbye() {
    let gateway = gateway(websocket_echo());
    let closed = node("websocket.mjs", &[&format!("ws://{}/ws", gateway.addr())]);
    assert_eq!(closed, serde_json::json!({ "code": 1000, "reason": "bye", "wasClean": true }));
}

/// Sends events, a pause between them, and each with the time. In the middle the connection ends, if it is to.
fn send_events(requests: &Receiver<Exchange>, ids: std::ops::Range<usize>, pause: Duration) -> Exchange {
    let mut upstream = next(requests);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nretry: 10\n\n";
    upstream.send(head.as_bytes()).unwrap();
    for id in ids {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        upstream.send(format!("id: {id}\ndata: {}\n\n", now.as_millis()).as_bytes()).unwrap();
        std::thread::sleep(pause);
    }
    upstream
}

#[test]
fn a_browsers_event_source_has_each_event_at_once_and_goes_on_where_it_was() {
    const EVENTS: usize = 40;
    const PAUSE: Duration = Duration::from_millis(50);
    for version in ["http1", "http2"] {
        let (addr, requests) = scripted();
        let gateway = gateway(addr);
        let url = format!("http://{}/events", gateway.addr());
        let reader = std::thread::spawn(move || node("events.mjs", &[&url, &EVENTS.to_string(), version]));
        // An EventSource comes back when its connection ends, and says what it has seen.
        let breaks = if version == "http1" { EVENTS / 2 } else { EVENTS };
        let first = send_events(&requests, 0..breaks, PAUSE);
        assert!(first.head.contains("accept: text/event-stream\r\n"), "{}", first.head);
        let rest = if breaks < EVENTS {
            drop(first);
            let rest = send_events(&requests, breaks..EVENTS, PAUSE);
            assert!(rest.head.contains(&format!("last-event-id: {}\r\n", breaks - 1)), "{}", rest.head);
            rest
        } else {
            first
        };
        let seen = reader.join().unwrap();
        drop(rest);
        let seen = seen.as_array().unwrap();
        let ids: Vec<_> = seen.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids, (0..EVENTS).map(|id| id.to_string()).collect::<Vec<_>>());
        let mut delays: Vec<_> = seen.iter().map(|event| event["delay"].as_u64().unwrap()).collect();
        delays.sort_unstable();
        let (median, longest) = (delays[EVENTS / 2], delays[EVENTS - 1]);
        println!("{version}: events come after {median} ms, the last of {EVENTS} after {longest} ms");
        // Were they gathered, half of them would be late by half of the time that all take.
        assert!(median < 500, "{version}: {delays:?}");
    }
}

#[test]
fn a_body_flows_up_and_down_at_once_piece_by_piece() {
    let (addr, requests) = scripted();
    let gateway = gateway(addr);
    let mut client = Wire::connect(gateway.addr()).with_patience(SOON);
    client.send(b"POST /chat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    client.send(b"5\r\nfirst\r\n").unwrap();
    let mut upstream = next(&requests);
    upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    assert_eq!(upstream.bytes(10).unwrap(), b"5\r\nfirst\r\n");
    while client.line().unwrap() != "\r\n" {}
    for i in 10..60 {
        let chunk = format!("6\r\nturn{i}\r\n");
        client.send(chunk.as_bytes()).unwrap();
        assert_eq!(upstream.bytes(chunk.len()).unwrap(), chunk.as_bytes());
        upstream.send(chunk.as_bytes()).unwrap();
        assert_eq!(client.bytes(chunk.len()).unwrap(), chunk.as_bytes());
    }
    client.send(b"0\r\n\r\n").unwrap();
    assert_eq!(upstream.bytes(5).unwrap(), b"0\r\n\r\n");
    upstream.send(b"0\r\n\r\n").unwrap();
    assert_eq!(client.bytes(5).unwrap(), b"0\r\n\r\n");
    // The connection is still good for another request, and so is the upstream's.
    client.send(b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(upstream.bytes(18).unwrap(), b"GET /next HTTP/1.1");
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    assert_eq!(client.answer("GET").unwrap().text(), "ok");
}

/// One request, so that what is needed once is there before memory is measured.
fn warm_up(gateway: &Gateway, requests: &Receiver<Exchange>) {
    let mut client = Wire::connect(gateway.addr()).with_patience(SOON);
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").unwrap();
    next(requests).send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").unwrap();
    assert_eq!(client.answer("POST").unwrap().text(), "ok");
}

#[test]
fn a_slow_reader_of_a_fast_upstream_costs_little_memory() {
    let (addr, requests) = scripted();
    let gateway = gateway(addr);
    warm_up(&gateway, &requests);
    let before = gateway.process().memory();
    const COUNT: usize = 8;
    const SIZE: usize = 32 * MIB;
    let mut clients = Vec::new();
    for _ in 0..COUNT {
        let mut client = Wire::connect(gateway.addr()).with_patience(SOON);
        client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut upstream = next(&requests);
        std::thread::spawn(move || {
            upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes())?;
            upstream.send(&bytes(SIZE))
        });
        clients.push(client);
    }
    let mut most = 0;
    // A quarter of a second without reading, then 1 MiB at a time.
    for _ in 0..25 {
        std::thread::sleep(Duration::from_millis(10));
        most = most.max(gateway.process().memory());
    }
    for client in &mut clients {
        while client.line().unwrap() != "\r\n" {}
    }
    let expected = bytes(SIZE);
    for piece in expected.chunks(MIB) {
        for client in &mut clients {
            assert!(client.bytes(piece.len()).unwrap() == piece, "the bytes have changed");
        }
        most = most.max(gateway.process().memory());
    }
    let grown = most.saturating_sub(before);
    // 1 MiB for each, where 256 MiB were on their way.
    assert!(grown < (COUNT * MIB) as u64, "it has grown by {} KiB", grown / 1024);
}

/// Pipes that the process has open.
fn pipes(gateway: &Gateway) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", gateway.process().id())).unwrap();
    let links = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("pipe:")).count()
}

#[test]
fn long_answers_pass_within_the_kernel_by_one_pipe_and_are_logged_as_long_as_they_were() {
    const SIZE: usize = 16 * MIB;
    let (addr, requests) = scripted();
    let gateway = logging_gateway(addr);
    warm_up(&gateway, &requests);
    let before = pipes(&gateway);
    let sent = bytes(SIZE);
    // How much the service sends, and how much at a time the client takes.
    for (size, at_once) in [(SIZE, SIZE), (SIZE, 100_000), (SIZE / 2, SIZE)] {
        let mut client = Wire::connect(gateway.addr()).with_patience(SOON);
        client.send(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut upstream = next(&requests);
        let piece = sent[..size].to_vec();
        let sending = std::thread::spawn(move || {
            upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes()).unwrap();
            upstream.send(&piece).unwrap();
        });
        while client.line().unwrap() != "\r\n" {}
        for piece in sent[..size].chunks(at_once) {
            assert!(client.bytes(piece.len()).unwrap() == piece, "the bytes have changed");
        }
        sending.join().unwrap();
        assert!(client.bytes(1).is_err(), "nothing follows");
    }
    assert_eq!(pipes(&gateway), before + 2, "one pipe for all");
    let lines = wait_until("four lines of the log", SOON, || {
        Some(gateway.access_log()).filter(|lines| lines.len() == 4)
    });
    let said: Vec<_> = lines[1..]
        .iter()
        .map(|line| (line["bytes_out"].as_u64().unwrap(), line["reason"].as_str()))
        .collect();
    let size = SIZE as u64;
    assert_eq!(said, [(size, None), (size, None), (size / 2, Some("answer-cut-off"))]);
}

#[test]
fn an_answer_that_ends_before_its_length_never_passes_for_a_whole_one() {
    const TIMES: usize = 20;
    let (addr, requests) = scripted();
    let gateway = logging_gateway(addr);
    warm_up(&gateway, &requests);
    // Whether its end is seen together with its head is chance.
    for body in [&b""[..], b"abc"].repeat(TIMES) {
        let mut client = Wire::connect(gateway.addr()).with_patience(SOON);
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut upstream = next(&requests);
        upstream.send(&[b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", body].concat()).unwrap();
        drop(upstream);
        let mut length = None;
        loop {
            match &*client.line().unwrap() {
                "\r\n" => break,
                line => length = length.or(line.strip_prefix("content-length: ").map(str::to_owned)),
            }
        }
        assert_eq!(length.as_deref(), Some("10\r\n"));
        assert_eq!(client.bytes(body.len()).unwrap(), body);
        assert!(client.bytes(1).is_err(), "the connection is closed");
    }
    let cut = || gateway.access_log().iter().filter(|line| line["reason"] == "answer-cut-off").count();
    wait_until("a line for each", SOON, || (cut() == 2 * TIMES).then_some(()));
}

#[test]
fn a_fast_sender_to_a_slow_upstream_costs_little_memory() {
    let (addr, requests) = scripted();
    let gateway = gateway(addr);
    warm_up(&gateway, &requests);
    let before = gateway.process().memory();
    const SIZE: usize = 64 * MIB;
    let mut client = Wire::connect(gateway.addr()).with_patience(SOON);
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes()).unwrap();
    let mut writer = client.writer();
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &bytes(SIZE)));
    let mut upstream = next(&requests);
    std::thread::sleep(Duration::from_millis(250));
    let mut most = gateway.process().memory();
    for piece in bytes(SIZE).chunks(4 * MIB) {
        assert!(upstream.bytes(piece.len()).unwrap() == piece, "the bytes have changed");
        most = most.max(gateway.process().memory());
    }
    sending.join().unwrap().unwrap();
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").unwrap();
    assert_eq!(client.answer("POST").unwrap().text(), "ok");
    let grown = most.saturating_sub(before);
    assert!(grown < 4 * MIB as u64, "it has grown by {} KiB", grown / 1024);
}

#[test]
fn an_answer_to_head_over_http2_ends_without_a_body() {
    let upstream = Upstream::start(|_| Reply::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false));
    let gateway = gateway(upstream.addr());
    let output = curl(&["--http2-prior-knowledge", "--head", &format!("http://{}/x", gateway.addr())]);
    let head = String::from_utf8_lossy(&output.stdout);
    assert!(head.starts_with("HTTP/2 200") && head.contains("content-length: 5\r\n"), "{head}");
    let again = gateway_testkit::Client::new(gateway.addr()).send(&Request::new("HEAD", "/x"));
    assert_eq!(again.header("content-length"), Some("5"));
}

/// A service that speaks HTTP/2 only, and answers by what name it was asked.
fn http2_only() -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let serve = async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let name = request.uri().authority().unwrap().to_string();
                    let mut body = respond.send_response(http::Response::new(()), false).unwrap();
                    body.send_data(bytes::Bytes::from(name), true).unwrap();
                }
            });
        }
    };
    std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serve);
    });
    addr
}

#[test]
fn what_http2_cannot_carry_is_no_fault_of_the_service() {
    let (a, b) = (http2_only(), http2_only());
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 1\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\n[services.a]\nendpoints = [\"http://{a}\", \"http://{b}\"]\n\
         connection.protocol = \"http2\"\nbalance = {{ circuit = {{ min_requests = 5 }} }}\n"
    );
    let gateway = Gateway::builder(env!("CARGO_BIN_EXE_gateway")).config(&config).start();
    let mut client = Client::new(gateway.addr());
    let mut ask = |name: &str, fields: &[(&str, &str)]| {
        let request = Request::get("/").header("Host", name);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(name, value));
        let answer = client.send(&request);
        (answer.status, answer.text())
    };
    // The wish for another protocol may be ignored.
    for number in 0..25 {
        let answer = ask("shop.example", &[("Connection", "upgrade"), ("Upgrade", "x")]);
        assert_eq!(answer, (200, "shop.example".to_owned()), "upgrade {number}");
    }
    // Who is asked for by no name is asked for by its own.
    for number in 0..25 {
        let (status, name) = ask("", &[]);
        assert!(
            status == 200 && [a, b].iter().any(|addr| addr.to_string() == name),
            "{number}: {status} {name}"
        );
    }
    assert_eq!(ask("shop.example", &[]).0, 200);
    let metrics = gateway_testkit::get(gateway.admin(), "/metrics").text();
    for endpoint in [a, b] {
        let line = format!("gateway_upstream_healthy{{service=\"a\",endpoint=\"http://{endpoint}\"}} 1");
        assert!(metrics.contains(&line), "{metrics}");
    }
    assert!(metrics.contains("gateway_upstream_retries_total{service=\"a\"} 0\n"), "{metrics}");
    let log = gateway.stop().stderr;
    assert!(!log.contains("ejected") && !log.contains("the circuit is open"), "{log}");
}
