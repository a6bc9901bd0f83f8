//! gRPC-Web as browsers speak it, over HTTP/1.1, to the same service.

use super::{SOON, Seen, call, gateway as in_front_of, message, serve, through, until};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_testkit::{Client, Gateway, Request, Response};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;

const WEB: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text";

async fn start(more: &str) -> (Gateway, Seen) {
    let (addr, seen) = serve().await;
    (in_front_of(&format!("\"http://{addr}\""), &format!("grpc_web = true\n{more}")), seen)
}

fn frame(message: &str) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message.as_bytes());
    frame
}

fn post(path: &str, kind: &str, said: &str) -> Request {
    let body = frame(said);
    let body = if kind == TEXT { STANDARD.encode(body).into_bytes() } else { body };
    Request::new("POST", path).header("Content-Type", kind).header("X-Grpc-Web", "1").body(body)
}

async fn send(gateway: &Gateway, request: Request) -> Response {
    let addr = gateway.addr();
    tokio::task::spawn_blocking(move || Client::new(addr).send(&request)).await.unwrap()
}

/// Messages and trailers, as grpc-web's own client reads them: text by groups of four, each of which may be padded.
fn read(answer: &Response, kind: &str) -> (Vec<String>, Vec<String>) {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)), "{answer:?}");
    let body = if kind.starts_with(TEXT) {
        answer.body.chunks(4).flat_map(|group| STANDARD.decode(group).unwrap()).collect()
    } else {
        answer.body.clone()
    };
    let (mut messages, mut trailers, mut rest) = (Vec::new(), Vec::new(), &body[..]);
    while let Some((head, after)) = rest.split_at_checked(5) {
        assert!(trailers.is_empty(), "something follows the trailers: {rest:?}");
        let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
        let (payload, after) = after.split_at(length);
        let payload = String::from_utf8(payload.to_vec()).unwrap();
        match head[0] {
            0 => messages.push(payload),
            0x80 => trailers.extend(payload.split_terminator("\r\n").map(str::to_owned)),
            other => panic!("flags {other:#x}"),
        }
        rest = after;
    }
    assert!(rest.is_empty(), "a frame is cut off: {rest:?}");
    (messages, trailers)
}

#[tokio::test]
async fn a_browsers_unary_call_is_answered_in_both_forms_and_grpc_passes_beside_it() {
    let (gateway, seen, mut native) = through("grpc_web = true\n").await;
    for (kind, answered) in [(WEB, "application/grpc-web"), (TEXT, TEXT)] {
        let request = post("/test/Unary", kind, "hello").header("X-Said", "before");
        let answer = send(&gateway, request).await;
        assert_eq!(answer.header("x-said"), Some("before"), "metadata passes both ways");
        let (messages, trailers) = read(&answer, answered);
        assert_eq!((messages, trailers), (vec!["hello".into()], vec!["grpc-status: 0".into()]), "{kind}");
    }
    let crossed = send(&gateway, post("/test/Unary", WEB, "hi").header("Accept", TEXT)).await;
    assert_eq!(read(&crossed, TEXT).0, ["hi"], "the form is the one that is accepted");
    let response = call(&mut native, message("as ever"), "/test/Unary").await.unwrap();
    assert_eq!(response.into_inner(), "as ever");
    assert_eq!(seen.calls.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn text_in_several_padded_pieces_cut_anywhere_is_one_message() {
    let (gateway, _seen) = start("").await;
    let (head, said) = (&frame("hello")[..5], b"hello");
    let text = [STANDARD.encode(head), STANDARD.encode(said)].concat();
    assert!(text[..text.len() - 1].contains('='), "padding within: {text}");
    let chunks: String = [&text[..1], &text[1..7], &text[7..]]
        .iter()
        .map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len()))
        .collect();
    let request = Request::new("POST", "/test/Unary").header("Content-Type", TEXT);
    let request = request.header("Transfer-Encoding", "chunked").body(format!("{chunks}0\r\n\r\n"));
    assert_eq!(read(&send(&gateway, request).await, TEXT).0, ["hello"]);
}

#[tokio::test]
async fn a_server_streams_to_a_browser_in_both_forms() {
    let (gateway, _seen) = start("").await;
    let expected: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    for (kind, answered) in [(WEB, "application/grpc-web"), (TEXT, TEXT)] {
        let (messages, trailers) = read(&send(&gateway, post("/test/Count", kind, "100")).await, answered);
        assert_eq!((messages, trailers), (expected.clone(), vec!["grpc-status: 0".to_owned()]), "{kind}");
    }
}

