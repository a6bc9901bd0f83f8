//! gRPC as a real client and a real server (tonic) speak it, with the gateway between them: h2c on both sides.
#![allow(clippy::unwrap_used)]

#[path = "grpc/web.rs"]
mod web;

use bytes::{Buf, BufMut, Bytes};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream, StreamExt};
use gateway_testkit::Gateway;
use http::uri::PathAndQuery;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

const SOON: Duration = Duration::from_secs(10);
const MIB: usize = 1 << 20;

/// Messages as they are: what they hold is nothing to a gateway.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// What the test sees of the server.
#[derive(Clone, Default)]
struct Seen {
    /// The `grpc-timeout` of the last call that hung.
    timeout: Arc<std::sync::Mutex<Option<String>>>,
    calls: Arc<AtomicUsize>,
    /// How many calls have come to hang.
    hanging: Arc<AtomicUsize>,
    cancelled: Arc<AtomicUsize>,
    /// How many messages were taken from the server of `/test/Flood`.
    flooded: Arc<AtomicUsize>,
    /// What the server says of itself, by the numbers of `grpc.health.v1`: 1 is well.
    serving: Arc<AtomicUsize>,
}

/// Counts a call that is dropped before it is answered.
struct Unanswered(Arc<AtomicUsize>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The service: one method of each kind, and some that go wrong.
#[derive(Clone)]
struct Service(Seen);

impl tower::Service<http::Request<tonic::body::Body>> for Service {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let seen = self.0.clone();
        seen.calls.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let mut grpc = tonic::server::Grpc::new(Raw);
            Ok(match path.as_str() {
                "/test/Unary" => grpc.unary(tower::service_fn(unary), request).await,
                "/test/Sum" => grpc.client_streaming(tower::service_fn(sum), request).await,
                "/test/Count" => grpc.server_streaming(tower::service_fn(count), request).await,
                "/test/Chat" => grpc.streaming(tower::service_fn(chat), request).await,
                "/test/Busy" => {
                    let first = seen.calls.load(Ordering::SeqCst) == 1;
                    let busy = move |request: Request<Bytes>| async move {
                        let busy = Status::unavailable("not yet");
                        if first { Err(busy) } else { Ok::<_, Status>(Response::new(request.into_inner())) }
                    };
                    grpc.unary(tower::service_fn(busy), request).await
                }
                "/grpc.health.v1.Health/Check" => {
                    let status = seen.serving.load(Ordering::SeqCst) as u8;
                    let check = move |request: Request<Bytes>| async move {
                        match &request.get_ref()[..] {
                            b"\x0a\x04test" => Ok(Response::new(Bytes::from(vec![0x08, status]))),
                            _ => Err(Status::not_found("no such service")),
                        }
                    };
                    grpc.unary(tower::service_fn(check), request).await
                }
                "/test/Refuse" => grpc.unary(tower::service_fn(refuse), request).await,
                "/test/Break" => grpc.server_streaming(tower::service_fn(fail_midway), request).await,
                "/test/Hang" => {
                    let timeout = request.headers().get("grpc-timeout");
                    *seen.timeout.lock().unwrap() = timeout.map(|v| v.to_str().unwrap().to_owned());
                    let hang = move |_: Request<Bytes>| {
                        let unanswered = Unanswered(seen.cancelled.clone());
                        seen.hanging.fetch_add(1, Ordering::SeqCst);
                        async move {
                            let _unanswered = unanswered;
                            std::future::pending::<Result<Response<Bytes>, Status>>().await
                        }
                    };
                    grpc.unary(tower::service_fn(hang), request).await
                }
                "/test/Drip" => {
                    let drip = move |_: Request<Bytes>| {
                        let unanswered = Arc::new(Unanswered(seen.cancelled.clone()));
                        let messages = stream::once(async { Ok(Bytes::from_static(b"first")) });
                        let rest = stream::once(async move {
                            let _unanswered = unanswered;
                            std::future::pending().await
                        });
                        let messages: Messages = Box::pin(messages.chain(rest));
                        async move { Ok::<_, Status>(Response::new(messages)) }
                    };
                    grpc.server_streaming(tower::service_fn(drip), request).await
                }
                "/test/Flood" => {
                    let flood = move |_: Request<Bytes>| {
                        let flooded = seen.flooded.clone();
                        let messages: Messages = Box::pin(stream::iter(0..64).map(move |_| {
                            flooded.fetch_add(1, Ordering::SeqCst);
                            Ok(Bytes::from(vec![b'x'; MIB]))
                        }));
                        async move { Ok::<_, Status>(Response::new(messages)) }
                    };
                    grpc.server_streaming(tower::service_fn(flood), request).await
                }
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

async fn unary(request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    let said = request.metadata().get("x-said").cloned();
    let binary = request.metadata().get_bin("x-raw-bin").cloned();
    let mut response = Response::new(request.into_inner());
    if let Some(said) = said {
        response.metadata_mut().insert("x-said", said);
    }
    if let Some(binary) = binary {
        response.metadata_mut().insert_bin("x-raw-bin", binary);
    }
    Ok(response)
}

async fn sum(request: Request<Streaming<Bytes>>) -> Result<Response<Bytes>, Status> {
    let mut messages = request.into_inner();
    let (mut count, mut size) = (0, 0);
    while let Some(message) = messages.message().await? {
        count += 1;
        size += message.len();
    }
    Ok(Response::new(Bytes::from(format!("{count} {size}"))))
}

async fn count(request: Request<Bytes>) -> Result<Response<Messages>, Status> {
    let to: u32 = std::str::from_utf8(request.get_ref()).unwrap().parse().unwrap();
    let messages = stream::iter(0..to).map(|n| Ok(Bytes::from(n.to_string())));
    Ok(Response::new(Box::pin(messages)))
}

async fn chat(request: Request<Streaming<Bytes>>) -> Result<Response<Messages>, Status> {
    let answers = request.into_inner().map(|message| message.map(|m| [b"re: ", &m[..]].concat().into()));
    Ok(Response::new(Box::pin(answers)))
}

async fn refuse(_: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    let mut status =
        Status::with_details(Code::AlreadyExists, "there is: 100 % größer", Bytes::from_static(b"\x00\xff"));
    status.metadata_mut().insert("x-why", "twice".parse().unwrap());
    Err(status)
}

async fn fail_midway(_: Request<Bytes>) -> Result<Response<Messages>, Status> {
    let messages = vec![Ok(Bytes::from_static(b"one")), Err(Status::data_loss("the rest is gone"))];
    Ok(Response::new(Box::pin(stream::iter(messages))))
}

/// The server on a free port, until the test's runtime ends. The service is tonic's, the connections are hyper's: a
/// server of tonic's ends a call at its deadline too, with another status than the gateway's and sometimes before it.
async fn serve() -> (std::net::SocketAddr, Seen) {
    let seen = Seen::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let service = Service(seen.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                tower::Service::call(&mut service.clone(), request.map(tonic::body::Body::new))
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    (addr, seen)
}

fn gateway(endpoints: &str, more: &str) -> Gateway {
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 1\n[access_log]\npath = \"@DIR@/access.log\"\nflush = \"10ms\"\n\
         [services.rpc]\nendpoints = [{endpoints}]\nconnection.protocol = \"http2\"\ntimeout = \"60s\"\n\
         [[routes]]\npath = \"/test/*\"\nservice = \"rpc\"\n{more}"
    );
    Gateway::builder(env!("CARGO_BIN_EXE_gateway")).config(&config).start()
}

async fn through(more: &str) -> (Gateway, Seen, tonic::client::Grpc<Channel>) {
    let (addr, seen) = serve().await;
    let gateway = gateway(&format!("\"http://{addr}\""), more);
    let client = client(&gateway).await;
    (gateway, seen, client)
}

async fn client(gateway: &Gateway) -> tonic::client::Grpc<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", gateway.addr())).unwrap();
    let mut client = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
    client.ready().await.unwrap();
    client
}

fn method(name: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(name)
}

fn message(text: &'static str) -> Request<Bytes> {
    Request::new(Bytes::from_static(text.as_bytes()))
}

/// One unary call.
async fn call(
    client: &mut tonic::client::Grpc<Channel>,
    request: Request<Bytes>,
    path: &'static str,
) -> Result<Response<Bytes>, Status> {
    client.ready().await.unwrap();
    client.unary(request, PathAndQuery::from_static(path), Raw).await
}

/// Asks until it is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < SOON, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_unary_call_has_its_metadata_both_ways_and_its_status_ok() {
    let (gateway, _seen, mut client) = through("").await;
    let mut request = message("hello");
    request.metadata_mut().insert("x-said", "before".parse().unwrap());
    let raw = tonic::metadata::MetadataValue::from_bytes(b"\x00\x01\xff");
    request.metadata_mut().insert_bin("x-raw-bin", raw.clone());
    let response = call(&mut client, request, "/test/Unary").await.unwrap();
    assert_eq!(response.metadata().get("x-said").unwrap(), "before");
    assert_eq!(response.metadata().get_bin("x-raw-bin").unwrap(), raw);
    assert_eq!(response.metadata().get("grpc-status").unwrap(), "0", "from the trailers");
    assert_eq!(response.into_inner(), "hello");
    until("the line in the access log", || !gateway.access_log().is_empty()).await;
    let line = &gateway.access_log()[0];
    assert_eq!((&line["status"], &line["method"]), (&200.into(), &"POST".into()), "{line}");
}

#[tokio::test]
async fn a_client_streams() {
    let (_gateway, _seen, mut client) = through("").await;
    let messages = stream::iter((0..1000).map(|_| Bytes::from_static(b"0123456789")));
    let response = client.client_streaming(Request::new(messages), method("/test/Sum"), Raw).await.unwrap();
    assert_eq!(response.into_inner(), "1000 10000");
}

#[tokio::test]
async fn a_server_streams_and_its_trailers_follow_the_last_message() {
    let (_gateway, _seen, mut client) = through("").await;
    let response = client.server_streaming(message("1000"), method("/test/Count"), Raw).await.unwrap();
    let mut answers = response.into_inner();
    for expected in 0..1000 {
        assert_eq!(answers.message().await.unwrap().unwrap(), expected.to_string());
    }
    assert_eq!(answers.message().await.unwrap(), None);
    let trailers = answers.trailers().await.unwrap().unwrap();
    assert_eq!(trailers.get("grpc-status").unwrap(), "0");
}

#[tokio::test]
async fn both_sides_stream_and_each_message_passes_as_it_is_sent() {
    let (_gateway, _seen, mut client) = through("").await;
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let messages = stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|message| (message, receiver))
    });
    let response = client.streaming(Request::new(messages), method("/test/Chat"), Raw);
    let mut answers =
        tokio::time::timeout(SOON, response).await.expect("headers before a message").unwrap().into_inner();
    for n in 0..100 {
        // Each waits for the answer to the one before: nothing is held back.
        sender.send(Bytes::from(format!("{n}"))).await.unwrap();
        let answer = tokio::time::timeout(SOON, answers.message()).await.expect("an answer at once");
        assert_eq!(answer.unwrap().unwrap(), format!("re: {n}"));
    }
    drop(sender);
    assert_eq!(answers.message().await.unwrap(), None);
}

