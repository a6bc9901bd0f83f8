//! Keys read from an issuer that turns them over, goes away, comes late, or lies.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

mod keys;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use gateway_auth::{AuthLayer, AuthPolicy, JwtLayer, JwtMethod, JwtSettings, Method as _};
use gateway_core::Problem;
use gateway_store::Store;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use keys::{SECRET, hs256, now, token};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower::{Layer, ServiceExt, service_fn};

type Numbered = (u64, Arc<Ed25519KeyPair>);

/// An issuer with its last keys, each known by a number.
#[derive(Clone, Default)]
struct Issuer {
    keys: Arc<Mutex<VecDeque<Numbered>>>,
    next: Arc<AtomicU64>,
    asked: Arc<AtomicUsize>,
    broken: Arc<Mutex<Option<StatusCode>>>,
    url: Arc<Mutex<String>>,
}

impl Issuer {
    async fn start() -> (Self, JoinHandle<()>) {
        let issuer = Self::default();
        issuer.rotate(1);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        *issuer.url.lock().unwrap() = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/keys", get(jwks))
            .route("/.well-known/openid-configuration", get(configuration))
            .with_state(issuer.clone());
        (issuer, tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }))
    }

    fn url(&self) -> String {
        self.url.lock().unwrap().clone()
    }

    /// A new key; so many of the last are told.
    fn rotate(&self, kept: usize) {
        let mut keys = self.keys.lock().unwrap();
        keys.push_front((
            self.next.fetch_add(1, Ordering::SeqCst),
            Arc::new(Ed25519KeyPair::generate().unwrap()),
        ));
        keys.truncate(kept);
    }

    /// A token by the newest key.
    fn token(&self) -> String {
        let (kid, pair) = self.keys.lock().unwrap()[0].clone();
        let header = json!({ "alg": "EdDSA", "kid": kid.to_string() });
        let claims = json!({ "iss": self.url(), "sub": "ada", "exp": now() + 60, "jti": next_id() });
        token(&header, &claims, |text| pair.sign(text).as_ref().to_vec())
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn jwks(
    State(issuer): State<Issuer>,
) -> Result<([(http::HeaderName, &'static str); 1], Json<Value>), StatusCode> {
    issuer.asked.fetch_add(1, Ordering::SeqCst);
    if let Some(status) = *issuer.broken.lock().unwrap() {
        return Err(status);
    }
    let keys = issuer.keys.lock().unwrap();
    let keys: Vec<Value> = keys
        .iter()
        .map(|(kid, pair)| {
            let x = URL_SAFE_NO_PAD.encode(pair.public_key());
            json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid.to_string(), "x": x })
        })
        .chain([json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET) })])
        .collect();
    Ok(([(CACHE_CONTROL, "public, max-age=3600")], Json(json!({ "keys": keys }))))
}

async fn configuration(State(issuer): State<Issuer>) -> Json<Value> {
    let url = issuer.url();
    Json(json!({ "issuer": url, "jwks_uri": format!("{url}/keys"), "token_endpoint": url }))
}

fn layer(settings: Value) -> JwtLayer {
    let settings: JwtSettings = serde_json::from_value(settings).unwrap();
    JwtLayer::new(&settings, Store::memory()).unwrap()
}

/// The status, and the code of the problem.
async fn ask(layer: &JwtLayer, token: &str) -> (u16, &'static str) {
    let service = layer.layer(service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let request = Request::get("/").header("authorization", format!("Bearer {token}")).body(()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    let code = response.extensions().get::<Problem>().map_or("", |problem| problem.code().name());
    if response.status() == 503 {
        assert!(response.headers().contains_key("retry-after"));
    }
    (response.status().as_u16(), code)
}

const PASSED: (u16, &str) = (200, "");
const INVALID: (u16, &str) = (401, "invalid-token");
const AWAY: (u16, &str) = (503, "auth-unavailable");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_turns_its_key_over_every_50_ms_costs_not_one_request() {
    let (issuer, _server) = Issuer::start().await;
    let layer = layer(json!({ "issuer": issuer.url(), "discovery": true }));
    tokio::spawn(layer.refresh());
    const ROTATIONS: u64 = 30;
    let rotating = tokio::spawn({
        let issuer = issuer.clone();
        async move {
            let mut every = tokio::time::interval(Duration::from_millis(50));
            for _ in 0..ROTATIONS {
                every.tick().await;
                // As real ones do, it goes on telling the keys of tokens that are still about.
                issuer.rotate(100);
            }
        }
    });
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (issuer, layer) = (issuer.clone(), layer.clone());
            tokio::spawn(async move {
                let mut count = 0_u64;
                while issuer.next.load(Ordering::SeqCst) <= ROTATIONS {
                    assert_eq!(ask(&layer, &issuer.token()).await, PASSED, "request {count}");
                    count += 1;
                    tokio::task::yield_now().await;
                }
                count
            })
        })
        .collect();
    let mut requests = 0;
    for client in clients {
        requests += client.await.unwrap();
    }
    rotating.await.unwrap();
    let (rotations, asked) = (issuer.next.load(Ordering::SeqCst), issuer.asked.load(Ordering::SeqCst) as u64);
    assert!(requests > rotations, "{rotations} rotations, {requests} requests");
    assert!(asked <= 2 * rotations + 2, "{rotations} rotations, and the issuer was asked {asked} times");
}