#[tokio::test]
async fn a_message_in_text_waits_for_no_other() {
    let (gateway, seen) = start("").await;
    let addr = gateway.addr();
    let first = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let body = STANDARD.encode(frame(""));
        let length = body.len();
        write!(stream, "POST /test/Drip HTTP/1.1\r\nHost: a\r\nContent-Type: {TEXT}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let (mut read, mut piece) = (Vec::new(), [0; 1024]);
        // Ten bytes, of which an encoder that waits for three would keep one.
        let expected = STANDARD.encode(frame("first"));
        while !String::from_utf8_lossy(&read).contains(&expected) {
            let count = stream.read(&mut piece).expect("the first message while the stream goes on");
            assert!(count > 0, "{}", String::from_utf8_lossy(&read));
            read.extend(&piece[..count]);
        }
    });
    first.await.unwrap();
    until("the call to be cancelled with its client", || seen.cancelled.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_services_own_status_is_in_the_head_or_after_the_messages() {
    let (gateway, _seen) = start("").await;
    for (kind, answered) in [(WEB, "application/grpc-web"), (TEXT, TEXT)] {
        let answer = send(&gateway, post("/test/Refuse", kind, "")).await;
        assert_eq!(read(&answer, answered), (vec![], vec![]), "trailers only: {kind}");
        assert_eq!(answer.header("grpc-status"), Some("6"));
        assert_eq!(answer.header("grpc-message"), Some("there%20is:%20100%20%25%20gr%C3%B6%C3%9Fer"));
        assert_eq!(answer.header("x-why"), Some("twice"));

        let answer = send(&gateway, post("/test/Break", kind, "")).await;
        let (messages, trailers) = read(&answer, answered);
        assert_eq!(messages, ["one"]);
        let expected = ["grpc-message: the%20rest%20is%20gone".to_owned(), "grpc-status: 15".to_owned()];
        assert!(expected.iter().all(|line| trailers.contains(line)), "{kind}: {trailers:?}");
        assert_eq!(answer.header("grpc-status"), None);
    }
}

#[tokio::test]
async fn retries_by_status_and_deadlines_are_those_of_grpc() {
    let (gateway, seen) = start("[services.rpc.retry]\non = [\"unavailable\"]\n").await;
    let request = post("/test/Busy", TEXT, "hello").header("Idempotency-Key", "1");
    assert_eq!(read(&send(&gateway, request).await, TEXT).0, ["hello"]);
    assert_eq!(seen.calls.load(Ordering::SeqCst), 2);

    let answer = send(&gateway, post("/test/Hang", WEB, "").header("Grpc-Timeout", "2S")).await;
    assert_eq!(answer.header("grpc-status"), Some("4"), "{answer:?}");
    assert!(seen.timeout.lock().unwrap().is_some(), "the service knows of the deadline");
    until("the server's call to end", || seen.cancelled.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn what_the_gateway_refuses_a_browser_can_read() {
    let more = "max_body = \"64B\"\n\
                [[routes]]\npath = \"/away/*\"\nservice = \"away\"\n\
                [services.away]\nendpoints = [\"http://127.0.0.1:1\"]\nconnection.protocol = \"http2\"\n\
                [defaults]\ngrpc_web = true\ncors = { expose_headers = [\"grpc-status\", \"grpc-message\"] }\n";
    let (gateway, _seen) = start(more).await;
    let chunked = |kind, text: &str| {
        let request = Request::new("POST", "/test/Unary").header("Content-Type", kind);
        let body = format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
        request.header("Transfer-Encoding", "chunked").body(body)
    };
    for (request, kind, status, said) in [
        (post("/away/Unary", WEB, "x"), "application/grpc-web", "14", "refused"),
        (post("/away/Unary", TEXT, "x"), TEXT, "14", "refused"),
        (post("/other/Unary", TEXT, "x"), TEXT, "12", "No route matches"),
        (chunked(TEXT, "no base64!!!"), TEXT, "3", ""),
        (chunked(TEXT, "AAAAA"), TEXT, "3", ""),
        (chunked(TEXT, &"AAAA".repeat(100)), TEXT, "8", ""),
    ] {
        let answer = send(&gateway, request.header("Origin", "https://shop.example")).await;
        assert_eq!(read(&answer, kind), (vec![], vec![]));
        assert_eq!(answer.header("grpc-status"), Some(status), "{answer:?}");
        assert!(answer.header("grpc-message").is_some_and(|found| found.contains(said)), "{answer:?}");
        if status != "12" {
            let exposed = answer.header("access-control-expose-headers");
            assert_eq!(exposed, Some("grpc-status, grpc-message"), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_route_has_it_of_its_own_by_default_or_not_at_all_and_says_so() {
    let (addr, _seen) = serve().await;
    let more =
        "[[routes]]\npath = \"/not/*\"\nservice = \"rpc\"\ngrpc_web = false\n[defaults]\ngrpc_web = true\n";
    let gateway = in_front_of(&format!("\"http://{addr}\""), more);
    let answer = send(&gateway, post("/test/Unary", WEB, "hello")).await;
    assert_eq!(read(&answer, "application/grpc-web").0, ["hello"]);
    let answer = send(&gateway, post("/not/Unary", WEB, "hello")).await;
    assert_ne!(answer.header("content-type"), Some("application/grpc-web"), "{answer:?}");

    let config = format!(
        "[services.rpc]\nendpoints = [\"http://{addr}\"]\nconnection.protocol = \"http2\"\n\
                          [[routes]]\npath = \"/test/*\"\nservice = \"rpc\"\n{more}"
    );
    let run = |args: &'static [&'static str]| {
        let builder = Gateway::builder(env!("CARGO_BIN_EXE_gateway")).config(&config).args(args);
        tokio::task::spawn_blocking(move || builder.run().stdout)
    };
    let routes = run(&["routes"]).await.unwrap();
    let of = |path: &str| routes.lines().find(|line| line.contains(path)).unwrap_or_default().to_owned();
    assert!(of("/test/").contains("grpc-web") && !of("/not/").contains("grpc-web"), "{routes}");
    let explained = run(&["explain", "POST", "/test/Unary"]).await.unwrap();
    let line = explained.lines().find(|line| line.contains("grpc_web"));
    assert!(line.is_some_and(|line| line.contains("true") && line.contains("defaults")), "{explained}");
}
