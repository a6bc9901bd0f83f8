//! Tokens and headers that must not pass, each with its documented answer.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

mod keys;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::{hmac, signature};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use gateway_auth::{JwtLayer, JwtSettings};
use gateway_core::{Principal, Problem};
use gateway_store::Store;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use keys::{SECRET, hmac_sign, hs256, now, part, token};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::future::Future;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use tower::{Layer, Service, service_fn};

/// The codes, each with its status and what `WWW-Authenticate` says (RFC 6750 §3).
const MISSING: &str = "missing-credentials";
const INVALID: &str = "invalid-token";
const EXPIRED: &str = "expired-token";

fn layer(settings: Value) -> JwtLayer {
    let settings: JwtSettings = serde_json::from_value(settings).unwrap();
    JwtLayer::new(&settings, Store::memory()).unwrap()
}

/// What becomes of a request with these values of `Authorization`: decided at once, without a runtime.
fn outcome(layer: &JwtLayer, values: &[&[u8]]) -> Result<String, String> {
    let mut service = layer.layer(service_fn(|request: Request<()>| async move {
        let mut response = Response::new(Full::<Bytes>::default());
        let id = request.extensions().get::<Principal>().unwrap().id().parse().unwrap();
        response.headers_mut().insert("id", id);
        Ok::<_, Infallible>(response)
    }));
    let mut request = Request::new(());
    for value in values {
        request.headers_mut().append("authorization", HeaderValue::from_bytes(value).unwrap());
    }
    let mut future = Box::pin(service.call(request));
    let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it waits")
    };
    let Some(problem) = response.extensions().get::<Problem>() else {
        return Ok(response.headers()["id"].to_str().unwrap().to_owned());
    };
    let code = problem.code().name();
    assert_eq!(response.status(), 401);
    let challenge = response.headers()["www-authenticate"].to_str().unwrap();
    let expected = match code {
        MISSING => "Bearer realm=\"gateway\"",
        _ => "Bearer realm=\"gateway\", error=\"invalid_token\"",
    };
    assert_eq!(challenge, expected, "{code}");
    Err(code.to_owned())
}

fn bearer(layer: &JwtLayer, token: &str) -> Result<String, String> {
    outcome(layer, &[format!("Bearer {token}").as_bytes()])
}

