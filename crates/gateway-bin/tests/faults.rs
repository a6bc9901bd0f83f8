//! What clients get, and what upstreams see, when the connection between gateway and upstream goes wrong: each fault,
//! with each kind of request, over HTTP/1.1 and HTTP/2.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_testkit::{Disturbance, FaultProxy, Gateway, Reply, Response, Upstream, Wire, get, wait_until};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
const BODY: &str = "0123456789";
/// What the upstream's answer begins with.
const HEAD: usize = "HTTP/1.1 200 Status\r\nContent-Length: 10\r\n\r\n".len();
const EARLY: &[u8] = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig";

/// Ejection would answer later rows, so it is off but for its own; nothing is retried elsewhere, as there is no other
/// endpoint.
fn gateway(upstream: &str, service: &str) -> Gateway {
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 1\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n\
         [access_log]\npath = \"@DIR@/access.log\"\nflush = \"10ms\"\n\
         [services.a]\nendpoints = [\"{upstream}\"]\ntimeout = \"1200ms\"\n\
         connection.body_idle_timeout = \"300ms\"\n{service}\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n"
    );
    Gateway::builder(env!("CARGO_BIN_EXE_gateway")).config(&config).start()
}

/// One connection of a client, over which everything goes.
enum Client {
    Http1(Wire),
    Http2(tokio::runtime::Runtime, SendRequest<Full<Bytes>>, SocketAddr),
}

/// What a client got: an answer, one that broke off after its head, or not even that.
#[derive(Debug, Default)]
struct Got {
    status: u16,
    code: Option<String>,
    proxy_status: Option<String>,
    whole: bool,
}

impl Client {
    fn http1(addr: SocketAddr) -> Self {
        Self::Http1(Wire::connect(addr))
    }

    fn http2(addr: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
            let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            sender
        });
        Self::Http2(runtime, sender, addr)
    }

    fn send(&mut self, method: &str) -> Got {
        let body = if method == "GET" { "" } else { "hello" };
        match self {
            Self::Http1(wire) => {
                let length = body.len();
                let request =
                    format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}");
                wire.send(request.as_bytes()).unwrap();
                let status = wire.line().unwrap();
                let status = status.split(' ').nth(1).and_then(|s| s.parse().ok());
                let status = status.expect("a status line");
                let mut headers = Vec::new();
                loop {
                    let line = wire.line().unwrap();
                    let Some((name, value)) = line.trim_end().split_once(": ") else { break };
                    headers.push((name.to_owned(), value.to_owned()));
                }
                let mut response = Response { status, headers, body: Vec::new() };
                let length = response.header("content-length").and_then(|length| length.parse().ok());
                let body = wire.bytes(length.expect("answers of this test have a length"));
                let whole = body.is_ok();
                response.body = body.unwrap_or_default();
                Got::of(&response, whole)
            }
            Self::Http2(runtime, sender, addr) => runtime.block_on(async {
                let request = http::Request::builder()
                    .method(method)
                    .uri(format!("http://{addr}/"))
                    .body(Full::from(body))
                    .unwrap();
                sender.ready().await.unwrap();
                let answer =
                    tokio::time::timeout(SOON, sender.send_request(request)).await.expect("an answer");
                // A reset takes what had not left yet with it, even the head.
                let Ok(answer) = answer else { return Got::default() };
                let (head, body) = answer.into_parts();
                let body = tokio::time::timeout(SOON, body.collect()).await.expect("the end of the answer");
                let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                    (name.to_string(), value.to_str().unwrap().to_owned())
                };
                let whole = body.is_ok();
                let response = Response {
                    status: head.status.as_u16(),
                    headers: head.headers.iter().map(field).collect(),
                    body: body.map(|body| body.to_bytes().to_vec()).unwrap_or_default(),
                };
                Got::of(&response, whole)
            }),
        }
    }

    /// Whether another request is answered over the same connection.
    fn goes_on(&mut self) -> bool {
        match self {
            Self::Http1(wire) => {
                let _ = wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                wire.answer("GET").is_ok_and(|answer| answer.text() == BODY)
            }
            Self::Http2(..) => self.send("GET").status == 200,
        }
    }
}

