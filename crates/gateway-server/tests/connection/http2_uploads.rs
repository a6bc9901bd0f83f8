use crate::http2::{post, read, start};
use crate::support::*;
use gateway_server::{BodyError, Limits, RequestBody};
use h2::{Reason, SendStream};
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use std::cell::RefCell;
use std::rc::Rc;

/// Sends so many bytes as the server takes them.
async fn send_all(mut stream: SendStream<bytes::Bytes>, mut left: usize) -> Result<(), h2::Error> {
    while left > 0 {
        stream.reserve_capacity(left);
        let Some(room) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { break };
        let here = room?.min(left);
        left -= here;
        stream.send_data(vec![b'x'; here].into(), left == 0)?;
    }
    Ok(())
}

async fn count(request: Request<RequestBody>) -> Response<AnyBody> {
    let (mut body, mut seen) = (request.into_body(), 0);
    while let Some(frame) = body.frame().await {
        seen += frame.unwrap().into_data().unwrap().len();
    }
    text(seen.to_string())
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_body_of_many_windows_passes_as_it_is_read() {
    let (mut send, _ended) = start(answer(count), Limits::default()).await;
    let (answer, stream) = send.send_request(post(), false).unwrap();
    let sending = tokio::task::spawn_local(send_all(stream, 5_000_000));
    assert_eq!(read(answer.await.unwrap().into_body()).await.unwrap().0, b"5000000");
    sending.await.unwrap().unwrap();
}

/// Sends a byte every 20 s; says how the request was answered, and after how many.
async fn drip(headers: &[(&'static str, &'static str)]) -> (u16, usize) {
    let (mut send, _ended) = start(answer(echo), Limits::default()).await;
    let mut request = Request::post("http://a/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (mut answer, mut stream) = send.send_request(request.body(()).unwrap(), false).unwrap();
    for sent in 1..20 {
        if let Ok(head) = tokio::time::timeout(std::time::Duration::from_secs(20), &mut answer).await {
            return (head.unwrap().status().as_u16(), sent);
        }
        stream.send_data("x".into(), false).unwrap();
    }
    stream.send_data("x".into(), true).unwrap();
    (answer.await.unwrap().status().as_u16(), 20)
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn z12_a_body_that_comes_byte_by_byte_is_answered_408() {
    assert_eq!(drip(&[]).await, (408, 2));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn z1_the_messages_of_a_grpc_call_may_come_seldom() {
    assert_eq!(drip(&[("content-type", "application/grpc+proto")]).await, (200, 20));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn z12_a_call_that_says_nothing_ends_and_browsers_send_all_at_once() {
    for (kind, seconds) in [("application/grpc", 300), ("application/grpc-web", 30), ("text/plain", 30)] {
        let (mut send, _ended) = start(answer(echo), Limits::default()).await;
        let request = Request::post("http://a/").header("content-type", kind).body(()).unwrap();
        let begin = tokio::time::Instant::now();
        let (answer, _stream) = send.send_request(request, false).unwrap();
        assert_eq!(answer.await.unwrap().status(), 408, "{kind}");
        assert_eq!(begin.elapsed().as_secs(), seconds, "{kind}");
    }
}

/// Sends bytes so many seconds apart, of a body whose answer begins after 27 s, and says whether all of them were read.
async fn upload(kind: &str, pauses: &[u64]) -> bool {
    let (script, read) = (Script::of(&["begun"]), Rc::new(RefCell::new(0)));
    let (answering, reading) = (script.clone(), read.clone());
    let handler = answer(move |request: Request<RequestBody>| {
        let (begun, reading) = (answering.body(), reading.clone());
        async move {
            let mut body = request.into_body();
            tokio::task::spawn_local(async move {
                while let Some(Ok(_)) = body.frame().await {
                    *reading.borrow_mut() += 1;
                }
            });
            tokio::time::sleep(std::time::Duration::from_secs(27)).await;
            Response::new(begun)
        }
    });
    let (mut send, _ended) = start(handler, Limits::default()).await;
    let request = Request::post("http://a/").header("content-type", kind).body(()).unwrap();
    let (_answer, mut stream) = send.send_request(request, false).unwrap();
    for pause in pauses {
        tokio::time::sleep(std::time::Duration::from_secs(*pause)).await;
        let _ = stream.send_data("x".into(), false);
        settle().await;
    }
    let read = *read.borrow();
    read == pauses.len()
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_answer_that_begins_during_a_pause_leaves_the_client_all_of_its_time() {
    // What was used up of it before does not count either.
    assert!(upload("text/plain", &[24, 22, 29, 29]).await);
    assert!(!upload("text/plain", &[24, 31]).await);
    assert!(upload("application/grpc", &[24, 1000, 1000]).await);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn once_the_answer_has_begun_only_silence_counts() {
    let script = Script::of(&["begun"]);
    let answering = script.clone();
    let (done, mut is_done) = tokio::sync::oneshot::channel();
    let done = std::cell::Cell::new(Some(done));
    let handler = answer(move |request: Request<RequestBody>| {
        let (begun, done) = (answering.body(), done.take());
        async move {
            let mut body = request.into_body();
            tokio::task::spawn_local(async move {
                while let Some(Ok(_)) = body.frame().await {}
                let _ = done.map(|done| done.send(()));
            });
            Response::new(begun)
        }
    });
    let (mut send, _ended) = start(handler, Limits::default()).await;
    let (answer, mut stream) = send.send_request(post(), false).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    for _ in 0..10 {
        stream.send_data("x".into(), false).unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
    }
    assert!(is_done.try_recv().is_err(), "the body goes on");
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    assert!(is_done.try_recv().is_ok(), "silence is still silence");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn bodies_that_nobody_reads_take_no_room_from_others() {
    let script = Script::default();
    let silent = script.clone();
    let (mut send, _ended) =
        start(
            answer(move |request: Request<RequestBody>| {
                let silent = silent.body();
                async move {
                    if request.uri().path() == "/1" { Response::new(silent) } else { count(request).await }
                }
            }),
            Limits::default(),
        )
        .await;
    // Each of them has a window, together they are more than the connection has.
    let mut streams = Vec::new();
    for _ in 0..8 {
        let (answer, stream) = send.send_request(post(), false).unwrap();
        let sending = tokio::task::spawn_local(send_all(stream, 256 * 1024));
        streams.push((answer.await.unwrap(), sending));
        settle().await;
    }
    let (answer, stream) = send.send_request(Request::post("http://a/2").body(()).unwrap(), false).unwrap();
    tokio::task::spawn_local(send_all(stream, 1_000_000));
    let counted = async { read(answer.await.unwrap().into_body()).await.unwrap().0 };
    let counted = tokio::time::timeout(std::time::Duration::from_secs(20), counted).await;
    assert_eq!(counted.expect("there is no room"), b"1000000");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_body_knows_its_length_as_far_as_the_client_has_said_it() {
    for (lengths, expected) in [(&["3"][..], Some(3)), (&["3", "3"], Some(3)), (&[], None)] {
        let (mut send, _ended) = start(
            answer(|request: Request<RequestBody>| async move {
                let body = request.into_body();
                let before = body.size_hint().exact();
                text(format!("{before:?} {}", body.collect().await.unwrap().to_bytes().len()))
            }),
            Limits::default(),
        )
        .await;
        let mut request = post();
        for length in lengths {
            request.headers_mut().append("content-length", length.parse().unwrap());
        }
        let (answer, mut stream) = send.send_request(request, false).unwrap();
        stream.send_data("abc".into(), true).unwrap();
        let seen = read(answer.await.unwrap().into_body()).await.unwrap().0;
        assert_eq!(String::from_utf8(seen).unwrap(), format!("{expected:?} 3"), "{lengths:?}");
    }
}

/// How the reader of a body sees it break when `cut` does something to it after three bytes.
async fn broken(length: Option<&str>, cut: impl FnOnce(&mut SendStream<bytes::Bytes>)) -> Option<BodyError> {
    let seen = Rc::new(RefCell::new(None));
    let told = seen.clone();
    let (mut send, _ended) = start(
        answer(move |request: Request<RequestBody>| {
            let told = told.clone();
            tokio::task::spawn_local(async move {
                *told.borrow_mut() = request.into_body().collect().await.err();
            });
            std::future::pending()
        }),
        Limits::default(),
    )
    .await;
    let mut request = post();
    if let Some(length) = length {
        request.headers_mut().insert("content-length", length.parse().unwrap());
    }
    let (_answer, mut stream) = send.send_request(request, false).unwrap();
    stream.send_data("abc".into(), false).unwrap();
    settle().await;
    cut(&mut stream);
    settle().await;
    seen.take()
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_body_that_is_not_whole_is_never_taken_for_one_that_is() {
    for reason in [Reason::CANCEL, Reason::NO_ERROR] {
        let error = broken(None, |stream| stream.send_reset(reason)).await;
        assert!(
            matches!(&error, Some(BodyError::Http2(error)) if error.reason() == Some(reason)),
            "{reason:?}: {error:?}"
        );
    }
    let short = broken(Some("9"), |stream| stream.send_data("def".into(), true).unwrap()).await;
    assert!(matches!(short, Some(BodyError::Http2(_))), "{short:?}");
    let long = broken(Some("4"), |stream| stream.send_data("def".into(), true).unwrap()).await;
    assert!(matches!(long, Some(BodyError::Http2(_))), "{long:?}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn who_comes_to_read_a_body_that_is_none_soon_finds_that_out_and_nobody_is_waited_for() {
    for (begins_after, reason, expected) in [
        (0, None, Some("broken")),
        (900, None, Some("broken")),
        (1100, None, None),
        (0, Some(Reason::CANCEL), None),
        (900, Some(Reason::CANCEL), None),
    ] {
        let seen = Rc::new(RefCell::new(Some("not begun")));
        let told = seen.clone();
        let (mut send, _ended) = start(
            answer(move |request: Request<RequestBody>| {
                let told = told.clone();
                async move {
                    *told.borrow_mut() = None;
                    tokio::time::sleep(std::time::Duration::from_millis(begins_after)).await;
                    let read = request.into_body().collect().await;
                    *told.borrow_mut() = Some(if read.is_err() { "broken" } else { "whole" });
                    text("")
                }
            }),
            Limits::default(),
        )
        .await;
        let mut request = post();
        request.headers_mut().insert("content-length", "4".parse().unwrap());
        let (_answer, mut stream) = send.send_request(request, false).unwrap();
        settle().await;
        match reason {
            Some(reason) => stream.send_reset(reason),
            None => stream.send_data("abcdef".into(), true).unwrap(),
        }
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        assert_eq!(*seen.borrow(), expected, "{begins_after} ms, {reason:?}");
    }
}
