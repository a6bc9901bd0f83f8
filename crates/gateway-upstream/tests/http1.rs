//! HTTP/1.1 towards upstreams, over real sockets.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use gateway_core::units::Timespan;
use gateway_core::{Endpoint, FailureKind, ProxyError, Splice, Upgrade, Upstream};
use gateway_upstream::{ConnectionLimit, ConnectionLimits, HttpUpstream, UpstreamBody, UpstreamSettings};
use http::{HeaderValue, Request};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::num::{NonZeroU32, NonZeroUsize};
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};
use support::{get, get_listening, listen, plain, read, serving};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::coop::poll_proceed;

/// Answers every request of a connection with these bytes.
async fn answer_with<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, answer: &[u8]) {
    let mut request = Vec::new();
    while stream.read_buf(&mut request).await.unwrap_or(0) > 0 {
        if request.ends_with(b"\r\n\r\n") {
            request.clear();
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// A server that says hello, and how many connections it was asked for.
async fn hello() -> (u16, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let port = serving(move |stream, _| {
        count.fetch_add(1, Ordering::SeqCst);
        answer_with(stream, HELLO)
    });
    (port.await, connections)
}

#[tokio::test]
async fn an_early_answer_is_heard_though_the_rest_of_the_request_is_refused() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = plain(listener.local_addr().unwrap().port(), UpstreamSettings::default());
    let (close, closed) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 20]).unwrap();
        stream.write_all(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno").unwrap();
        // With most of the request unread: a reset follows the answer.
        drop(stream);
        close.send(()).unwrap();
    });
    // More is sent before the runtime has looked for what has come.
    let pieces = (0..64).map(move |n| {
        (n == 8).then(|| closed.recv().unwrap());
        Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; 65_536])))
    });
    let request = Request::post("/").header("Host", "a").body(()).unwrap().into_parts().0;
    let body = StreamBody::new(futures_util::stream::iter(pieces));
    let response = upstream.send(&request, body).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "no");
}

#[tokio::test]
async fn a_unix_socket_answers_and_its_connection_is_kept() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("users.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        answer_with(stream, HELLO).await;
    });
    let endpoint = Endpoint::parse(&format!("unix:{}", path.display())).unwrap();
    let upstream = HttpUpstream::new(endpoint, UpstreamSettings::default());
    for _ in 0..3 {
        assert_eq!(read(get(&upstream, "/").await).await.0, "hello");
        assert_eq!(upstream.idle_connections(), 1);
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_told_from_a_host_that_is_away() {
    // RFC 6761 §6.4: there is no such name.
    let endpoint = Endpoint::parse("http://does-not-exist.invalid:80").unwrap();
    let settings = UpstreamSettings { connect_timeout: Timespan::millis(60_000), ..Default::default() };
    let error = get(&HttpUpstream::new(endpoint, settings), "/").await.unwrap_err();
    assert_eq!((error.kind(), error.cause()), (FailureKind::Connect, Some(ProxyError::DnsError)), "{error}");
    assert!(error.message().starts_with("its name cannot be resolved: "), "{error}");
    assert!(!error.message().contains("lookup"), "{error}");
}

#[tokio::test]
async fn a_missing_unix_socket_is_a_connect_failure_that_names_no_path() {
    let endpoint = Endpoint::parse("unix:/nowhere/users.sock").unwrap();
    let upstream = HttpUpstream::new(endpoint, UpstreamSettings::default());
    let error = get(&upstream, "/").await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (FailureKind::Connect, "no such file or directory"));
    assert!(error.to_string().starts_with("unix:/nowhere/users.sock: "), "{error}");
}

#[tokio::test]
async fn a_name_with_two_addresses_is_reached_by_whichever_answers() {
    let (port, _) = hello().await;
    // `localhost` is `::1` and `127.0.0.1` on most systems, and the server listens on one of them only.
    let endpoint = Endpoint::parse(&format!("http://localhost:{port}")).unwrap();
    let upstream = HttpUpstream::new(endpoint, UpstreamSettings::default());
    assert_eq!(read(get(&upstream, "/").await).await.0, "hello");
}

#[tokio::test]
async fn eight_interim_answers_pass_and_nine_are_refused() {
    for (interim, expected) in [(8, None), (9, Some("the upstream sent more than 8 interim answers"))] {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n";
        let mut answer = early.repeat(interim).into_bytes();
        answer.extend_from_slice(HELLO);
        let answer = Arc::new(answer);
        let port = serving(move |stream, _| {
            let answer = answer.clone();
            async move { answer_with(stream, &answer).await }
        });
        let upstream = plain(port.await, UpstreamSettings::default());
        let (seen, heard) = get_listening(&upstream).await;
        let expected = expected.map(|message| (FailureKind::Protocol, message.to_owned()));
        let seen = seen.map_err(|e| (e.kind(), e.message().to_owned()));
        assert_eq!(seen.err(), expected, "{interim} interim answers");
        assert_eq!(heard, ["103 link=</a.css>"; 8], "of {interim}");
    }
}

