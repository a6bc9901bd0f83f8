use crate::http2::{GET, HEADERS, PREFACE, SETTINGS, frame};
use crate::support::*;
use http::{Method, Request, Response, StatusCode};
use std::collections::HashSet;
use tokio::io::AsyncReadExt;

const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
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
