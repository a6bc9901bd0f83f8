use crate::support::*;
use http::Response;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

async fn is_dropped_when_the_client_goes(request: &str) -> bool {
    let dropped = Rc::new(Cell::new(false));
    let flag = dropped.clone();
    let mut client = connect(answer(move |request| {
        let guard = OnDrop(flag.clone());
        async move {
            let _guard = (guard, request);
            std::future::pending::<Response<AnyBody>>().await
        }
    }));
    client.send(request).await;
    settle().await;
    assert!(!dropped.get());
    let Client { io, server, .. } = client;
    drop(io);
    settle().await;
    dropped.get() && server.is_finished()
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_request_whose_client_has_gone_is_dropped() {
    assert!(is_dropped_when_the_client_goes("GET / HTTP/1.1\r\n\r\n").await);
    // Also one that asks for a tunnel and has no answer yet.
    let upgrade = "GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    assert!(is_dropped_when_the_client_goes(upgrade).await);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_answer_whose_client_has_gone_is_dropped() {
    let script = Script::of(&["a"]);
    let body = script.clone();
    let mut client = connect(answer(move |_| {
        let body = body.body();
        async { Response::new(body) }
    }));
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    client.until("1\r\na\r\n").await;
    assert!(!script.is_dropped());
    drop(client);
    settle().await;
    assert!(script.is_dropped());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_goes_within_its_body_takes_the_request_with_it() {
    let dropped = Rc::new(Cell::new(false));
    let flag = dropped.clone();
    let mut client = connect(answer(move |request| {
        let guard = OnDrop(flag.clone());
        async move {
            let _guard = guard;
            echo(request).await
        }
    }));
    client.send("POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc").await;
    settle().await;
    assert!(!dropped.get());
    drop(client);
    settle().await;
    assert!(dropped.get());
}

/// Whether an answer that has nothing to say is dropped once the client of this request has gone, having sent all this.
async fn is_seen_to_be_gone(request: &str, behind: &[&str]) -> bool {
    let script = Script::of(&["a"]);
    let body = script.clone();
    let mut client = connect(answer(move |_| {
        let body = body.body();
        async { Response::new(body) }
    }));
    client.send(request).await;
    client.until("1\r\na\r\n").await;
    for piece in behind {
        client.send(piece).await;
        settle().await;
    }
    assert!(!script.is_dropped());
    let Client { io, server, .. } = client;
    drop(io);
    settle().await;
    script.is_dropped() && server.is_finished()
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_has_gone_is_seen_to_be_behind_what_it_sent_before() {
    const GET: &str = "GET / HTTP/1.1\r\n\r\n";
    for behind in [&["x"][..], &["\r\n"], &["GET /2 HTTP/1.1\r\n"], &[GET, GET, GET]] {
        assert!(is_seen_to_be_gone(GET, behind).await, "{behind:?}");
        let at_once = [GET, &behind.concat()].concat();
        assert!(is_seen_to_be_gone(&at_once, &[]).await, "{behind:?} in one piece with the request");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_has_gone_is_seen_to_be_behind_a_body_that_nobody_wants() {
    for request in [
        "POST / HTTP/1.1\r\ncontent-length: 1000\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
    ] {
        for behind in [&[][..], &["5\r\nabcde\r\n", "5\r\n"]] {
            assert!(is_seen_to_be_gone(request, behind).await, "{request:?} {behind:?}");
        }
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_sends_more_ahead_than_is_read_is_not_waited_for_without_end() {
    let script = Script::of(&["a"]);
    let body = script.clone();
    let mut client = connect(answer(move |_| {
        let body = body.body();
        async { Response::new(body) }
    }));
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    client.until("1\r\na\r\n").await;
    // 64 KiB fit into the connection.
    let sent = std::cell::Cell::new(0);
    let (mut reading, mut writing) = tokio::io::split(client.io);
    let sending = async {
        while writing.write_all(&[b'x'; 1024]).await.is_ok() {
            sent.set(sent.get() + 1);
        }
    };
    let all = tokio::time::timeout(Duration::from_secs(299), sending).await;
    assert!(all.is_err(), "nothing more is taken, {} KiB were", sent.get());
    assert!((64 + 32..=64 + 128).contains(&sent.get()), "{} KiB are taken", sent.get());
    assert!(!script.is_dropped());
    // Whose answer goes on is there.
    script.data("b");
    let mut seen = Vec::new();
    while !seen.ends_with(b"1\r\nb\r\n") {
        assert!(matches!(reading.read_buf(&mut seen).await, Ok(1..)), "{seen:?}");
    }
    let start = Instant::now();
    reading.read_to_end(&mut seen).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 300);
    assert!(seen.ends_with(b"1\r\nb\r\n") && script.is_dropped(), "{seen:?}");
}