#[tokio::test]
async fn a_connection_is_replaced_after_its_requests() {
    let (port, connections) = hello().await;
    let settings = UpstreamSettings { max_requests: NonZeroU32::new(2), ..UpstreamSettings::default() };
    let upstream = plain(port, settings);
    for _ in 0..5 {
        read(get(&upstream, "/").await).await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_connection_is_replaced_at_its_age() {
    let (port, connections) = hello().await;
    let settings = UpstreamSettings { max_lifetime: Some(Timespan::secs(30)), ..UpstreamSettings::default() };
    let upstream = plain(port, settings);
    read(get(&upstream, "/").await).await;
    read(get(&upstream, "/").await).await;
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(30)).await;
    tokio::time::resume();
    read(get(&upstream, "/").await).await;
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn no_more_connections_are_opened_than_allowed_and_requests_wait_their_turn() {
    let (port, connections) = hello().await;
    let settings = UpstreamSettings { max_connections: NonZeroUsize::new(2), ..UpstreamSettings::default() };
    let upstream = plain(port, settings);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let upstream = upstream.clone();
        requests.spawn(async move { read(get(&upstream, "/").await).await.0 });
    }
    while let Some(text) = requests.join_next().await {
        assert_eq!(text.unwrap(), "hello");
    }
    assert!(connections.load(Ordering::SeqCst) <= 2, "{connections:?}");
}

#[tokio::test]
async fn a_request_that_finds_no_connection_free_in_time_fails_unsent() {
    let (port, _) = hello().await;
    let settings = UpstreamSettings {
        max_connections: NonZeroUsize::new(1),
        connect_timeout: Timespan::millis(50),
        ..UpstreamSettings::default()
    };
    let upstream = plain(port, settings);
    let held = get(&upstream, "/").await.unwrap();
    let error = get(&upstream, "/").await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Exhausted);
    assert_eq!(error.message(), "all connections are in use, and none became free within 50ms");
    assert_eq!(error.cause(), Some(ProxyError::ConnectionLimitReached));
    drop(held);
    assert_eq!(read(get(&upstream, "/").await).await.0, "hello");
}

#[tokio::test]
async fn clients_that_share_a_limit_have_no_more_connections_together_idle_ones_included() {
    let (port, _) = hello().await;
    for (endpoint, total) in [(Some(2), None), (None, Some(2)), (Some(3), Some(2))] {
        let limit = |max: Option<usize>| max.and_then(NonZeroUsize::new).map(ConnectionLimit::new);
        let limits = ConnectionLimits { endpoint: limit(endpoint), total: limit(total) };
        let endpoint = Endpoint::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        let client =
            || HttpUpstream::sharing(endpoint.clone(), UpstreamSettings::default(), None, limits.clone());
        let clients = [client(), client(), client()];
        let mut requests = tokio::task::JoinSet::new();
        for number in 0..60 {
            let upstream = clients[number % 3].clone();
            requests.spawn(async move { read(get(&upstream, "/").await).await.0 });
        }
        while let Some(text) = requests.join_next().await {
            assert_eq!(text.unwrap(), "hello");
        }
        // One after the other, each finds the others' idle.
        for upstream in clients.iter().cycle().take(9) {
            assert_eq!(read(get(upstream, "/").await).await.0, "hello");
            let open = limits.total.as_ref().or(limits.endpoint.as_ref()).unwrap().open();
            let idle: usize = clients.iter().map(HttpUpstream::idle_connections).sum();
            assert_eq!((open, idle), (2, 2));
        }
    }
}

#[tokio::test]
async fn no_more_requests_wait_for_a_connection_than_may() {
    let (port, _) = hello().await;
    let settings = UpstreamSettings {
        max_connections: NonZeroUsize::new(1),
        max_pending: 1,
        connect_timeout: Timespan::secs(60),
        ..UpstreamSettings::default()
    };
    let upstream = plain(port, settings);
    let held = get(&upstream, "/").await.unwrap();
    let waiting = {
        let upstream = upstream.clone();
        tokio::spawn(async move { read(get(&upstream, "/").await).await.0 })
    };
    tokio::task::yield_now().await;
    let error = get(&upstream, "/").await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Exhausted);
    assert_eq!(error.message(), "all connections are in use, and 1 requests wait for one");
    drop(held);
    assert_eq!(waiting.await.unwrap(), "hello");
}

