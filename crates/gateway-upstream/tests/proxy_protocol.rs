//! The PROXY header at the start of connections, over real sockets.
#![allow(clippy::unwrap_used)]

mod support;

use gateway_core::{ClientAddr, Upstream};
use gateway_upstream::{HttpUpstream, ProxyProtocol, UpstreamSettings};
use http_body_util::{BodyExt, Empty};
use std::sync::{Arc, Mutex};
use support::{plain, serving};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What each connection began with, up to its first request's line.
type Seen = Arc<Mutex<Vec<Vec<u8>>>>;

async fn upstream(settings: UpstreamSettings) -> (HttpUpstream, Seen) {
    let seen = Seen::default();
    let connections = seen.clone();
    let port = serving(move |mut stream, _| {
        let connections = connections.clone();
        async move {
            let (mut bytes, mut first) = (Vec::new(), true);
            while stream.read_buf(&mut bytes).await.unwrap_or(0) > 0 {
                if !bytes.ends_with(b"\r\n\r\n") {
                    continue;
                }
                if std::mem::take(&mut first) {
                    let end = bytes.windows(5).position(|window| window == b"GET /").unwrap();
                    connections.lock().unwrap().push(bytes[..end].to_vec());
                }
                bytes.clear();
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            }
        }
    });
    (plain(port.await, settings), seen)
}

async fn ask(upstream: &HttpUpstream, client: Option<&str>) {
    let mut request = http::Request::get("/").header("host", "a").body(Empty::<bytes::Bytes>::new()).unwrap();
    if let Some(client) = client {
        request.extensions_mut().insert(ClientAddr(client.parse().unwrap()));
    }
    let (head, body) = request.into_parts();
    let response = upstream.send(&head, body).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
}

#[tokio::test]
async fn each_client_has_a_connection_of_its_own_that_begins_with_its_address() {
    let settings =
        UpstreamSettings { proxy_protocol: Some(ProxyProtocol::V1), ..UpstreamSettings::default() };
    let (upstream, seen) = upstream(settings).await;
    let (a, b) = (Some("203.0.113.9:40000"), Some("203.0.113.9:40001"));
    for client in [a, a, b, None, a, b, None] {
        ask(&upstream, client).await;
    }
    let seen: Vec<_> =
        seen.lock().unwrap().iter().map(|seen| String::from_utf8(seen.clone()).unwrap()).collect();
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen[0].starts_with("PROXY TCP4 203.0.113.9 127.0.0.1 40000 "), "{seen:?}");
    assert!(seen[1].starts_with("PROXY TCP4 203.0.113.9 127.0.0.1 40001 "), "{seen:?}");
    assert_eq!(seen[2], "PROXY UNKNOWN\r\n");
    assert_eq!(upstream.idle_connections(), 3);
}

#[tokio::test]
async fn a_full_pool_makes_room_for_the_clients_that_are_there() {
    let settings = UpstreamSettings {
        proxy_protocol: Some(ProxyProtocol::V2),
        max_idle: 2,
        ..UpstreamSettings::default()
    };
    let (upstream, seen) = upstream(settings).await;
    for port in [1, 2, 3, 3, 2] {
        ask(&upstream, Some(&format!("[2001:db8::1]:{port}"))).await;
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3, "the oldest went");
    assert!(seen.iter().all(|seen| seen.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24")), "{seen:?}");
    assert_eq!(upstream.idle_connections(), 2);
}

#[tokio::test]
async fn without_the_setting_clients_share_connections_and_none_is_named() {
    let (upstream, seen) = upstream(UpstreamSettings::default()).await;
    for client in [Some("203.0.113.9:1"), Some("203.0.113.9:2"), None] {
        ask(&upstream, client).await;
    }
    assert_eq!(*seen.lock().unwrap(), [b"".to_vec()]);
}
