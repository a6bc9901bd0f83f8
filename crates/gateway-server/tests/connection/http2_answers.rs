use crate::http2::{PREFACE, post, read, start};
use crate::support::*;
use gateway_server::{Limits, RequestBody};
use h2::Reason;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What `make` answers to this method: head and body as HTTP/2 has them, and whether the head was all.
async fn answered<F>(method: Method, make: F) -> (Response<()>, Vec<u8>, bool)
where
    F: Fn() -> Response<AnyBody> + 'static,
{
    let (mut send, _ended) = start(answer(move |_| std::future::ready(make())), Limits::default()).await;
    let request = Request::builder().method(method).uri("http://a/").body(()).unwrap();
    let (head, body) = send.send_request(request, true).unwrap().0.await.unwrap().into_parts();
    let alone = body.is_end_stream();
    (Response::from_parts(head, ()), read(body).await.unwrap().0, alone)
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_answer_has_a_date_a_length_and_nothing_that_concerns_a_connection() {
    let (head, body, _) = answered(Method::GET, || {
        let mut response = text("abc");
        for (name, value) in [("connection", "x-hop"), ("x-hop", "1"), ("keep-alive", "5"), ("upgrade", "a")]
        {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    })
    .await;
    let mut names: Vec<_> = head.headers().keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        (names, &head.headers()["content-length"]),
        (vec!["content-length", "date"], &"3".parse().unwrap())
    );
    assert_eq!(body, b"abc");
    let (head, ..) = answered(Method::GET, || {
        let mut response = text("abc");
        response.headers_mut().insert("date", "Thu, 01 Jan 1970 00:00:00 GMT".parse().unwrap());
        response
    })
    .await;
    assert_eq!(head.headers()["date"], "Thu, 01 Jan 1970 00:00:00 GMT");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_answer_without_a_body_is_its_head() {
    for (method, status, body, length) in [
        (Method::HEAD, 200, "abc", Some("3")),
        (Method::GET, 204, "abc", None),
        (Method::GET, 304, "abc", None),
        (Method::GET, 200, "", None),
    ] {
        let (head, seen, alone) = answered(method.clone(), move || {
            let mut response = Response::new(boxed(Full::from(body)));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        })
        .await;
        let case = format!("{method} {status} {body:?}");
        assert_eq!((head.status().as_u16(), seen.len(), alone), (status, 0, true), "{case}");
        let seen = head.headers().get("content-length").map(|length| length.to_str().unwrap());
        assert_eq!(seen, length, "{case}");
    }
    // What an upstream says of its length stays.
    let (head, ..) = answered(Method::HEAD, || {
        Response::builder().header("content-length", "7").body(boxed(Empty::new())).unwrap()
    })
    .await;
    assert_eq!(head.headers()["content-length"], "7");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_status_that_is_no_answer_is_a_bad_gateways() {
    for status in [101, 103] {
        let make = move || Response::builder().status(status).body(boxed(Empty::new())).unwrap();
        assert_eq!(answered(Method::GET, make).await.0.status(), 502, "{status}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_head_larger_than_the_client_allows_costs_its_stream_alone() {
    let handler = answer(|request: Request<RequestBody>| async move {
        let mut response = text("abc");
        if request.method() == Method::POST {
            response.headers_mut().insert("x-large", "x".repeat(200_000).parse().unwrap());
            response.headers_mut().insert("x-larger", "x".repeat(2_000_000).parse().unwrap());
        }
        response
    });
    let (io, server) = tokio::io::duplex(64 * 1024);
    let _client = serve(tokio::io::empty(), server, handler, Limits::default());
    let (mut send, connection) = h2::client::Builder::new()
        .max_header_list_size(16 * 1024)
        .handshake::<_, bytes::Bytes>(io)
        .await
        .unwrap();
    tokio::task::spawn_local(connection);
    let large = send.send_request(post(), true).unwrap().0;
    let small = send.send_request(Request::get("http://a/").body(()).unwrap(), true).unwrap().0;
    assert!(large.await.is_err());
    // Whether the connection goes on is the client's choice; that the server does not break is ours.
    if let Ok(small) = small.await {
        assert_eq!(small.status(), 200);
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_body_that_fails_resets_its_stream() {
    let script = Script::of(&["abc"]);
    let body = script.clone();
    let (mut send, _ended) =
        start(answer(move |_| std::future::ready(Response::new(body.body()))), Limits::default()).await;
    let answer = send.send_request(post(), true).unwrap().0.await.unwrap();
    script.fail();
    let error = read(answer.into_body()).await.unwrap_err();
    assert_eq!((error.is_reset(), error.reason()), (true, Some(Reason::INTERNAL_ERROR)));
    assert!(script.is_dropped());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_loses_interest_ends_an_answer_that_is_silent() {
    let script = Script::of(&["abc"]);
    let body = script.clone();
    let (mut send, _ended) =
        start(answer(move |_| std::future::ready(Response::new(body.body()))), Limits::default()).await;
    let (answer, mut stream) = send.send_request(post(), true).unwrap();
    let mut answer = answer.await.unwrap().into_body();
    assert_eq!(answer.data().await.unwrap().unwrap(), "abc");
    assert!(!script.is_dropped());
    stream.send_reset(Reason::CANCEL);
    settle().await;
    assert!(script.is_dropped());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_answer_before_the_request_was_read_is_whole_and_then_the_rest_is_declined() {
    let (mut send, _ended) = start(answer(|_| async { text("enough") }), Limits::default()).await;
    let (answer, mut stream) = send.send_request(post(), false).unwrap();
    stream.send_data("ab".into(), false).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(read(answer.into_body()).await.unwrap().0, b"enough");
    let reason = std::future::poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
    assert_eq!(reason, Reason::NO_ERROR);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_does_not_take_the_end_of_an_answer_is_noticed_too() {
    // A little more than the window, and nothing behind it: all of it was taken from the upstream at once.
    let script = Script::default();
    script.data(vec![b'x'; 66_000]);
    script.end();
    let body = script.clone();
    let (mut send, _ended) =
        start(answer(move |_| std::future::ready(Response::new(body.body()))), Limits::default()).await;
    let begun = Instant::now();
    let mut answer = send.send_request(post(), true).unwrap().0.await.unwrap().into_body();
    let error = loop {
        match answer.data().await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!((error.reason(), begun.elapsed().as_secs()), (Some(Reason::CANCEL), 30));
    assert!(script.is_dropped());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_is_merely_slow_gets_its_answer_and_one_that_takes_crumbs_does_not() {
    for (crumb, expected) in [(16 * 1024, Ok(200_000)), (100, Err(Some(Reason::CANCEL)))] {
        let (mut send, _ended) =
            start(answer(|_| async { text(vec![b'x'; 200_000]) }), Limits::default()).await;
        let mut answer = send.send_request(post(), true).unwrap().0.await.unwrap().into_body();
        let (mut seen, mut owed) = (0, 0);
        let outcome = loop {
            // Says a crumb of it to be taken every 20 s.
            while owed < crumb && seen < 200_000 {
                match answer.data().await {
                    Some(Ok(data)) => (seen, owed) = (seen + data.len(), owed + data.len()),
                    Some(Err(_)) | None => break,
                }
            }
            if seen == 200_000 {
                break Ok(seen);
            }
            sleep(Duration::from_secs(20)).await;
            let release = owed.min(crumb);
            owed -= release;
            if answer.flow_control().release_capacity(release).is_err() || release == 0 {
                break Err(answer.data().await.unwrap().unwrap_err().reason());
            }
        };
        assert_eq!(outcome, expected, "{crumb} bytes every 20 s");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn of_an_answer_that_the_client_does_not_take_only_a_bounded_amount_is_asked_for() {
    let (script, handler) = a_long_answer(1000, 1000);
    let mut client = connect_with(handler, Limits::default(), 1024);
    // SETTINGS and WINDOW_UPDATE with the largest windows there are, and a GET.
    const WIDE: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff];
    const WIDER: &[u8] = &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0xff, 0, 0];
    const GET: &[u8] = &[0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x01, 0x01, b'a'];
    client.send([PREFACE, WIDE, WIDER, GET].concat()).await;
    settle().await;
    assert!((1..=100).contains(&script.taken()), "{} pieces of 1 kB were taken", script.taken());
    let before = script.taken();
    tokio::io::AsyncReadExt::read_exact(&mut client.io, &mut [0; 100_000]).await.unwrap();
    settle().await;
    assert!(script.taken() > before, "it goes on when the client does");
}