#[tokio::test]
async fn answers_of_all_sizes_come_whole_in_any_order() {
    let sizes = [10, 16 * 1024, 5, 100_000, 4096, 65_536, 1, 300_000, 20];
    let port = serving(move |mut stream, _| async move {
        let mut request = Vec::new();
        for size in sizes {
            request.clear();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
            stream.write_all(&[head.as_bytes(), "x".repeat(size).as_bytes()].concat()).await.unwrap();
        }
    });
    let upstream = plain(port.await, UpstreamSettings::default());
    for size in sizes {
        assert_eq!(read(get(&upstream, "/").await).await.0.len(), size);
    }
}

/// What comes of a body of which as much as possible goes to a socket: the bytes that arrive there, how many of them went
/// from socket to socket, and how it failed.
async fn spliced(body: UpstreamBody<Full<Bytes>>) -> (Vec<u8>, u64, Option<FailureKind>) {
    let (listener, port) = listen().await;
    let (near, far) = tokio::join!(TcpStream::connect(("127.0.0.1", port)), listener.accept());
    let (mut near, (mut far, _)) = (near.unwrap(), far.unwrap());
    let arrived = tokio::spawn(async move {
        let mut arrived = Vec::new();
        far.read_to_end(&mut arrived).await.unwrap();
        arrived
    });
    let (mut body, mut moved) = (pin!(body), 0);
    let failed = loop {
        let spliced = poll_fn(|cx| body.as_mut().poll_splice(cx, near.as_fd())).await;
        moved += spliced.moved;
        near.write_all(&spliced.rest).await.unwrap();
        if spliced.total() == 0 {
            match body.frame().await {
                None => break None,
                Some(Ok(frame)) => near.write_all(&frame.into_data().unwrap()).await.unwrap(),
                Some(Err(error)) => break Some(error.kind()),
            }
        }
    };
    drop(near);
    (arrived.await.unwrap(), moved, failed)
}

#[tokio::test]
async fn a_long_answer_goes_from_socket_to_socket_and_its_connection_is_kept() {
    let text = "0123456789abcdef".repeat(1 << 16);
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n0\r\n\r\n",
        text.len()
    );
    let short = String::from_utf8(HELLO.to_vec()).unwrap();
    for (answer, expected, goes) in
        [(&long, text.as_str(), true), (&chunked, text.as_str(), false), (&short, "hello", false)]
    {
        let bytes = answer.clone();
        let port = serving(move |stream, _| {
            let bytes = bytes.clone();
            async move { answer_with(stream, bytes.as_bytes()).await }
        });
        let upstream = plain(port.await, UpstreamSettings::default());
        for _ in 0..3 {
            let body = get(&upstream, "/").await.unwrap().into_body();
            let (arrived, moved, failed) = spliced(body).await;
            assert!(arrived == expected.as_bytes(), "the bytes have changed");
            assert_eq!((moved > 0, failed), (goes, None));
            assert_eq!(upstream.idle_connections(), 1);
        }
    }
}

#[tokio::test]
async fn a_byte_that_the_service_calls_urgent_does_not_hold_up_a_long_answer() {
    let port = serving(|mut stream, _| async move {
        stream.read_u8().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n").await.unwrap();
        stream.write_all(&[b'x'; 1_000_000]).await.unwrap();
        // It is beside what is read, not in it.
        socket2::SockRef::from(&stream).send_out_of_band(b"!").unwrap();
        stream.write_all(&[b'y'; 1_000_000]).await.unwrap();
        std::future::pending::<()>().await;
    });
    let upstream = plain(port.await, UpstreamSettings::default());
    let body = get(&upstream, "/").await.unwrap().into_body();
    let passed = tokio::time::timeout(Duration::from_secs(20), spliced(body)).await;
    let (arrived, moved, failed) = passed.expect("all of it");
    assert_eq!((arrived.len(), moved > 0, failed), (2_000_000, true, None));
}

#[tokio::test]
async fn a_fast_and_long_answer_leaves_others_their_turn() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Both sides are threads, so that there is always something to be moved.
    std::thread::spawn(move || {
        let (mut service, _) = listener.accept().unwrap();
        assert!(service.read(&mut [0; 1000]).unwrap() > 0);
        service.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8000000000\r\n\r\n").unwrap();
        while service.write_all(&[b'x'; 1 << 18]).is_ok() {}
    });
    let (near, mut client) = std::os::unix::net::UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    std::thread::spawn(move || while client.read(&mut [0; 1 << 18]).is_ok_and(|count| count > 0) {});

    let upstream = plain(port, UpstreamSettings::default());
    let mut body = get(&upstream, "/").await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    let mut body = pin!(body);
    let start = Instant::now();
    loop {
        tokio::task::yield_now().await;
        let (moved, steps_left) = poll_fn(|cx| {
            let spliced = body.as_mut().poll_splice(cx, near.as_fd());
            let mut steps = 0;
            while let (true, Poll::Ready(step)) = (spliced.is_ready(), poll_proceed(cx)) {
                step.made_progress();
                steps += 1;
            }
            spliced.map(|spliced| (spliced.total(), steps))
        })
        .await;
        // Of the 128 steps of a task's turn as many are gone as reading would have taken.
        assert!(steps_left + moved / (64 << 10) < 128, "{moved} bytes, {steps_left} steps left");
        if moved >= 200_000 {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "little comes at a time");
    }
}

