//! What the gateway shows services, with a token endpoint that can fail.
#![allow(clippy::unwrap_used)]

mod server;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response as Answer};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use gateway_auth::{OutboundCredentialsLayer, OutboundSettings};
use gateway_core::Problem;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use server::Server;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::{Layer, ServiceExt, service_fn};

/// A token endpoint: what it was asked, and what it answers.
#[derive(Clone, Default)]
struct OAuth(Arc<Mutex<Books>>);

#[derive(Default)]
struct Books {
    asked: Vec<(String, BTreeMap<String, String>)>,
    fails_with: Option<u16>,
    without_expiry: bool,
}

async fn issue(State(OAuth(books)): State<OAuth>, headers: HeaderMap, body: String) -> Answer {
    tokio::task::yield_now().await;
    let form: BTreeMap<String, String> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let mut books = books.lock().unwrap();
    let authorization = headers.get("authorization").map_or("-", |value| value.to_str().unwrap());
    books.asked.push((authorization.to_owned(), form.clone()));
    if let Some(status) = books.fails_with {
        return StatusCode::from_u16(status).unwrap().into_response();
    }
    let subject = form.get("subject_token").map_or(String::new(), |subject| format!("-for-{subject}"));
    let mut answer =
        json!({ "access_token": format!("t{}{subject}", books.asked.len()), "token_type": "Bearer" });
    if !books.without_expiry {
        answer["expires_in"] = 100.into();
    }
    Json(answer).into_response()
}

impl OAuth {
    async fn start() -> (Self, Server) {
        let oauth = Self::default();
        let app = Router::new().route("/token", post(issue)).with_state(oauth.clone());
        (oauth, Server::start(app).await)
    }

    fn calls(&self) -> usize {
        self.0.lock().unwrap().asked.len()
    }

    fn fail(&self, status: Option<u16>) {
        self.0.lock().unwrap().fails_with = status;
    }

    async fn is_asked(&self, calls: usize) {
        let asked = async {
            while self.calls() < calls {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), asked).await.expect("the endpoint is not asked");
    }
}

fn layer(settings: Value) -> OutboundCredentialsLayer {
    let settings: OutboundSettings = serde_json::from_value(settings).unwrap();
    OutboundCredentialsLayer::new(&settings).unwrap()
}

fn client(server: &Server) -> Value {
    json!({ "url": format!("{}/token", server.url), "client_id": "gw", "client_secret": "s:1 ü" })
}

/// What the service got as `Authorization`, or status and code of the gateway's own answer.
async fn ask(layer: &OutboundCredentialsLayer, sent: &str, status: u16) -> String {
    let service = layer.layer(service_fn(move |request: Request<()>| async move {
        let mut response = Response::new(Full::<Bytes>::default());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let got = request.headers().get_all("authorization").iter();
        let got: Vec<String> = got.map(|value| value.to_str().unwrap().to_owned()).collect();
        response.extensions_mut().insert(got.join("|"));
        Ok::<_, Infallible>(response)
    }));
    let mut request = Request::get("/");
    if !sent.is_empty() {
        request = request.header("authorization", sent);
    }
    let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
    match response.extensions().get::<Problem>() {
        None => response.extensions().get::<String>().unwrap().clone(),
        Some(problem) => {
            let retry = response.headers().get("retry-after").map_or("-", |value| value.to_str().unwrap());
            format!("{} {} {retry}", response.status().as_u16(), problem.code().name())
        }
    }
}

/// Later by this much, without waiting.
async fn advance(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn fixed_credentials_take_the_place_of_the_callers() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "Bearer from-file\n").unwrap();
    for (settings, expected) in [
        (json!("passthrough"), "Bearer mine"),
        (json!("remove"), ""),
        (json!({ "header": { "value": "Bearer fixed" } }), "Bearer fixed"),
        (json!({ "header": { "value_file": file } }), "Bearer from-file"),
        (json!({ "header": { "name": "X-Key", "value": "k" } }), "Bearer mine"),
        (json!({ "basic": { "user": "gw", "password": "p:w" } }), "Basic Z3c6cDp3"),
    ] {
        assert_eq!(ask(&layer(settings.clone()), "Bearer mine", 200).await, expected, "{settings}");
    }
}