#[tokio::test]
async fn while_the_issuer_is_away_the_last_keys_go_on_and_a_removed_key_does_not_come_back() {
    let (issuer, server) = Issuer::start().await;
    let settings =
        json!({ "jwks_url": format!("{}/keys", issuer.url()), "jwks": { "pause": "0s", "wait": "1s" } });
    let layer = layer(settings);
    tokio::spawn(layer.refresh());
    let (first, second) = (issuer.token(), issuer.token());
    assert_eq!(ask(&layer, &first).await, PASSED);
    issuer.rotate(1);
    let third = issuer.token();
    assert_eq!(ask(&layer, &third).await, PASSED, "its key was read because of it");
    assert_eq!(ask(&layer, &first).await, INVALID, "remembered, but its key is gone");
    assert_eq!(ask(&layer, &second).await, INVALID);
    *issuer.broken.lock().unwrap() = Some(StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(ask(&layer, &issuer.token()).await, PASSED);
    server.abort();
    let _ = server.await;
    for _ in 0..3 {
        assert_eq!(ask(&layer, &issuer.token()).await, PASSED);
    }
    issuer.rotate(1);
    assert_eq!(ask(&layer, &issuer.token()).await, INVALID, "a key that nobody can tell us");
    assert_eq!(ask(&layer, &third).await, PASSED);
}

#[tokio::test(start_paused = true)]
async fn the_first_token_passes_though_the_keys_of_this_process_came_after_the_task() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let set = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "own",
        "x": URL_SAFE_NO_PAD.encode(pair.public_key()) }] });
    let opened = Arc::new(std::sync::OnceLock::<Value>::new());
    let keys = opened.clone();
    let method =
        JwtMethod::with_keys(&JwtSettings::default(), Store::memory(), move || keys.get().cloned()).unwrap();
    tokio::spawn(method.refresh());
    // The task has asked in vain.
    tokio::task::yield_now().await;
    opened.set(set).unwrap();
    let layer = AuthLayer::new(vec![Arc::new(method)], &AuthPolicy::default());
    let service = layer.layer(service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let header = json!({ "alg": "EdDSA", "kid": "own" });
    let token =
        token(&header, &json!({ "sub": "ada", "exp": now() + 60 }), |text| pair.sign(text).as_ref().to_vec());
    let request = Request::get("/").header("authorization", format!("Bearer {token}")).body(()).unwrap();
    let before = tokio::time::Instant::now();
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
    assert_eq!(before.elapsed(), Duration::ZERO, "nobody waits for keys that are there");
}

#[tokio::test]
async fn however_many_ask_for_an_unknown_key_the_issuer_is_asked_once() {
    let (issuer, _server) = Issuer::start().await;
    let layer = layer(json!({ "jwks_url": format!("{}/keys", issuer.url()) }));
    tokio::spawn(layer.refresh());
    assert_eq!(ask(&layer, &issuer.token()).await, PASSED);
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 1);
    let pair = Ed25519KeyPair::generate().unwrap();
    let forged = |kid: usize| {
        let header = json!({ "alg": "EdDSA", "kid": format!("evil {kid}") });
        token(&header, &json!({ "exp": now() + 60 }), |text| pair.sign(text).as_ref().to_vec())
    };
    let asking: Vec<_> = (0..200)
        .map(|kid| {
            let (layer, token) = (layer.clone(), forged(kid));
            tokio::spawn(async move { ask(&layer, &token).await })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap(), INVALID);
    }
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 2, "one for all of them");
    assert_eq!(ask(&layer, &forged(1000)).await, INVALID);
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 2, "and none for a while");
    // What could not be good with any key is not worth asking.
    let header = json!({ "alg": "EdDSA", "kid": "other" });
    let expired = token(&header, &json!({ "exp": 1 }), |text| pair.sign(text).as_ref().to_vec());
    assert_eq!(ask(&layer, &expired).await, INVALID);
    assert_eq!(ask(&layer, &issuer.token()).await, PASSED);
}

