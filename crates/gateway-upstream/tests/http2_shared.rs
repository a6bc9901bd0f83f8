//! What one client does is not felt by the others whose requests share its HTTP/2 connection.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use gateway_core::{FailureKind, Upgrade, Upstream};
use gateway_upstream::{Protocol, UpstreamSettings};
use http::{HeaderValue, Request};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{get, plain, read, send, serve_http2_echo, serving};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn settings() -> UpstreamSettings {
    UpstreamSettings { protocol: Protocol::Http2, ..UpstreamSettings::default() }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A server that begins every answer, and has a piece of each on its way when it hears that it was cancelled. When so
/// many were, it ends the first. Written by hand: h2 sends nothing for a stream that was reset.
async fn serve_beginnings(mut stream: TcpStream, cancels: usize) {
    stream.set_nodelay(true).unwrap();
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let mut cancelled = 0;
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let answer = match kind {
            SETTINGS if flags == 0 => frame(SETTINGS, 1, 0, &[]),
            PING if flags == 0 => frame(PING, 1, 0, &payload),
            // `:status: 200`, indexed.
            HEADERS => [frame(HEADERS, 4, id, &[0x88]), frame(DATA, 0, id, b"begin ")].concat(),
            RST_STREAM => {
                let reason = u32::from_be_bytes(payload.try_into().unwrap());
                // The other resets answer what came for a stream that is forgotten.
                if reason != u32::from(h2::Reason::CANCEL) {
                    continue;
                }
                cancelled += 1;
                let late = frame(DATA, 0, id, b"late");
                let end = if cancelled == cancels { frame(DATA, 1, 1, b"end") } else { Vec::new() };
                [late, end].concat()
            }
            GOAWAY => panic!("the connection is given up: {}", String::from_utf8_lossy(&payload[8..])),
            _ => continue,
        };
        stream.write_all(&answer).await.unwrap();
    }
}

#[tokio::test]
async fn many_cancelled_requests_cost_no_other_its_answer() {
    /// More than are remembered, by more than h2 lets pass of its own accord.
    const CANCELS: usize = 6000;
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let port = serving(move |stream, _| {
        count.fetch_add(1, Ordering::SeqCst);
        serve_beginnings(stream, CANCELS)
    });
    let upstream = plain(port.await, settings());
    let first = get(&upstream, "/").await;
    for number in 0..CANCELS {
        let answer = get(&upstream, "/").await;
        assert!(answer.is_ok(), "request {number}: {:?}", answer.unwrap_err());
    }
    assert_eq!(read(first).await.0, "begin end");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_http2_cannot_carry_stays_behind_or_is_the_requests_own_failure() {
    let upstream = plain(serving(|stream, _| serve_http2_echo(stream)).await, settings());
    let mut head = Request::get("/ws").header("Host", "a").body(()).unwrap().into_parts().0;
    head.extensions.insert(Upgrade(HeaderValue::from_static("x")));
    // What the client would say in the other protocol is no body that the upstream could wait for.
    let client = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let answer = upstream.send(&head, client).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "nothing");

    let named = |host: &'static str| Request::get("/").header("Host", host).body("").unwrap();
    let own = send(&upstream, named("")).await.unwrap().headers()["x-seen-uri"].clone();
    assert!(own.to_str().unwrap().starts_with("http://127.0.0.1:"), "{own:?}");

    let error = send(&upstream, named("user:password@a")).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::RequestBody, "{error}: it says nothing about the endpoint");
    assert_eq!(upstream.http2_connections(), 1);
}
