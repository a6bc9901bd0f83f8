//! TLS towards upstreams, over real sockets.
#![allow(clippy::unwrap_used)]

mod support;

use gateway_core::{Endpoint, FailureKind, ProxyError, Upgrade, Upstream};
use gateway_testkit::Authority;
use gateway_upstream::{HttpUpstream, Protocol, TlsSettings, TlsVersion, UpstreamSettings, UpstreamTls};
use http::{HeaderValue, Request};
use http_body_util::Full;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{acceptor, get, read, send, serve_http2_echo, serving};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A TLS server that speaks HTTP/2 where that was chosen, and else says which protocol was, in HTTP/1.1.
async fn server(acceptor: tokio_rustls::TlsAcceptor) -> u16 {
    serving(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let chosen = stream.get_ref().1.alpn_protocol().unwrap_or(b"none").to_vec();
            if chosen == b"h2" {
                return serve_http2_echo(stream).await;
            }
            let mut request = Vec::new();
            while stream.read_buf(&mut request).await.unwrap_or(0) > 0 {
                if request.ends_with(b"\r\n\r\n") || request.ends_with(b"body") {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", chosen.len());
                    stream.write_all(&[head.as_bytes(), &chosen].concat()).await.unwrap();
                    request.clear();
                }
            }
        }
    })
    .await
}

fn upstream(port: u16, settings: UpstreamSettings) -> HttpUpstream {
    let endpoint = Endpoint::parse(&format!("https://127.0.0.1:{port}")).unwrap();
    let tls = UpstreamTls::load(&settings).unwrap();
    HttpUpstream::with_tls(endpoint, settings, Some(tls))
}

fn trusting(authority: &Authority, name: &str) -> UpstreamSettings {
    let tls = TlsSettings {
        ca_file: Some(authority.file("ca.pem")),
        server_name: Some(name.to_owned()),
        ..TlsSettings::default()
    };
    UpstreamSettings { tls, ..UpstreamSettings::default() }
}

#[tokio::test]
async fn a_trusted_upstream_is_spoken_to_in_what_it_chooses() {
    let authority = Authority::of(&["users"]);
    for (offered, protocol, expected) in [
        (&["http/1.1"][..], Protocol::Auto, "http/1.1"),
        (&[], Protocol::Auto, "none"),
        (&["h2", "http/1.1"], Protocol::Auto, "nothing"),
        (&["h2", "http/1.1"], Protocol::Http1, "http/1.1"),
        (&["h2", "http/1.1"], Protocol::Http2, "nothing"),
    ] {
        let port = server(acceptor(&authority, "users", offered, false)).await;
        let upstream = upstream(port, UpstreamSettings { protocol, ..trusting(&authority, "users") });
        for _ in 0..3 {
            assert_eq!(read(get(&upstream, "/").await).await.0, expected, "{offered:?} {protocol:?}");
        }
        let kept = (upstream.idle_connections(), upstream.http2_connections());
        assert_eq!(kept, if expected == "nothing" { (0, 1) } else { (1, 0) }, "{offered:?} {protocol:?}");
        let post = Request::post("/").header("Host", "shop.example").body("a body").unwrap();
        let expected = if expected == "nothing" { "a body" } else { expected };
        assert_eq!(read(send(&upstream, post).await).await.0, expected);
    }
}

