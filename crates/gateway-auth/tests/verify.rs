//! Good and bad tokens through the layer.
#![allow(clippy::unwrap_used)]

mod keys;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature;
use bytes::Bytes;
use gateway_auth::{JwtLayer, JwtSettings, OneOrMany};
use gateway_core::{Principal, Problem};
use gateway_store::Store;
use http::{Request, Response};
use http_body_util::Full;
use keys::{SECRET, hmac_sign, hs256, now, part, token};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};

fn with_secret() -> JwtSettings {
    JwtSettings { secret: Some(SECRET.to_owned()), ..JwtSettings::default() }
}

fn layer(settings: &JwtSettings) -> JwtLayer {
    JwtLayer::new(settings, Store::memory()).unwrap()
}

/// The principal's id, or the code of the problem.
fn outcome(layer: &JwtLayer, authorization: &[&[u8]]) -> Result<String, String> {
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        let mut response = Response::new(Full::<Bytes>::default());
        response
            .headers_mut()
            .insert("id", request.extensions().get::<Principal>().unwrap().id().parse().unwrap());
        Ok::<_, Infallible>(response)
    }));
    let mut request = Request::new(());
    for value in authorization {
        request.headers_mut().append("authorization", http::HeaderValue::from_bytes(value).unwrap());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let response = runtime.block_on(service.oneshot(request)).unwrap();
    match response.extensions().get::<Problem>() {
        None => {
            assert!(response.extensions().get::<Principal>().is_some(), "the log needs it");
            Ok(response.headers()["id"].to_str().unwrap().to_owned())
        }
        Some(problem) => {
            assert_eq!(response.status(), 401);
            let challenge = response.headers()["www-authenticate"].to_str().unwrap();
            let missing = problem.code().name() == "missing-credentials";
            assert_eq!(challenge.contains("error=\"invalid_token\""), !missing, "{challenge}");
            Err(problem.code().name().to_owned())
        }
    }
}

fn bearer(layer: &JwtLayer, token: &str) -> Result<String, String> {
    outcome(layer, &[format!("Bearer {token}").as_bytes()])
}

fn good() -> Value {
    json!({ "sub": "ada", "email": "ada@example.com", "exp": now() + 60 })
}

#[test]
fn s3_15_a_good_token_passes_whatever_the_case_of_its_scheme() {
    let layer = layer(&with_secret());
    let token = hs256(&good());
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert_eq!(
            outcome(&layer, &[format!("{scheme} {token}").as_bytes()]).as_deref(),
            Ok("ada"),
            "{scheme}"
        );
    }
    let only_email = hs256(&json!({ "email": "ada@example.com", "exp": now() + 60 }));
    assert_eq!(bearer(&layer, &only_email).as_deref(), Ok("ada@example.com"));
}

#[test]
fn s3_16_s3_18_a_header_that_is_missing_or_not_bearer_does_not_pass() {
    let layer = layer(&with_secret());
    let token = hs256(&good());
    assert_eq!(outcome(&layer, &[]), Err("missing-credentials".to_owned()));
    let twice = format!("Bearer {token}");
    for (what, headers) in [
        ("no scheme", vec![token.as_bytes()]),
        ("another scheme", vec![b"Basic YTpi".as_slice()]),
        ("a scheme that begins alike", vec![b"BearerX abc".as_slice()]),
        ("empty", vec![b"".as_slice()]),
        ("only the scheme", vec![b"Bearer".as_slice()]),
        ("only the scheme and a space", vec![b"Bearer ".as_slice()]),
        ("a tab", vec![b"Bearer\tabc".as_slice()]),
        ("latin-1", vec![b"Bearer \xe9\xe9.\xe9.\xe9".as_slice()]),
        ("twice", vec![twice.as_bytes(), twice.as_bytes()]),
    ] {
        assert_eq!(outcome(&layer, &headers), Err("invalid-token".to_owned()), "{what}");
    }
}

