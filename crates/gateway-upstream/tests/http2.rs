//! HTTP/2 towards upstreams, over real sockets in plain text.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use gateway_core::units::Timespan;
use gateway_core::{Endpoint, FailureKind, ProxyError, Upgrade, Upstream};
use gateway_upstream::{ConnectionLimit, ConnectionLimits, HttpUpstream, Protocol, UpstreamSettings};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{get, get_listening, plain, read, send, serve_http2_echo, serving};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

fn settings() -> UpstreamSettings {
    UpstreamSettings { protocol: Protocol::Http2, ..UpstreamSettings::default() }
}

/// A server that counts its connections.
async fn counted<F>(serve: impl Fn(TcpStream, usize) -> F + Send + 'static) -> (u16, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let port = serving(move |stream, number| {
        count.fetch_add(1, Ordering::SeqCst);
        serve(stream, number)
    });
    (port.await, connections)
}

fn frames(
    list: Vec<http_body::Frame<Bytes>>,
) -> impl http_body::Body<Data = Bytes, Error = std::io::Error> + Send + Unpin {
    let mut list = list.into_iter();
    StreamBody::new(Frames(move || list.next()))
}

/// A stream out of what a closure gives.
struct Frames<F>(F);

impl<F: FnMut() -> Option<http_body::Frame<Bytes>> + Unpin> futures_util::Stream for Frames<F> {
    type Item = std::io::Result<http_body::Frame<Bytes>>;
    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready((self.get_mut().0)().map(Ok))
    }
}

#[tokio::test]
async fn trailers_go_both_ways_and_te_with_them_as_grpc_needs() {
    let (port, _) = counted(|stream, _| serve_http2_echo(stream)).await;
    let upstream = plain(port, settings());
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "abc".parse().unwrap());
    trailers.insert("content-length", "5".parse().unwrap());
    let body = frames(vec![
        http_body::Frame::data(Bytes::from_static(b"first ")),
        http_body::Frame::data(Bytes::from_static(b"second")),
        http_body::Frame::trailers(trailers),
    ]);
    let request = Request::post("/users.Users/Get")
        .header("Host", "shop.example")
        .header("TE", "trailers")
        .header("Connection", "TE")
        .body(())
        .unwrap();
    let response = upstream.send(&request.into_parts().0, body).await.unwrap();
    let headers = response.headers().clone();
    assert_eq!(headers["x-seen-te"], "trailers");
    assert_eq!(headers["x-seen-uri"], "http://shop.example/users.Users/Get");
    assert!(!headers.contains_key("x-seen-connection") && !headers.contains_key("x-seen-content-length"));
    let body = response.into_body().collect().await.unwrap();
    let trailers = body.trailers().unwrap().clone();
    assert_eq!(
        (&trailers["grpc-status"], &trailers["x-checksum"]),
        (&"0".parse().unwrap(), &"abc".parse().unwrap())
    );
    assert_eq!(body.to_bytes(), "first second");
}

#[tokio::test]
async fn a_hundred_requests_at_once_share_one_connection() {
    let (port, connections) = counted(|stream, _| serve_http2_echo(stream)).await;
    let upstream = plain(port, settings());
    let mut requests = JoinSet::new();
    for number in 0..100 {
        let upstream = upstream.clone();
        requests.spawn(async move {
            let text: &'static str = Box::leak(format!("request {number}").into_boxed_str());
            let request = Request::post("/").header("Host", "a").body(text).unwrap();
            assert_eq!(read(send(&upstream, request).await).await.0, text);
        });
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap();
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

/// Allows so many streams, and answers when as many requests are there as are waited for, so that they are in flight
/// together. Counts those that are.
async fn serve_together(
    stream: TcpStream,
    streams: u32,
    together: Arc<tokio::sync::Barrier>,
    there: Arc<AtomicUsize>,
) {
    let mut builder = h2::server::Builder::new();
    let mut connection: h2::server::Connection<_, Bytes> =
        builder.max_concurrent_streams(streams).handshake(stream).await.unwrap();
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let together = together.clone();
        there.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            together.wait().await;
            let _ = respond.send_response(Response::new(()), true);
        });
    }
}

