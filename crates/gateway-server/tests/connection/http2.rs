use crate::support::*;
use bytes::Bytes;
use gateway_server::{Handler, Limits, RequestBody};
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

pub(crate) type Ended = JoinHandle<Result<(), h2::Error>>;

pub(crate) async fn start<H: Handler + Clone>(handler: H, limits: Limits) -> (SendRequest<Bytes>, Ended) {
    let client = connect_with(handler, limits, 1024 * 1024);
    let (send, connection) = h2::client::handshake(client.io).await.unwrap();
    let ended = tokio::task::spawn_local(async move {
        let _drain = client.drain;
        connection.await
    });
    (send.ready().await.unwrap(), ended)
}

pub(crate) fn post() -> Request<()> {
    Request::post("http://a/1").body(()).unwrap()
}

pub(crate) async fn read(mut body: h2::RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut seen = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len()).unwrap();
        seen.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?;
    Ok((seen, trailers))
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn it_is_spoken_to_who_begins_with_its_preface_however_that_arrives() {
    for cut in [1, 2, 3, 10, 23, 24, 33] {
        let mut client = connect(answer(echo));
        for piece in [PREFACE, SETTINGS].concat().chunks(cut) {
            client.send(piece).await;
            settle().await;
        }
        let mut frame = [0; 9];
        client.io.read_exact(&mut frame).await.unwrap();
        assert_eq!((frame[3], frame[4]), (4, 0), "cut {cut}: the first frame is not SETTINGS: {frame:?}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_only_begins_like_the_preface_is_http_1_or_nothing() {
    for (garbage, expected) in [
        ("PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n", "HTTP/1.1 400 "),
        ("PRI * HTTP/2.0\r\nhost: a\r\n\r\n", "HTTP/1.1 400 "),
        ("PRI /x HTTP/1.1\r\nconnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n"),
        ("PRI * HTTP/2.0\r\n\r\nSM", "HTTP/1.1 408 "),
        ("PR", "HTTP/1.1 408 "),
    ] {
        let mut client = connect(answer(echo));
        client.send(garbage).await;
        let seen = client.rest().await;
        assert!(seen.starts_with(expected), "{garbage:?}: {seen}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn grpc_trailers_pass_as_they_are() {
    let (mut send, _ended) = start(
        answer(|request: Request<RequestBody>| async {
            let sent = request.into_body().collect().await.unwrap();
            assert_eq!(sent.trailers().unwrap()["x-sent"], "yes");
            let script = Script::of(&["\0\0\0\0\u{1}a"]);
            script.trailers("grpc-status", "5");
            let mut response = Response::new(script.body());
            response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
            response
        }),
        Limits::default(),
    )
    .await;
    let (answer, mut body) = send.send_request(post(), false).unwrap();
    body.send_data(Bytes::from_static(b"abc"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sent", "yes".parse().unwrap());
    body.send_trailers(trailers).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    assert!(!answer.headers().contains_key("content-length"));
    let (data, trailers) = read(answer.into_body()).await.unwrap();
    assert_eq!(
        (&data[..], &trailers.unwrap()["grpc-status"]),
        (&b"\0\0\0\0\x01a"[..], &"5".parse().unwrap())
    );
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_answer_of_nothing_but_trailers_is_one_frame() {
    let (mut send, _ended) = start(
        answer(|_| async {
            let mut response = Response::new(boxed(http_body_util::Empty::new()));
            response.headers_mut().insert("grpc-status", "12".parse().unwrap());
            response
        }),
        Limits::default(),
    )
    .await;
    let answer = send.send_request(post(), true).unwrap().0.await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "12");
    assert!(answer.body().is_end_stream(), "the end came in a frame of its own");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn cookies_are_joined_and_many_header_fields_refused() {
    let limits = Limits { max_headers: 10, ..Limits::default() };
    let (mut send, _ended) = start(
        answer(|request: Request<RequestBody>| async move {
            text(request.headers()["cookie"].as_bytes().to_vec())
        }),
        limits,
    )
    .await;
    let request = Request::get("http://a/").header("cookie", "a=1").header("cookie", "b=2").body(()).unwrap();
    let answer = send.send_request(request, true).unwrap().0.await.unwrap();
    assert_eq!(read(answer.into_body()).await.unwrap().0, b"a=1; b=2");
    // However many pieces there are, they are one field.
    let mut request = Request::get("http://a/").header("x-other", "a");
    for number in 0..50 {
        request = request.header("cookie", format!("c{number}=1"));
    }
    let answer = send.send_request(request.body(()).unwrap(), true).unwrap().0.await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(read(answer.into_body()).await.unwrap().0.ends_with(b"; c49=1"));
    let mut request = Request::get("http://a/");
    for number in 0..11 {
        request = request.header(format!("x-{number}"), "a");
    }
    let answer = send.send_request(request.body(()).unwrap(), true).unwrap().0.await.unwrap();
    assert_eq!(answer.status(), 431);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn heads_that_are_too_large_are_refused_by_what_is_too_large_and_by_the_handler() {
    let limits = Limits { max_head: 1000, ..Limits::default() };
    let (mut send, _ended) = start(answer(echo), limits).await;
    for (path, field, status, by_the_handler) in [
        (400, 400, 200, true),
        (600, 0, 414, true),
        (9000, 0, 414, true),
        (100, 1000, 431, true),
        (100, 9000, 431, true),
        (100, 30_000, 431, false),
        (30_000, 0, 431, false),
    ] {
        let uri = format!("http://a/{}", "a".repeat(path));
        let request = Request::get(uri).header("x-field", "a".repeat(field)).body(()).unwrap();
        let answer = send.send_request(request, true).unwrap().0.await.unwrap();
        assert_eq!(answer.status(), status, "{path} {field}");
        let body = read(answer.into_body()).await.unwrap().0;
        assert_eq!(!body.is_empty(), by_the_handler, "{path} {field}: {body:?}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_body_that_stops_is_answered_408() {
    let (mut send, _ended) = start(answer(echo), Limits { min_body_rate: 0, ..Limits::default() }).await;
    let (answer, mut body) = send.send_request(post(), false).unwrap();
    body.send_data(Bytes::from_static(b"abc"), false).unwrap();
    let start = Instant::now();
    tokio::time::sleep(Duration::from_secs(20)).await;
    body.send_data(Bytes::from_static(b"d"), false).unwrap();
    assert_eq!(answer.await.unwrap().status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(start.elapsed().as_secs(), 50);
    // The others go on.
    let answer = send.send_request(post(), true).unwrap().0.await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_stream_that_is_reset_drops_its_request() {
    let dropped = std::rc::Rc::new(std::cell::Cell::new(false));
    let flag = dropped.clone();
    let (mut send, _ended) = start(
        answer(move |_| {
            let guard = OnDrop(flag.clone());
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        }),
        Limits::default(),
    )
    .await;
    let (answer, mut body) = send.send_request(post(), true).unwrap();
    settle().await;
    assert!(!dropped.get());
    body.send_reset(h2::Reason::CANCEL);
    settle().await;
    assert!(dropped.get());
    assert!(answer.await.is_err());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_connection_without_streams_is_ended_and_one_with_a_slow_answer_is_not() {
    let handler = answer(|request| async {
        tokio::time::sleep(Duration::from_secs(1000)).await;
        echo(request).await
    });
    let (mut send, ended) = start(handler, Limits::default()).await;
    let answer = send.send_request(post(), true).unwrap().0.await.unwrap();
    assert_eq!(answer.status(), 200);
    read(answer.into_body()).await.unwrap();
    let start = Instant::now();
    ended.await.unwrap().unwrap();
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_connection_that_never_opens_a_stream_is_ended_even_if_its_client_does_not_react() {
    let mut client = connect(answer(echo));
    client.send([PREFACE, SETTINGS].concat()).await;
    tokio::time::sleep(Duration::from_secs(63)).await;
    settle().await;
    assert!(client.server.is_finished());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn no_more_streams_run_at_once_than_allowed() {
    let running = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = running.clone();
    let handler = answer(move |_| {
        count.set(count.get() + 1);
        std::future::pending()
    });
    let (send, _ended) = start(handler, Limits { max_streams: 3, ..Limits::default() }).await;
    settle().await;
    for _ in 0..10 {
        let mut send = send.clone();
        tokio::task::spawn_local(async move {
            send = send.ready().await.unwrap();
            let _ = send.send_request(post(), true).unwrap().0.await;
        });
    }
    settle().await;
    assert_eq!(running.get(), 3);
}

/// A frame: length, type, flags, stream.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `:method GET`, `:scheme http`, `:path /` and `:authority a`, as HPACK has them.
pub(crate) const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 0x01, b'a'];
pub(crate) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;

/// How many bytes the server takes of those that `piece` makes before it ends the connection; at most 64 MB.
async fn taken(mut piece: impl FnMut(u32) -> Vec<u8>) -> usize {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let client = serve(client, server, answer(echo), Limits::default());
    let (mut reading, mut writing) = tokio::io::split(client.io);
    let drain =
        tokio::task::spawn_local(async move { tokio::io::copy(&mut reading, &mut tokio::io::sink()).await });
    writing.write_all(&[PREFACE, SETTINGS].concat()).await.unwrap();
    let mut sent = 0;
    for number in 0.. {
        let piece = piece(number);
        if sent > 64_000_000 || writing.write_all(&piece).await.is_err() {
            break;
        }
        sent += piece.len();
    }
    drain.abort();
    sent
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn floods_end_the_connection() {
    // CVE-2024-27316: a head that never ends.
    let field = [&[0x00, 0x01, b'x', 0x7f, 0x80, 0x07][..], &[b'a'; 1023 - 128]].concat();
    let continuation = taken(|number| match number {
        0 => frame(HEADERS, 0, 1, GET),
        _ => frame(CONTINUATION, 0, 1, &field),
    });
    assert!(continuation.await < 1_000_000, "CONTINUATION frames without end are taken");
    let empty = taken(|number| match number {
        0 => frame(HEADERS, 0, 1, GET),
        _ => frame(CONTINUATION, 0, 1, &[]),
    });
    assert!(empty.await < 1_000_000, "empty CONTINUATION frames without end are taken");
    // CVE-2023-44487: streams opened and reset at once.
    let resets = taken(|number| {
        let stream = 2 * number + 1;
        [frame(HEADERS, 5, stream, GET), frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())].concat()
    });
    assert!(resets.await < 1_000_000, "rapid resets are taken");
    // CVE-2025-8671: the server is made to reset them.
    let made = taken(|number| {
        let stream = 2 * number + 1;
        [frame(HEADERS, 5, stream, GET), frame(8, 0, stream, &[0; 4])].concat()
    });
    assert!(made.await < 1_000_000, "errors without end are taken");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_opens_streams_only_to_give_them_up_is_sent_away() {
    // `:method POST`, and the rest as `GET` has it.
    const POST: &[u8] = &[0x83, 0x86, 0x84, 0x41, 0x01, b'a'];
    for (what, lives, answers, sent_away) in [
        ("at once", Duration::ZERO, 0, true),
        ("after a while", Duration::from_secs(2), 0, false),
        ("as many as are answered", Duration::ZERO, 1, false),
    ] {
        let handler = answer(|request: Request<RequestBody>| async move {
            if request.method() == http::Method::GET {
                std::future::pending::<()>().await;
            }
            text("")
        });
        let mut client = connect_with(handler, Limits::default(), 1024 * 1024);
        client.send([PREFACE, SETTINGS].concat()).await;
        let mut streams = (0..).map(|number| 2 * number + 1);
        for _ in 0..600 {
            for _ in 0..answers {
                let _ = client.io.write_all(&frame(HEADERS, 5, streams.next().unwrap(), POST)).await;
            }
            let stream = streams.next().unwrap();
            let _ = client.io.write_all(&frame(HEADERS, 5, stream, GET)).await;
            // Until it was taken: those that were not yet are counted by themselves.
            settle().await;
            tokio::time::sleep(lives).await;
            let _ = client.io.write_all(&frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())).await;
        }
        settle().await;
        assert_eq!(client.server.is_finished(), sent_away, "{what}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_small_head_that_unpacks_to_a_large_one_is_refused() {
    // One field of 4000 bytes put into the table, then named again and again with one byte each: 4 MB.
    let mut head = GET.to_vec();
    head.extend([0x40, 0x01, b'x', 0x7f, 0xa1, 0x1e]);
    head.extend([b'a'; 4000]);
    head.extend([0xbe; 1000]);
    let calls = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = calls.clone();
    let mut client = connect(answer(move |request| {
        count.set(count.get() + 1);
        echo(request)
    }));
    client.send([PREFACE, SETTINGS, &frame(HEADERS, 5, 1, &head)].concat()).await;
    settle().await;
    assert_eq!(calls.get(), 0, "the request was served");
    // 431, or a reset of its stream.
    let mut seen = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(1), client.io.read_to_end(&mut seen)).await;
    let (mut at, mut refused) = (0, false);
    while at + 9 <= seen.len() {
        let length = u32::from_be_bytes([0, seen[at], seen[at + 1], seen[at + 2]]) as usize;
        refused |= matches!(seen[at + 3], HEADERS | RST_STREAM | 7);
        at += 9 + length;
    }
    assert!(refused, "{seen:?}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_takes_nothing_loses_its_stream_and_keeps_its_connection() {
    let limits = Limits { write_timeout: Duration::from_secs(30), ..Limits::default() };
    // More than the window, which is never opened; the end is not there to be seen.
    let script = Script::default();
    script.data(vec![b'x'; 300_000]);
    let answers = script.clone();
    let (mut send, _ended) = start(
        answer(move |request: Request<RequestBody>| {
            let large = answers.body();
            async move { if request.uri().path() == "/small" { text("small") } else { Response::new(large) } }
        }),
        limits,
    )
    .await;
    let begun = Instant::now();
    let stuck = send.send_request(post(), true).unwrap().0.await.unwrap();
    let mut body = stuck.into_body();
    let mut taken = 0;
    let error = loop {
        match body.data().await {
            // What was taken is not said to be.
            Some(Ok(data)) => taken += data.len(),
            Some(Err(error)) => break error,
            None => panic!("{taken} bytes came, and an end in order"),
        }
    };
    assert_eq!((error.reason(), begun.elapsed()), (Some(h2::Reason::CANCEL), Duration::from_secs(30)));
    assert_eq!(taken, 65_535);
    drop(body);
    assert!(script.is_dropped(), "the answer's body is still held");
    let request = Request::get("http://a/small").body(()).unwrap();
    let answer = send.ready().await.unwrap().send_request(request, true).unwrap().0.await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}