#[test]
fn s3_17_bad_tokens_do_not_pass() {
    let settings = JwtSettings {
        issuer: Some(OneOrMany::One("us".to_owned())),
        audience: Some(OneOrMany::Many(vec!["shop".to_owned(), "api".to_owned()])),
        required_claims: vec!["email".to_owned()],
        ..with_secret()
    };
    let layer = layer(&settings);
    let claims = |changes: Value| {
        let mut claims =
            json!({ "iss": "us", "aud": "shop", "sub": "ada", "email": "a@b", "exp": now() + 60 });
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        claims
    };
    let hs =
        |header: Value| token(&header, &claims(json!({})), hmac_sign(hmac::HMAC_SHA256, SECRET.as_bytes()));
    assert_eq!(
        bearer(&layer, &hs256(&claims(json!({})))).as_deref(),
        Ok("ada"),
        "the rest would prove nothing"
    );
    for aud in [json!("api"), json!(["x", "api"]), json!(["shop"])] {
        assert_eq!(bearer(&layer, &hs256(&claims(json!({ "aud": aud })))).as_deref(), Ok("ada"), "{aud}");
    }

    let whole = hs256(&claims(json!({})));
    let parts: Vec<&str> = whole.split('.').collect();
    let (header, body, signature) = (parts[0], parts[1], parts[2]);
    let unsigned = |alg: &str| format!("{}.{body}.", part(&json!({ "alg": alg })));
    let mut table: Vec<(String, String)> = vec![
        ("alg none".into(), unsigned("none")),
        ("alg None".into(), unsigned("None")),
        ("alg nOnE".into(), unsigned("nOnE")),
        (
            "alg none with a signature".into(),
            format!("{}.{body}.{signature}", part(&json!({ "alg": "none" }))),
        ),
        ("no alg".into(), hs(json!({ "typ": "JWT" }))),
        ("alg is a number".into(), hs(json!({ "alg": 256 }))),
        ("alg empty".into(), hs(json!({ "alg": "" }))),
        ("alg lower case".into(), hs(json!({ "alg": "hs256" }))),
        ("alg says RS256".into(), hs(json!({ "alg": "RS256" }))),
        ("alg says ES256".into(), hs(json!({ "alg": "ES256" }))),
        ("alg says HS512".into(), hs(json!({ "alg": "HS512" }))),
        (
            "HS512 where HS256 is expected".into(),
            token(
                &json!({ "alg": "HS512" }),
                &claims(json!({})),
                hmac_sign(hmac::HMAC_SHA512, SECRET.as_bytes()),
            ),
        ),
        (
            "another secret".into(),
            token(&json!({ "alg": "HS256" }), &claims(json!({})), hmac_sign(hmac::HMAC_SHA256, b"another")),
        ),
        (
            "an empty secret".into(),
            token(&json!({ "alg": "HS256" }), &claims(json!({})), hmac_sign(hmac::HMAC_SHA256, b"")),
        ),
        ("crit".into(), hs(json!({ "alg": "HS256", "crit": ["exp"] }))),
        ("crit empty".into(), hs(json!({ "alg": "HS256", "crit": [] }))),
        ("header is a list".into(), format!("{}.{body}.{signature}", part(&json!(["HS256"])))),
        ("header is no JSON".into(), format!("aGVsbG8.{body}.{signature}")),
        ("header empty".into(), format!(".{body}.{signature}")),
        ("claims empty".into(), format!("{header}..{signature}")),
        ("signature empty".into(), format!("{header}.{body}.")),
        ("two parts".into(), format!("{header}.{body}")),
        ("one part".into(), header.to_owned()),
        ("four parts".into(), format!("{whole}.x")),
        ("five parts, as encrypted ones have".into(), format!("{whole}.x.y")),
        ("only dots".into(), "..".into()),
        ("a dot".into(), ".".into()),
        ("padding".into(), format!("{header}=.{body}.{signature}")),
        ("space within".into(), format!("{header}. {body}.{signature}")),
        ("a comma and a second token".into(), format!("{whole},{whole}")),
        ("signature cut by one".into(), whole[..whole.len() - 1].to_owned()),
        ("signature longer".into(), format!("{whole}AA")),
        ("signature of zeros".into(), format!("{header}.{body}.{}", "A".repeat(43))),
        ("other claims".into(), format!("{header}.{}.{signature}", part(&claims(json!({ "sub": "eve" }))))),
        ("too large".into(), hs256(&claims(json!({ "x": "y".repeat(20_000) })))),
        ("claims are a list".into(), hs256(&json!([1, 2]))),
        ("claims are a text".into(), hs256(&json!("ada"))),
        ("claims are null".into(), hs256(&Value::Null)),
        ("deep claims".into(), {
            let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
            let text = format!("{header}.{}", base64_of(&format!("{{\"exp\":9999999999,\"x\":{deep}}}")));
            let signature = hmac_sign(hmac::HMAC_SHA256, SECRET.as_bytes())(text.as_bytes());
            format!("{text}.{}", base64_of_bytes(&signature))
        }),
    ];
    for brought in ["jwk", "jku", "x5u", "x5c", "kid"] {
        let header = json!({ "alg": "HS256", brought: "https://evil.example/keys" });
        let evil =
            token(&header, &claims(json!({})), hmac_sign(hmac::HMAC_SHA256, b"https://evil.example/keys"));
        table.push((format!("{brought} from outside"), evil));
    }
    for (what, changes) in [
        ("no exp", json!({ "exp": null })),
        ("exp is a text", json!({ "exp": (now() + 60).to_string() })),
        ("exp is true", json!({ "exp": true })),
        ("exp is a list", json!({ "exp": [now() + 60] })),
        ("nbf in the future", json!({ "nbf": now() + 30 })),
        ("nbf is a text", json!({ "nbf": "now" })),
        ("iat is a text", json!({ "iat": "now" })),
        ("another issuer", json!({ "iss": "them" })),
        ("issuer in capitals", json!({ "iss": "US" })),
        ("no issuer", json!({ "iss": null })),
        ("issuer in a list", json!({ "iss": ["us"] })),
        ("another audience", json!({ "aud": "other" })),
        ("no audience", json!({ "aud": null })),
        ("audience empty", json!({ "aud": [] })),
        ("audience is an object", json!({ "aud": { "shop": true } })),
        ("audience with a number", json!({ "aud": ["shop", 1] })),
        ("audience begins alike", json!({ "aud": "shopping" })),
        ("no required claim", json!({ "email": null })),
    ] {
        table.push((what.to_owned(), hs256(&claims(changes))));
    }
    for (what, token) in &table {
        assert_eq!(bearer(&layer, token), Err("invalid-token".to_owned()), "{what}");
    }
    for (what, exp) in [
        ("just now", json!(now())),
        ("a second ago", json!(now() - 1)),
        ("zero", json!(0)),
        ("negative", json!(-5)),
        ("a fraction ago", json!(now() as f64 - 0.5)),
    ] {
        assert_eq!(
            bearer(&layer, &hs256(&claims(json!({ "exp": exp })))),
            Err("expired-token".to_owned()),
            "{what}"
        );
    }
    for (what, exp) in [("huge", json!(1e300)), ("fractional", json!(now() as f64 + 30.5))] {
        assert_eq!(bearer(&layer, &hs256(&claims(json!({ "exp": exp })))).as_deref(), Ok("ada"), "{what}");
    }
}