#[tokio::test]
async fn what_the_upstream_allows_is_kept_to_and_another_connection_opened_for_the_rest() {
    let together = Arc::new(tokio::sync::Barrier::new(10));
    let there = Arc::new(AtomicUsize::new(0));
    let (barrier, count) = (together.clone(), there.clone());
    let (port, connections) =
        counted(move |stream, _| serve_together(stream, 4, barrier.clone(), count.clone())).await;
    let upstream = plain(port, settings());
    let mut requests = JoinSet::new();
    for number in 1..=10 {
        let upstream = upstream.clone();
        requests.spawn(async move { get(&upstream, "/").await.unwrap().status() });
        // The settings of a new connection are sent before a request is taken from it.
        while there.load(Ordering::SeqCst) < number {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    while let Some(done) = requests.join_next().await {
        assert_eq!(done.unwrap(), 200);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn at_the_limit_requests_share_a_connection_and_a_client_that_has_none_opens_its_first() {
    let together = Arc::new(tokio::sync::Barrier::new(20));
    let barrier = together.clone();
    let (port, connections) =
        counted(move |stream, _| serve_together(stream, 100, barrier.clone(), Arc::default())).await;
    let settings = UpstreamSettings { max_streams: NonZeroU32::new(4).unwrap(), ..settings() };
    let limit = ConnectionLimit::new(NonZeroUsize::new(1).unwrap());
    let limits = ConnectionLimits { endpoint: Some(limit.clone()), total: None };
    let endpoint = Endpoint::parse(&format!("http://127.0.0.1:{port}")).unwrap();
    let client = || HttpUpstream::sharing(endpoint.clone(), settings.clone(), None, limits.clone());
    let clients = [client(), client()];
    let mut requests = JoinSet::new();
    for number in 0..20 {
        let upstream = clients[number % 2].clone();
        requests.spawn(async move { get(&upstream, "/").await.unwrap().status() });
    }
    while let Some(status) = requests.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!((connections.load(Ordering::SeqCst), limit.open()), (2, 1));
}

#[tokio::test]
async fn a_goaway_midway_loses_no_idempotent_request() {
    // Every connection says goodbye after its third request, and answers what it took.
    let (port, connections) = counted(|stream, _| async move {
        let mut connection: h2::server::Connection<_, Bytes> = h2::server::handshake(stream).await.unwrap();
        let mut taken = 0;
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            taken += 1;
            if taken == 3 {
                connection.graceful_shutdown();
            }
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(2)).await;
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                let _ = stream.send_data(Bytes::from_static(b"done"), true);
            });
        }
    })
    .await;
    let upstream = plain(port, settings());
    for round in 0..20 {
        let mut requests = JoinSet::new();
        for _ in 0..8 {
            let upstream = upstream.clone();
            requests.spawn(async move { read(get(&upstream, "/").await).await.0 });
        }
        while let Some(done) = requests.join_next().await {
            assert_eq!(done.unwrap(), "done", "round {round}");
        }
    }
    assert!(connections.load(Ordering::SeqCst) > 1);
}

/// Resets the first `times` requests with this reason, and answers the others.
async fn resetting(reason: h2::Reason, times: usize) -> (HttpUpstream, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let (port, _) = counted(move |stream, _| {
        let count = count.clone();
        async move {
            let mut connection: h2::server::Connection<_, Bytes> =
                h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                if count.fetch_add(1, Ordering::SeqCst) < times {
                    respond.send_reset(reason);
                } else {
                    respond.send_response(Response::new(()), true).unwrap();
                }
            }
        }
    })
    .await;
    (plain(port, settings()), seen)
}