#[tokio::test]
async fn an_upstream_is_refused_for_the_reason_that_is_given() {
    let authority = Authority::of(&["users"]);
    let other = Authority::of(&["users"]);
    authority.issue("old", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    for (certificate, settings, expected) in [
        ("users", trusting(&other, "users"), "its certificate is not from an authority that is trusted here"),
        ("users", trusting(&authority, "orders"), "its certificate is for another name"),
        ("old", trusting(&authority, "old"), "its certificate has expired"),
    ] {
        for protocol in [Protocol::Auto, Protocol::Http1, Protocol::Http2] {
            let port = server(acceptor(&authority, certificate, &["h2", "http/1.1"], false)).await;
            let upstream = upstream(port, UpstreamSettings { protocol, ..settings.clone() });
            let error = get(&upstream, "/").await.unwrap_err();
            assert_eq!((error.kind(), error.message()), (FailureKind::Connect, expected), "{protocol:?}");
            assert_eq!(error.cause(), Some(ProxyError::TlsCertificateError), "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_tls_or_no_such_protocol_is_said() {
    let authority = Authority::of(&["users"]);
    let port = serving(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let error = get(&upstream(port.await, trusting(&authority, "users")), "/").await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (FailureKind::Connect, "it does not speak TLS"));
    assert_eq!(error.cause(), Some(ProxyError::TlsProtocolError));

    let port = server(acceptor(&authority, "users", &["http/1.1"], false)).await;
    let settings = UpstreamSettings { protocol: Protocol::Http2, ..trusting(&authority, "users") };
    let error = get(&upstream(port, settings), "/").await.unwrap_err();
    let expected = (FailureKind::Connect, "it does not speak this version of HTTP");
    assert_eq!((error.kind(), error.message()), expected);
    assert_eq!(error.cause(), Some(ProxyError::TlsAlertReceived));
}

#[tokio::test]
async fn without_verification_anyone_is_trusted() {
    let authority = Authority::of(&[]);
    authority.issue("old", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let port = server(acceptor(&authority, "old", &["http/1.1"], false)).await;
    let tls = TlsSettings { verify: false, min_version: TlsVersion::Tls13, ..TlsSettings::default() };
    let upstream = upstream(port, UpstreamSettings { tls, ..UpstreamSettings::default() });
    assert_eq!(read(get(&upstream, "/").await).await.0, "http/1.1");
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_one_is_demanded() {
    let authority = Authority::of(&["users", "gateway"]);
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let port = server(acceptor(&authority, "users", &["h2", "http/1.1"], true)).await;
        let mut settings = UpstreamSettings { protocol, ..trusting(&authority, "users") };
        let error = get(&upstream(port, settings.clone()), "/").await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Connect, "{error}");
        assert!(error.message().ends_with("it demands a client certificate"), "{error}");
        assert_eq!(error.cause(), Some(ProxyError::TlsAlertReceived), "{protocol:?}");

        settings.tls.client_certificate = Some(authority.file("gateway.pem"));
        settings.tls.client_key = Some(authority.file("gateway.key"));
        assert_eq!(get(&upstream(port, settings), "/").await.unwrap().status(), 200, "{protocol:?}");
    }
}

#[tokio::test]
async fn an_upgrade_goes_over_http1_even_where_http2_is_spoken() {
    let authority = Authority::of(&["users"]);
    let port = server(acceptor(&authority, "users", &["h2", "http/1.1"], false)).await;
    let upgrade = || {
        let mut head = Request::get("/ws").header("Host", "a").body(()).unwrap().into_parts().0;
        head.extensions.insert(Upgrade(HeaderValue::from_static("websocket")));
        head
    };
    let auto = upstream(port, trusting(&authority, "users"));
    assert_eq!(read(get(&auto, "/").await).await.0, "nothing");
    assert_eq!(read(auto.send(&upgrade(), Full::default()).await).await.0, "http/1.1");

    let settings = UpstreamSettings { protocol: Protocol::Http2, ..trusting(&authority, "users") };
    let answer = upstream(port, settings).send(&upgrade(), Full::default()).await;
    assert_eq!(read(answer).await.0, "nothing", "it was asked as if no other protocol were wanted");
}

#[tokio::test]
async fn an_upstream_that_asks_for_http1_after_all_is_asked_over_that_and_it_is_remembered() {
    let authority = Authority::of(&["users"]);
    let acceptor = acceptor(&authority, "users", &["h2", "http/1.1"], false);
    let streams = Arc::new(AtomicUsize::new(0));
    let reset = streams.clone();
    let port = serving(move |stream, _| {
        let (acceptor, reset) = (acceptor.clone(), reset.clone());
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                let mut connection: h2::server::Connection<_, bytes::Bytes> =
                    h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    reset.fetch_add(1, Ordering::SeqCst);
                    respond.send_reset(h2::Reason::HTTP_1_1_REQUIRED);
                }
                return;
            }
            let mut request = Vec::new();
            while stream.read_buf(&mut request).await.unwrap_or(0) > 0 {
                if request.ends_with(b"\r\n\r\n") {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none").await.unwrap();
                    request.clear();
                }
            }
        }
    })
    .await;
    let auto = upstream(port, trusting(&authority, "users"));
    for _ in 0..2 {
        let post = Request::post("/").header("Host", "a").body("").unwrap();
        assert_eq!(read(send(&auto, post).await).await.0, "one");
    }
    assert_eq!(streams.load(Ordering::SeqCst), 1, "it is asked over HTTP/2 once");

    // What has been taken of a body may be with somebody who kept a copy.
    let auto = upstream(port, trusting(&authority, "users"));
    let post = || Request::post("/").header("Host", "a").body("a body").unwrap();
    assert_eq!(send(&auto, post()).await.unwrap_err().kind(), FailureKind::Refused);
    assert_eq!(read(get(&auto, "/").await).await.0, "one");

    let settings = UpstreamSettings { protocol: Protocol::Http2, ..trusting(&authority, "users") };
    let error = get(&upstream(port, settings), "/").await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Protocol, "where nothing but HTTP/2 may be spoken: {error}");
}

