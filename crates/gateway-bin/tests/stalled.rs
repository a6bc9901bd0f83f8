//! Clients that ask for much and take nothing of it, through the binary: over HTTP/2 by never opening a window, over
//! HTTP/1.1 by not reading.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_testkit::{Gateway, Wire, get, scripted, wait_until};
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{Method, Request, Response};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(2);
const MIB: usize = 1 << 20;
/// Far more than all buffers on the way hold.
const LARGE: usize = 64 * MIB;
/// What a client may be sent before it says anything (RFC 9113 §6.9.2).
const WINDOW: usize = 65_535;

fn gateway(upstream: SocketAddr, server: &str, service: &str) -> Gateway {
    let config = format!(
        "access_log = \"@DIR@/access.log\"\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 1\n\
         write_timeout = \"{}s\"\n{server}\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n[services.a]\n\
         endpoints = [\"http://{upstream}\"]\ntimeout = \"60s\"\n{service}\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\n",
        LIMIT.as_secs()
    );
    Gateway::builder(env!("CARGO_BIN_EXE_gateway")).config(&config).start()
}

/// A service that answers `/N` with N bytes, and says how many of a large answer it was rid of when its connection broke.
fn service() -> (SocketAddr, Receiver<usize>) {
    let (addr, requests) = scripted();
    let (tell, cut) = channel();
    std::thread::spawn(move || {
        for mut exchange in requests {
            let tell = tell.clone();
            std::thread::spawn(move || {
                let size: usize = exchange.head.split([' ', '/']).find_map(|word| word.parse().ok()).unwrap();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n");
                let _ = exchange.send(head.as_bytes());
                let mut sent = 0;
                while !exchange.head.starts_with("HEAD") && sent < size {
                    let piece = vec![b'x'; (size - sent).min(64 << 10)];
                    if exchange.send(&piece).is_err() {
                        let _ = tell.send(sent);
                        return;
                    }
                    sent += piece.len();
                }
            });
        }
    });
    (addr, cut)
}

fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// A connection with these windows, which are what a client opens without being asked.
async fn connect(gateway: &Gateway, stream: usize, connection: usize) -> SendRequest<Bytes> {
    let io = TcpStream::connect(gateway.addr()).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(stream as u32).initial_connection_window_size(connection as u32);
    let (send, connection) = builder.handshake(io).await.unwrap();
    tokio::spawn(connection);
    send
}

async fn ask(send: &mut SendRequest<Bytes>, method: Method, size: usize) -> Response<RecvStream> {
    let request = Request::builder().method(method).uri(format!("http://a/{size}")).body(()).unwrap();
    let mut ready = timeout(SOON, send.clone().ready()).await.expect("a free stream").unwrap();
    let (answer, _) = ready.send_request(request, true).unwrap();
    let answer = timeout(SOON, answer).await.expect("an answer").unwrap();
    assert_eq!(answer.status(), 200);
    answer
}

/// All that comes of a body, and how it ends. What was taken is not said to be.
async fn take(body: &mut RecvStream) -> (usize, Option<Reason>) {
    let mut taken = 0;
    loop {
        match timeout(SOON, body.data()).await.expect("an end of the stream") {
            Some(Ok(data)) => taken += data.len(),
            Some(Err(error)) => return (taken, error.reason()),
            None => return (taken, None),
        }
    }
}

async fn small(send: &mut SendRequest<Bytes>) -> (usize, Option<Reason>) {
    take(ask(send, Method::GET, 5).await.body_mut()).await
}

#[test]
fn streams_that_nobody_takes_are_reset_in_time_and_all_else_goes_on() {
    const STUCK: usize = 16;
    let (addr, cut) = service();
    let gateway = gateway(addr, "", "");
    block_on(async {
        let mut client = connect(&gateway, WINDOW, 16 * MIB).await;
        assert_eq!(small(&mut client).await, (5, None));
        let (before, mut most, begun) = (gateway.process().memory(), 0, Instant::now());
        let mut stuck = Vec::new();
        for _ in 0..STUCK {
            stuck.push(ask(&mut client, Method::GET, LARGE).await.into_body());
        }
        while begun.elapsed() < LIMIT / 2 {
            let asked = Instant::now();
            assert_eq!(small(&mut client).await, (5, None));
            assert_eq!(get(gateway.addr(), "/7").body.len(), 7);
            assert!(asked.elapsed() < LIMIT / 2, "others waited for {:?}", asked.elapsed());
            most = most.max(gateway.process().memory());
        }
        assert!(cut.try_recv().is_err(), "it was cut off after {:?}", begun.elapsed());
        for mut body in stuck {
            assert_eq!(take(&mut body).await, (WINDOW, Some(Reason::CANCEL)));
        }
        let waited = begun.elapsed();
        assert!((LIMIT..LIMIT * 4).contains(&waited), "they were reset after {waited:?}");
        // The service is rid of them, long before it has sent all.
        for _ in 0..STUCK {
            let sent = cut.recv_timeout(SOON).expect("the service's connection to be let go");
            assert!(sent < LARGE / 2, "the gateway took {sent} bytes");
        }
        most = most.max(gateway.process().memory());
        let grown = most.saturating_sub(before);
        // Half of 1 MiB for each, where 64 were on their way.
        assert!(grown < (STUCK * MIB / 2) as u64, "it has grown by {} KiB", grown / 1024);
        assert_eq!(small(&mut client).await, (5, None), "the connection is of no more use");
    });
    let cut_off = || gateway.access_log().iter().filter(|line| line["uri"] == format!("/{LARGE}")).count();
    wait_until("a line for each", SOON, || (cut_off() == STUCK).then_some(()));
}