#[tokio::test]
async fn requests_wait_for_the_first_keys_and_are_told_when_there_are_none() {
    let (issuer, _server) = Issuer::start().await;
    let url = format!("{}/keys", issuer.url());
    let late = layer(json!({ "jwks_url": url }));
    let waiting = tokio::spawn({
        let (layer, token) = (late.clone(), issuer.token());
        async move { ask(&layer, &token).await }
    });
    tokio::task::yield_now().await;
    tokio::spawn(late.refresh());
    assert_eq!(waiting.await.unwrap(), PASSED);

    let closed = gateway_testkit::free_port();
    let nobody =
        layer(json!({ "jwks_url": format!("http://127.0.0.1:{closed}/keys"), "jwks": { "wait": "2s" } }));
    tokio::spawn(nobody.refresh());
    assert_eq!(ask(&nobody, &issuer.token()).await, AWAY);
    assert_eq!(ask(&nobody, "no.to.ken").await, INVALID, "what is no token needs no keys");
    // Without the task there are never any.
    let forgotten = layer(json!({ "jwks_url": url, "jwks": { "wait": "20ms" } }));
    assert_eq!(ask(&forgotten, &issuer.token()).await, AWAY);
}

#[tokio::test]
async fn a_further_key_without_a_name_keeps_nobody_from_reading_the_issuers_new_key() {
    let (issuer, _server) = Issuer::start().await;
    let pair = Ed25519KeyPair::generate().unwrap();
    let own = json!({ "public_key": pem(&pair) });
    let settings = json!({ "jwks_url": format!("{}/keys", issuer.url()), "keys": [own] });
    let layer = layer(settings);
    tokio::spawn(layer.refresh());
    assert_eq!(ask(&layer, &issuer.token()).await, PASSED);
    issuer.rotate(2);
    assert_eq!(ask(&layer, &issuer.token()).await, PASSED, "its key was read because of it");
    let asked = issuer.asked.load(Ordering::SeqCst);
    let mut forged = issuer.token();
    forged.truncate(forged.rfind('.').unwrap() + 1);
    forged.push_str(&URL_SAFE_NO_PAD.encode([1; 64]));
    assert_eq!(ask(&layer, &forged).await, INVALID);
    assert_eq!(issuer.asked.load(Ordering::SeqCst), asked, "by a key that is known: not worth asking");
}

#[tokio::test]
async fn without_an_issuers_keys_its_tokens_are_not_called_invalid_whatever_other_keys_there_are() {
    let (issuer, server) = Issuer::start().await;
    let (url, token) = (format!("{}/keys", issuer.url()), issuer.token());
    server.abort();
    let _ = server.await;
    let layer = layer(json!({ "jwks_url": url, "jwks": { "wait": "1s" }, "keys": [{ "secret": SECRET }] }));
    tokio::spawn(layer.refresh());
    assert_eq!(ask(&layer, &token).await, AWAY);
    let own = hs256(&json!({ "sub": "ada", "exp": now() + 60 }));
    assert_eq!(ask(&layer, &own).await, PASSED, "of the other key");
}

#[tokio::test]
async fn an_issuer_is_not_read_without_a_pause_whatever_the_settings_say() {
    let (issuer, _server) = Issuer::start().await;
    let url = format!("{}/keys", issuer.url());
    let layer = layer(json!({ "jwks_url": url, "jwks": { "refresh": "0s" } }));
    tokio::spawn(layer.refresh());
    assert_eq!(ask(&layer, &issuer.token()).await, PASSED);
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_takes_the_place_of_a_method_has_its_issuers_keys_and_its_revocations() {
    let (issuer, server) = Issuer::start().await;
    let settings = |realm: &str, path: &str| -> JwtSettings {
        let url = format!("{}/{path}", issuer.url());
        let settings = json!({ "jwks_url": url, "realm": realm, "jwks": { "wait": "1s" } });
        serde_json::from_value(settings).unwrap()
    };
    let before = JwtMethod::new(&settings("a", "keys"), Store::memory()).unwrap();
    let refreshing = tokio::spawn(before.refresh());
    let (good, bad) = (issuer.token(), issuer.token());
    assert_eq!(ask_method(&before, &good).await, 200);
    assert_eq!(before.answered(), Some(true));
    before.revocations().revoke(&bad).await.unwrap();
    server.abort();
    let _ = server.await;
    refreshing.abort();

    let after = before.succeed(&settings("b", "keys"), Store::memory()).unwrap();
    tokio::spawn(after.refresh());
    assert_eq!(ask_method(&after, &good).await, 200, "the issuer is away, its keys are not");
    assert_eq!(ask_method(&after, &bad).await, 401, "what was revoked stays so");
    let elsewhere = before.succeed(&settings("b", "other"), Store::memory()).unwrap();
    assert_eq!(ask_method(&elsewhere, &good).await, 503, "keys of another place are not believed");
    wait_until_away(&after).await;

    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(25 * 3600)).await;
    assert_eq!(ask_method(&after, &issuer.token()).await, 503, "they do not last longer than before");
}