#[tokio::test]
async fn a_hundred_requests_at_once_ask_for_one_token_and_the_next_ones_for_none() {
    let (oauth, server) = OAuth::start().await;
    let mut settings = client(&server);
    settings["scopes"] = json!(["a", "b"]);
    settings["audience"] = json!("orders");
    let layer = layer(json!({ "client_credentials": settings }));
    let all = futures_util::future::join_all((0..100).map(|_| ask(&layer, "Bearer mine", 200))).await;
    assert!(all.iter().all(|got| got == "Bearer t1"), "{all:?}");
    assert_eq!(ask(&layer, "", 200).await, "Bearer t1");
    let asked = oauth.0.lock().unwrap().asked.clone();
    let form = [("grant_type", "client_credentials"), ("scope", "a b"), ("audience", "orders")];
    let form = form.map(|(name, value)| (name.to_owned(), value.to_owned()));
    // RFC 6749 §2.3.1: `gw:s%3A1+%C3%BC`.
    assert_eq!(asked, [("Basic Z3c6cyUzQTErJUMzJUJD".to_owned(), form.into())]);
}

#[tokio::test]
async fn id_and_secret_go_in_the_form_where_the_endpoint_wants_them_there() {
    let (oauth, server) = OAuth::start().await;
    let mut settings = client(&server);
    settings["client_auth"] = json!("post");
    ask(&layer(json!({ "client_credentials": settings })), "", 200).await;
    let (authorization, form) = oauth.0.lock().unwrap().asked[0].clone();
    assert_eq!((authorization.as_str(), &*form["client_id"], &*form["client_secret"]), ("-", "gw", "s:1 ü"));
}

#[tokio::test]
async fn a_token_is_replaced_before_its_end_and_used_to_its_end_while_the_endpoint_fails() {
    let (oauth, server) = OAuth::start().await;
    let mut settings = client(&server);
    settings["retry_after"] = json!("7s");
    let layer = layer(json!({ "client_credentials": settings }));
    assert_eq!(ask(&layer, "", 200).await, "Bearer t1");
    advance(60).await;
    assert_eq!((ask(&layer, "", 200).await.as_str(), oauth.calls()), ("Bearer t1", 1));
    advance(15).await;
    assert_eq!(ask(&layer, "", 200).await, "Bearer t1", "nobody waits for the new one");
    oauth.is_asked(2).await;
    while ask(&layer, "", 200).await == "Bearer t1" {
        tokio::task::yield_now().await;
    }
    assert_eq!((ask(&layer, "", 200).await.as_str(), oauth.calls()), ("Bearer t2", 2));

    oauth.fail(Some(500));
    advance(75).await;
    assert_eq!(ask(&layer, "", 200).await, "Bearer t2");
    oauth.is_asked(3).await;
    for _ in 0..20 {
        assert_eq!(ask(&layer, "", 200).await, "Bearer t2", "the last good one until its end");
        tokio::task::yield_now().await;
    }
    assert_eq!(oauth.calls(), 3, "a failing endpoint is left alone for a second");
    advance(30).await;
    assert_eq!(ask(&layer, "", 200).await, "503 auth-unavailable 7");
    oauth.fail(None);
    assert!(ask(&layer, "", 200).await.starts_with("Bearer t"));
}

