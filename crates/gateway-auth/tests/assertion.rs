//! What a service can verify with the key set that the gateway publishes.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_auth::{AssertionAlgorithm, AssertionSettings, Assertions};
use gateway_core::units::Timespan;
use gateway_core::{AuthMethod, Principal};
use gateway_store::{RedisSettings, Store, StoreSettings};
use http::{Request, Response};
use http_body_util::Full;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};

fn caller(id: &str, claims: Value) -> Option<Principal> {
    let Value::Object(claims) = claims else { panic!("not a table: {claims}") };
    Some(Principal::new(id, AuthMethod::Jwt, claims))
}

/// The tokens that reach the service.
async fn sent(assertions: &Assertions, caller: Option<Principal>, headers: &[(&str, &str)]) -> Vec<String> {
    let service =
        assertions.layer("orders", "order-service").layer(service_fn(|request: Request<()>| async move {
            let all = request.headers().iter().filter(|(name, _)| name.as_str().contains("assertion"));
            let all: Vec<String> = all.map(|(_, value)| value.to_str().unwrap().to_owned()).collect();
            let mut response = Response::new(Full::<Bytes>::default());
            response.extensions_mut().insert(all);
            Ok::<_, Infallible>(response)
        }));
    let mut request = Request::builder();
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(()).unwrap();
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    service.oneshot(request).await.unwrap().extensions_mut().remove::<Vec<String>>().unwrap()
}

async fn token(assertions: &Assertions, caller: Option<Principal>) -> String {
    sent(assertions, caller, &[]).await.pop().unwrap()
}

/// As a service would, knowing nothing but the key set.
fn verify(jwks: &[u8], token: &str, audience: &str) -> Result<Value, String> {
    let set: JwkSet = serde_json::from_slice(jwks).unwrap();
    let header = decode_header(token).unwrap();
    let key = set.find(header.kid.as_deref().unwrap()).ok_or("the key is not published")?;
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&[audience]);
    validation.set_issuer(&["gateway"]);
    validation.leeway = 0;
    let claims = decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &validation);
    claims.map(|token| token.claims).map_err(|error| error.to_string())
}

#[tokio::test]
async fn s2_18_a_service_verifies_who_called_by_the_published_keys() {
    for algorithm in [AssertionAlgorithm::ES256, AssertionAlgorithm::EdDSA] {
        let settings = AssertionSettings { algorithm, claims: vec!["roles".into()], ..Default::default() };
        let assertions = Assertions::new(&settings).unwrap();
        let ada = caller("ada", json!({ "roles": ["a"], "email": "ada@x" }));
        let spoofed = [("x-internal-assertion", "a.b.c"), ("X_Internal_Assertion", "a.b.c")];
        let tokens = sent(&assertions, ada, &spoofed).await;
        assert_eq!(tokens.len(), 1, "a spoofed copy reached the service: {tokens:?}");
        let claims = verify(&assertions.jwks_json(), &tokens[0], "order-service").unwrap();
        let (iat, exp) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
        assert_eq!(exp - iat, 60);
        assert_eq!(
            claims,
            json!({
                "iss": "gateway", "aud": "order-service", "sub": "ada", "roles": ["a"],
                "route": "orders", "service": "order-service", "iat": iat, "exp": exp,
            })
        );
        verify(&assertions.jwks_json(), &tokens[0], "user-service").unwrap_err();
        let other = Assertions::new(&settings).unwrap();
        verify(&other.jwks_json(), &tokens[0], "order-service").unwrap_err();
    }
}

#[tokio::test]
async fn a_token_is_used_again_for_the_same_caller_and_for_no_other() {
    let settings = AssertionSettings { claims: vec!["tenant".into()], ..Default::default() };
    let assertions = Assertions::new(&settings).unwrap();
    let ada = |tenant: &str| caller("ada", json!({ "tenant": tenant }));
    let first = token(&assertions, ada("x")).await;
    assert_eq!(token(&assertions, ada("x")).await, first);
    for other in [ada("y"), caller("bob", json!({ "tenant": "x" })), None] {
        assert_ne!(token(&assertions, other).await, first);
    }
    let claims = verify(&assertions.jwks_json(), &token(&assertions, None).await, "order-service").unwrap();
    assert!(claims.get("sub").is_none(), "{claims}");
}

#[tokio::test]
async fn nobody_gets_a_token_where_anonymous_is_off_and_a_spoofed_one_is_taken_all_the_same() {
    let settings = AssertionSettings { anonymous: false, ..Default::default() };
    let assertions = Assertions::new(&settings).unwrap();
    assert_eq!(sent(&assertions, None, &[("x-internal-assertion", "a.b.c")]).await, [""; 0]);
}

