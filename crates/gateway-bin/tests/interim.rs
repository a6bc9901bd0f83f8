//! Answers before the answer (1xx, RFC 9110 §15.2), `103 Early Hints` (RFC 8297) above all, from services to clients.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_testkit::{Exchange, Gateway, Reply, Upstream, Wire, scripted};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::task::Poll;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";
const DONE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone";

fn gateway(upstream: SocketAddr, service: &str, route: &str) -> Gateway {
    let config = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 1\nwatch = false\n[services.a]\n\
         endpoints = [\"http://{upstream}\"]\n{service}\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n{route}\n"
    );
    Gateway::builder(env!("CARGO_BIN_EXE_gateway")).config(&config).start()
}

fn next(from: &Receiver<Exchange>) -> Exchange {
    from.recv_timeout(SOON).expect("a request at the upstream")
}

/// One head, with its line ends.
fn head(client: &mut Wire) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let line = client.line().unwrap();
        assert!(!line.is_empty(), "the connection ended after {head:?}");
        head.push_str(&line);
    }
    head
}

#[test]
fn a_hint_arrives_before_the_service_has_its_answer() {
    let (addr, requests) = scripted();
    let route = "security_headers = true\nheaders = { response = { set = { x-mine = \"1\" } } }";
    let gateway = gateway(addr, "", route);
    let mut client = Wire::connect(gateway.addr()).with_patience(SOON);
    for _ in 0..2 {
        client.send(GET).unwrap();
        let mut upstream = next(&requests);
        for (sent, seen) in [
            // Each hop asks for bodies by itself, and has headers of its own.
            ("HTTP/1.1 100 Continue\r\n\r\n", None),
            ("HTTP/1.1 102 Processing\r\n\r\n", Some("HTTP/1.1 102 Processing\r\n\r\n")),
            (
                "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
                 Keep-Alive: timeout=5\r\nContent-Length: 9\r\n\r\n",
                Some(HINT),
            ),
            (
                "HTTP/1.1 104 Odd\r\nUpload-Offset: 7\r\n\r\n",
                Some("HTTP/1.1 104 \r\nupload-offset: 7\r\n\r\n"),
            ),
        ] {
            upstream.send(sent.as_bytes()).unwrap();
            if let Some(seen) = seen {
                assert_eq!(head(&mut client), seen);
            }
        }
        upstream.send(DONE).unwrap();
        let answer = client.answer("GET").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
        // The route's own are for the answer.
        assert_eq!((answer.header("x-mine"), answer.header("link")), (Some("1"), None));
        assert!(answer.header("x-content-type-options").is_some());
    }
}