impl Got {
    fn of(response: &Response, whole: bool) -> Self {
        let problem = response.header("content-type") == Some("application/problem+json");
        let code = problem.then(|| response.json()["code"].as_str().unwrap().to_owned());
        let proxy_status = response.header("proxy-status").map(str::to_owned);
        Self { status: response.status, code, proxy_status, whole }
    }
}

/// What comes of a fault.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// The gateway answers for the upstream: with this status, code and RFC 9209 error.
    Fails(u16, &'static str, &'static str),
    /// The upstream's answer arrives as it is.
    Answers(u16),
    /// The client is told that the rest of its answer is missing.
    BreaksOff,
}

/// Which methods are tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retried {
    All,
    Idempotent,
    None,
}

struct Row {
    fault: Disturbance,
    then: Then,
    retried: Retried,
    /// Whether an attempt reaches the upstream.
    reaches: bool,
}

fn row(fault: Disturbance, then: Then, retried: Retried, reaches: bool) -> Row {
    Row { fault, then, retried, reaches }
}

fn rows() -> Vec<Row> {
    use Disturbance as D;
    use Retried::{All, Idempotent, None};
    use Then::{Answers, BreaksOff, Fails};
    let connect = Fails(502, "upstream-connect-failed", "connection_refused");
    let reset = Fails(502, "upstream-reset", "connection_terminated");
    let protocol = Fails(502, "upstream-protocol-error", "http_protocol_error");
    let timeout = Fails(504, "upstream-timeout", "http_response_timeout");
    vec![
        row(D::None, Answers(200), None, true),
        row(D::CloseOnAccept, reset, Idempotent, false),
        row(D::ResetOnRequest, reset, Idempotent, false),
        row(D::ResetBeforeAnswer, reset, Idempotent, true),
        row(D::CloseAfter(0), reset, Idempotent, true),
        row(D::ResetAfter(HEAD - 10), reset, Idempotent, true),
        row(D::CloseAfter(HEAD - 10), reset, Idempotent, true),
        row(D::ResetAfter(HEAD + 4), BreaksOff, None, true),
        row(D::CloseAfter(HEAD + 4), BreaksOff, None, true),
        row(D::StallAfter(0), timeout, None, true),
        row(D::StallAfter(HEAD - 10), timeout, None, true),
        row(D::StallAfter(HEAD + 4), BreaksOff, None, true),
        row(D::Drip(Duration::from_millis(1)), Answers(200), None, true),
        row(D::Delay(Duration::from_millis(50)), Answers(200), None, true),
        row(D::Garbage(b"\x00\x01SSH-2.0-no-http-here\r\n\r\n"), protocol, Idempotent, true),
        row(
            D::Garbage(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n01234"),
            protocol,
            Idempotent,
            true,
        ),
        row(
            D::Garbage(
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            ),
            protocol,
            Idempotent,
            true,
        ),
        row(D::CloseIdle, Answers(200), None, true),
        // Last, as it does not listen again.
        row(D::Refuse, connect, All, false),
    ]
}

/// The line of the last request, once it is there.
fn line(gateway: &Gateway, count: usize) -> serde_json::Value {
    wait_until("the line in the access log", SOON, || {
        let lines = gateway.access_log();
        (lines.len() >= count).then(|| lines[count - 1].clone())
    })
}

fn matrix(connect: fn(SocketAddr) -> Client) {
    let upstream = Upstream::start(|_| Reply::new(200, BODY));
    let proxy = FaultProxy::start(upstream.addr());
    let gateway = gateway(&proxy.url(), "balance = { outlier = \"off\" }\nretry = { backoff = \"none\" }");
    let mut logged = 0;
    for Row { fault, then, retried, reaches } in rows() {
        for method in ["GET", "PUT", "POST"] {
            let what = format!("{fault:?}, {method}");
            let (hits, connections) = (upstream.hits(), proxy.connections());
            proxy.disturb(fault);
            let mut client = connect(gateway.addr());
            let got = client.send(method);
            logged += 1;
            let line = line(&gateway, logged);
            match then {
                Then::Fails(status, code, error) => {
                    assert_eq!((got.status, got.code.as_deref()), (status, Some(code)), "{what}: {got:?}");
                    let said = got.proxy_status.unwrap_or_default();
                    assert!(said.contains(&format!("error={error}")), "{what}: {said}");
                    assert!(got.whole, "{what}");
                    assert_eq!(
                        (&line["status"], &line["reason"]),
                        (&status.into(), &code.into()),
                        "{what}: {line}"
                    );
                    assert_eq!(line["error"], error, "{what}: {line}");
                    assert_eq!(line["upstream"], proxy.addr().to_string(), "{what}: {line}");
                }
                Then::Answers(status) => {
                    assert_eq!(
                        (got.status, got.whole, &line["reason"]),
                        (status, true, &().into()),
                        "{what}: {line}"
                    );
                }
                Then::BreaksOff => {
                    let begun = got.status == 200 || (matches!(client, Client::Http2(..)) && got.status == 0);
                    assert!(begun && !got.whole, "{what}: {got:?}");
                    assert_eq!(line["reason"], "answer-cut-off", "{what}: {line}");
                    assert!(line["detail"].is_string(), "{what}: {line}");
                }
            }
            let again = match retried {
                Retried::All => true,
                Retried::Idempotent => method != "POST",
                Retried::None => false,
            };
            let attempts = 1 + usize::from(again);
            if fault != Disturbance::Refuse {
                assert_eq!(proxy.connections() - connections, attempts, "{what}: attempts");
                let reached = if reaches { attempts } else { 0 };
                assert_eq!(upstream.hits() - hits, reached, "{what}: requests at the upstream");
                for request in &upstream.requests()[hits..] {
                    let body: &[u8] = if method == "GET" { b"" } else { b"hello" };
                    assert_eq!((&*request.method, &request.body[..]), (method, body), "{what}");
                }
                proxy.disturb(Disturbance::None);
                // An answer that broke off ends an HTTP/1.1 connection, for nothing else says so.
                let ends = matches!((&client, then), (Client::Http1(_), Then::BreaksOff));
                assert_eq!(client.goes_on(), !ends, "{what}: the client's connection");
                logged += usize::from(!ends);
            }
            // Where it was tried again, and only there, one fault is not noticed.
            if fault != Disturbance::Refuse && matches!(then, Then::Fails(..)) {
                proxy.disturb_once(fault);
                let got = connect(gateway.addr()).send(method);
                logged += 1;
                let expected = if again { 200 } else { 500 };
                assert!(got.status / 100 == expected / 100, "{what}, once: {got:?}");
            }
        }
    }
}

#[test]
fn every_fault_has_its_answer_over_http_1() {
    matrix(Client::http1);
}

#[test]
fn every_fault_has_its_answer_over_http_2() {
    matrix(Client::http2);
}

#[test]
fn a_name_that_does_not_resolve_is_said_to_the_client_in_the_log_and_in_the_metrics() {
    // RFC 6761 §6.4: there is no such name. A resolver that cannot be reached may take long to say so.
    let config = "[server]\nlisten = \"127.0.0.1:@PORT@\"\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n\
         [access_log]\npath = \"@DIR@/access.log\"\nflush = \"10ms\"\n\
         [services.a]\nendpoints = [\"http://does-not-exist.invalid:80\"]\ntimeout = \"60s\"\n\
         connection.connect_timeout = \"20s\"\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n";
    let gateway = Gateway::builder(env!("CARGO_BIN_EXE_gateway")).config(config).start();
    let answer = get(gateway.addr(), "/");
    let problem = answer.json();
    assert_eq!((answer.status, &problem["code"]), (502, &"upstream-connect-failed".into()), "{problem}");
    let said = answer.header("proxy-status").unwrap();
    assert_eq!(said, "gateway; error=dns_error; details=\"upstream-connect-failed\"");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with("its name cannot be resolved: "), "{detail}");
    assert!(!detail.contains("does-not-exist"), "clients are told no internal name: {detail}");

    let line = line(&gateway, 1);
    assert_eq!((&line["reason"], &line["error"]), (&"upstream-connect-failed".into(), &"dns_error".into()));
    assert_eq!(line["detail"], detail, "{line}");
    assert_eq!(line["upstream"], "does-not-exist.invalid:80", "{line}");
    let metrics = get(gateway.admin(), "/metrics").text();
    assert!(metrics.contains("code=\"upstream-connect-failed\""), "{metrics}");
}