fn base64_of(text: &str) -> String {
    base64_of_bytes(text.as_bytes())
}

fn base64_of_bytes(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn every_algorithm_verifies_with_its_own_key_only() {
    let (rsa, rsa_pem) = keys::rsa();
    let (p256, p256_pem) = keys::ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING);
    let (p384, p384_pem) = keys::ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING);
    let (ed, ed_pem) = keys::ed25519();
    let signed = |alg: &str, sign: &dyn Fn(&[u8]) -> Vec<u8>| token(&json!({ "alg": alg }), &good(), sign);
    let ecdsa = |pair: &signature::EcdsaKeyPair, text: &[u8]| {
        pair.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec()
    };
    let hmac_secret = SECRET.as_bytes();
    let cases: Vec<(&str, Option<&str>, String)> = vec![
        ("HS256", None, signed("HS256", &hmac_sign(hmac::HMAC_SHA256, hmac_secret))),
        ("HS384", None, signed("HS384", &hmac_sign(hmac::HMAC_SHA384, hmac_secret))),
        ("HS512", None, signed("HS512", &hmac_sign(hmac::HMAC_SHA512, hmac_secret))),
        ("RS256", Some(&rsa_pem), signed("RS256", &keys::rsa_sign(&rsa, &signature::RSA_PKCS1_SHA256))),
        ("RS384", Some(&rsa_pem), signed("RS384", &keys::rsa_sign(&rsa, &signature::RSA_PKCS1_SHA384))),
        ("RS512", Some(&rsa_pem), signed("RS512", &keys::rsa_sign(&rsa, &signature::RSA_PKCS1_SHA512))),
        ("PS256", Some(&rsa_pem), signed("PS256", &keys::rsa_sign(&rsa, &signature::RSA_PSS_SHA256))),
        ("PS384", Some(&rsa_pem), signed("PS384", &keys::rsa_sign(&rsa, &signature::RSA_PSS_SHA384))),
        ("PS512", Some(&rsa_pem), signed("PS512", &keys::rsa_sign(&rsa, &signature::RSA_PSS_SHA512))),
        ("ES256", Some(&p256_pem), signed("ES256", &|text| ecdsa(&p256, text))),
        ("ES384", Some(&p384_pem), signed("ES384", &|text| ecdsa(&p384, text))),
        ("EdDSA", Some(&ed_pem), signed("EdDSA", &|text| ed.sign(text).as_ref().to_vec())),
    ];
    let settings = |pem: Option<&str>, algorithms: Vec<&str>| JwtSettings {
        secret: pem.is_none().then(|| SECRET.to_owned()),
        public_key: pem.map(str::to_owned),
        algorithms: algorithms.iter().map(|a| serde_json::from_value(json!(a)).unwrap()).collect(),
        ..JwtSettings::default()
    };
    for (algorithm, pem, _) in &cases {
        let layer = layer(&settings(*pem, vec![algorithm]));
        for (other, other_pem, token) in &cases {
            let expected = if algorithm == other { Ok("ada") } else { Err("invalid-token".to_owned()) };
            let seen = bearer(&layer, token);
            assert_eq!(
                seen.as_deref().map_err(Clone::clone),
                expected,
                "{other} {other_pem:?} against {algorithm}"
            );
        }
    }
    // The classic confusion: an HMAC with the public key's text as its secret.
    for pem in [&rsa_pem, &p256_pem, &ed_pem] {
        let layer = layer(&settings(Some(pem), vec![]));
        let forged = signed("HS256", &hmac_sign(hmac::HMAC_SHA256, pem.as_bytes()));
        assert_eq!(bearer(&layer, &forged), Err("invalid-token".to_owned()));
    }
}