#[test]
fn a_body_is_asked_for_behind_a_hint_and_sent() {
    let (addr, requests) = scripted();
    let gateway = gateway(addr, "", "");
    let mut client = Wire::connect(gateway.addr()).with_patience(SOON);
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert_eq!(head(&mut client), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send(b"h").unwrap();
    let mut upstream = next(&requests);
    upstream.send(HINT.as_bytes()).unwrap();
    assert_eq!(head(&mut client), HINT);
    client.send(b"i").unwrap();
    assert_eq!(upstream.bytes(2).unwrap(), b"hi");
    upstream.send(DONE).unwrap();
    assert_eq!(client.answer("PUT").unwrap().text(), "done");
}

/// HTTP/1.0 knows no interim answers.
#[test]
fn other_versions_get_what_they_know() {
    let upstream = Upstream::start(|_| Reply::raw(&[HINT.as_bytes(), DONE].concat(), true));
    let gateway = gateway(upstream.addr(), "", "");
    let mut client = Wire::connect(gateway.addr()).with_patience(SOON);
    client.send(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let seen = String::from_utf8(client.rest().unwrap()).unwrap();
    assert!(seen.starts_with("HTTP/1.1 200 OK\r\n") && seen.ends_with("\r\n\r\ndone"), "{seen}");
    for (version, statuses) in [
        ("--http2-prior-knowledge", ["HTTP/2 103", "HTTP/2 200"]),
        ("--http1.1", ["HTTP/1.1 103", "HTTP/1.1 200"]),
    ] {
        let url = format!("http://{}/", gateway.addr());
        let output = Command::new("curl").args(["-si", "--max-time", "20", version, &url]).output();
        let output = output.expect("curl; install it");
        let seen = String::from_utf8(output.stdout).unwrap();
        let lines = seen.lines().filter_map(|line| line.get(..statuses[0].len()));
        let all: Vec<_> = lines.filter(|line| line.starts_with("HTTP/")).collect();
        assert_eq!(all, statuses, "{seen}");
        assert!(seen.contains("link: </a.css>; rel=preload") && seen.ends_with("done"), "{seen}");
    }
}

#[test]
fn hints_arrive_over_http_2_before_the_service_has_its_answer() {
    let (addr, requests) = scripted();
    let gateway = gateway(addr, "", "headers = { response = { set = { x-mine = \"1\" } } }");
    let to = gateway.addr();
    let (tell, heard) = channel();
    let client = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let socket = tokio::net::TcpStream::connect(to).await.unwrap();
            let (mut send, connection) = h2::client::handshake(socket).await.unwrap();
            tokio::spawn(connection);
            let request = http::Request::get("http://a/").body(()).unwrap();
            let (mut answer, _) = send.send_request(request, true).unwrap();
            let answer = std::future::poll_fn(|cx| {
                while let Poll::Ready(Some(early)) = answer.poll_informational(cx) {
                    tell.send(early.unwrap()).unwrap();
                }
                Pin::new(&mut answer).poll(cx)
            });
            let (head, mut body) = answer.await.unwrap().into_parts();
            (head, body.data().await.unwrap().unwrap())
        })
    });
    let mut upstream = next(&requests);
    for (sent, status, fields) in [
        ("HTTP/1.1 102 Processing\r\n\r\n", 102, None),
        (HINT, 103, Some("</a.css>; rel=preload")),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: </b.js>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n",
            103,
            Some("</b.js>"),
        ),
    ] {
        upstream.send(sent.as_bytes()).unwrap();
        let early = heard.recv_timeout(SOON).expect("an interim answer");
        let link = early.headers().get("link").map(|link| link.to_str().unwrap());
        assert_eq!((early.status().as_u16(), link), (status, fields));
        assert_eq!(early.headers().len(), fields.iter().count(), "{early:?}");
    }
    upstream.send(DONE).unwrap();
    let (head, body) = client.join().unwrap();
    assert_eq!(
        (head.status.as_u16(), &body[..], &head.headers["x-mine"]),
        (200, &b"done"[..], &"1".parse().unwrap())
    );
    assert!(!head.headers.contains_key("link"));
}

#[test]
fn a_service_that_sends_hints_without_end_is_cut_off() {
    let (addr, requests) = scripted();
    let gateway = gateway(addr, "retry = 1", "");
    let mut client = Wire::connect(gateway.addr()).with_patience(SOON);
    client.send(GET).unwrap();
    let mut upstream = next(&requests);
    upstream.send(HINT.repeat(100).as_bytes()).unwrap();
    for _ in 0..8 {
        assert_eq!(head(&mut client), HINT);
    }
    let answer = client.answer("GET").unwrap();
    assert_eq!((answer.status, &answer.json()["code"]), (502, &"upstream-protocol-error".into()));
    assert!(upstream.bytes(1).is_err(), "the service's connection is kept");
}

#[test]
fn what_failed_behind_a_hint_is_tried_again() {
    let (addr, requests) = scripted();
    let gateway = gateway(addr, "retry = { attempts = 2, backoff = \"1ms\" }", "");
    let mut client = Wire::connect(gateway.addr()).with_patience(SOON);
    client.send(GET).unwrap();
    let mut upstream = next(&requests);
    upstream.send(HINT.as_bytes()).unwrap();
    assert_eq!(head(&mut client), HINT);
    drop(upstream);
    let mut upstream = next(&requests);
    upstream.send(HINT.as_bytes()).unwrap();
    assert_eq!(head(&mut client), HINT);
    upstream.send(DONE).unwrap();
    assert_eq!(client.answer("GET").unwrap().text(), "done");
}

#[test]
fn a_cache_keeps_the_answer_and_not_its_hints() {
    let fresh = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 5\r\n\r\nfresh";
    let early =
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nCache-Control: max-age=600\r\n\r\n";
    let upstream = Upstream::start(move |_| Reply::raw(&[early.as_bytes(), fresh].concat(), false));
    let gateway = gateway(upstream.addr(), "", "cache = true");
    let mut client = Wire::connect(gateway.addr()).with_patience(SOON);
    client.send(GET).unwrap();
    assert!(head(&mut client).starts_with("HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n"));
    assert_eq!(client.answer("GET").unwrap().text(), "fresh");
    client.send(GET).unwrap();
    let stored = head(&mut client);
    assert!(stored.starts_with("HTTP/1.1 200 OK\r\n") && stored.contains("; hit"), "{stored}");
    assert_eq!((client.bytes(5).unwrap(), upstream.hits()), (b"fresh".to_vec(), 1));
}

