//! Keys that are in this process, and may be there later than the first token.
#![allow(clippy::unwrap_used)]

mod ask;
mod keys;

use ask::{ask, get, outcome};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_auth::{AuthLayer, AuthPolicy, JwtMethod, JwtSettings};
use gateway_store::Store;
use keys::{now, token};
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};

#[tokio::test(start_paused = true)]
async fn the_first_token_after_they_are_there_passes() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let there = Arc::new(OnceLock::<Value>::new());
    let given = there.clone();
    let keys = move || given.get().cloned();
    let method = JwtMethod::with_keys(&JwtSettings::default(), Store::memory(), keys).unwrap();
    tokio::spawn(method.refresh());
    let layer = AuthLayer::new(vec![Arc::new(method)], &AuthPolicy::default());
    let header = json!({ "alg": "EdDSA", "kid": "1" });
    let claims = json!({ "sub": "ada", "exp": now() + 60 });
    let bearer = format!("Bearer {}", token(&header, &claims, |text| pair.sign(text).as_ref().to_vec()));
    let request = || get(&[("authorization", &bearer)]);
    for _ in 0..3 {
        let answer = ask(&layer, request()).await;
        assert_eq!(answer.status(), 503, "{}", outcome(&answer));
    }
    let x = URL_SAFE_NO_PAD.encode(pair.public_key());
    let key = json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "1", "x": x });
    there.set(json!({ "keys": [key] })).unwrap();
    assert_eq!(outcome(&ask(&layer, request()).await), "ada", "without a pause");
}
