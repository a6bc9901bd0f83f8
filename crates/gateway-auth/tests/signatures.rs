//! Signed requests through the layers, by several instances with a real Redis.
#![allow(clippy::unwrap_used)]

mod keys;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gateway_auth::{
    AuthLayer, AuthPolicy, OnStoreFailure, SignatureKey, SignatureMethod, SignatureProtocol,
    SignatureSettings, SignedBodyLayer,
};
use gateway_core::units::ByteSize;
use gateway_core::{AuthMethod, Principal, Problem};
use gateway_store::{RedisSettings, Store};
use gateway_testkit::Redis;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use keys::{SECRET, hmac_sign, now};
use std::convert::Infallible;
use std::sync::Arc;
use tower::{Layer, ServiceExt, service_fn};

fn settings(protocol: SignatureProtocol, on_store_failure: OnStoreFailure) -> SignatureSettings {
    let key = SignatureKey { id: "k".to_owned(), secret: Some(SECRET.to_owned()), ..SignatureKey::default() };
    SignatureSettings {
        protocol,
        keys: vec![key],
        on_store_failure,
        max_body: ByteSize::kib(1),
        ..SignatureSettings::default()
    }
}

fn auth(settings: &SignatureSettings, store: Store) -> AuthLayer {
    AuthLayer::new(vec![Arc::new(SignatureMethod::new(settings, store).unwrap())], &AuthPolicy::default())
}

/// The body that reached the service, or status, code and detail of the refusal.
async fn ask(layer: &AuthLayer, request: Request<Full<Bytes>>) -> Result<Bytes, String> {
    let service = service_fn(|request: Request<Full<Bytes>>| async move {
        let principal = request.extensions().get::<Principal>().unwrap();
        assert_eq!((principal.id(), principal.method()), ("k", AuthMethod::Signature));
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(body)))
    });
    let service = SignedBodyLayer::new(layer).layer(layer.layer(service));
    let response = service.oneshot(request).await.unwrap();
    match response.extensions().get::<Problem>() {
        None => Ok(response.into_body().collect().await.unwrap().to_bytes()),
        Some(problem) => {
            let (status, code) = (response.status().as_u16(), problem.code().name());
            Err(format!("{status} {code} {}", problem.detail().unwrap_or_default()))
        }
    }
}

fn signed(text: &[u8]) -> String {
    STANDARD.encode(hmac_sign(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes())(text))
}

/// A GET that is signed with a nonce.
fn message(nonce: &str) -> Request<Full<Bytes>> {
    let params = format!("(\"@method\" \"@target-uri\");created={};keyid=\"k\";nonce=\"{nonce}\"", now());
    let base = format!(
        "\"@method\": GET\n\"@target-uri\": http://shop.example/orders\n\"@signature-params\": {params}"
    );
    Request::get("/orders")
        .header("host", "shop.example")
        .header("signature-input", format!("s={params}"))
        .header("signature", format!("s=:{}:", signed(base.as_bytes())))
        .body(Full::default())
        .unwrap()
}

fn webhook(id: &str, body: &'static [u8]) -> Request<Full<Bytes>> {
    let sent = now();
    Request::post("/")
        .header("webhook-id", id)
        .header("webhook-timestamp", sent)
        .header(
            "webhook-signature",
            format!("v1,{}", signed(&[format!("{id}.{sent}.").as_bytes(), body].concat())),
        )
        .body(body.into())
        .unwrap()
}

const SEEN: &str = "401 invalid-credentials the signed request was seen before";