#[tokio::test]
async fn a_token_signed_before_a_rotation_is_good_after_it() {
    let settings = AssertionSettings { cache_entries: 0, ..Default::default() };
    let assertions = Assertions::new(&settings).unwrap();
    let before = token(&assertions, caller("ada", json!({}))).await;
    assertions.rotate_now();
    let after = token(&assertions, caller("ada", json!({}))).await;
    assert_ne!(decode_header(&before).unwrap().kid, decode_header(&after).unwrap().kid);
    for token in [before, after] {
        verify(&assertions.jwks_json(), &token, "order-service").unwrap();
    }
}

#[tokio::test]
async fn a_token_signed_before_a_reload_is_good_after_it() {
    let settings = AssertionSettings::default();
    let before = Assertions::new(&settings).unwrap();
    let first = token(&before, None).await;
    let same = before.succeed(&settings).unwrap();
    assert_eq!(token(&same, None).await, first);
    let settings = AssertionSettings { algorithm: AssertionAlgorithm::EdDSA, ..settings };
    let after = before.succeed(&settings).unwrap();
    for token in [first, token(&after, None).await] {
        verify(&after.jwks_json(), &token, "order-service").unwrap();
    }
}

const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
const OTHER: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIKo7kNKXmaa+ceUfmXR2rj3STVNHxhd0/DfLsdhtcn4x\n-----END PRIVATE KEY-----\n";

#[tokio::test]
async fn a_key_file_is_read_again_when_it_changes_and_a_bad_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pem");
    std::fs::write(&path, PEM).unwrap();
    let settings = AssertionSettings { key_file: Some(path.clone()), cache_entries: 0, ..Default::default() };
    let (one, two) = (Assertions::new(&settings).unwrap(), Assertions::new(&settings).unwrap());
    let first = token(&one, None).await;
    verify(&two.jwks_json(), &first, "order-service").unwrap();
    let store = Store::memory();
    for (text, kids) in [(OTHER, 2), ("nonsense", 2), (PEM, 2)] {
        std::fs::write(&path, text).unwrap();
        one.maintain(&store).await;
        one.maintain(&store).await;
        verify(&one.jwks_json(), &first, "order-service").unwrap();
        verify(&one.jwks_json(), &token(&one, None).await, "order-service").unwrap();
        let set: JwkSet = serde_json::from_slice(&one.jwks_json()).unwrap();
        assert_eq!(set.keys.len(), kids, "{text}");
    }
}

#[tokio::test]
async fn every_instance_publishes_the_keys_of_all() {
    let redis = gateway_testkit::Redis::start();
    let store = || {
        let redis = RedisSettings { timeout: Timespan::secs(2), ..RedisSettings::new(&redis.url()) };
        Store::open(&StoreSettings { redis: Some(redis), ..StoreSettings::default() }).unwrap()
    };
    let (store_one, store_two) = (store(), store());
    let settings = AssertionSettings::default();
    let (one, two) = (Assertions::new(&settings).unwrap(), Assertions::new(&settings).unwrap());
    one.maintain(&store_one).await;
    two.maintain(&store_two).await;
    one.maintain(&store_one).await;
    let (from_one, from_two) = (token(&one, None).await, token(&two, None).await);
    for jwks in [one.jwks(&store_one).await, two.jwks(&store_two).await] {
        verify(&jwks, &from_one, "order-service").unwrap();
        verify(&jwks, &from_two, "order-service").unwrap();
        assert!(!String::from_utf8_lossy(&jwks).contains("\"d\""), "a private key is shown");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_and_keys_are_not_shown() {
    for (settings, part) in [
        (json!({ "ttl": "1s" }), "`ttl`: 1s is too short; expected `4s` or more"),
        (json!({ "announce": "2d" }), "`announce`: 2days is not less than `rotate`, 1day"),
        (json!({ "overlap": "1m" }), "`overlap`: 1m is less than twice the `ttl`, 1m"),
        (json!({ "claims": ["sub"] }), "`sub` is the gateway's own to say"),
        (json!({ "key": "secret" }), "`key`: it is no private key"),
        (json!({ "key_file": "/nowhere" }), "cannot read `/nowhere`"),
        (json!({ "key": PEM, "key_file": "/nowhere" }), "expected one of them"),
        (json!({ "header": "a b" }), "`a b` cannot name a header"),
    ] {
        let settings: AssertionSettings = serde_json::from_value(settings).unwrap();
        let error = Assertions::new(&settings).unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains("secret"), "{error}");
    }
    let settings = AssertionSettings { key: Some(PEM.into()), ..Default::default() };
    let shown = format!("{settings:?} {:?}", Assertions::new(&settings).unwrap());
    assert!(!shown.contains("MC4CAQ"), "{shown}");
}