#[test]
fn what_an_upstream_sends_unasked_is_no_answer_to_the_next_request() {
    let twice = b"HTTP/1.1 200 Status\r\nContent-Length: 10\r\n\r\n0123456789HTTP/1.1 200 Status\r\nContent-Length: 3\r\n\r\nbad";
    let upstream = Upstream::start(move |_| Reply::raw(twice, false));
    let gateway = gateway(&upstream.url(), "");
    for mut client in [Client::http1(gateway.addr()), Client::http2(gateway.addr())] {
        assert!((0..3).all(|_| client.goes_on()));
    }
    assert_eq!((upstream.hits(), upstream.connections()), (6, 6), "no such connection is used again");
}

#[test]
fn an_answer_that_comes_before_the_request_is_whole_is_passed_on() {
    let upstream = Upstream::start(|_| Reply::new(200, BODY));
    let proxy = FaultProxy::start(upstream.addr());
    proxy.disturb(Disturbance::Early(EARLY));
    let gateway = gateway(&proxy.url(), "balance = { outlier = \"off\" }");
    let mut wire = Wire::connect(gateway.addr());
    wire.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegun").unwrap();
    let answer = wire.answer("PUT").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
}

#[test]
fn idle_connections_that_the_upstream_closes_cost_no_request() {
    let upstream = Upstream::start(|_| Reply::new(200, BODY));
    let proxy = FaultProxy::start(upstream.addr());
    proxy.disturb(Disturbance::CloseIdle);
    let gateway = gateway(&proxy.url(), "balance = { outlier = \"off\" }\nretry = 1");
    let mut client = Client::http1(gateway.addr());
    for n in 0..50 {
        let method = ["GET", "PUT", "POST"][n % 3];
        assert_eq!(client.send(method).status, 200, "request {n}, {method}");
        wait_until("the upstream to close", SOON, || (proxy.open() == 0).then_some(()));
    }
    assert_eq!(upstream.hits(), 50, "none was sent twice");
}