#[tokio::test]
async fn what_one_instance_has_seen_another_refuses() {
    let redis = Redis::start();
    let open = async || {
        // With time enough for a busy machine.
        let settings = RedisSettings { timeout: "5s".parse().unwrap(), ..RedisSettings::new(&redis.url()) };
        let store = Store::open(&settings.into()).unwrap();
        store.ping().await.unwrap();
        store
    };
    let messages = settings(SignatureProtocol::HttpMessageSignatures, OnStoreFailure::Deny);
    let (a, b) = (auth(&messages, open().await), auth(&messages, open().await));
    let request = message("n1");
    assert_eq!(ask(&a, request.clone()).await.as_deref(), Ok(&b""[..]));
    for layer in [&a, &b] {
        assert_eq!(ask(layer, request.clone()).await, Err(SEEN.to_owned()));
    }
    assert!(ask(&b, message("n2")).await.is_ok());

    let hooks = settings(SignatureProtocol::StandardWebhooks, OnStoreFailure::Deny);
    let (a, b) = (auth(&hooks, open().await), auth(&hooks, open().await));
    let request = webhook("m1", b"{}");
    assert_eq!(ask(&b, request.clone()).await.as_deref(), Ok(&b"{}"[..]));
    assert_eq!(ask(&a, request).await, Err(SEEN.to_owned()));
}

#[tokio::test]
async fn while_the_store_is_away_an_instance_remembers_alone_or_refuses() {
    let away = || Store::open(&RedisSettings::new("redis://127.0.0.1:1").into()).unwrap();
    let of = |failure| auth(&settings(SignatureProtocol::HttpMessageSignatures, failure), away());
    let refused = ask(&of(OnStoreFailure::Deny), message("n")).await.unwrap_err();
    assert!(refused.starts_with("503 store-unavailable"), "{refused}");
    let local = of(OnStoreFailure::Local);
    let request = message("n");
    assert!(ask(&local, request.clone()).await.is_ok());
    assert_eq!(ask(&local, request).await, Err(SEEN.to_owned()));
}

#[tokio::test]
async fn a_body_is_read_only_as_far_as_it_may_and_never_taken_on_trust() {
    let hooks = settings(SignatureProtocol::StandardWebhooks, OnStoreFailure::Local);
    let layer = auth(&hooks, Store::memory());
    let large = ask(&layer, webhook("m1", &[b'x'; 1025])).await.unwrap_err();
    assert!(large.starts_with("413 body-too-large"), "{large}");
    assert_eq!(ask(&layer, webhook("m1", &[b'x'; 1024])).await.unwrap().len(), 1024);

    // Without the layer that reads it.
    let service = layer.layer(service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let answer = service.oneshot(webhook("m2", b"{}")).await.unwrap();
    let problem = answer.extensions().get::<Problem>().unwrap();
    assert_eq!(
        (answer.status().as_u16(), problem.detail()),
        (401, Some("the body was not read, and is signed"))
    );
}

#[test]
fn settings_that_cannot_work_are_refused_and_say_why() {
    let key = |more: serde_json::Value| {
        let mut key = serde_json::json!({ "id": "k" });
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key
    };
    let secret = serde_json::json!({ "secret": SECRET });
    for (settings, why) in [
        (serde_json::json!({}), "`keys`: there is none"),
        (serde_json::json!({ "keys": [{ "secret": SECRET }] }), "`keys[0].id`: it is empty"),
        (serde_json::json!({ "keys": [key(serde_json::json!({}))] }), "0 of `secret`"),
        (serde_json::json!({ "keys": [key(serde_json::json!({ "secret": "short" }))] }), "5 bytes long"),
        (serde_json::json!({ "keys": [key(serde_json::json!({ "secret": "whsec_*" }))] }), "not base64"),
        (serde_json::json!({ "keys": [key(serde_json::json!({ "public_key": "x" }))] }), "not the PEM"),
        (
            serde_json::json!({ "keys": [key(serde_json::json!({ "secret": SECRET, "algorithm": "ed25519" }))] }),
            "does not go with a secret",
        ),
        (
            serde_json::json!({ "keys": [key(secret.clone())], "components": ["@Method"] }),
            "`components[0]`: `@Method` is no component",
        ),
        (serde_json::json!({ "keys": [key(secret)], "window": "0s" }), "`window`: it is 0s"),
    ] {
        let settings: SignatureSettings = serde_json::from_value(settings).unwrap();
        let said = SignatureMethod::new(&settings, Store::memory()).unwrap_err().to_string();
        assert!(said.contains(why), "{said}, not {why}");
    }
}