#[tokio::test]
async fn a_long_answer_that_breaks_off_or_falls_silent_on_its_way_from_socket_to_socket_says_so() {
    for (ends, kind) in [(true, FailureKind::Reset), (false, FailureKind::Timeout)] {
        let port = serving(move |mut stream, _| async move {
            stream.read_u8().await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n").await.unwrap();
            stream.write_all(&[b'x'; 1_000_000]).await.unwrap();
            if !ends {
                std::future::pending::<()>().await;
            }
        });
        let settings =
            UpstreamSettings { body_idle_timeout: Timespan::millis(200), ..UpstreamSettings::default() };
        let upstream = plain(port.await, settings);
        let (arrived, moved, failed) = spliced(get(&upstream, "/").await.unwrap().into_body()).await;
        // An end with unread bytes on the other side is a reset, which may overtake some.
        assert!(arrived.len() == 1_000_000 || ends, "{}", arrived.len());
        assert!(moved > 0);
        assert_eq!(failed, Some(kind));
        assert_eq!(upstream.idle_connections(), 0);
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_costs_its_connection_only_where_it_has_not_come_whole() {
    for (answer, kept) in [
        (HELLO, 1),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 0),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", 0),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhello", 0),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", 0),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", 0),
    ] {
        let port = serving(|stream, _| answer_with(stream, answer)).await;
        let upstream = plain(port, UpstreamSettings::default());
        drop(get(&upstream, "/").await.unwrap());
        assert_eq!(upstream.idle_connections(), kept, "{}", String::from_utf8_lossy(answer));
    }
}

#[tokio::test]
async fn idle_connections_are_closed_in_time_and_when_the_other_side_has_closed_them() {
    let (port, connections) = hello().await;
    let settings = UpstreamSettings { idle_timeout: Timespan::secs(30), ..UpstreamSettings::default() };
    let upstream = plain(port, settings);
    let both = [get(&upstream, "/").await, get(&upstream, "/").await];
    for answer in both {
        read(answer).await;
    }
    upstream.close_idle();
    assert_eq!(upstream.idle_connections(), 2, "they are young");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    upstream.close_idle();
    assert_eq!((upstream.idle_connections(), connections.load(Ordering::SeqCst)), (0, 2));

    let closing = serving(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(HELLO).await;
    });
    let upstream = plain(closing.await, UpstreamSettings::default());
    read(get(&upstream, "/").await).await;
    while upstream.idle_connections() > 0 {
        tokio::task::yield_now().await;
        upstream.close_idle();
    }
}

#[tokio::test]
async fn no_more_idle_connections_are_kept_than_may() {
    let (port, _) = hello().await;
    let upstream = plain(port, UpstreamSettings { max_idle: 1, ..UpstreamSettings::default() });
    let both = [get(&upstream, "/").await, get(&upstream, "/").await];
    for answer in both {
        read(answer).await;
    }
    assert_eq!(upstream.idle_connections(), 1);
}

#[tokio::test]
async fn z1_an_answer_may_fall_silent_only_in_a_tunnel_and_in_events_and_there_as_long_as_the_operator_says()
{
    let events = &b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nhello"[..];
    for (answer, events_may, ends) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"[..], Some(600), true),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello",
            Some(1),
            false,
        ),
        (events, None, false),
        (events, Some(600), false),
        (events, Some(30), true),
    ] {
        let port = serving(|stream, _| answer_with(stream, answer)).await;
        let settings = UpstreamSettings {
            body_idle_timeout: Timespan::secs(1),
            event_idle_timeout: events_may.map(Timespan::secs),
            ..Default::default()
        };
        let mut head = Request::get("/").header("Host", "a").body(()).unwrap().into_parts().0;
        head.extensions.insert(Upgrade(HeaderValue::from_static("x")));
        // Its client says nothing in the new protocol, and stays.
        let client = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let mut body = plain(port, settings).send(&head, client).await.unwrap().into_body();
        let read = body.frame().await.unwrap().unwrap();
        assert_eq!(read.into_data().unwrap(), "hello");
        tokio::time::pause();
        let next = tokio::time::timeout(Duration::from_secs(60), body.frame()).await;
        tokio::time::resume();
        let kind = next.ok().map(|frame| frame.unwrap().unwrap_err().kind());
        assert_eq!(kind, ends.then_some(FailureKind::Timeout), "{}", String::from_utf8_lossy(answer));
    }
}