#[test]
fn an_endpoint_that_keeps_failing_is_ejected_and_the_other_takes_all() {
    let (bad, good) =
        (Upstream::start(|_| Reply::new(200, BODY)), Upstream::start(|_| Reply::new(200, BODY)));
    let proxy = FaultProxy::start(bad.addr());
    proxy.disturb(Disturbance::ResetBeforeAnswer);
    let gateway = gateway(&format!("{}\", \"{}", proxy.url(), good.url()), "balance = { panic = 0 }");
    let mut client = Client::http1(gateway.addr());
    for n in 0..40 {
        assert_eq!(client.send("GET").status, 200, "request {n}");
    }
    let ejected = "gateway_upstream_ejected{service=\"a\",endpoint=\"";
    let line = format!("{ejected}{}\"}} 1", proxy.url());
    wait_until(&line, SOON, || get(gateway.admin(), "/metrics").text().contains(&line).then_some(()));
    assert_eq!(bad.hits(), 5, "as many failures as eject it, each answered by the other");
}

#[test]
fn a_circuit_that_opens_spares_the_upstream() {
    let upstream = Upstream::start(|_| Reply::new(200, BODY));
    let proxy = FaultProxy::start(upstream.addr());
    proxy.disturb(Disturbance::ResetBeforeAnswer);
    let gateway = gateway(
        &proxy.url(),
        "balance = { outlier = \"off\", circuit = { min_requests = 5, open = \"60s\" } }",
    );
    let mut client = Client::http1(gateway.addr());
    for n in 0..10 {
        let got = client.send("POST");
        let expected = if n < 5 { (502, "upstream-reset") } else { (503, "circuit-open") };
        assert_eq!((got.status, got.code.as_deref()), (expected.0, Some(expected.1)), "request {n}: {got:?}");
    }
    assert_eq!(upstream.hits(), 5);
}
