//! What it costs to know who is calling: a signature of each kind, and a token that was seen before.
#![allow(missing_docs, clippy::unwrap_used)]

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
};
use aws_lc_rs::{hmac, rsa};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use gateway_auth::{
    ApiKey, ApiKeyEntry, ApiKeyMethod, ApiKeySettings, Auth, AuthLayer, AuthPolicy, JwtLayer, JwtSettings,
    KeyRing,
};
use gateway_store::Store;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use serde_json::json;
use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tower::{Layer, Service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SECRET: &str = "a secret for benchmarks, 32 bytes";

/// A service that answers at once, so that only the layer is measured.
#[derive(Clone)]
struct Answer;

impl Service<Request<()>> for Answer {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(Full::default())))
    }
}

fn pem(der: &PublicKeyX509Der<'_>) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der.as_ref()))
}

fn token(algorithm: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let claims = json!({ "iss": "https://auth.example", "aud": "shop", "sub": "ada", "sid": "5e55", "jti": "1d",
        "email": "ada@example.com", "roles": ["user", "admin"], "iat": 1, "exp": 4_102_444_800_u64 });
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(json!({ "alg": algorithm, "typ": "JWT" })), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(text.as_bytes()));
    format!("{text}.{signature}")
}

fn verify(c: &mut Criterion) {
    let mac = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let rsa = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let ed = Ed25519KeyPair::generate().unwrap();
    let random = SystemRandom::new();
    let rsa_sign = |text: &[u8]| {
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).unwrap();
        signature
    };
    let cases = [
        (
            "HS256",
            json!({ "secret": SECRET }),
            token("HS256", |text| hmac::sign(&mac, text).as_ref().to_vec()),
        ),
        (
            "RS256",
            json!({ "public_key": pem(&rsa.public_key().as_der().unwrap()) }),
            token("RS256", rsa_sign),
        ),
        (
            "ES256",
            json!({ "public_key": pem(&ec.public_key().as_der().unwrap()) }),
            token("ES256", |text| ec.sign(&random, text).unwrap().as_ref().to_vec()),
        ),
        (
            "EdDSA",
            json!({ "public_key": pem(&ed.public_key().as_der().unwrap()) }),
            token("EdDSA", |text| ed.sign(text).as_ref().to_vec()),
        ),
    ];
    let mut group = c.benchmark_group("token verified");
    for (name, settings, token) in &cases {
        let settings =
            JwtSettings { cache_entries: Some(0), ..serde_json::from_value(settings.clone()).unwrap() };
        group.bench_function(*name, |b| ask(b, &settings, token));
    }
    group.finish();
    let mut group = c.benchmark_group("token remembered");
    for (name, settings, token) in &cases {
        let settings = serde_json::from_value(settings.clone()).unwrap();
        group.bench_function(*name, |b| ask(b, &settings, token));
    }
}

fn ask(b: &mut criterion::Bencher<'_>, settings: &JwtSettings, token: &str) {
    let service = JwtLayer::new(settings, Store::memory()).unwrap().layer(Answer);
    let bearer = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    pass(b, service, &http::header::AUTHORIZATION, &bearer);
}

fn api_key(c: &mut Criterion) {
    let key = ApiKey::generate("gw_live");
    let settings =
        ApiKeySettings { keys: vec![ApiKeyEntry::new("robot", key.hash())], ..ApiKeySettings::default() };
    let ring = KeyRing::new("bench", &settings, Store::memory()).unwrap();
    let method = ApiKeyMethod::new(&settings, ring).unwrap();
    let layer = AuthLayer::new(vec![Arc::new(method)], &AuthPolicy::default());
    let value = HeaderValue::try_from(key.as_str()).unwrap();
    let name = HeaderName::from_static("x-api-key");
    c.bench_function("API key", |b| pass(b, layer.layer(Answer), &name, &value));
}

/// The header is made beforehand; what is left of making the request is some 30 ns.
fn pass(b: &mut criterion::Bencher<'_>, mut service: Auth<Answer>, name: &HeaderName, value: &HeaderValue) {
    b.iter(|| {
        let mut request = Request::new(());
        request.headers_mut().insert(name, value.clone());
        let mut future = std::pin::pin!(service.call(request));
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(response)) => assert_eq!(response.status(), 200),
            _ => panic!("it waits"),
        }
    });
}

criterion_group!(benches, verify, api_key);
criterion_main!(benches);