#[test]
fn leeway_is_given_on_both_sides() {
    let layer = layer(&JwtSettings { leeway: Some("30s".parse().unwrap()), ..with_secret() });
    for (what, claims, passes) in [
        ("expired within", json!({ "sub": "a", "exp": now() - 20 }), true),
        ("expired beyond", json!({ "sub": "a", "exp": now() - 31 }), false),
        ("early within", json!({ "sub": "a", "exp": now() + 60, "nbf": now() + 20 }), true),
        ("early beyond", json!({ "sub": "a", "exp": now() + 60, "nbf": now() + 60 }), false),
    ] {
        assert_eq!(bearer(&layer, &hs256(&claims)).is_ok(), passes, "{what}");
    }
}

#[test]
fn s3_19_the_second_request_with_a_token_is_not_verified_again() {
    let layer = layer(&with_secret());
    let token = hs256(&good());
    for _ in 0..5 {
        bearer(&layer, &token).unwrap();
    }
    assert_eq!(layer.clone().verifications(), 1);
    let uncached =
        JwtLayer::new(&JwtSettings { cache_entries: Some(0), ..with_secret() }, Store::memory()).unwrap();
    for _ in 0..5 {
        bearer(&uncached, &token).unwrap();
    }
    assert_eq!(uncached.verifications(), 5);
}

#[test]
fn s3_20_a_revoked_token_is_refused_in_memory_too() {
    let layer = layer(&with_secret());
    let (bad, other) = (hs256(&good()), hs256(&json!({ "sub": "bob", "exp": now() + 60 })));
    bearer(&layer, &bad).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(layer.revocations().revoke(&bad)).unwrap();
    assert_eq!(bearer(&layer, &bad), Err("revoked-token".to_owned()));
    assert_eq!(bearer(&layer, &other).as_deref(), Ok("bob"));
}