#[tokio::test]
async fn without_any_token_requests_are_answered_as_the_operator_says() {
    let (oauth, server) = OAuth::start().await;
    for (on_failure, expected) in
        [("unavailable", "503 auth-unavailable 1"), ("bad_gateway", "502 upstream-connect-failed 1")]
    {
        let mut settings = client(&server);
        settings["on_failure"] = json!(on_failure);
        let layer = layer(json!({ "client_credentials": settings }));
        for status in [400, 401, 500] {
            oauth.fail(Some(status));
            assert_eq!(ask(&layer, "", 200).await, expected, "{status}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_401_of_the_service_drops_the_token_once() {
    let (oauth, server) = OAuth::start().await;
    let layer = layer(json!({ "client_credentials": client(&server) }));
    assert_eq!(ask(&layer, "", 401).await, "Bearer t1");
    assert_eq!(ask(&layer, "", 401).await, "Bearer t2", "it was dropped");
    assert_eq!(ask(&layer, "", 401).await, "Bearer t2", "a new one was of no use");
    assert_eq!(ask(&layer, "", 200).await, "Bearer t2");
    assert_eq!(ask(&layer, "", 401).await, "Bearer t2");
    assert_eq!(ask(&layer, "", 200).await, "Bearer t3", "since then one was taken");
    assert_eq!(oauth.calls(), 3);
}

#[tokio::test]
async fn the_callers_token_is_exchanged_once_and_for_nobody_else() {
    let (oauth, server) = OAuth::start().await;
    let layer =
        layer(json!({ "token_exchange": { "client": client(&server), "resource": "https://orders" } }));
    let all = futures_util::future::join_all((0..100).map(|_| ask(&layer, "Bearer ada", 200))).await;
    assert!(all.iter().all(|got| got == "Bearer t1-for-ada"), "{all:?}");
    assert_eq!(ask(&layer, "Bearer bob", 200).await, "Bearer t2-for-bob");
    assert_eq!(ask(&layer, "bearer ada", 200).await, "Bearer t1-for-ada");
    assert_eq!(ask(&layer, "", 200).await, "401 missing-credentials -");
    assert_eq!(ask(&layer, "Basic YTpi", 200).await, "401 missing-credentials -");
    let form = oauth.0.lock().unwrap().asked[0].1.clone();
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:token-exchange");
    assert_eq!(form["subject_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    assert_eq!(form["resource"], "https://orders");
    oauth.fail(Some(400));
    assert_eq!(ask(&layer, "Bearer eve", 200).await, "403 forbidden -");
    assert_eq!(ask(&layer, "Bearer eve", 200).await, "403 forbidden -");
    assert_eq!(oauth.calls(), 3, "that it is refused is remembered");
    oauth.fail(Some(503));
    assert_eq!(ask(&layer, "Bearer zoe", 200).await, "503 auth-unavailable 1");
    oauth.fail(None);
    assert_eq!(ask(&layer, "Bearer zoe", 200).await, "Bearer t5-for-zoe", "that it was away is not");
}

#[tokio::test]
async fn an_exchange_that_is_optional_lets_anonymous_requests_through_without_credentials() {
    let (oauth, server) = OAuth::start().await;
    let layer = layer(json!({ "token_exchange": { "client": client(&server), "optional": true } }));
    assert_eq!(ask(&layer, "", 200).await, "");
    assert_eq!(ask(&layer, "Basic YTpi", 200).await, "", "other credentials are not passed on");
    oauth.0.lock().unwrap().without_expiry = true;
    assert_eq!(ask(&layer, "Bearer ada", 200).await, "Bearer t1-for-ada");
    assert_eq!(ask(&layer, "Bearer ada", 200).await, "Bearer t1-for-ada");
}

#[test]
fn settings_that_make_no_sense_are_refused_and_secrets_are_not_shown() {
    for (settings, part) in [
        (json!({ "header": {} }), "`header.value`: none or both of `value` and `value_file`"),
        (json!({ "header": { "value": "a\nb" } }), "`header.value`: it has control characters"),
        (json!({ "header": { "name": "a b", "value": "x" } }), "`a b` cannot name a header"),
        (json!({ "basic": { "user": "a:b", "password": "hush" } }), "`basic.user`: `a:b` is no user"),
        (json!({ "basic": { "user": "a" } }), "`basic.password`: none or both"),
        (
            json!({ "client_credentials": { "url": "http://x", "client_secret": "hush" } }),
            "`client_credentials.client_id`: it is empty",
        ),
        (
            json!({ "client_credentials": { "url": "x", "client_id": "a", "client_secret": "hush" } }),
            "`x` is not a URL",
        ),
        (
            json!({ "client_credentials": { "url": "http://x", "client_id": "a" } }),
            "`client_credentials.client_secret`: none or both",
        ),
        (json!({ "header": { "value": " " } }), "`header.value`: it is empty; expected a secret"),
        (
            json!({ "token_exchange": { "client": { "url": "http://x", "client_id": "a", "client_secret": "" } } }),
            "`token_exchange.client.client_secret`: it is empty; expected a secret",
        ),
        (json!({ "client_credential": {} }), "unknown variant `client_credential`"),
    ] {
        let made = serde_json::from_value::<OutboundSettings>(settings.clone())
            .map_err(|error| error.to_string())
            .and_then(|settings| OutboundCredentialsLayer::new(&settings).map_err(|error| error.to_string()));
        let error = made.err().unwrap_or_else(|| panic!("{settings} is taken"));
        assert!(error.contains(part) && !error.contains("hush"), "{settings}: {error}");
    }
    for settings in [
        json!({ "header": { "value": "hush" } }),
        json!({ "basic": { "user": "a", "password": "hush" } }),
        json!({ "basic": { "user": "a", "password": "" } }),
        json!({ "client_credentials": { "url": "http://x", "client_id": "a", "client_secret": "hush" } }),
        json!({ "token_exchange": { "client": { "url": "http://x", "client_id": "a", "client_secret": "hush", "client_auth": "post" } } }),
    ] {
        let settings: OutboundSettings = serde_json::from_value(settings).unwrap();
        let shown = format!("{settings:?} {:?}", OutboundCredentialsLayer::new(&settings).unwrap());
        assert!(!shown.contains("hush") && !shown.contains("YTpodXNo"), "{shown}");
    }
}

#[tokio::test]
async fn a_client_proves_who_it_is_with_a_token_that_is_new_each_time_and_for_the_endpoint() {
    let (oauth, server) = OAuth::start().await;
    let url = format!("{}/token", server.url);
    let rsa = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let der = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&rsa).unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    let secret = "a secret for tests, 32 bytes long";
    for (auth, more, algorithm, audience) in [
        ("private_key_jwt", json!({ "key": pem, "kid": "k1" }), "RS256", url.as_str()),
        (
            "private_key_jwt",
            json!({ "key": pem, "kid": "k1", "algorithm": "PS256", "audience": "https://id.example" }),
            "PS256",
            "https://id.example",
        ),
        ("client_secret_jwt", json!({ "kid": "k1" }), "HS256", url.as_str()),
    ] {
        let mut client = json!({
            "url": url, "client_id": "gateway", "client_auth": auth, "client_assertion": more,
        });
        if auth == "client_secret_jwt" {
            client["client_secret"] = secret.into();
        }
        let exchange = layer(json!({ "token_exchange": { "client": client, "cache_entries": 0 } }));
        let before = oauth.calls();
        for _ in 0..2 {
            ask(&exchange, "Bearer caller", 200).await;
        }
        let asked = oauth.0.lock().unwrap().asked[before..].to_vec();
        assert_eq!(asked.len(), 2, "{auth}");
        let mut ids = Vec::new();
        for (authorization, form) in &asked {
            assert_eq!((authorization.as_str(), form.get("client_secret")), ("-", None));
            assert_eq!(
                form["client_assertion_type"],
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            );
            let mut parts = form["client_assertion"].split('.');
            let mut part = || -> Value {
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap()).unwrap()
            };
            let (header, claims) = (part(), part());
            assert_eq!((&header["alg"], &header["kid"]), (&json!(algorithm), &json!("k1")));
            assert_eq!(
                (&claims["iss"], &claims["sub"], &claims["aud"]),
                (&json!("gateway"), &json!("gateway"), &json!(audience))
            );
            assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
            ids.push(claims["jti"].as_str().unwrap().to_owned());
        }
        assert_ne!(ids[0], ids[1]);
    }
    let wrong = |more: Value| {
        let mut client = json!({ "url": url, "client_id": "gateway" });
        client.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let settings = serde_json::from_value(json!({ "client_credentials": client })).unwrap();
        OutboundCredentialsLayer::new(&settings).unwrap_err().to_string()
    };
    for (more, why) in [
        (json!({ "client_auth": "private_key_jwt" }), "none of `key` and `key_file` is given"),
        (
            json!({ "client_auth": "private_key_jwt", "client_assertion": { "key": "x" } }),
            "it is no private key",
        ),
        (
            json!({ "client_auth": "private_key_jwt", "client_assertion": { "key": pem, "algorithm": "ES256" } }),
            "`ES256` does not go with the key; expected RS256",
        ),
        (json!({ "client_auth": "client_secret_jwt", "client_secret": "short" }), "expected 32 or more"),
        (
            json!({ "client_secret": secret, "client_assertion": { "key": pem } }),
            "expected `client_auth = \"private_key_jwt\"`",
        ),
    ] {
        let said = wrong(more);
        assert!(said.contains(why), "{said}");
    }
}
