//! Keys made for the tests, and tokens signed without the library under test. Each test file uses some of it.
#![allow(dead_code)]

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use aws_lc_rs::{hmac, rsa};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) const SECRET: &str = "a secret for tests, 32 bytes long";

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token with this header and these claims, signed by the function.
pub(crate) fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let text = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(text.as_bytes()));
    format!("{text}.{signature}")
}

pub(crate) fn hmac_sign(algorithm: hmac::Algorithm, secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = hmac::Key::new(algorithm, secret);
    move |text| hmac::sign(&key, text).as_ref().to_vec()
}

/// An HS256 token with these claims.
pub(crate) fn hs256(claims: &Value) -> String {
    token(&json!({ "alg": "HS256", "typ": "JWT" }), claims, hmac_sign(hmac::HMAC_SHA256, SECRET.as_bytes()))
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

pub(crate) fn rsa() -> (rsa::KeyPair, String) {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let der = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
    let pem = pem(der.as_ref());
    (pair, pem)
}

pub(crate) fn rsa_sign(
    pair: &rsa::KeyPair,
    padding: &'static dyn signature::RsaEncoding,
) -> impl Fn(&[u8]) -> Vec<u8> {
    move |text| {
        let mut out = vec![0; pair.public_modulus_len()];
        pair.sign(padding, &SystemRandom::new(), text, &mut out).unwrap();
        out
    }
}

pub(crate) fn ec(algorithm: &'static signature::EcdsaSigningAlgorithm) -> (EcdsaKeyPair, String) {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let der = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
    let pem = pem(der.as_ref());
    (pair, pem)
}

pub(crate) fn ed25519() -> (Ed25519KeyPair, String) {
    let pair = Ed25519KeyPair::generate().unwrap();
    let der = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
    let pem = pem(der.as_ref());
    (pair, pem)
}