#[tokio::test]
async fn a_large_body_goes_both_ways_over_tls() {
    let authority = Authority::of(&["users"]);
    let acceptor = acceptor(&authority, "users", &[], false);
    let port = serving(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut received = Vec::new();
            while !received.windows(4).any(|w| w == b"\r\n\r\n") || !received.ends_with(b"end") {
                stream.read_buf(&mut received).await.unwrap();
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", received.len());
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&received).await.unwrap();
            stream.flush().await.unwrap();
            let _ = stream.read_buf(&mut received).await;
        }
    });
    let upstream = upstream(port.await, trusting(&authority, "users"));
    let body: &'static str = Box::leak(("x".repeat(3_000_000) + "end").into_boxed_str());
    let answer = send(&upstream, Request::post("/").header("Host", "a").body(body).unwrap()).await;
    let text = read(answer).await.0;
    assert!(text.len() > 3_000_000 && text.ends_with("xend"), "{} bytes", text.len());
}

#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    let authority = Authority::of(&["a", "b"]);
    std::fs::write(authority.file("empty.pem"), "").unwrap();
    let [ca, a, a_key, b_key, empty, none] =
        ["ca.pem", "a.pem", "a.key", "b.key", "empty.pem", "none.pem"].map(|name| Some(authority.file(name)));
    let tls = TlsSettings { ca_file: ca, ..TlsSettings::default() };
    for (tls, expected) in [
        (TlsSettings { ca_file: empty, ..tls.clone() }, "holds no certificate in PEM"),
        (TlsSettings { ca_file: none, ..tls.clone() }, "no such file or directory"),
        (TlsSettings { client_key: a_key.clone(), ..tls.clone() }, "`client_certificate` is missing"),
        (TlsSettings { client_certificate: a.clone(), ..tls.clone() }, "`client_key` is missing"),
        (
            TlsSettings { client_certificate: a.clone(), client_key: b_key, ..tls.clone() },
            "`client_certificate` and `client_key` cannot be used",
        ),
        (TlsSettings { client_certificate: a_key, client_key: a, ..tls.clone() }, "`client_certificate`: "),
        (
            TlsSettings { server_name: Some("a b".to_owned()), ..tls.clone() },
            "`server_name`: `a b` is neither",
        ),
    ] {
        let error = UpstreamTls::load(&UpstreamSettings { tls, ..UpstreamSettings::default() }).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}