#[test]
fn settings_without_a_usable_key_say_what_is_wrong() {
    let (_, rsa_pem) = keys::rsa();
    for (json, part) in [
        (json!({}), "0 of `secret`"),
        (json!({ "secret": SECRET, "public_key": rsa_pem }), "2 of `secret`"),
        (json!({ "secret": "short" }), "5 bytes long"),
        (
            json!({ "secret": SECRET, "algorithms": ["RS256"] }),
            "`RS256` does not go with a secret; expected HS256",
        ),
        (json!({ "public_key": rsa_pem, "algorithms": ["HS256"] }), "`HS256` does not go with an RSA key"),
        (json!({ "public_key": "-----BEGIN NONSENSE-----" }), "is not the PEM of"),
        (json!({ "public_key_file": "/nowhere/key.pem" }), "cannot read `/nowhere/key.pem`: No such file"),
    ] {
        let settings: JwtSettings = serde_json::from_value(json).unwrap();
        let error = JwtLayer::new(&settings, Store::memory()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn neither_secrets_nor_tokens_are_shown() {
    let settings = with_secret();
    let layer = layer(&settings);
    assert!(!format!("{settings:?} {layer:?}").contains("a secret for tests"));
}

proptest! {
    #[test]
    fn no_header_passes_by_chance_and_none_makes_it_panic(value in prop::collection::vec(0x20u8..=0xff, 0..120)) {
        let layer = layer(&with_secret());
        let value: Vec<u8> = value.into_iter().filter(|b| *b != 0x7f).collect();
        prop_assert!(outcome(&layer, &[&value]).is_err());
        prop_assert!(outcome(&layer, &[&[b"Bearer ", value.as_slice()].concat()]).is_err());
    }

    #[test]
    fn no_change_of_a_good_token_passes(at in 0usize..1000, to in "[A-Za-z0-9_.-]") {
        let token = hs256(&json!({ "sub": "ada", "exp": 4_102_444_800u64 }));
        let at = at % token.len();
        let mut changed = token.clone();
        changed.replace_range(at..=at, &to);
        // The last character of base64url may hold bits that do not count; they must be zero.
        if changed != token {
            prop_assert!(bearer(&layer(&with_secret()), &changed).is_err(), "{}", changed);
        }
    }
}

/// The other signature that is as good: `n − s` for `s` (P-256).
fn other_signature(token: &str) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0;
    for i in (0..32).rev() {
        let difference = i32::from(ORDER[i]) - i32::from(signature[32 + i]) - borrow;
        borrow = i32::from(difference < 0);
        signature[32 + i] = difference.rem_euclid(256) as u8;
    }
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn a_revoked_token_does_not_come_back_with_another_signature() {
    let (pair, pem) = keys::ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING);
    let sign = |text: &[u8]| pair.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec();
    let first = token(&json!({ "alg": "ES256" }), &good(), sign);
    let other = other_signature(&first);
    let layer = layer(&JwtSettings { public_key: Some(pem), ..JwtSettings::default() });
    assert_eq!(bearer(&layer, &first).as_deref(), Ok("ada"));
    assert_eq!(bearer(&layer, &other).as_deref(), Ok("ada"), "the other signature is good as well");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(layer.revocations().revoke(&first)).unwrap();
    assert_eq!(bearer(&layer, &first), Err("revoked-token".to_owned()));
    assert_eq!(bearer(&layer, &other), Err("revoked-token".to_owned()));
}

#[test]
fn a_revocation_lasts_as_long_as_the_leeway_does() {
    let layer = layer(&JwtSettings { leeway: Some("60s".parse().unwrap()), ..with_secret() });
    let token = hs256(&json!({ "sub": "ada", "exp": now() - 5 }));
    assert_eq!(bearer(&layer, &token).as_deref(), Ok("ada"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(layer.revocations().revoke(&token)).unwrap();
    assert_eq!(bearer(&layer, &token), Err("revoked-token".to_owned()));
}