#[tokio::test]
async fn messages_of_a_mebibyte_and_more_arrive_unchanged_both_ways() {
    let (_gateway, _seen, mut client) = through("").await;
    let mut state = 1_u32;
    for size in [MIB, 3 * MIB + 17] {
        let sent: Bytes = (0..size)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        let response = call(&mut client, Request::new(sent.clone()), "/test/Unary").await.unwrap();
        assert!(response.into_inner() == sent, "{size} bytes have changed");
    }
}

#[tokio::test]
async fn a_servers_own_status_passes_with_message_details_and_metadata() {
    let (_gateway, _seen, mut client) = through("").await;
    let status = call(&mut client, message(""), "/test/Refuse").await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    assert_eq!(status.message(), "there is: 100 % größer");
    assert_eq!(status.details(), b"\x00\xff");
    assert_eq!(status.metadata().get("x-why").unwrap(), "twice");

    client.ready().await.unwrap();
    let response = client.server_streaming(message(""), method("/test/Break"), Raw).await.unwrap();
    let mut answers = response.into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap(), "one");
    let status = answers.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DataLoss, "the rest is gone"));

    let status = call(&mut client, message(""), "/test/Other").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unimplemented, "no such method"));
}

#[tokio::test]
async fn a_call_that_may_be_repeated_is_tried_again_by_its_status() {
    for (on, key, calls) in [("unavailable", true, 2), ("unavailable", false, 1), ("internal", true, 1)] {
        let retry = format!("[services.rpc.retry]\non = [\"{on}\"]\n");
        let (_gateway, seen, mut client) = through(&retry).await;
        let mut request = message("hello");
        if key {
            request.metadata_mut().insert("idempotency-key", "1".parse().unwrap());
        }
        let answer = call(&mut client, request, "/test/Busy").await;
        let code = answer.map_or_else(|status| status.code(), |_| Code::Ok);
        assert_eq!(code, if calls == 2 { Code::Ok } else { Code::Unavailable }, "{on} {key}");
        assert_eq!(seen.calls.load(Ordering::SeqCst), calls, "{on} {key}");
    }
}