#[tokio::test]
async fn refused_requests_are_sent_again_and_others_that_were_reset_are_not() {
    let post = || Request::post("/").header("Host", "a").body("").unwrap();
    let (upstream, seen) = resetting(h2::Reason::REFUSED_STREAM, 2).await;
    assert_eq!(send(&upstream, post()).await.unwrap().status(), 200);
    assert_eq!(seen.load(Ordering::SeqCst), 3);

    let (upstream, seen) = resetting(h2::Reason::REFUSED_STREAM, 100).await;
    assert_eq!(send(&upstream, post()).await.unwrap_err().kind(), FailureKind::Refused);
    assert_eq!(seen.load(Ordering::SeqCst), 3);

    // Its body has been taken: whoever kept a copy may send it again.
    let request = Request::post("/").header("Host", "a").body("a body").unwrap();
    assert_eq!(send(&upstream, request).await.unwrap_err().kind(), FailureKind::Refused);
    assert_eq!(seen.load(Ordering::SeqCst), 4);

    for (reason, kind) in [
        (h2::Reason::INTERNAL_ERROR, FailureKind::Reset),
        (h2::Reason::CANCEL, FailureKind::Reset),
        (h2::Reason::HTTP_1_1_REQUIRED, FailureKind::Protocol),
    ] {
        let (upstream, seen) = resetting(reason, 1).await;
        let error = get(&upstream, "/").await.unwrap_err();
        assert_eq!((error.kind(), seen.load(Ordering::SeqCst)), (kind, 1), "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_while_idle_costs_no_request() {
    // Each connection ends after its first answer, without a word.
    let (port, connections) = counted(|stream, _| async move {
        let mut connection: h2::server::Connection<_, Bytes> = h2::server::handshake(stream).await.unwrap();
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        respond.send_response(Response::new(()), true).unwrap();
        let _ = tokio::time::timeout(Duration::from_millis(20), connection.accept()).await;
    })
    .await;
    let upstream = plain(port, settings());
    for _ in 0..3 {
        assert_eq!(get(&upstream, "/").await.unwrap().status(), 200);
        while upstream.http2_connections() > 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn an_answer_waits_for_a_slow_client_and_others_pass_it() {
    const LENGTH: usize = 8 * 1024 * 1024;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let (port, connections) = counted(move |stream, _| {
        let count = count.clone();
        async move {
            let mut connection: h2::server::Connection<_, Bytes> =
                h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let length = if request.uri().path() == "/large" { LENGTH } else { 5 };
                let count = count.clone();
                tokio::spawn(async move {
                    let mut stream = respond.send_response(Response::new(()), false).unwrap();
                    let mut left = length;
                    while left > 0 {
                        stream.reserve_capacity(left.min(16_384));
                        let room =
                            std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
                        let piece = room.min(left);
                        left -= piece;
                        count.fetch_add(piece, Ordering::SeqCst);
                        stream.send_data(Bytes::from(vec![b'x'; piece]), left == 0).unwrap();
                    }
                });
            }
        }
    })
    .await;
    let upstream = plain(port, settings());
    let slow: Vec<_> = {
        let mut slow = Vec::new();
        for _ in 0..20 {
            slow.push(get(&upstream, "/large").await.unwrap());
        }
        slow
    };
    assert_eq!(read(get(&upstream, "/small").await).await.0, "xxxxx");
    let before = sent.load(Ordering::SeqCst);
    assert!(before <= 20 * 256 * 1024 + 5, "{before} bytes were sent to clients that read nothing");
    for answer in slow {
        assert_eq!(read(Ok(answer)).await.0.len(), LENGTH);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_large_request_is_taken_no_faster_than_the_upstream_reads() {
    let taken = Arc::new(AtomicUsize::new(0));
    let (go, wait) = tokio::sync::watch::channel(false);
    let (port, _) = counted(move |stream, _| {
        let mut wait = wait.clone();
        async move {
            let mut connection: h2::server::Connection<_, Bytes> =
                h2::server::handshake(stream).await.unwrap();
            let (request, mut respond) = connection.accept().await.unwrap().unwrap();
            tokio::spawn(async move {
                wait.wait_for(|go| *go).await.unwrap();
                let mut body = request.into_body();
                let mut length = 0;
                while let Some(Ok(data)) = body.data().await {
                    length += data.len();
                    body.flow_control().release_capacity(data.len()).unwrap();
                }
                let response = Response::builder().header("x-length", length).body(()).unwrap();
                respond.send_response(response, true).unwrap();
            });
            while connection.accept().await.is_some() {}
        }
    })
    .await;
    let upstream = plain(port, settings());
    let (count, mut left) = (taken.clone(), 300);
    let body = StreamBody::new(Frames(move || {
        count.fetch_add(16_384, Ordering::SeqCst);
        left -= 1;
        (left >= 0).then(|| http_body::Frame::data(Bytes::from(vec![0; 16_384])))
    }));
    let request = Request::post("/").header("Host", "a").body(()).unwrap();
    let sending = tokio::spawn(async move { upstream.send(&request.into_parts().0, body).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let ahead = taken.load(Ordering::SeqCst);
    assert!(ahead <= 256 * 1024, "{ahead} bytes were taken though none was read");
    go.send(true).unwrap();
    assert_eq!(sending.await.unwrap().headers()["x-length"], (300 * 16_384).to_string());
}

#[tokio::test]
async fn an_early_answer_comes_before_the_request_has_ended() {
    let (port, _) = counted(|stream, _| async move {
        let mut connection: h2::server::Connection<_, Bytes> = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            // The request's body is dropped unread, upon which the answer is followed by a reset without an error.
            let response = Response::builder().status(413).body(()).unwrap();
            let mut stream = respond.send_response(response, false).unwrap();
            stream.send_data(Bytes::from_static(b"too large"), true).unwrap();
        }
    })
    .await;
    let upstream = plain(port, settings());
    let body = StreamBody::new(Frames(|| Some(http_body::Frame::data(Bytes::from(vec![0; 16_384])))));
    let request = Request::post("/").header("Host", "a").body(()).unwrap();
    let response = upstream.send(&request.into_parts().0, body).await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "too large");
}

#[tokio::test]
async fn an_answer_that_is_reset_before_its_end_is_not_whole_whatever_the_reason() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let (port, _) = counted(move |stream, _| {
        let mut gone = gone.clone();
        async move {
            let mut connection: h2::server::Connection<_, Bytes> =
                h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                stream.send_data(Bytes::from_static(b"half"), false).unwrap();
                let mut gone = gone.clone();
                tokio::spawn(async move {
                    gone.wait_for(|gone| *gone).await.unwrap();
                    stream.send_reset(h2::Reason::NO_ERROR);
                });
            }
            let _ = gone.changed().await;
        }
    })
    .await;
    let mut body = get(&plain(port, settings()), "/").await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
    go.send(true).unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap_err().kind(), FailureKind::Reset);
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_said_is_the_clients_failure() {
    let (port, _) = counted(|stream, _| serve_http2_echo(stream)).await;
    let upstream = plain(port, settings());
    let request = Request::post("/").header("Host", "a").body(()).unwrap().into_parts().0;
    for (length, text) in [(3, "longer"), (30, "shorter")] {
        let said = Said(Full::new(Bytes::from_static(b"a body")), length);
        let error = upstream.send(&request, said).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::RequestBody);
        assert!(error.message().contains(text), "{error}");
    }
    assert_eq!(get(&upstream, "/").await.unwrap().status(), 200);
    assert_eq!(upstream.http2_connections(), 1);
}

/// A body that says it has another length.
#[derive(Debug)]
struct Said(Full<Bytes>, u64);

impl http_body::Body for Said {
    type Data = Bytes;
    type Error = std::convert::Infallible;
    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::pin::Pin::new(&mut self.get_mut().0).poll_frame(cx)
    }
    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.1)
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_speak_http2_is_no_valid_answer() {
    let port = serving(|mut stream, _| async move {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    });
    let error = get(&plain(port.await, settings()), "/").await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Protocol, "{error}");
}

