use crate::support::*;
use std::time::Duration;

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_idle_connection_is_closed_soon_and_one_that_comes_later_too() {
    let mut client = connect(answer(echo));
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    client.until("GET / ").await;
    client.drain.begin();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(client.server.is_finished());
    let client = connect(answer(echo));
    client.drain.begin();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(client.server.is_finished());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_request_that_was_on_its_way_when_draining_began_is_served() {
    for requests_before in [0, 1] {
        let mut client = connect(answer(echo));
        for _ in 0..requests_before {
            client.send("GET / HTTP/1.1\r\n\r\n").await;
            client.until("GET / ").await;
        }
        client.drain.begin();
        settle().await;
        client.send("GET /late HTTP/1.1\r\n\r\n").await;
        let answer = client.rest().await;
        assert!(answer.contains("connection: close") && answer.ends_with("GET /late "), "{answer}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_request_under_way_is_answered_and_the_next_is_not_served() {
    let mut client = connect(answer(|request| async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        echo(request).await
    }));
    client.send("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n").await;
    settle().await;
    client.drain.begin();
    assert_eq!(
        client.rest().await,
        "HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\nGET /1 "
    );
    // What is not served is read all the same, so that no reset overtakes the answer.
    assert!(!client.server.is_finished());
    drop(client.io);
    settle().await;
    assert!(client.server.is_finished());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_answer_that_has_begun_is_finished() {
    let script = Script::of(&["a"]);
    let body = script.clone();
    let mut client = connect(answer(move |_| {
        let body = body.body();
        async { http::Response::new(body) }
    }));
    client.send("GET /1 HTTP/1.1\r\n\r\n").await;
    client.until("1\r\na\r\n").await;
    client.drain.begin();
    settle().await;
    script.data("b");
    script.end();
    assert_eq!(client.rest().await, "1\r\nb\r\n0\r\n\r\n");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_answer_that_promised_another_request_is_followed_by_one_that_says_close() {
    let script = Script::of(&["a"]);
    let body = script.clone();
    let mut client = connect(answer(move |request: http::Request<_>| {
        let begun = body.body();
        async move { if request.uri().path() == "/1" { http::Response::new(begun) } else { echo(request).await } }
    }));
    client.send("GET /1 HTTP/1.1\r\n\r\n").await;
    client.until("1\r\na\r\n").await;
    client.drain.begin();
    settle().await;
    script.data("b");
    script.end();
    client.until("1\r\nb\r\n0\r\n\r\n").await;
    client.send("POST /2 HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc").await;
    let answer = client.rest().await;
    assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("POST /2 abc"), "{answer}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_request_behind_a_body_that_nobody_wanted_is_still_answered() {
    let mut client = connect(answer(|request: http::Request<_>| async move {
        if request.uri().path() == "/1" { text("early") } else { echo(request).await }
    }));
    client.send("POST /1 HTTP/1.1\r\ncontent-length: 10\r\n\r\n").await;
    client.until("early").await;
    client.drain.begin();
    settle().await;
    client.send("0123456789GET /2 HTTP/1.1\r\n\r\n").await;
    let answer = client.rest().await;
    assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("GET /2 "), "{answer}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_request_whose_head_is_on_its_way_is_still_answered() {
    let mut client = connect(answer(echo));
    client.send("GET / HTTP/1.1\r\n").await;
    settle().await;
    client.drain.begin();
    settle().await;
    client.send("\r\n").await;
    assert!(client.rest().await.contains("connection: close\r\n\r\nGET / "));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_body_that_nobody_wants_is_not_waited_for_longer_than_a_request() {
    let mut client = connect(answer(|_| async { text("early") }));
    client.send("POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\n").await;
    client.until("early").await;
    client.drain.begin();
    let start = tokio::time::Instant::now();
    assert_eq!(client.rest().await, "");
    assert_eq!(start.elapsed().as_millis(), 250);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_http2_connection_is_ended_in_order() {
    let mut client = connect(answer(|request| async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        echo(request).await
    }));
    let drain = client.drain.clone();
    let (send, connection) = h2::client::handshake(&mut client.io).await.unwrap();
    let talk = async {
        let mut send = send.ready().await.unwrap();
        let request = http::Request::get("http://a/1").body(()).unwrap();
        let (answer, _) = send.send_request(request, true).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        drain.begin();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(send.ready().await.is_err(), "it takes another request");
    };
    let (_, ended) = tokio::join!(talk, connection);
    ended.unwrap();
    settle().await;
    assert!(client.server.is_finished());
}
