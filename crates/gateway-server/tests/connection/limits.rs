use crate::support::*;
use gateway_server::Limits;
use http::Response;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

async fn seconds_until_the_end(client: &mut Client) -> (u64, String) {
    let start = Instant::now();
    let seen = client.rest().await;
    (start.elapsed().as_secs(), seen)
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_head_that_takes_too_long_is_answered_408() {
    let mut client = connect(answer(echo));
    client.send("GET / HT").await;
    let start = Instant::now();
    // Sending a little now and then gives no more time.
    tokio::time::sleep(Duration::from_secs(5)).await;
    client.send("TP/1.1\r\nhost:").await;
    let seen = client.rest().await;
    assert!(
        seen.starts_with("HTTP/1.1 408 Request Timeout\r\n") && seen.contains("connection: close"),
        "{seen}"
    );
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_never_says_anything_is_sent_away_silently() {
    assert_eq!(seconds_until_the_end(&mut connect(answer(echo))).await, (10, String::new()));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_second_head_has_its_own_time() {
    let mut client = connect(answer(echo));
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    client.until("GET / ").await;
    tokio::time::sleep(Duration::from_secs(55)).await;
    client.send("GET").await;
    let (seconds, seen) = seconds_until_the_end(&mut client).await;
    assert!(seen.starts_with("HTTP/1.1 408 ") && seconds == 10, "{seconds}: {seen}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_idle_connection_is_closed_silently() {
    let mut client = connect(answer(echo));
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    client.until("GET / ").await;
    assert_eq!(seconds_until_the_end(&mut client).await, (60, String::new()));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_body_that_stops_is_answered_408() {
    let limits = Limits { min_body_rate: 0, ..Limits::default() };
    let mut client = connect_with(answer(echo), limits, 64 * 1024);
    client.send("POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc").await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    // It is silence that counts.
    client.send("d").await;
    let (seconds, seen) = seconds_until_the_end(&mut client).await;
    assert!(seen.starts_with("HTTP/1.1 408 ") && seen.contains("connection: close"), "{seen}");
    assert_eq!(seconds, 30);
}

/// Sends a byte every so often, and says after how many it was answered.
async fn bytes_until_an_answer(client: &mut Client, bytes: &str, every: Duration) -> (u64, String) {
    for sent in 1..1000 {
        tokio::time::sleep(every).await;
        settle().await;
        if client.server.is_finished() {
            return (sent, client.rest().await);
        }
        client.send(bytes).await;
    }
    (1000, String::new())
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn z12_a_body_that_comes_byte_by_byte_is_answered_408_and_one_at_the_least_rate_is_not() {
    for (min_body_rate, bytes, expected) in [(240, 1, 2), (240, 240 * 20, 1000), (0, 1, 1000)] {
        let limits = Limits { min_body_rate, ..Limits::default() };
        let mut client = connect_with(answer(echo), limits, 64 * 1024);
        client.send("POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: 9999999\r\n\r\n").await;
        let (sent, seen) =
            bytes_until_an_answer(&mut client, &"x".repeat(bytes), Duration::from_secs(20)).await;
        assert!(sent == expected, "{min_body_rate} {bytes}: {sent} {seen}");
        assert!(sent == 1000 || seen.starts_with("HTTP/1.1 408 "), "{seen}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_body_timeout_does_not_run_while_the_handler_does_not_read() {
    let mut client = connect(answer(|request| async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        echo(request).await
    }));
    client.send("POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc").await;
    assert!(client.rest().await.ends_with("POST / abc"));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_takes_nothing_is_sent_away() {
    let (script, handler) = a_long_answer(100, 10_000);
    let mut client = connect_with(handler, Limits::default(), 1024);
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    settle().await;
    tokio::time::sleep(Duration::from_secs(29)).await;
    // One byte taken is enough for another while.
    client.until("xxx").await;
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert!(!client.server.is_finished());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(client.server.is_finished() && script.is_dropped());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_slow_answer_is_not_the_clients_fault() {
    let mut client = connect(answer(|request| async {
        tokio::time::sleep(Duration::from_secs(1000)).await;
        echo(request).await
    }));
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    client.until("GET / ").await;
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn heads_that_are_too_large_are_refused_by_what_is_too_large() {
    let limits = Limits { max_head: 1000, max_headers: 10, ..Limits::default() };
    for (head, status) in [
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(2000)), 414),
        (format!("GET /{}", "a".repeat(2000)), 414),
        (format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(2000)), 431),
        (format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(2000)), 431),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(11)), 431),
        (format!("GET / HTTP/1.1\r\nconnection: close\r\n{}\r\n", "a: b\r\n".repeat(9)), 200),
    ] {
        let mut client = connect_with(answer(echo), limits, 64 * 1024);
        client.send(&head).await;
        let seen = client.rest().await;
        assert!(seen.starts_with(&format!("HTTP/1.1 {status} ")), "{head:?}: {seen}");
        assert!(seen.contains("connection: close"), "{head:?}: {seen}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_rest_of_an_unread_body_is_waited_for_no_longer_than_for_a_read_one() {
    let mut client = connect(answer(|_| async { text("early") }));
    client.send("POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\n").await;
    client.until("early").await;
    assert_eq!(seconds_until_the_end(&mut client).await, (30, String::new()));
}

/// A connection that can be written to but whose end never leaves.
struct NeverShut(tokio::io::DuplexStream);

impl tokio::io::AsyncRead for NeverShut {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl tokio::io::AsyncWrite for NeverShut {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Pending
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_does_not_even_take_the_end_is_sent_away() {
    let (io, server) = tokio::io::duplex(1024);
    let mut client = serve(io, NeverShut(server), answer(echo), Limits::default());
    client.send("GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert!(client.rest().await.ends_with("GET / "));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_close_delimited_answer_that_breaks_off_is_not_ended_in_order() {
    let (io, server) = tokio::io::duplex(1024);
    let handler = answer(|_| {
        let script = Script::of(&["ab"]);
        script.fail();
        async move { Response::new(script.body()) }
    });
    let mut client = serve(io, NeverShut(server), handler, Limits::default());
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    // The connection goes without a shutdown, which would never end here and over TLS is what says "this was all".
    let (seconds, seen) = seconds_until_the_end(&mut client).await;
    assert!(seen.ends_with("\r\n\r\nab") && seconds == 0, "{seconds}: {seen}");
}

#[tokio::test(flavor = "local")]
async fn a_close_delimited_answer_that_breaks_off_ends_in_a_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for is_whole in [true, false] {
        let handler = answer(move |_| {
            let script = Script::of(&["ab"]);
            if is_whole {
                script.end()
            } else {
                script.fail()
            }
            async move { Response::new(script.body()) }
        });
        let io = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let mut client = serve(io, server, handler, Limits::default());
        client.send("GET / HTTP/1.0\r\n\r\n").await;
        let read = client.io.read_to_end(&mut Vec::new()).await;
        assert_eq!(read.map_err(|e| e.kind()).err(), (!is_whole).then_some(ErrorKind::ConnectionReset));
    }
}

/// Like TLS: what is written leaves with a flush, and that may take a while.
struct Buffered {
    io: tokio::io::DuplexStream,
    held: Vec<u8>,
    refusals: u32,
}

impl tokio::io::AsyncRead for Buffered {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl tokio::io::AsyncWrite for Buffered {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.held.extend_from_slice(buf);
        self.refusals = 1;
        std::task::Poll::Ready(Ok(buf.len()))
    }
    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if self.refusals > 0 {
            self.refusals -= 1;
            cx.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        let this = &mut *self;
        if !this.held.is_empty() {
            let written = std::task::ready!(std::pin::Pin::new(&mut this.io).poll_write(cx, &this.held))?;
            assert_eq!(written, this.held.len());
            this.held.clear();
        }
        std::task::Poll::Ready(Ok(()))
    }
    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_a_transport_holds_back_is_flushed_before_the_next_request_is_waited_for() {
    let (io, server) = tokio::io::duplex(1024);
    let server = Buffered { io: server, held: Vec::new(), refusals: 0 };
    let mut client = serve(io, server, answer(echo), Limits::default());
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    let start = Instant::now();
    client.until("GET / ").await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(flavor = "local")]
async fn a_connections_task_is_small() {
    let (_client, server) = tokio::io::duplex(64);
    let (limits, drain) = (std::rc::Rc::new(Limits::default()), gateway_server::Drain::default());
    let task = gateway_server::serve_connection(server, answer(echo), limits, drain);
    let size = std::mem::size_of_val(&task);
    assert!(size <= 1536, "{size} bytes");
}