fn raw(header: &str, claims: &str) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = hmac_sign(hmac::HMAC_SHA256, SECRET.as_bytes())(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Signed well, whatever the header says.
fn with_header(header: Value) -> String {
    token(&header, &good(), hmac_sign(hmac::HMAC_SHA256, SECRET.as_bytes()))
}

/// Signed well, with claims in this very spelling.
fn with_claims(claims: &str) -> String {
    raw(r#"{"alg":"HS256"}"#, claims)
}

fn good() -> Value {
    json!({ "iss": "us", "aud": "shop", "sub": "ada", "exp": now() + 60 })
}

/// The good claims with others in their place; null takes one away.
fn claims(changes: Value) -> String {
    let mut claims = good();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    hs256(&claims)
}

#[test]
fn s0_18_s1_13_s3_17_none_of_many_bad_tokens_passes() {
    let layer = layer(json!({ "secret": SECRET, "issuer": "us", "audience": ["shop", "api"] }));
    let whole = hs256(&good());
    assert_eq!(bearer(&layer, &whole).as_deref(), Ok("ada"), "else the rest would prove nothing");
    let parts: Vec<&str> = whole.split('.').collect();
    let (header, body, signed) = (parts[0], parts[1], parts[2]);
    let unsigned = |alg: &str| format!("{}.{body}.", part(&json!({ "alg": alg })));
    let exp = now() + 60;
    let jwk = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode("evil") });
    let evil = |name: &str, value: Value| {
        token(&json!({ "alg": "HS256", name: value }), &good(), hmac_sign(hmac::HMAC_SHA256, b"evil"))
    };
    let deep = |n: usize| {
        format!(r#"{{"iss":"us","aud":"shop","exp":{exp},"x":{}{}}}"#, "[".repeat(n), "]".repeat(n))
    };
    let spelled =
        |more: &str| with_claims(&format!(r#"{{"iss":"us","aud":"shop","sub":"eve","exp":{exp}{more}}}"#));
    let last = signed.chars().last().unwrap();
    // 43 characters carry 258 bits: the last two must be zero.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let sloppy = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    let table: Vec<(&str, String, &str)> = vec![
        // Algorithms.
        ("alg none", unsigned("none"), INVALID),
        ("alg None", unsigned("None"), INVALID),
        ("alg nOnE", unsigned("nOnE"), INVALID),
        ("alg none, signed", with_header(json!({ "alg": "none" })), INVALID),
        ("alg none without its last dot", unsigned("none").trim_end_matches('.').to_owned(), INVALID),
        ("no alg", with_header(json!({ "typ": "JWT" })), INVALID),
        ("alg null", with_header(json!({ "alg": null })), INVALID),
        ("alg a number", with_header(json!({ "alg": 256 })), INVALID),
        ("alg a list", with_header(json!({ "alg": ["HS256"] })), INVALID),
        ("alg empty", with_header(json!({ "alg": "" })), INVALID),
        ("alg in lower case", with_header(json!({ "alg": "hs256" })), INVALID),
        ("alg with a space", with_header(json!({ "alg": "HS256 " })), INVALID),
        ("alg with a NUL", with_header(json!({ "alg": "HS256\0" })), INVALID),
        ("alg that looks alike", with_header(json!({ "alg": "НS256" })), INVALID),
        ("alg RS256", with_header(json!({ "alg": "RS256" })), INVALID),
        ("alg ES512", with_header(json!({ "alg": "ES512" })), INVALID),
        ("alg EdDSA", with_header(json!({ "alg": "EdDSA" })), INVALID),
        (
            "HS512 where HS256 is the key's",
            token(&json!({ "alg": "HS512" }), &good(), hmac_sign(hmac::HMAC_SHA512, SECRET.as_bytes())),
            INVALID,
        ),
        ("alg twice, none first", raw(r#"{"alg":"none","alg":"HS256"}"#, &good().to_string()), INVALID),
        (
            "alg twice, spelled otherwise",
            raw(r#"{"alg":"HS256","\u0061lg":"none"}"#, &good().to_string()),
            INVALID,
        ),
        // Keys that it brings along, and names of keys.
        ("jwk", evil("jwk", jwk.clone()), INVALID),
        ("jku", evil("jku", json!("https://evil.example/keys")), INVALID),
        ("x5u", evil("x5u", json!("https://evil.example/chain")), INVALID),
        ("x5c", evil("x5c", json!([STANDARD.encode("evil")])), INVALID),
        ("kid a path", evil("kid", json!("../../../../dev/null")), INVALID),
        (
            "kid an empty file's key",
            token(&json!({ "alg": "HS256", "kid": "/dev/null" }), &good(), hmac_sign(hmac::HMAC_SHA256, b"")),
            INVALID,
        ),
        ("kid SQL", evil("kid", json!("x' UNION SELECT 'evil' --")), INVALID),
        ("kid a command", evil("kid", json!("|cat /etc/passwd")), INVALID),
        ("kid huge", evil("kid", json!("k".repeat(8000))), INVALID),
        ("kid null", with_header(json!({ "alg": "HS256", "kid": null })), INVALID),
        ("kid a number", with_header(json!({ "alg": "HS256", "kid": 1 })), INVALID),
        ("kid a list", with_header(json!({ "alg": "HS256", "kid": ["a"] })), INVALID),
        // Extensions.
        ("crit", with_header(json!({ "alg": "HS256", "crit": ["exp"] })), INVALID),
        ("crit empty", with_header(json!({ "alg": "HS256", "crit": [] })), INVALID),
        ("crit null", with_header(json!({ "alg": "HS256", "crit": null })), INVALID),
        ("b64 false", with_header(json!({ "alg": "HS256", "b64": false, "crit": ["b64"] })), INVALID),
        ("b64 false, not critical", with_header(json!({ "alg": "HS256", "b64": false })), INVALID),
        ("zip", with_header(json!({ "alg": "HS256", "zip": "DEF" })), INVALID),
        ("enc", with_header(json!({ "alg": "HS256", "enc": "A256GCM" })), INVALID),
        ("alg dir, as encrypted ones have", with_header(json!({ "alg": "dir", "enc": "A256GCM" })), INVALID),
        ("a token within", raw(r#"{"alg":"HS256","cty":"JWT"}"#, &whole), INVALID),
        ("a token within, not said", with_claims(&format!("\"{whole}\"")), INVALID),
        // Shapes.
        ("one part", header.to_owned(), INVALID),
        ("two parts", format!("{header}.{body}"), INVALID),
        ("four parts", format!("{whole}.x"), INVALID),
        ("five parts, as encrypted ones have", format!("{whole}.x.y"), INVALID),
        ("a dot behind", format!("{whole}."), INVALID),
        ("a dot in front", format!(".{whole}"), INVALID),
        ("only dots", "..".to_owned(), INVALID),
        ("header empty", format!(".{body}.{signed}"), INVALID),
        ("claims empty", format!("{header}..{signed}"), INVALID),
        ("claims empty, signed", with_claims(""), INVALID),
        ("signature empty", format!("{header}.{body}."), INVALID),
        ("signature cut by one", whole[..whole.len() - 1].to_owned(), INVALID),
        ("signature cut by half", whole[..whole.len() - signed.len() / 2].to_owned(), INVALID),
        ("signature longer", format!("{whole}AA"), INVALID),
        ("signature of zeros", format!("{header}.{body}.{}", "A".repeat(43)), INVALID),
        ("signature's unused bits", format!("{}{sloppy}", &whole[..whole.len() - 1]), INVALID),
        ("signature padded", format!("{whole}="), INVALID),
        ("header padded", format!("{}.{body}.{signed}", URL_SAFE.encode(r#"{"alg":"HS256"}"#)), INVALID),
        (
            "the other base64",
            with_claims(r#"{"exp":9999999999,"iss":"us","aud":"shop","x":"???>>>"}"#)
                .replace('_', "/")
                .replace('-', "+")
                + "+",
            INVALID,
        ),
        ("percent-encoded", whole.replacen('.', "%2E", 1), INVALID),
        ("white space within", format!("{header}. {body}.{signed}"), INVALID),
        ("a tab within", format!("{header}.\t{body}.{signed}"), INVALID),
        ("a comma and a second token", format!("{whole},{whole}"), INVALID),
        ("a space and a second token", format!("{whole} {whole}"), INVALID),
        ("in quotation marks", format!("\"{whole}\""), INVALID),
        ("JSON serialisation", r#"{"payload":"e30","signatures":[]}"#.to_owned(), INVALID),
        ("opaque", "2YotnFZFEjr1zCsicMWpAA".to_owned(), INVALID),
        ("16 KiB and one", "A".repeat(16 * 1024 + 1), INVALID),
        ("16 KiB of nothing", "A".repeat(16 * 1024), INVALID),
        ("16 KiB of dots", ".".repeat(16 * 1024), INVALID),
        ("a huge claim", hs256(&json!({ "exp": exp, "x": "y".repeat(20_000) })), INVALID),
        // JSON that could be read in two ways.
        ("sub twice", spelled(r#","sub":"ada""#), INVALID),
        ("exp twice", spelled(r#","exp":9999999999"#), INVALID),
        ("aud twice", spelled(r#","aud":"api""#), INVALID),
        ("a claim twice further in", spelled(r#","x":{"a":1,"a":2}"#), INVALID),
        ("a claim twice, spelled otherwise", spelled(r#","s\u0075b":"ada""#), INVALID),
        ("a comma too many", spelled(","), INVALID),
        ("a comment", spelled("/**/"), INVALID),
        ("something behind", with_claims(&format!("{}{{}}", good())), INVALID),
        ("a byte order mark", with_claims(&format!("\u{feff}{}", good())), INVALID),
        ("half a surrogate", spelled(r#","x":"\ud800""#), INVALID),
        ("deep claims", with_claims(&deep(1000)), INVALID),
        ("claims a little too deep", with_claims(&deep(33)), INVALID),
        (
            "a deep header",
            raw(
                &format!(r#"{{"alg":"HS256","x":{}{}}}"#, "[".repeat(200), "]".repeat(200)),
                &good().to_string(),
            ),
            INVALID,
        ),
        ("header a list", raw(r#"["HS256"]"#, &good().to_string()), INVALID),
        ("header no JSON", raw("hello", &good().to_string()), INVALID),
        ("claims a list", hs256(&json!([1])), INVALID),
        ("claims null", hs256(&Value::Null), INVALID),
        ("claims a number", hs256(&json!(1)), INVALID),
        // Times.
        ("no exp", claims(json!({ "exp": null })), INVALID),
        ("exp a text", claims(json!({ "exp": exp.to_string() })), INVALID),
        ("exp true", claims(json!({ "exp": true })), INVALID),
        ("exp a list", claims(json!({ "exp": [exp] })), INVALID),
        ("exp an object", claims(json!({ "exp": {} })), INVALID),
        ("exp 1e400", with_claims(r#"{"iss":"us","aud":"shop","exp":1e400}"#), INVALID),
        ("exp NaN", with_claims(r#"{"iss":"us","aud":"shop","exp":NaN}"#), INVALID),
        ("exp Infinity", with_claims(r#"{"iss":"us","aud":"shop","exp":Infinity}"#), INVALID),
        ("exp in hexadecimal", with_claims(r#"{"iss":"us","aud":"shop","exp":0xffffffff}"#), INVALID),
        ("exp with a plus", with_claims(r#"{"iss":"us","aud":"shop","exp":+9999999999}"#), INVALID),
        ("exp in a look-alike's name", claims(json!({ "exp": null, "ехр": exp })), INVALID),
        ("exp in capitals", claims(json!({ "exp": null, "EXP": exp })), INVALID),
        ("exp negative", claims(json!({ "exp": -1 })), EXPIRED),
        ("exp zero", claims(json!({ "exp": 0 })), EXPIRED),
        ("exp now", claims(json!({ "exp": now() })), EXPIRED),
        ("exp a second ago", claims(json!({ "exp": now() - 1 })), EXPIRED),
        ("exp half a second ago", claims(json!({ "exp": now() as f64 - 0.5 })), EXPIRED),
        ("exp tiny", claims(json!({ "exp": 1e-300 })), EXPIRED),
        ("nbf ahead", claims(json!({ "nbf": now() + 30 })), INVALID),
        ("nbf ten seconds ahead", claims(json!({ "nbf": now() + 10 })), INVALID),
        ("nbf a text", claims(json!({ "nbf": "now" })), INVALID),
        ("nbf far ahead", claims(json!({ "nbf": 1e300 })), INVALID),
        ("iat a text", claims(json!({ "iat": "now" })), INVALID),
        ("iat false", claims(json!({ "iat": false })), INVALID),
        // For others.
        ("another issuer", claims(json!({ "iss": "them" })), INVALID),
        ("issuer in capitals", claims(json!({ "iss": "US" })), INVALID),
        ("issuer with a slash", claims(json!({ "iss": "us/" })), INVALID),
        ("issuer with a look-alike", claims(json!({ "iss": "uѕ" })), INVALID),
        ("issuer in a list", claims(json!({ "iss": ["us"] })), INVALID),
        ("no issuer", claims(json!({ "iss": null })), INVALID),
        ("another audience", claims(json!({ "aud": "other" })), INVALID),
        ("audience begins alike", claims(json!({ "aud": "shopping" })), INVALID),
        ("audiences in one text", claims(json!({ "aud": "shop api" })), INVALID),
        ("audience empty", claims(json!({ "aud": [] })), INVALID),
        ("audience an object", claims(json!({ "aud": { "shop": true } })), INVALID),
        ("audience in a list in a list", claims(json!({ "aud": [["shop"]] })), INVALID),
        ("audience with a number", claims(json!({ "aud": ["shop", 1] })), INVALID),
        ("audience with null", claims(json!({ "aud": [null, "shop"] })), INVALID),
        ("no audience", claims(json!({ "aud": null })), INVALID),
        // Other keys.
        (
            "another secret",
            token(&json!({ "alg": "HS256" }), &good(), hmac_sign(hmac::HMAC_SHA256, b"another")),
            INVALID,
        ),
        (
            "an empty secret",
            token(&json!({ "alg": "HS256" }), &good(), hmac_sign(hmac::HMAC_SHA256, b"")),
            INVALID,
        ),
        (
            "other claims",
            format!(
                "{header}.{}.{signed}",
                part(&json!({ "iss": "us", "aud": "shop", "sub": "eve", "exp": exp }))
            ),
            INVALID,
        ),
        (
            "another header",
            format!("{}.{body}.{signed}", part(&json!({ "typ": "JOSE", "alg": "HS256" }))),
            INVALID,
        ),
    ];
    assert!(table.len() >= 80, "{}", table.len());
    for (what, token, code) in &table {
        assert_eq!(bearer(&layer, token), Err((*code).to_owned()), "{what}");
    }
}

#[test]
fn s3_16_s3_18_no_header_but_one_bearer_token_passes() {
    let layer = layer(json!({ "secret": SECRET }));
    let token = hs256(&good());
    let (bearer, other) = (format!("Bearer {token}"), format!("Bearer {}", hs256(&json!({ "exp": 1 }))));
    for good in [
        bearer.clone(),
        bearer.to_lowercase().replace(&token.to_lowercase(), &token),
        format!("BEARER   {token} "),
    ] {
        assert_eq!(outcome(&layer, &[good.as_bytes()]).as_deref(), Ok("ada"), "{good:.12}");
    }
    let long = format!("Bearer {}", "A".repeat(16 * 1024 + 1));
    let table: Vec<(&str, Vec<&[u8]>, &str)> = vec![
        ("none", vec![], MISSING),
        ("empty", vec![b""], INVALID),
        ("only the scheme", vec![b"Bearer"], INVALID),
        ("only the scheme and spaces", vec![b"Bearer    "], INVALID),
        ("no scheme", vec![token.as_bytes()], INVALID),
        ("another scheme", vec![b"Basic YTpi"], INVALID),
        ("a scheme that begins alike", vec![b"BearerX abc"], INVALID),
        ("a colon", vec![b"Bearer: abc"], INVALID),
        ("a tab", vec![b"Bearer\tabc"], INVALID),
        ("latin-1", vec![b"Bearer \xe9\xe9.\xe9.\xe9"], INVALID),
        ("twice the same", vec![bearer.as_bytes(), bearer.as_bytes()], INVALID),
        ("a good and a bad one", vec![bearer.as_bytes(), other.as_bytes()], INVALID),
        ("a bad and a good one", vec![other.as_bytes(), bearer.as_bytes()], INVALID),
        ("basic, then a good one", vec![b"Basic YTpi", bearer.as_bytes()], INVALID),
        ("an empty one, then a good one", vec![b"", bearer.as_bytes()], INVALID),
        ("over 16 KiB", vec![long.as_bytes()], INVALID),
    ];
    for (what, values, code) in table {
        assert_eq!(outcome(&layer, &values), Err(code.to_owned()), "{what}");
    }
}

#[test]
fn psychic_signatures_and_public_keys_as_secrets_do_not_pass() {
    let curves = [
        ("ES256", keys::ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING), 64),
        ("ES384", keys::ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING), 96),
        ("ES512", keys::ec(&signature::ECDSA_P521_SHA512_FIXED_SIGNING), 132),
    ];
    for (alg, (pair, pem), size) in &curves {
        let layer = layer(json!({ "public_key": pem }));
        let sign = |text: &[u8]| pair.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec();
        let header = json!({ "alg": alg });
        assert_eq!(bearer(&layer, &token(&header, &good(), sign)).as_deref(), Ok("ada"), "{alg}");
        for (what, signature) in [
            ("zeros", vec![0; *size]),
            ("ones", vec![0xff; *size]),
            ("zeros, shorter", vec![0; size / 2]),
            ("zeros, longer", vec![0; size + 2]),
            ("zeros as DER", vec![0x30, 6, 2, 1, 0, 2, 1, 0]),
            ("empty", vec![]),
        ] {
            let forged = token(&header, &good(), |_| signature.clone());
            assert_eq!(bearer(&layer, &forged), Err(INVALID.to_owned()), "{alg} {what}");
        }
        let twice = token(&header, &good(), |text| [sign(text), vec![0]].concat());
        assert_eq!(bearer(&layer, &twice), Err(INVALID.to_owned()), "{alg} with a byte more");
    }
    let (_, rsa) = keys::rsa();
    let (_, ed) = keys::ed25519();
    for pem in [&rsa, &ed, &curves[0].1.1] {
        let layer = layer(json!({ "public_key": pem }));
        let der =
            STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
        for secret in [pem.as_bytes(), pem.trim_end().as_bytes(), &der] {
            let forged = token(&json!({ "alg": "HS256" }), &good(), hmac_sign(hmac::HMAC_SHA256, secret));
            assert_eq!(bearer(&layer, &forged), Err(INVALID.to_owned()));
        }
    }
    // Of RSA, a signature that is the padding itself proves nothing.
    let layer = layer(json!({ "public_key": rsa }));
    for size in [0, 1, 255, 256, 257] {
        let forged = token(&json!({ "alg": "RS256" }), &good(), |_| vec![1; size]);
        assert_eq!(bearer(&layer, &forged), Err(INVALID.to_owned()), "{size}");
    }
}

#[test]
fn several_keys_each_verify_under_their_own_name() {
    let (pair, pem) = keys::ed25519();
    let layer = layer(json!({ "keys": [
        { "secret": "the secret of this year, 2026", "kid": "new" },
        { "secret": "the secret of last year, 2025", "kid": "old" },
        { "public_key": pem },
    ] }));
    let hs = |kid: Value, secret: &str| {
        let header =
            if kid.is_null() { json!({ "alg": "HS256" }) } else { json!({ "alg": "HS256", "kid": kid }) };
        token(&header, &good(), hmac_sign(hmac::HMAC_SHA256, secret.as_bytes()))
    };
    let (new, old) = ("the secret of this year, 2026", "the secret of last year, 2025");
    for (what, token, passes) in [
        ("new", hs(json!("new"), new), true),
        ("old", hs(json!("old"), old), true),
        ("unnamed", hs(Value::Null, old), true),
        ("under the other's name", hs(json!("new"), old), false),
        ("under no key's name", hs(json!("other"), old), false),
        (
            "a key without a name",
            token(&json!({ "alg": "EdDSA", "kid": "any" }), &good(), |t| pair.sign(t).as_ref().to_vec()),
            true,
        ),
    ] {
        assert_eq!(bearer(&layer, &token).is_ok(), passes, "{what}");
    }
}

#[test]
fn a_type_is_demanded_where_the_settings_say() {
    let layer = layer(json!({ "secret": SECRET, "typ": "at+jwt" }));
    for (typ, passes) in [
        (json!("at+jwt"), true),
        (json!("AT+JWT"), true),
        (json!("application/at+jwt"), true),
        (json!("JWT"), false),
        (json!(""), false),
        (json!(1), false),
    ] {
        let token = with_header(json!({ "alg": "HS256", "typ": typ }));
        assert_eq!(bearer(&layer, &token).is_ok(), passes, "{typ}");
    }
    assert!(bearer(&layer, &with_header(json!({ "alg": "HS256" }))).is_err());
}

#[test]
fn s0_19_a_token_that_is_too_old_has_expired() {
    let layer = layer(json!({
        "secret": SECRET, "require_exp": false, "max_age": "604800s", "max_age_claim": "timestamp",
        "id_claim": "user_id",
    }));
    let made = |timestamp: u64| hs256(&json!({ "user_id": 7, "timestamp": timestamp }));
    assert_eq!(bearer(&layer, &made(now() - 604_790)).as_deref(), Ok("7"));
    assert_eq!(bearer(&layer, &made(now() - 604_800)), Err(EXPIRED.to_owned()));
    assert_eq!(bearer(&layer, &hs256(&json!({ "user_id": 7 }))), Err(INVALID.to_owned()));
}

struct Rest {
    layer: JwtLayer,
    tokens: Vec<String>,
}

/// Good tokens of all families, and a layer that takes each of them.
fn rest() -> &'static Rest {
    static REST: OnceLock<Rest> = OnceLock::new();
    REST.get_or_init(|| {
        let (p256, p256_pem) = keys::ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING);
        let (ed, ed_pem) = keys::ed25519();
        let (rsa, rsa_pem) = keys::rsa();
        let layer = layer(json!({ "cache_entries": 0, "keys": [
            { "secret": SECRET }, { "public_key": p256_pem }, { "public_key": ed_pem }, { "public_key": rsa_pem },
        ] }));
        let claims = json!({ "sub": "ada", "exp": 4_102_444_800_u64 });
        let made = |alg: &str, sign: &dyn Fn(&[u8]) -> Vec<u8>| token(&json!({ "alg": alg }), &claims, sign);
        let tokens = vec![
            made("HS256", &hmac_sign(hmac::HMAC_SHA256, SECRET.as_bytes())),
            made("ES256", &|text| p256.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec()),
            made("EdDSA", &|text| ed.sign(text).as_ref().to_vec()),
            made("RS256", &keys::rsa_sign(&rsa, &signature::RSA_PKCS1_SHA256)),
        ];
        Rest { layer, tokens }
    })
}

proptest! {
    #[test]
    fn no_change_of_a_good_token_passes(
        which in 0usize..4,
        changes in prop::collection::vec((0usize..2000, 0usize..4, "[A-Za-z0-9_.=+/ -]"), 1..4),
    ) {
        let Rest { layer, tokens } = rest();
        let token = &tokens[which];
        prop_assert!(bearer(layer, token).is_ok());
        let mut changed = token.clone();
        for (at, how, with) in changes {
            // An earlier change may have left nothing.
            let Some(at) = at.checked_rem(changed.len()) else { break };
            match how {
                0 => changed.replace_range(at..=at, &with),
                1 => changed.insert_str(at, &with),
                2 => drop(changed.remove(at)),
                _ => changed.truncate(at.max(1)),
            }
        }
        // White space around a token is none of it.
        if changed.trim_matches(' ') != token {
            prop_assert!(bearer(layer, &changed).is_err(), "{}", changed);
        }
    }
}
