//! The client against real sockets: what goes wrong is said, in time.
#![allow(clippy::unwrap_used)]

use axum::response::Redirect;
use axum::routing::{get, post};
use axum::{Json, Router};
use gateway_core::units::{ByteSize, Timespan};
use gateway_fetch::{Fetch, FetchError, FetchSettings};
use http::HeaderMap;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, app).into_future());
    url
}

fn fetch() -> Fetch {
    Fetch::new(&FetchSettings::default()).unwrap()
}

#[tokio::test]
async fn forms_are_posted_and_json_is_read() {
    let app =
        Router::new().route("/token", post(|body: String| async move { Json(json!({ "sent": body })) }));
    let url = serve(app).await;
    let answer: Value =
        fetch().post_form(&format!("{url}/token"), HeaderMap::new(), "a=1&b=2".to_owned()).await.unwrap();
    assert_eq!(answer, json!({ "sent": "a=1&b=2" }));
}

#[tokio::test]
async fn redirects_are_answers_and_not_followed() {
    let url =
        serve(Router::new().route("/", get(|| async { Redirect::temporary("http://127.0.0.1:1/") }))).await;
    let error = fetch().get_json::<Value>(&url).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{url}/ answered 307 Temporary Redirect"));
}

#[tokio::test]
async fn an_answer_that_is_too_large_or_no_json_is_refused() {
    let app = Router::new()
        .route("/large", get(|| async { "x".repeat(5000) }))
        .route("/text", get(|| async { "hello" }));
    let url = serve(app).await;
    let small = FetchSettings { max_body: ByteSize::kib(1), ..FetchSettings::default() };
    let error = Fetch::new(&small).unwrap().get_json::<Value>(&format!("{url}/large")).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{url}/large answered with more than 1024 bytes"));
    let error = fetch().get_json::<Value>(&format!("{url}/text")).await.unwrap_err();
    assert!(matches!(error, FetchError::Json { .. }), "{error}");
}

#[tokio::test]
async fn whoever_does_not_answer_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://user:secret@{}/keys?code=secret", silent.local_addr().unwrap());
    let settings = FetchSettings { timeout: Timespan::millis(50), ..FetchSettings::default() };
    let error = Fetch::new(&settings).unwrap().get_json::<Value>(&url).await.unwrap_err().to_string();
    assert!(error.ends_with("/keys did not answer within 50ms") && !error.contains("secret"), "{error}");

    // Nobody else gets its port, and nobody listens.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed_url = format!("http://{}/", closed.local_addr().unwrap());
    let error = fetch().get_json::<Value>(&closed_url).await.unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
    for url in ["/keys", "not a url", "auth.example"] {
        let error = fetch().get_json::<Value>(url).await.unwrap_err().to_string();
        assert!(error.contains("is not a URL"), "{url}: {error}");
    }
}

#[tokio::test]
async fn certificates_are_verified_against_the_authority_that_is_named() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
        }
    });

    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, made.cert.pem()).unwrap();
    let trusting = FetchSettings { ca_file: Some(ca_file), ..FetchSettings::default() };
    assert_eq!(Fetch::new(&trusting).unwrap().get_json::<Value>(&url).await.unwrap(), json!({}));
    let error = fetch().get_json::<Value>(&url).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");

    let missing = FetchSettings { ca_file: Some("/no/such/file".into()), ..FetchSettings::default() };
    let error = Fetch::new(&missing).unwrap_err().to_string();
    assert!(error.contains("`ca_file`: `/no/such/file` cannot be read"), "{error}");
    let half = FetchSettings { client_key: Some("k.pem".into()), ..FetchSettings::default() };
    assert!(Fetch::new(&half).unwrap_err().to_string().contains("belong together"));
}