#[tokio::test]
async fn l7_a_server_is_asked_of_a_service_whether_it_is_serving() {
    let health = "[services.rpc.health]\nkind = \"grpc\"\nservice = \"test\"\ninterval = \"30ms\"\nfall = 1\nrise = 1\n";
    let (_gateway, seen, mut client) = through(health).await;
    for (serving, expected) in [(2, Code::Unavailable), (1, Code::Ok), (0, Code::Unavailable), (1, Code::Ok)]
    {
        seen.serving.store(serving, Ordering::SeqCst);
        let start = Instant::now();
        loop {
            let answer = call(&mut client, message("hello"), "/test/Unary").await;
            if answer.map_or_else(|status| status.code(), |_| Code::Ok) == expected {
                break;
            }
            assert!(start.elapsed() < SOON, "waited for {expected:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn what_the_gateway_refuses_has_a_grpc_status() {
    let jwt = "auth = \"jwt\"\n[auth.jwt.jwt]\nsecret = \"0123456789abcdef0123456789abcdef\"\n\
               [[routes]]\npath = \"/slow/*\"\nservice = \"rpc\"\nrate_limit = \"slow\"\n\
               [[routes]]\npath = \"/away/*\"\nservice = \"away\"\n\
               [services.away]\nendpoints = [\"http://127.0.0.1:1\"]\nconnection.protocol = \"http2\"\n\
               [rate_limits]\nslow = \"1/h\"\n\
               [[routes]]\npath = \"/sick/*\"\nservice = \"sick\"\n\
               [services.sick]\nendpoints = [\"http://127.0.0.1:1\"]\nconnection.protocol = \"http2\"\n\
               health = { path = \"/\", interval = \"50ms\" }\n\
               [admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n";
    let (gateway, seen, mut client) = through(jwt).await;
    until("the endpoint to be unhealthy", || {
        gateway_testkit::get(gateway.admin(), "/health").json()["services"]["sick"] == "unhealthy"
    })
    .await;
    for (path, code, said) in [
        ("/test/Unary", Code::Unauthenticated, "Credentials are required"),
        ("/slow/Unary", Code::Unimplemented, "no such method"),
        ("/slow/Unary", Code::ResourceExhausted, "more than 1/h"),
        ("/away/Unary", Code::Unavailable, "connection refused"),
        ("/sick/Unary", Code::Unavailable, ""),
        ("/other/Unary", Code::Unimplemented, "No route matches"),
    ] {
        let status = call(&mut client, message("x"), path).await.unwrap_err();
        assert_eq!(status.code(), code, "{path}: {status}");
        assert!(status.message().contains(said), "{path}: {status}");
    }
    assert_eq!(seen.calls.load(Ordering::SeqCst), 1, "the server saw the one that had passed");
}

#[tokio::test]
async fn a_deadline_reaches_the_server_and_ends_the_call_there() {
    let (_gateway, seen, mut client) = through("").await;
    let mut request = message("");
    // So long that the call is there before, on a busy machine too.
    request.set_timeout(Duration::from_secs(2));
    let start = Instant::now();
    let status = call(&mut client, request, "/test/Hang").await.unwrap_err();
    // The client keeps the time as well, and calls it `Cancelled`.
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    let told = seen.timeout.lock().unwrap().clone().expect("a deadline for the server");
    let (number, unit) = told.split_at(told.len() - 1);
    let number: u64 = number.parse().unwrap();
    let micros = match unit {
        "m" => number * 1000,
        "u" => number,
        "n" => number / 1000,
        _ => panic!("{told}"),
    };
    assert!((1..=2_000_000).contains(&micros), "what is left of it: {told}");
    until("the server's call to end", || seen.cancelled.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_deadline_that_passes_is_answered_with_status_4() {
    let (gateway, seen, _client) = through("").await;
    // curl keeps no time of its own for it.
    let body = gateway.dir().join("message");
    std::fs::write(&body, b"\0\0\0\0\0").unwrap();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "20", "--http2-prior-knowledge", "-D", "-"])
        .args(["-H", "content-type: application/grpc", "-H", "te: trailers", "-H", "grpc-timeout: 2S"])
        .args(["--data-binary", &format!("@{}", body.display())])
        .arg(format!("http://{}/test/Hang", gateway.addr()));
    let output = tokio::task::spawn_blocking(move || curl.output().expect("curl; install it")).await.unwrap();
    let head = String::from_utf8_lossy(&output.stdout);
    assert!(head.starts_with("HTTP/2 200"), "{head}");
    assert!(head.contains("grpc-status: 4\r\n"), "{head}");
    until("the server's call to end", || seen.cancelled.load(Ordering::SeqCst) == 1).await;
    until("the line in the access log", || !gateway.access_log().is_empty()).await;
    let line = &gateway.access_log()[0];
    assert_eq!(line["reason"], "upstream-timeout", "{line}");
}

#[tokio::test]
async fn a_client_that_cancels_cancels_at_the_server_and_the_connection_stays() {
    let (_gateway, seen, mut client) = through("").await;
    // Before an answer.
    let there = until("the call to be there", || seen.hanging.load(Ordering::SeqCst) == 1);
    tokio::select! {
        answer = call(&mut client, message(""), "/test/Hang") => panic!("{answer:?}"),
        () = there => {}
    }
    until("the unary call to be cancelled", || seen.cancelled.load(Ordering::SeqCst) == 1).await;
    // Within one.
    client.ready().await.unwrap();
    let response = client.server_streaming(message(""), method("/test/Drip"), Raw).await.unwrap();
    let mut answers = response.into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap(), "first");
    drop(answers);
    until("the stream to be cancelled", || seen.cancelled.load(Ordering::SeqCst) == 2).await;
    client.ready().await.unwrap();
    let response = call(&mut client, message("still there"), "/test/Unary").await.unwrap();
    assert_eq!(response.into_inner(), "still there");
}

#[tokio::test]
async fn a_slow_reader_slows_the_server_down_and_the_gateway_keeps_little() {
    let (gateway, seen, mut client) = through("").await;
    let before = gateway.process().memory();
    let response = client.server_streaming(message(""), method("/test/Flood"), Raw).await.unwrap();
    let mut answers = response.into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().len(), MIB);
    // Until nothing has moved for a while.
    let (mut last, mut still) = (0, 0);
    until("the server to stop", || {
        let now = seen.flooded.load(Ordering::SeqCst);
        still = if std::mem::replace(&mut last, now) == now { still + 1 } else { 0 };
        still == 50
    })
    .await;
    assert!(last < 32, "{last} MiB were taken from the server, of which the client has read one");
    let grown = gateway.process().memory().saturating_sub(before) / MIB as u64;
    assert!(grown < 16, "the gateway has grown by {grown} MiB");
    let mut read = 1;
    while let Some(message) = answers.message().await.unwrap() {
        assert_eq!(message.len(), MIB);
        read += 1;
    }
    assert_eq!(read, 64);
}