#[test]
fn a_window_of_the_connection_that_stays_closed_ends_its_streams_and_no_others() {
    let (addr, cut) = service();
    let gateway = gateway(addr, "", "");
    block_on(async {
        let mut client = connect(&gateway, 16 * MIB, WINDOW).await;
        let begun = Instant::now();
        let mut stuck = ask(&mut client, Method::GET, LARGE).await.into_body();
        // One that needs no window, and one that has none left to begin with. What is dropped opens the window.
        let _ = ask(&mut client, Method::HEAD, LARGE).await;
        let mut late = ask(&mut client, Method::GET, 5).await.into_body();
        let mut other = connect(&gateway, WINDOW, WINDOW).await;
        assert_eq!(small(&mut other).await, (5, None));
        assert!(begun.elapsed() < LIMIT, "others waited for {:?}", begun.elapsed());
        assert_eq!(take(&mut stuck).await, (WINDOW, Some(Reason::CANCEL)));
        assert!(begun.elapsed() >= LIMIT, "it was reset after {:?}", begun.elapsed());
        cut.recv_timeout(SOON).expect("the service's connection to be let go");
        assert_eq!(take(&mut late).await, (0, Some(Reason::CANCEL)));
        let _ = ask(&mut client, Method::HEAD, 5).await;
        assert_eq!(small(&mut other).await, (5, None));
        drop((stuck, late));
        assert_eq!(small(&mut client).await, (5, None), "the connection is of no more use");
    });
}

#[test]
fn a_client_that_takes_a_little_now_and_then_gets_all_of_it() {
    const SIZE: usize = WINDOW + 6 * (16 << 10);
    let (addr, _cut) = service();
    let gateway = gateway(addr, "", "");
    block_on(async {
        let mut client = connect(&gateway, WINDOW, 16 * MIB).await;
        let begun = Instant::now();
        let mut body = ask(&mut client, Method::GET, SIZE).await.into_body();
        let mut taken = 0;
        while taken < SIZE {
            let data = timeout(SOON, body.data()).await.expect("more").expect("more").unwrap();
            taken += data.len();
            if begun.elapsed() < LIMIT * 3 / 2 {
                tokio::time::sleep(LIMIT / 4).await;
            }
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        assert!(begun.elapsed() > LIMIT, "that was too fast to tell: {:?}", begun.elapsed());
    });
}

#[test]
fn a_client_that_leaves_the_last_byte_is_noticed_too() {
    let (addr, _cut) = service();
    let gateway = gateway(addr, "idle_timeout = \"1s\"", "");
    block_on(async {
        let io = TcpStream::connect(gateway.addr()).await.unwrap();
        let (mut send, connection) = h2::client::handshake(io).await.unwrap();
        let ended = tokio::spawn(connection);
        let mut body = ask(&mut send, Method::GET, WINDOW + 1).await.into_body();
        assert_eq!(take(&mut body).await, (WINDOW, Some(Reason::CANCEL)));
        let _ = timeout(SOON, ended).await.expect("the connection to end");
    });
}

/// One HTTP/2 server that answers `/N` with N bytes, and says by what its streams were reset, and of which connection.
fn http2_service() -> (SocketAddr, Receiver<(usize, Reason)>) {
    let (tell, reset) = channel();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let tell = tell.clone();
                tokio::spawn(async move {
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let tell = tell.clone();
                        tokio::spawn(async move {
                            let size = request.uri().path()[1..].parse().unwrap();
                            let mut body = respond.send_response(Response::new(()), false).unwrap();
                            // All at once: it leaves as the gateway takes it. The end of a large one is left out, for
                            // h2 tells of no reset behind it.
                            body.send_data(Bytes::from(vec![b'x'; size]), size < LARGE).unwrap();
                            if let Ok(reason) = std::future::poll_fn(|cx| body.poll_reset(cx)).await {
                                let _ = tell.send((number, reason));
                            }
                        });
                    }
                });
            }
        });
    });
    (addr, reset)
}

#[test]
fn an_http_2_service_keeps_its_connection_when_a_stream_of_it_is_given_up() {
    let (addr, reset) = http2_service();
    let gateway = gateway(addr, "", "connection.protocol = \"http2\"");
    block_on(async {
        let mut client = connect(&gateway, WINDOW, 16 * MIB).await;
        for _ in 0..2 {
            let mut stuck = ask(&mut client, Method::GET, LARGE).await.into_body();
            assert_eq!(small(&mut client).await, (5, None));
            assert_eq!(take(&mut stuck).await, (WINDOW, Some(Reason::CANCEL)));
            assert_eq!(small(&mut client).await, (5, None));
            assert_eq!(reset.recv_timeout(SOON), Ok((0, Reason::CANCEL)));
        }
    });
}

#[test]
fn an_http_1_1_client_that_does_not_read_loses_its_connection() {
    let (addr, cut) = service();
    let gateway = gateway(addr, "", "");
    let mut client = Wire::connect(gateway.addr()).with_patience(SOON);
    let begun = Instant::now();
    client.send(format!("GET /{LARGE} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
    cut.recv_timeout(SOON).expect("the service's connection to be let go");
    assert!(begun.elapsed() >= LIMIT, "it was cut off after {:?}", begun.elapsed());
    let left = client.rest().map_or(0, |rest| rest.len());
    assert!(left < LARGE / 2, "{left} bytes were on their way");
    assert_eq!(get(gateway.addr(), "/5").body.len(), 5);
}
