use crate::http2::{GET, HEADERS, PREFACE, SETTINGS, frame};
use crate::support::*;
use gateway_core::{Code, Problem};
use gateway_server::{Handler, Limits, RequestBody};
use http::{Method, Request, Response, StatusCode};
use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use tokio::io::AsyncReadExt;

const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:method POST`, and the rest as [`GET`] has it.
const POST: &[u8] = &[0x83, 0x86, 0x84, 0x41, 0x01, b'a'];

/// What the server has said: kind, flags, stream, payload.
async fn next(client: &mut Client) -> (u8, u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    client.io.read_exact(&mut head).await.unwrap();
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    client.io.read_exact(&mut payload).await.unwrap();
    assert_ne!(head[3], GOAWAY, "sent away: {payload:?}");
    (head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload)
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn refused_uploads_whose_data_comes_late_cost_nobody_else_their_stream() {
    let script = Script::of(&["begun"]);
    let slow = script.clone();
    let mut client = connect(answer(move |request: Request<_>| {
        let slow = slow.body();
        async move {
            if *request.method() == Method::GET {
                return Response::new(slow);
            }
            let mut refusal = text("no");
            *refusal.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            refusal
        }
    }));
    client.send([PREFACE, SETTINGS, &frame(HEADERS, END_HEADERS | END_STREAM, 1, GET)].concat()).await;
    let posts: Vec<u32> = (1..=900).map(|number| 2 * number + 1).collect();
    for some in posts.chunks(90) {
        for stream in some {
            client.send(frame(HEADERS, END_HEADERS, *stream, POST)).await;
        }
        let mut refused = HashSet::new();
        while refused.len() < some.len() {
            if let (RST_STREAM, _, stream, why) = next(&mut client).await {
                assert_eq!(why, [0; 4], "NO_ERROR: the answer is whole");
                refused.insert(stream);
            }
        }
    }
    // What was on its way when they were refused.
    for stream in &posts {
        client.send(frame(DATA, 0, *stream, &[b'x'; 300])).await;
        client.send(frame(DATA, END_STREAM, *stream, &[b'x'; 300])).await;
        settle().await;
    }
    script.data(" and ended");
    script.end();
    let mut last = Vec::new();
    loop {
        match next(&mut client).await {
            (DATA, flags, 1, data) => {
                last.extend(data);
                if flags & END_STREAM != 0 {
                    break;
                }
            }
            (RST_STREAM, _, stream, why) => panic!("stream {stream} is reset once more: {why:?}"),
            _ => {}
        }
    }
    assert!(last.ends_with(b" and ended"), "{last:?}");
}

/// Never answers, and remembers what was refused.
#[derive(Clone, Default)]
struct Told(Rc<RefCell<Vec<Code>>>);

impl Handler for Told {
    type Body = AnyBody;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Response<AnyBody>, std::convert::Infallible>>>>;

    fn call(&self, _: Request<RequestBody>) -> Self::Future {
        Box::pin(std::future::pending())
    }

    fn refuse(&self, problem: Problem) -> Self::Future {
        self.0.borrow_mut().push(problem.code());
        let response = problem.into_response().map(|body: http_body_util::Full<bytes::Bytes>| boxed(body));
        Box::pin(std::future::ready(Ok(response)))
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_handler_is_told_of_what_http_2_refuses_by_itself_and_of_nothing_twice() {
    let whole = END_HEADERS | END_STREAM;
    let get = |stream| frame(HEADERS, whole, stream, GET);
    let cancel = |stream| frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
    // A field that is not indexed, of this many bytes.
    let field = |bytes: usize| {
        let left = bytes - 127;
        let length = [0x7f, (left % 128) as u8 | 0x80, (left / 128) as u8];
        [GET, &[0x00, 0x01, b'x'], &length, &vec![b'a'; bytes]].concat()
    };
    let in_two = |stream, block: &[u8]| {
        let (first, rest) = block.split_at(block.len() / 2);
        [frame(HEADERS, END_STREAM, stream, first), frame(CONTINUATION, END_HEADERS, stream, rest)].concat()
    };
    let path = |path: &[u8]| [&[0x82, 0x86, 0x41, 0x01, b'a', 0x04, path.len() as u8], path].concat();
    for (what, sent, expected) in [
        ("requests", [get(1), get(3)].concat(), vec![]),
        ("over the limit", frame(HEADERS, whole, 1, &field(2000)), vec![Code::HeadersTooLarge]),
        ("far over it", in_two(1, &field(16_000)), vec![Code::HeadersTooLarge]),
        (
            "far over it among others",
            [get(1), in_two(3, &field(16_000)), get(5), in_two(7, &field(16_000)), get(9)].concat(),
            vec![Code::HeadersTooLarge; 2],
        ),
        ("no path", frame(HEADERS, whole, 1, &path(b"")), vec![Code::BadRequest]),
        ("a path that is none", frame(HEADERS, whole, 1, &path(b"/ /")), vec![Code::BadRequest]),
        ("no head", frame(HEADERS, whole, 1, &[0xff; 20]), vec![Code::BadRequest]),
        ("no frame of a client", frame(HEADERS, whole, 2, GET), vec![Code::BadRequest]),
        ("one that is taken back", [get(1), cancel(1)].concat(), vec![]),
        (
            "one whose window overflows",
            [get(1), frame(8, 0, 1, &0x7fff_ffff_u32.to_be_bytes())].concat(),
            vec![],
        ),
        ("trailers without an end", [frame(HEADERS, END_HEADERS, 1, GET), get(1)].concat(), vec![]),
        ("more than at once", [get(1), get(3), get(5), get(7), get(9), get(11), get(13)].concat(), vec![]),
    ] {
        for cut in [1, 7, 100_000] {
            let told = Told::default();
            let limits = Limits { max_head: 1000, max_streams: 5, ..Limits::default() };
            let (io, server) = tokio::io::duplex(1024 * 1024);
            let mut client = serve(io, server, told.clone(), limits);
            for piece in [PREFACE, SETTINGS, &sent].concat().chunks(cut) {
                client.send(piece).await;
                if cut < 100 {
                    tokio::task::yield_now().await;
                }
            }
            settle().await;
            assert_eq!(*told.0.borrow(), expected, "{what}, {cut} bytes at a time");
        }
    }
}

/// Answers with a script, and remembers what was refused.
#[derive(Clone)]
struct Answers(Script, Told);

impl Handler for Answers {
    type Body = AnyBody;
    type Future = <Told as Handler>::Future;

    fn call(&self, _: Request<RequestBody>) -> Self::Future {
        let body = self.0.body();
        Box::pin(async { Ok(Response::new(body)) })
    }

    fn refuse(&self, problem: Problem) -> Self::Future {
        self.1.refuse(problem)
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_head_that_stops_ends_the_connection_after_what_is_being_answered() {
    let (script, told) = (Script::of(&["begun"]), Told::default());
    let mut client = connect(Answers(script.clone(), told.clone()));
    let whole = END_HEADERS | END_STREAM;
    let stops = frame(HEADERS, END_STREAM, 3, GET);
    client.send([PREFACE, SETTINGS, &frame(HEADERS, whole, 1, GET), &stops].concat()).await;
    let begun = tokio::time::Instant::now();
    let until = async |client: &mut Client, kind: u8| loop {
        let mut head = [0; 9];
        client.io.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        client.io.read_exact(&mut payload).await.unwrap();
        if head[3] == kind {
            return payload;
        }
    };
    until(&mut client, GOAWAY).await;
    assert_eq!(begun.elapsed(), Limits::default().header_timeout);
    script.data("the end");
    assert_eq!(until(&mut client, DATA).await, b"the end");
    assert_eq!(*told.0.borrow(), [], "it may still come");
    script.end();
    client.server.await.unwrap();
    assert_eq!(*told.0.borrow(), [Code::RequestTimeout]);
    assert_eq!(begun.elapsed(), Limits::default().header_timeout);
}