/// One HTTP/2 server that sends a hint for each request, and the answer when the test says so.
fn http2_service() -> (SocketAddr, std::sync::mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (sender, go) = channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let go = std::sync::Arc::new(std::sync::Mutex::new(go));
        runtime.block_on(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let go = go.clone();
                tokio::spawn(async move {
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        let go = go.clone();
                        tokio::spawn(async move {
                            let early =
                                http::Response::builder().status(103).header("link", "</a.css>; rel=preload");
                            respond.send_informational(early.body(()).unwrap()).unwrap();
                            let wait = move || go.lock().unwrap().recv_timeout(SOON);
                            tokio::task::spawn_blocking(wait).await.unwrap().expect("the test to go on");
                            let mut body = respond.send_response(http::Response::new(()), false).unwrap();
                            body.send_data(Bytes::from_static(b"done"), true).unwrap();
                        });
                    }
                });
            }
        });
    });
    (addr, sender)
}

#[test]
fn a_hint_of_an_http_2_service_passes_too() {
    let (addr, go) = http2_service();
    let gateway = gateway(addr, "connection.protocol = \"http2\"", "");
    let mut client = Wire::connect(gateway.addr()).with_patience(SOON);
    for _ in 0..2 {
        client.send(GET).unwrap();
        assert_eq!(head(&mut client), HINT);
        go.send(()).unwrap();
        assert_eq!(client.answer("GET").unwrap().text(), "done");
    }
}

/// The client's own protocol is another after 101, and the service may have something to say before.
#[test]
fn a_hint_before_a_change_of_protocols_does_not_disturb_it() {
    let (addr, requests) = scripted();
    let gateway = gateway(addr, "", "");
    let mut client = Wire::connect(gateway.addr()).with_patience(SOON);
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: mine\r\n\r\n").unwrap();
    let mut upstream = next(&requests);
    upstream.send(HINT.as_bytes()).unwrap();
    assert_eq!(head(&mut client), HINT);
    upstream
        .send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: mine\r\n\r\nhello")
        .unwrap();
    assert!(head(&mut client).starts_with("HTTP/1.1 101 "));
    assert_eq!(client.bytes(5).unwrap(), b"hello");
    client.send(b"HTTP/1.1 103 Early Hints\r\n\r\n").unwrap();
    assert_eq!(upstream.bytes(28).unwrap(), b"HTTP/1.1 103 Early Hints\r\n\r\n");
}

#[test]
fn a_client_that_goes_after_a_hint_takes_its_request_along() {
    let (addr, requests) = scripted();
    let gateway = gateway(addr, "", "");
    let mut client = TcpStream::connect(gateway.addr()).unwrap();
    client.write_all(GET).unwrap();
    let mut upstream = next(&requests);
    upstream.send(HINT.as_bytes()).unwrap();
    let mut seen = [0; HINT.len()];
    std::io::Read::read_exact(&mut client, &mut seen).unwrap();
    drop(client);
    assert!(upstream.bytes(1).is_err(), "the service's connection is kept");
}

#[test]
fn hints_of_those_whom_the_gateway_asks_for_itself_are_not_for_clients() {
    let asked = Upstream::start(|_| {
        let hint = "HTTP/1.1 103 Early Hints\r\nLink: </secret>\r\n\r\n".as_bytes();
        Reply::raw(&[hint, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"].concat(), false)
    });
    let upstream = Upstream::start(|_| Reply::raw(&[HINT.as_bytes(), DONE].concat(), true));
    let policy = format!("auth = \"ask\"\n[auth.forward.ask]\nurl = \"{}\"\n", asked.url());
    let gateway = gateway(upstream.addr(), "", &policy);
    let mut client = Wire::connect(gateway.addr()).with_patience(SOON);
    client.send(GET).unwrap();
    assert_eq!(head(&mut client), HINT);
    assert_eq!((client.answer("GET").unwrap().text().as_str(), asked.hits()), ("done", 1));
}
