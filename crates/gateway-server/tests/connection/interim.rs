use crate::http2::{post, start};
use crate::support::*;
use gateway_core::{ClientAddr, interim};
use gateway_server::{Handler, Limits, RequestBody};
use h2::client::ResponseFuture;
use http::{HeaderMap, Request, Response, StatusCode};
use std::future::{Future, poll_fn};
use std::pin::Pin;
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
async fn http_1_0_clients_get_the_answer_alone() {
    let mut client = connect(in_steps(|| vec![hint()]));
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.rest().await, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone");
}

/// What comes before the answer and the answer's head: status, fields, and after how many seconds.
async fn heard(mut answer: ResponseFuture) -> Vec<(u16, String, u64)> {
    let begun = Instant::now();
    let mut heard = Vec::new();
    let mut note = |status: StatusCode, headers: &HeaderMap| {
        let fields = headers.iter().filter(|(name, _)| *name != "date");
        let fields: Vec<_> =
            fields.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        heard.push((status.as_u16(), fields.join(", "), begun.elapsed().as_secs()));
    };
    let last = poll_fn(|cx| {
        while let Poll::Ready(Some(early)) = answer.poll_informational(cx) {
            let early = early.unwrap();
            note(early.status(), early.headers());
        }
        Pin::new(&mut answer).poll(cx)
    });
    let last = last.await.unwrap();
    note(last.status(), last.headers());
    heard
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn each_leaves_over_http_2_when_it_comes_without_what_concerns_a_connection() {
    let odd =
        [("connection", "x-hop"), ("x-hop", "1"), ("content-length", "5"), ("te", "a"), ("link", "</a>")];
    let answers = move || vec![early(102, &[]), hint(), early(103, &odd), early(104, &[("x-offset", "7")])];
    let (mut send, _ended) = start(in_steps(answers), Limits::default()).await;
    for _ in 0..2 {
        let (answer, _) = send.send_request(post(), true).unwrap();
        let hint = "link: </a.css>, link: </b.js>".to_owned();
        assert_eq!(
            heard(answer).await,
            [
                (102, String::new(), 1),
                (103, hint, 2),
                (103, "link: </a>".into(), 3),
                (104, "x-offset: 7".into(), 4),
                (200, "content-length: 4".into(), 5),
            ]
        );
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_body_over_http_2_that_waits_to_be_asked_for_is_asked_for_when_it_is_wanted() {
    let (mut send, _ended) = start(
        answer(|request| async {
            sleep(Duration::from_secs(3)).await;
            echo(request).await
        }),
        Limits::default(),
    )
    .await;
    let request = |expect| Request::post("http://a/1").header("expect", expect).body(()).unwrap();
    let (answer, mut body) = send.send_request(request("100-Continue"), false).unwrap();
    tokio::task::spawn_local(async move {
        sleep(Duration::from_secs(9)).await;
        body.send_data("hi".into(), true).unwrap();
    });
    let expected = [(100, String::new(), 3), (200, "content-length: 10".into(), 9)];
    assert_eq!(heard(answer).await, expected);
    // Not where it has come by itself, nor where nobody asked to be asked.
    for (expect, delay) in [("100-continue", 1), ("nothing", 9)] {
        let (answer, mut body) = send.send_request(request(expect), false).unwrap();
        tokio::task::spawn_local(async move {
            sleep(Duration::from_secs(delay)).await;
            body.send_data("hi".into(), true).unwrap();
        });
        assert_eq!(heard(answer).await, [(200, "content-length: 10".into(), delay.max(3))], "{expect}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_stream_that_was_reset_hears_no_more_and_the_others_do() {
    let (mut send, _ended) = start(in_steps(|| vec![hint(), hint()]), Limits::default()).await;
    let (answer, mut body) = send.send_request(post(), true).unwrap();
    let (other, _) = send.send_request(post(), true).unwrap();
    sleep(Duration::from_millis(1500)).await;
    body.send_reset(h2::Reason::CANCEL);
    drop((answer, body));
    let statuses: Vec<_> = heard(other).await.into_iter().map(|(status, ..)| status).collect();
    assert_eq!(statuses, [103, 103, 200]);
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