#[tokio::test]
async fn nobody_there_is_told_to_all_who_waited() {
    let (listener, port) = support::listen().await;
    drop(listener);
    let upstream = plain(port, settings());
    let mut requests = JoinSet::new();
    for _ in 0..50 {
        let upstream = upstream.clone();
        requests.spawn(async move { get(&upstream, "/").await.unwrap_err() });
    }
    while let Some(error) = requests.join_next().await {
        let error = error.unwrap();
        assert_eq!((error.kind(), error.message()), (FailureKind::Connect, "connection refused"));
        assert_eq!(error.cause(), Some(ProxyError::ConnectionRefused));
    }
}

#[tokio::test]
async fn a_connection_that_answers_no_ping_is_closed() {
    let port = serving(|mut stream, _| async move {
        // The beginning of HTTP/2, and then silence.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"\0\0\0\x04\0\0\0\0\0").await;
        std::future::pending::<()>().await;
    });
    let upstream = plain(port.await, UpstreamSettings { ping_interval: Timespan::millis(50), ..settings() });
    let error = get(&upstream, "/").await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Reset, "{error}");
    assert_eq!(upstream.http2_connections(), 0);
}

#[tokio::test]
async fn a_worn_connection_is_replaced_and_its_answers_still_come() {
    let (port, connections) = counted(|stream, _| serve_http2_echo(stream)).await;
    let upstream = plain(port, UpstreamSettings { max_requests: NonZeroU32::new(2), ..settings() });
    let first = get(&upstream, "/").await;
    for _ in 0..4 {
        assert_eq!(read(get(&upstream, "/").await).await.0, "nothing");
    }
    assert_eq!(read(first).await.0, "nothing");
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_head_request_has_the_length_and_no_body() {
    let (port, _) = counted(|stream, _| async move {
        let mut connection: h2::server::Connection<_, Bytes> = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let response = Response::builder().header("content-length", 7).body(()).unwrap();
            respond.send_response(response, true).unwrap();
        }
    })
    .await;
    let request = Request::head("/").header("Host", "a").body(()).unwrap();
    let upstream = plain(port, settings());
    let response = upstream.send(&request.into_parts().0, Empty::<Bytes>::new()).await.unwrap();
    assert_eq!(response.headers()["content-length"], "7");
    assert!(http_body::Body::is_end_stream(response.body()));
}

