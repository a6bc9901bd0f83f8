use crate::support::*;
use gateway_server::{Drain, Limits, serve_connection};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Response, StatusCode};
use http_body_util::Empty;
use std::cell::RefCell;
use std::io::{Read, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWriteExt};

fn with(status: u16, length: Option<&str>, body: AnyBody) -> Response<AnyBody> {
    let mut response = Response::builder().status(status);
    if let Some(length) = length {
        response = response.header(CONTENT_LENGTH, length);
    }
    response.body(body).unwrap()
}

fn streamed() -> AnyBody {
    let script = Script::of(&["ab", "", "cde"]);
    script.end();
    script.body()
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn every_answer_is_framed_so_that_its_end_is_found() {
    let empty = || boxed(Empty::new());
    let whole = || text("abc").into_body();
    type Make = Box<dyn Fn() -> Response<AnyBody>>;
    let cases: Vec<(&str, Make, &str)> = vec![
        (
            "GET / HTTP/1.1",
            Box::new(move || with(200, None, whole())),
            "200 OK\r\ncontent-length: 3\r\n\r\nabc",
        ),
        ("GET / HTTP/1.1", Box::new(move || with(200, None, empty())), "200 OK\r\ncontent-length: 0\r\n\r\n"),
        (
            "GET / HTTP/1.1",
            Box::new(|| with(200, None, streamed())),
            "200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n",
        ),
        // What the body says about its length counts, not what a header says.
        (
            "GET / HTTP/1.1",
            Box::new(move || with(200, Some("99"), whole())),
            "200 OK\r\ncontent-length: 3\r\n\r\nabc",
        ),
        (
            "HEAD / HTTP/1.1",
            Box::new(move || with(200, None, whole())),
            "200 OK\r\ncontent-length: 3\r\n\r\n",
        ),
        (
            "HEAD / HTTP/1.1",
            Box::new(move || with(200, Some("5"), empty())),
            "200 OK\r\ncontent-length: 5\r\n\r\n",
        ),
        ("HEAD / HTTP/1.1", Box::new(|| with(200, None, streamed())), "200 OK\r\n\r\n"),
        ("GET / HTTP/1.1", Box::new(move || with(204, Some("5"), whole())), "204 No Content\r\n\r\n"),
        (
            "GET / HTTP/1.1",
            Box::new(move || with(304, Some("5"), empty())),
            "304 Not Modified\r\ncontent-length: 5\r\n\r\n",
        ),
        ("GET / HTTP/1.1", Box::new(move || with(304, None, whole())), "304 Not Modified\r\n\r\n"),
        // An interim status is no answer, nor is a change of protocols that nobody asked for.
        (
            "GET / HTTP/1.1",
            Box::new(move || with(103, None, empty())),
            "502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "GET / HTTP/1.1",
            Box::new(move || with(101, None, empty())),
            "502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "GET / HTTP/1.0\r\nconnection: keep-alive",
            Box::new(move || with(200, None, whole())),
            "200 OK\r\ncontent-length: 3\r\nconnection: keep-alive\r\n\r\nabc",
        ),
    ];
    for (request, make, expected) in cases {
        let make = std::rc::Rc::new(make);
        let mut client = connect(answer(move |request| {
            let response = if request.uri() == "/" { make() } else { text("next") };
            async { response }
        }));
        client.send(format!("{request}\r\n\r\nGET /next HTTP/1.1\r\nconnection: close\r\n\r\n")).await;
        let seen = client.rest().await;
        let next = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnext";
        assert_eq!(seen, format!("HTTP/1.1 {expected}{next}"), "{request}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn trailers_go_out_but_none_that_would_change_the_message() {
    let mut client = connect(answer(|_| {
        let script = Script::of(&["ab"]);
        script.trailers("grpc-status", "0");
        async move { Response::new(script.body()) }
    }));
    client.send("GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert!(client.rest().await.ends_with("\r\n\r\n2\r\nab\r\n0\r\ngrpc-status: 0\r\n\r\n"));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn to_http_1_0_an_answer_of_unknown_length_ends_with_the_connection() {
    let mut client = connect(answer(|_| async {
        let mut response = Response::new(streamed());
        response.headers_mut().insert(TRANSFER_ENCODING, "chunked".parse().unwrap());
        response
    }));
    client.send("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
    assert_eq!(client.rest().await, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabcde");
    let mut client = connect(answer(echo));
    client.send("GET /a HTTP/1.0\r\n\r\n").await;
    assert_eq!(
        client.rest().await,
        "HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\nGET /a "
    );
}

/// A body that says how long it is, and is not.
struct Claims(u64, AnyBody);

impl http_body::Body for Claims {
    type Data = bytes::Bytes;
    type Error = gateway_core::BoxError;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        self.1.as_mut().poll_frame(cx)
    }
    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.0)
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_answer_that_breaks_off_is_never_taken_for_a_whole_one() {
    type Make = fn() -> (Option<u64>, Script);
    let cases: [(Make, &str); 6] = [
        // Fails within chunks: no last chunk.
        (
            || {
                let script = Script::of(&["ab"]);
                script.fail();
                (None, script)
            },
            "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
        ),
        (
            || {
                let script = Script::of(&["ab"]);
                script.fail();
                (Some(5), script)
            },
            "content-length: 5\r\n\r\nab",
        ),
        // Shorter than it said, by its end or by trailers.
        (
            || {
                let script = Script::of(&["ab"]);
                script.end();
                (Some(5), script)
            },
            "content-length: 5\r\n\r\nab",
        ),
        (
            || {
                let script = Script::of(&["ab"]);
                script.trailers("x", "y");
                (Some(5), script)
            },
            "content-length: 5\r\n\r\nab",
        ),
        // Longer: what is too much must not be read as the next answer.
        (|| (Some(3), Script::of(&["ab", "cd"])), "content-length: 3\r\n\r\nab"),
        (|| (Some(3), Script::of(&["abcd"])), "content-length: 3\r\n\r\n"),
    ];
    for (make, expected) in cases {
        let mut client = connect(answer(move |_| {
            let (length, script) = make();
            let body = match length {
                Some(length) => Box::pin(Claims(length, script.body())),
                None => script.body(),
            };
            async { Response::new(body) }
        }));
        client.send("GET / HTTP/1.1\r\n\r\nGET /next HTTP/1.1\r\n\r\n").await;
        assert_eq!(client.rest().await, format!("HTTP/1.1 200 OK\r\n{expected}"));
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_handler_can_have_the_connection_closed() {
    let mut client = connect(answer(|_| async {
        let mut response = text("a");
        response.headers_mut().insert("connection", "close".parse().unwrap());
        *response.status_mut() = StatusCode::CREATED;
        response
    }));
    client.send("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(
        client.rest().await,
        "HTTP/1.1 201 Created\r\ncontent-length: 1\r\nconnection: close\r\n\r\na"
    );
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn of_an_answer_that_the_client_does_not_take_only_a_bounded_amount_is_asked_for() {
    let (script, handler) = a_long_answer(1000, 1000);
    let mut client = connect_with(handler, Limits::default(), 1024);
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    settle().await;
    assert!((1..=34).contains(&script.taken()), "{} pieces of 1 kB were taken", script.taken());
    let before = script.taken();
    tokio::io::AsyncReadExt::read_exact(&mut client.io, &mut [0; 20_000]).await.unwrap();
    settle().await;
    assert!(script.taken() > before, "it goes on when the client does");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn connections_that_are_ready_together_are_all_read_before_the_first_is_dealt_with_or_written_to() {
    let (mut clients, servers): (Vec<_>, Vec<_>) = (0..3).map(|_| tokio::io::duplex(1024)).unzip();
    for client in &mut clients {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    }
    let clients = RefCell::new(clients);
    // How much has been written to all of them when a request is taken, and how many were taken when one is dealt with,
    // as by sending it on.
    let written = Rc::new(RefCell::new(Vec::new()));
    let taken = Rc::new(RefCell::new(Vec::new()));
    let (noted, begun) = (written.clone(), taken.clone());
    let handler = answer(move |_| {
        let mut buffer = [0; 64];
        let mut buffer = tokio::io::ReadBuf::new(&mut buffer);
        for client in clients.borrow_mut().iter_mut() {
            let _ = Pin::new(client).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer);
        }
        noted.borrow_mut().push(buffer.filled().len());
        let (noted, begun) = (noted.clone(), begun.clone());
        async move {
            begun.borrow_mut().push(noted.borrow().len());
            text("x")
        }
    });
    for server in servers {
        let served = serve_connection(server, handler.clone(), Rc::new(Limits::default()), Drain::default());
        tokio::task::spawn_local(served);
    }
    while taken.borrow().len() < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*written.borrow(), [0, 0, 0]);
    assert_eq!(*taken.borrow(), [3, 3, 3]);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_reads_slowly_is_not_taken_for_one_that_takes_nothing() {
    let limits = Limits { write_timeout: Duration::from_secs(30), ..Limits::default() };
    let (listener, at_once) = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), 512 * 1024);
    for (reads, is_kept) in [(10, true), (1, false), (0, false)] {
        let (script, handler) = a_long_answer(2000, 16 * 1024);
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        let server = tokio::net::TcpStream::from_std(server).unwrap();
        let served = serve_connection(server, handler, Rc::new(limits), Drain::default());
        let served = tokio::task::spawn_local(served);
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        // Until the system's buffers are full.
        let mut taken = 0;
        loop {
            settle().await;
            match std::mem::replace(&mut taken, script.taken()) {
                before if before == taken && taken > 0 => break,
                _ => std::thread::yield_now(),
            }
        }
        // Enough for the client to be heard of, and less than the system waits for before it says that there is room.
        for round in 0..10 {
            if round < reads {
                client.read_exact(&mut vec![0; at_once]).unwrap();
            }
            tokio::time::advance(Duration::from_secs(29)).await;
            settle().await;
        }
        assert_eq!(!served.is_finished(), is_kept);
        served.abort();
    }
}
