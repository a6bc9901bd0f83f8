use crate::support::*;
use gateway_core::{ClientAddr, interim};
use gateway_server::{Handler, Limits, RequestBody};
use http::{Request, Response};
use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep};

fn early(status: u16, fields: &[(&str, &str)]) -> Response<()> {
    let builder = Response::builder().status(status);
    fields.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(()).unwrap()
}

/// Sends each of these after a second of its own, then waits for one more and answers.
fn in_steps(answers: impl Fn() -> Vec<Response<()>> + 'static) -> impl Handler + Clone {
    answer(move |request: Request<RequestBody>| {
        let answers = answers();
        let (mut head, _) = request.into_parts();
        head.extensions.insert(ClientAddr(([192, 0, 2, 1], 4711).into()));
        async move {
            for answer in answers {
                sleep(Duration::from_secs(1)).await;
                interim::send(&head, answer);
            }
            sleep(Duration::from_secs(1)).await;
            text("done")
        }
    })
}

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nlink: </b.js>\r\n\r\n";
const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";

fn hint() -> Response<()> {
    early(103, &[("link", "</a.css>"), ("link", "</b.js>")])
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn each_interim_answer_leaves_when_it_comes_and_the_connection_goes_on() {
    let mut client = connect(in_steps(|| vec![early(102, &[]), hint(), early(104, &[("x-offset", "7")])]));
    for _ in 0..2 {
        let begun = Instant::now();
        client.send("GET / HTTP/1.1\r\n\r\n").await;
        for (second, expected) in [
            (1, "HTTP/1.1 102 Processing\r\n\r\n"),
            (2, HINT),
            (3, "HTTP/1.1 104 \r\nx-offset: 7\r\n\r\n"),
            (4, DONE),
        ] {
            let end = if second == 4 { "done" } else { "\r\n\r\n" };
            assert_eq!(client.until(end).await, expected);
            assert_eq!(begun.elapsed().as_secs(), second);
        }
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_concerns_a_connection_or_a_body_does_not_go_out_with_them() {
    let odd = [("connection", "close"), ("content-length", "5"), ("keep-alive", "1"), ("link", "</a>")];
    let mut client =
        connect(in_steps(move || vec![early(103, &odd), early(103, &[("transfer-encoding", "chunked")])]));
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    let seen = client.until("done").await;
    let plain = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n";
    assert_eq!(seen, format!("{plain}{DONE}"));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn http_1_0_and_http_2_clients_get_the_answer_alone() {
    let mut client = connect(in_steps(|| vec![hint()]));
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.rest().await, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone");

    let (io, server) = tokio::io::duplex(65536);
    let _client = serve(tokio::io::empty(), server, in_steps(|| vec![hint()]), Limits::default());
    let (mut send, connection) = h2::client::handshake(io).await.unwrap();
    tokio::task::spawn_local(connection);
    let request = Request::get("http://a/").body(()).unwrap();
    let (mut answer, _) = send.send_request(request, true).unwrap();
    let mut early = 0;
    let status = poll_fn(|cx| {
        while let Poll::Ready(Some(_)) = answer.poll_informational(cx) {
            early += 1;
        }
        std::pin::Pin::new(&mut answer).poll(cx)
    })
    .await
    .unwrap()
    .status();
    assert_eq!((status.as_u16(), early), (200, 0));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_body_that_waits_to_be_asked_for_is_asked_for_before_or_after() {
    let mut client = connect(answer(|request: Request<RequestBody>| async move {
        let (mut head, body) = request.into_parts();
        head.extensions.insert(ClientAddr(([192, 0, 2, 1], 4711).into()));
        interim::send(&head, hint());
        sleep(Duration::from_secs(1)).await;
        echo(Request::from_parts(head, body)).await
    }));
    client.send("POST / HTTP/1.1\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n").await;
    assert_eq!(client.until("\r\n\r\n").await, HINT);
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hi").await;
    assert!(client.until("POST / hi").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_takes_none_is_sent_away_and_costs_no_more_than_what_waits_to_be_written() {
    let long = "x".repeat(8000);
    let many = move || vec![early(103, &[("link", &long)]); 1000];
    let mut client = connect_with(in_steps(many), Limits::default(), 100);
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    let begun = Instant::now();
    client.server.await.unwrap();
    // 30 s from the third, the last for which there was room.
    assert_eq!(begun.elapsed(), Duration::from_secs(33));
}