#[tokio::test]
async fn eight_interim_answers_pass_and_nine_are_refused() {
    for (interim, expected) in [(8, None), (9, Some("the upstream sent more than 8 interim answers"))] {
        let (port, _) = counted(move |stream, _| async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                for status in [103, 100].into_iter().cycle().take(interim) {
                    let early = Response::builder().status(status).header("link", "</a.css>");
                    respond.send_informational(early.body(()).unwrap()).unwrap();
                }
                let mut body = respond.send_response(Response::new(()), false).unwrap();
                body.send_data(Bytes::from_static(b"hello"), true).unwrap();
            }
        })
        .await;
        let upstream = plain(port, settings());
        let (seen, heard) = get_listening(&upstream).await;
        assert_eq!(heard, ["103 link=</a.css>"; 4], "of {interim}");
        match expected {
            None => assert_eq!(read(seen).await.0, "hello"),
            Some(message) => {
                let error = seen.unwrap_err();
                assert_eq!((error.kind(), error.message()), (FailureKind::Protocol, message));
            }
        }
    }
}

#[tokio::test]
async fn a_tunnel_is_a_stream_where_the_upstream_knows_of_them() {
    let port = serving(|stream, _| async move {
        let mut server = h2::server::Builder::new();
        let mut connection = server.enable_connect_protocol().handshake::<_, Bytes>(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let protocol = request.extensions().get::<h2::ext::Protocol>().unwrap().as_str().to_owned();
            let seen = format!("{} {} {protocol}", request.method(), request.uri());
            assert!(!request.headers().contains_key("sec-websocket-key"), "{seen}");
            if request.uri().path() == "/no" {
                let answer = Response::builder().status(403).header("x-seen", seen).body(()).unwrap();
                let _ = respond.send_response(answer, false).unwrap().send_data("go away".into(), true);
                continue;
            }
            let answer = Response::builder().header("x-seen", seen).body(()).unwrap();
            let mut send = respond.send_response(answer, false).unwrap();
            tokio::spawn(async move {
                let mut body = request.into_body();
                while let Some(data) = body.data().await {
                    let _ = send.send_data(data.unwrap(), false);
                }
                let _ = send.send_data("bye".into(), true);
            });
        }
    });
    let upstream = plain(port.await, settings());
    let ask = |path: &str| {
        let request = Request::get(path).header("Host", "a").header("Connection", "upgrade");
        let request = request.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        let mut head = request.body(()).unwrap().into_parts().0;
        head.extensions.insert(Upgrade(HeaderValue::from_static("websocket")));
        head
    };
    for _ in 0..2 {
        let answer = upstream.send(&ask("/ws?a=b"), Full::from("hello ")).await.unwrap();
        assert_eq!(answer.status(), 101);
        assert_eq!(answer.headers()["x-seen"], "CONNECT http://a/ws?a=b websocket");
        assert_eq!(answer.headers()["upgrade"], "websocket");
        // The example of RFC 6455 §1.3.
        assert_eq!(answer.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello bye");
    }
    let answer = upstream.send(&ask("/no"), Full::from("hello ")).await.unwrap();
    assert_eq!(answer.status(), 403);
    assert!(!answer.headers().contains_key("upgrade"), "{:?}", answer.headers());
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "go away");
    assert_eq!(upstream.http2_connections(), 1);
}
