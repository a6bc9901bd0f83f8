//! What the tests of this crate share: requests, certificates and small servers on real sockets.
#![allow(dead_code)]

use bytes::Bytes;
use gateway_core::{ClientAddr, Endpoint, Upstream, UpstreamError, interim};
use gateway_testkit::Authority;
use gateway_upstream::{HttpUpstream, UpstreamBody, UpstreamSettings};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

pub(crate) type Answer = Result<Response<UpstreamBody<Full<Bytes>>>, UpstreamError>;

pub(crate) async fn send(upstream: &HttpUpstream, request: Request<&'static str>) -> Answer {
    let (head, body) = request.into_parts();
    upstream.send(&head, Full::from(body)).await
}

pub(crate) async fn get(upstream: &HttpUpstream, target: &str) -> Answer {
    send(upstream, Request::get(target).header("Host", "shop.example").body("").unwrap()).await
}

/// A GET of a client that listens for interim answers, and what it hears: `status name=value …` of each.
pub(crate) async fn get_listening(upstream: &HttpUpstream) -> (Answer, Vec<String>) {
    let request = Request::get("/").header("Host", "shop.example").body(Full::<Bytes>::default()).unwrap();
    let (mut head, body) = request.into_parts();
    head.extensions.insert(ClientAddr(([192, 0, 2, 1], 4711).into()));
    let mut sent = pin!(upstream.send(&head, body));
    let mut all = Vec::new();
    let answer = poll_fn(|cx| {
        let listening = interim::listen();
        let polled = sent.as_mut().poll(cx);
        all.extend(listening.heard().iter().map(|early| {
            let fields =
                early.headers().iter().map(|(name, value)| format!(" {name}={}", value.to_str().unwrap()));
            early.status().as_str().to_owned() + &fields.collect::<String>()
        }));
        polled
    });
    (answer.await, all)
}

/// The body as text, and its trailers.
pub(crate) async fn read(answer: Answer) -> (String, HeaderMap) {
    let body = answer.unwrap().into_body().collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    (String::from_utf8(body.to_bytes().to_vec()).unwrap(), trailers)
}

pub(crate) async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

pub(crate) fn plain(port: u16, settings: UpstreamSettings) -> HttpUpstream {
    HttpUpstream::new(Endpoint::parse(&format!("http://127.0.0.1:{port}")).unwrap(), settings)
}

/// A server's settings with the certificate `NAME.pem`, which demands one of the authority's if `mutual`.
pub(crate) fn acceptor(
    authority: &Authority,
    name: &str,
    alpn: &[&str],
    mutual: bool,
) -> tokio_rustls::TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = if mutual {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.file("ca.pem")).unwrap()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let chain = vec![CertificateDer::from_pem_file(authority.file(&format!("{name}.pem"))).unwrap()];
    let key = PrivateKeyDer::from_pem_file(authority.file(&format!("{name}.key"))).unwrap();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config).into()
}

/// Accepts connections, and hands each to `serve` in a task of its own.
pub(crate) async fn serving<F>(serve: impl Fn(TcpStream, usize) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let (listener, port) = listen().await;
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, number));
        }
    });
    port
}

/// An HTTP/2 server's side of one connection: its body repeated with the request's headers of interest.
pub(crate) async fn serve_http2_echo<S: AsyncRead + AsyncWrite + Unpin>(stream: S) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            let (head, mut body) = request.into_parts();
            let mut received = Vec::new();
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
                received.extend_from_slice(&data);
            }
            let trailers = body.trailers().await.unwrap().unwrap_or_default();
            let mut response = Response::new(());
            for name in ["te", "content-length", "connection"] {
                if let Some(value) = head.headers.get(name) {
                    let name: http::HeaderName = format!("x-seen-{name}").parse().unwrap();
                    response.headers_mut().insert(name, value.clone());
                }
            }
            let uri = head.uri.to_string();
            response.headers_mut().insert("x-seen-uri", uri.parse().unwrap());
            let mut stream = respond.send_response(response, false).unwrap();
            let text = if received.is_empty() { b"nothing".to_vec() } else { received };
            // The client may have gone.
            let _ = stream.send_data(Bytes::from(text), false);
            let mut status = HeaderMap::new();
            status.insert("grpc-status", "0".parse().unwrap());
            if let Some(echo) = trailers.get("x-checksum") {
                status.insert("x-checksum", echo.clone());
            }
            let _ = stream.send_trailers(status);
        });
    }
}
