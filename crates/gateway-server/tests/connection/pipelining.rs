use crate::support::*;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

#[tokio::test(flavor = "local", start_paused = true)]
async fn pipelined_requests_are_answered_in_order_and_one_by_one() {
    let (running, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let seen = most.clone();
    let mut client = connect(answer(move |request| {
        let (running, most) = (running.clone(), most.clone());
        async move {
            running.set(running.get() + 1);
            most.set(most.get().max(running.get()));
            // The first takes longest.
            let millis = 1000 / request.uri().path()[1..].parse::<u64>().unwrap();
            tokio::time::sleep(Duration::from_millis(millis)).await;
            running.set(running.get() - 1);
            echo(request).await
        }
    }));
    client
        .send(
            "GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc\
             POST /3 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n\
             GET /4 HTTP/1.1\r\nconnection: close\r\n\r\nGET /5 HTTP/1.1\r\n\r\n",
        )
        .await;
    assert_eq!(
        client.rest().await,
        "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nGET /1 \
         HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nPOST /2 abc\
         HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nPOST /3 de\
         HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\nGET /4 "
    );
    assert_eq!(seen.get(), 1, "requests of one connection ran at once");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn empty_lines_between_requests_mean_nothing() {
    let mut client = connect(answer(echo));
    client.send("\r\n\r\nPOST /1 HTTP/1.1\r\ncontent-length: 1\r\n\r\na\r\n").await;
    client.until("POST /1 a").await;
    // Not the beginning of a slow request either: the connection is idle.
    tokio::time::sleep(Duration::from_secs(30)).await;
    client.send("GET /2 HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert!(client.rest().await.ends_with("GET /2 "));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn empty_lines_keep_no_connection_open() {
    let mut client = connect(answer(echo));
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    client.until("GET / ").await;
    let start = Instant::now();
    let (mut reading, mut writing) = tokio::io::split(client.io);
    let dripping = async {
        for byte in b"\r\n".iter().cycle() {
            tokio::time::sleep(Duration::from_secs(7)).await;
            if writing.write_all(&[*byte]).await.is_err() || start.elapsed().as_secs() > 3600 {
                break;
            }
        }
    };
    let mut seen = Vec::new();
    tokio::select! {
        _ = dripping => panic!("still open after an hour"),
        read = reading.read_to_end(&mut seen) => assert_eq!(read.unwrap(), 0),
    }
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn half_an_empty_line_is_no_slow_request() {
    // The connection's first request has the time of a head, and any other that of a pause; nobody is told.
    for (before, seconds) in [("", 10), ("GET / HTTP/1.1\r\n\r\n", 60)] {
        let mut client = connect(answer(echo));
        client.send(format!("{before}\r")).await;
        let start = Instant::now();
        let seen = client.rest().await;
        assert!(seen.is_empty() || seen.ends_with("\r\n\r\nGET / "), "{seen}");
        assert_eq!(start.elapsed().as_secs(), seconds);
    }
    let mut client = connect(answer(echo));
    client.send("GET /1 HTTP/1.1\r\n\r\n\r").await;
    client.until("GET /1 ").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    client.send("\nGET /2 HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert!(client.rest().await.ends_with("GET /2 "));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_is_no_request_is_answered_after_those_before_it_and_ends_the_connection() {
    for (garbage, status) in [
        ("GET / HTTP/3.7\r\n\r\n", "400 Bad Request"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400 Bad Request"),
        ("POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", "400 Bad Request"),
        ("\x16\x03\x01\x02\x00\x01\x00\r\n", "400 Bad Request"),
    ] {
        let mut client = connect(answer(echo));
        client.send(format!("GET /1 HTTP/1.1\r\n\r\n{garbage}GET /3 HTTP/1.1\r\n\r\n")).await;
        let seen = client.rest().await;
        let second = seen.strip_prefix("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nGET /1 ").unwrap();
        assert!(second.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{garbage:?}: {seen}");
        assert!(second.contains("\r\nconnection: close\r\n"), "{garbage:?}: {seen}");
        assert_eq!(seen.matches("HTTP/1.1 ").count(), 2, "{garbage:?}: {seen}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_was_read_behind_a_proxy_header_is_served_first() {
    use gateway_server::{Drain, Limits, Proxied, read_proxy_header, serve_connection_from};
    let (mut client, mut server) = tokio::io::duplex(1024);
    client.write_all(b"PROXY UNKNOWN\r\nGET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n").await.unwrap();
    let (proxied, read) = read_proxy_header(&mut server, Duration::from_secs(1)).await.unwrap();
    assert_eq!(proxied, Proxied::Local);
    let (limits, drain) = (Rc::new(Limits::default()), Drain::default());
    tokio::task::spawn_local(serve_connection_from(server, read, answer(echo), limits, drain));
    client.write_all(b"connection: close\r\n\r\n").await.unwrap();
    let mut seen = String::new();
    client.read_to_string(&mut seen).await.unwrap();
    assert!(seen.contains("\r\n\r\nGET /1 HTTP") && seen.ends_with("\r\n\r\nGET /2 "), "{seen}");
}