/// Though tokens are verified all the same.
async fn wait_until_away(method: &JwtMethod) {
    let away = async {
        while method.answered() == Some(true) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), away).await.expect("it is seen that the issuer is away");
}

async fn ask_method(method: &JwtMethod, token: &str) -> u16 {
    let layer = AuthLayer::new(vec![Arc::new(method.clone())], &AuthPolicy::default());
    let service = layer.layer(service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let request = Request::get("/").header("authorization", format!("Bearer {token}")).body(()).unwrap();
    service.oneshot(request).await.unwrap().status().as_u16()
}

/// RFC 8410 §4.
fn pem(pair: &Ed25519KeyPair) -> String {
    let der =
        [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0], pair.public_key().as_ref()];
    let text = base64::engine::general_purpose::STANDARD.encode(der.concat());
    format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
}

#[tokio::test]
async fn a_secret_in_a_public_key_set_is_not_believed() {
    let (issuer, _server) = Issuer::start().await;
    let layer = layer(json!({ "jwks_url": format!("{}/keys", issuer.url()) }));
    tokio::spawn(layer.refresh());
    assert_eq!(ask(&layer, &issuer.token()).await, PASSED);
    assert_eq!(ask(&layer, &hs256(&json!({ "sub": "eve", "exp": now() + 60 }))).await, INVALID);
}

#[tokio::test]
async fn whoever_answers_for_another_issuer_is_not_believed() {
    let (issuer, _server) = Issuer::start().await;
    let real = issuer.url();
    let asked = real.replace("127.0.0.1", "localhost");
    let layer = layer(json!({ "issuer": asked, "discovery": true, "jwks": { "wait": "1s" } }));
    tokio::spawn(layer.refresh());
    assert_eq!(ask(&layer, &issuer.token()).await, INVALID, "of another issuer: not worth asking");
    *issuer.url.lock().unwrap() = asked.clone();
    let token = issuer.token();
    *issuer.url.lock().unwrap() = real;
    assert_eq!(ask(&layer, &token).await, AWAY);
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn keys_are_kept_for_a_day_and_no_longer() {
    let (issuer, _server) = Issuer::start().await;
    let layer = layer(json!({ "jwks_url": format!("{}/keys", issuer.url()), "jwks": { "wait": "1s" } }));
    tokio::spawn(layer.refresh());
    let old = issuer.token();
    assert_eq!(ask(&layer, &old).await, PASSED);
    *issuer.broken.lock().unwrap() = Some(StatusCode::BAD_GATEWAY);
    tokio::time::pause();
    let hours = |n: u64| Duration::from_secs(n * 3600);
    tokio::time::sleep(hours(23)).await;
    assert_eq!(ask(&layer, &old).await, PASSED);
    tokio::time::sleep(hours(2)).await;
    assert_eq!(ask(&layer, &issuer.token()).await, AWAY);
    assert_eq!(ask(&layer, &old).await, AWAY, "what they signed is forgotten with them");
}

#[test]
fn key_sets_and_places_are_checked_when_they_are_configured() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    std::fs::write(
        &file,
        json!({ "keys": [{ "kty": "oct", "kid": "a", "k": URL_SAFE_NO_PAD.encode(SECRET) }] }).to_string(),
    )
    .unwrap();
    let _ = layer(json!({ "jwks_file": file, "algorithms": ["HS256"] }));
    let empty = dir.path().join("empty.json");
    std::fs::write(&empty, r#"{"keys":[]}"#).unwrap();
    for (settings, part) in [
        (json!({ "jwks_file": empty }), "holds no key that verifies tokens"),
        (json!({ "jwks_file": "/nowhere" }), "cannot read `/nowhere`"),
        (json!({ "jwks_url": "keys.json" }), "`keys.json` is not a URL"),
        (json!({ "discovery": true }), "expected `issuer` to be one URL"),
        (json!({ "discovery": true, "issuer": "accounts" }), "`accounts` is not a URL"),
        (json!({ "secret": SECRET, "jwks_url": "http://a/" }), "2 of `secret`"),
        (json!({ "keys": [{ "kid": "a" }] }), "`keys[0]` has 0 of"),
        (json!({ "secret": SECRET, "leeway": "61s" }), "`leeway` is 1m 1s; expected at most 60s"),
        (json!({ "secret": SECRET, "from": [{ "cookie": "a b" }] }), "`from`: `a b` is not the name"),
    ] {
        let settings: JwtSettings = serde_json::from_value(settings).unwrap();
        let error = JwtLayer::new(&settings, Store::memory()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
