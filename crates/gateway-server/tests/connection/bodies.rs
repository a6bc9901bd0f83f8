use crate::support::*;
use gateway_core::Received;
use gateway_server::Limits;
use http::Response;
use http_body::Body;
use http_body_util::BodyExt;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_chunked_body_arrives_with_its_trailers_and_without_those_that_would_change_the_message() {
    let mut client = connect(answer(|request: http::Request<_>| async {
        let body = request.into_body().collect().await.unwrap();
        let trailers = format!("{:?}", body.trailers());
        text(format!("{} {trailers}", String::from_utf8_lossy(&body.to_bytes())))
    }));
    client
        .send(
            "POST / HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
             3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nchecksum: 7\r\ncontent-length: 9\r\n\r\n",
        )
        .await;
    let seen = client.rest().await;
    assert!(seen.ends_with("abcde Some({\"checksum\": \"7\"})"), "{seen}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_came_with_the_head_is_there_at_once() {
    let mut client = connect(answer(|request: http::Request<_>| async {
        let mut body = request.into_body();
        let first = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Some(Ok(first))) = first else { panic!("it waits") };
        let rest = body.collect().await.unwrap().to_bytes();
        text([first.into_data().unwrap(), rest].concat())
    }));
    client.send("POST / HTTP/1.1\r\ncontent-length: 6\r\n\r\nabc").await;
    client.send("def").await;
    assert!(client.until("abcdef").await.starts_with("HTTP/1.1 200 OK\r\n"));
    // What follows a body is not of it.
    client
        .send("POST / HTTP/1.1\r\ncontent-length: 1\r\n\r\naPOST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nbc")
        .await;
    assert!(client.until("\r\n\r\na").await.contains("content-length: 1"));
    assert!(client.until("\r\n\r\nbc").await.contains("content-length: 2"));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_malformed_body_fails_for_its_reader_and_ends_the_connection() {
    let mut client = connect(answer(echo));
    client
        .send("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\nGET / HTTP/1.1\r\n\r\n")
        .await;
    let seen = client.rest().await;
    assert!(seen.starts_with("HTTP/1.1 400 ") && seen.contains("connection: close"), "{seen}");
    assert_eq!(seen.matches("HTTP/1.1").count(), 1, "{seen}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_expects_100_is_told_when_the_body_is_wanted_and_not_before() {
    let go = Rc::new(tokio::sync::Notify::new());
    let gate = go.clone();
    let mut client = connect(answer(move |request| {
        let gate = gate.clone();
        async move {
            gate.notified().await;
            echo(request).await
        }
    }));
    client.send("POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n").await;
    assert!(client.is_silent().await);
    go.notify_one();
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc").await;
    assert_eq!(client.until("abc").await, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nPOST / abc");
    // A client that did not wait needs not be told.
    go.notify_one();
    client.send("POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc").await;
    assert!(client.until("abc").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_answer_before_the_body_was_wanted_ends_the_connection_of_a_client_that_expects_100() {
    let mut client = connect(answer(|_| async { text("no") }));
    client.send("POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n").await;
    assert_eq!(client.rest().await, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn no_100_stands_within_an_answer_that_began_before_the_body_was_read() {
    // The answer is the request's body.
    let mut client =
        connect(answer(|request: http::Request<_>| async { Response::new(boxed(request.into_body())) }));
    client.send("POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n").await;
    let head = client.until("\r\n\r\n").await;
    assert_eq!(head, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\n");
    client.send("abc").await;
    assert_eq!(client.rest().await, "abc");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_small_body_that_nobody_read_is_thrown_away_and_the_connection_kept() {
    for (framing, body) in [
        ("content-length: 100000".to_owned(), "x".repeat(100_000)),
        ("transfer-encoding: chunked".to_owned(), format!("186a0\r\n{}\r\n0\r\n\r\n", "x".repeat(100_000))),
    ] {
        let mut client = connect(answer(|_| async { text("early") }));
        client.send(format!("POST / HTTP/1.1\r\n{framing}\r\n\r\n")).await;
        assert_eq!(client.until("early").await, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly");
        client.send(body).await;
        client.send("GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await;
        assert!(client.rest().await.ends_with("\r\n\r\nearly"), "{framing}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_large_body_that_nobody_reads_ends_the_connection_and_says_so() {
    let mut client = connect(answer(|_| async { text("early") }));
    client.send("POST / HTTP/1.1\r\ncontent-length: 10000000\r\n\r\n").await;
    assert_eq!(client.rest().await, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nearly");
    // The server reads on for a while, so that no reset overtakes the answer.
    client.send(vec![b'x'; 1_000_000]).await;
    assert!(!client.server.is_finished());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(client.server.is_finished());
}

#[tokio::test(flavor = "local")]
async fn over_a_real_socket_a_client_that_sends_a_large_body_first_can_read_the_early_answer() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let io = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let mut client = serve(io, accepted, answer(|_| async { text("too large") }), Limits::default());
    client.send("POST / HTTP/1.1\r\ncontent-length: 20000000\r\n\r\n").await;
    let body = vec![b'x'; 20_000_000];
    client.io.write_all(&body).await.unwrap();
    let mut seen = Vec::new();
    client.io.read_to_end(&mut seen).await.unwrap();
    assert!(seen.ends_with(b"\r\n\r\ntoo large"), "{}", String::from_utf8_lossy(&seen));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_request_is_read_no_faster_than_its_handler_reads() {
    let held = Rc::new(RefCell::new(None));
    let hold = held.clone();
    let handler = answer(move |request: http::Request<_>| {
        *hold.borrow_mut() = Some(request.into_body());
        std::future::pending::<Response<AnyBody>>()
    });
    let mut client = connect_with(handler, Limits::default(), 1024);
    client.send("POST / HTTP/1.1\r\ncontent-length: 10000000\r\n\r\n").await;
    let mut sent = 0;
    let piece = [b'x'; 1000];
    while let Ok(n) =
        tokio::time::timeout(Duration::from_secs(1), tokio::io::AsyncWriteExt::write(&mut client.io, &piece))
            .await
    {
        sent += n.unwrap();
    }
    assert!(sent <= 32 * 1024, "{sent} bytes were taken from the client though nobody reads");
    let mut body = held.borrow_mut().take().unwrap();
    let mut read = 0;
    while let Ok(Some(frame)) = tokio::time::timeout(Duration::from_secs(1), body.frame()).await {
        read += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(read, sent, "all that was sent arrives when it is read");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn whoever_reads_elsewhere_learns_that_the_client_has_gone() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = Rc::new(RefCell::new(Some(tell)));
    let mut client = connect(answer(move |request: http::Request<_>| {
        let tell = tell.borrow_mut().take().unwrap();
        tokio::task::spawn_local(async move {
            let read = request.into_body().collect().await;
            let _ = tell.send(read.map(|_| ()));
        });
        std::future::pending::<Response<AnyBody>>()
    }));
    client.send("POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc").await;
    settle().await;
    drop(client);
    let read =
        tokio::time::timeout(Duration::from_secs(3600), told).await.expect("the reader waits for ever");
    assert!(read.unwrap().is_err(), "a body that broke off was taken for a whole one");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_body_whose_length_is_not_told_is_counted_as_it_is_read() {
    let count = || {
        answer(|request: http::Request<gateway_server::RequestBody>| async {
            let received = request.extensions().get::<Received>().cloned();
            request.into_body().collect().await.unwrap();
            text(format!("{:?}.", received.map(|received| received.bytes())))
        })
    };
    let mut client = connect(count());
    for (request, counted) in [
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n2\r\n!!\r\n0\r\n\r\n",
            "Some(7).",
        ),
        ("POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello", "None."),
        ("GET / HTTP/1.1\r\n\r\n", "None."),
    ] {
        client.send(request).await;
        client.until(counted).await;
    }
    let (mut send, _ended) = crate::http2::start(count(), Limits::default()).await;
    let (answer, mut body) = send.send_request(crate::http2::post(), false).unwrap();
    body.send_data("hello".into(), true).unwrap();
    let seen = crate::http2::read(answer.await.unwrap().into_body()).await.unwrap();
    assert_eq!(seen.0, b"Some(5).");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_body_that_has_failed_is_never_taken_for_one_that_has_ended() {
    for (chunks, limit) in [("2\r\nabc\r\n", u64::MAX), ("2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", 2)] {
        let mut client =
            connect(answer(move |request: http::Request<gateway_server::RequestBody>| async move {
                let mut body = request.into_body();
                body.limit(limit);
                let mut first = None;
                while first.is_none() {
                    first = body.frame().await.expect("it has ended").err();
                }
                let again = body.frame().await.expect("it has ended").err();
                assert!(!body.is_end_stream(), "it says that it has ended");
                let told = |error: Option<_>| error.map(|error: gateway_server::BodyError| error.to_string());
                text(if told(first) == told(again) { "the same" } else { "something else" })
            }));
        client.send(format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")).await;
        client.until("the same").await;
    }
}
