//! The examples of RFC 9421 and Standard Webhooks, and what must not pass.

use crate::method::Head;
use crate::signatures::base::Covered;
use crate::signatures::key::Signer;
use crate::signatures::settings::{SignatureAlgorithm, SignatureKey, SignatureSettings};
use crate::signatures::verdict::Verified;
use crate::signatures::{message, webhook};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_core::Scheme;
use http::{HeaderName, HeaderValue, Request};
use proptest::prelude::*;
use sfv::{Dictionary, ListEntry, Parser};

/// RFC 9421 §B.1.
const RSA: &str = "-----BEGIN RSA PUBLIC KEY-----
MIIBCgKCAQEAhAKYdtoeoy8zcAcR874L8cnZxKzAGwd7v36APp7Pv6Q2jdsPBRrw
WEBnez6d0UDKDwGbc6nxfEXAy5mbhgajzrw3MOEt8uA5txSKobBpKDeBLOsdJKFq
MGmXCQvEG7YemcxDTRPxAleIAgYYRjTSd/QBwVW9OwNFhekro3RtlinV0a75jfZg
kne/YiktSvLG34lw2zqXBDTC5NHROUqGTlML4PlNZS5Ri2U4aCNx2rUPRcKIlE0P
uKxI4T+HIaFpv8+rdV6eUgOrB2xeI1dSFFn/nnv5OoZJEIB+VmuKn3DCUcCZSFlQ
PSXSfBDiUGhwOw76WuSSsf1D4b/vLoJ10wIDAQAB
-----END RSA PUBLIC KEY-----
";
const RSA_PSS: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2
+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry53mm+
oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHq
gDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5W
Utzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4
aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oyc6XI
2wIDAQAB
-----END PUBLIC KEY-----
";
const P256: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf
w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==
-----END PUBLIC KEY-----
";
const ED25519: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----
";
const SECRET: &str =
    "base64:uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";

const DIGEST: &str =
    "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";
const BODY: &[u8] = br#"{"hello": "world"}"#;
const CREATED: f64 = 1_618_884_473.0;

/// The keys of RFC 9421 §B.1.
fn keys() -> Vec<Signer> {
    let key = |id: &str| SignatureKey { id: id.to_owned(), ..SignatureKey::default() };
    let public = |id: &str, pem: &str| SignatureKey { public_key: Some(pem.to_owned()), ..key(id) };
    [
        SignatureKey { algorithm: Some(SignatureAlgorithm::RsaV15Sha256), ..public("test-key-rsa", RSA) },
        public("test-key-rsa-pss", RSA_PSS),
        public("test-key-ecc-p256", P256),
        public("test-key-ed25519", ED25519),
        SignatureKey { secret: Some(SECRET.to_owned()), ..key("test-shared-secret") },
    ]
    .iter()
    .enumerate()
    .map(|(at, key)| Signer::new(at, key).unwrap())
    .collect()
}

fn settings(components: &[&str]) -> SignatureSettings {
    let components = components.iter().map(|name| (*name).to_owned()).collect();
    SignatureSettings { components, ..SignatureSettings::default() }
}

/// The request of RFC 9421 §B.2, which came over TLS, signed so.
fn request(input: &str, signature: &str) -> Request<()> {
    let request = Request::post("/foo?param=Value&Pet=dog")
        .header("host", "example.com")
        .header("date", "Tue, 20 Apr 2021 02:07:55 GMT")
        .header("content-type", "application/json")
        .header("content-digest", DIGEST)
        .header("content-length", "18")
        .header("signature-input", input)
        .header("signature", signature)
        .extension(Scheme::Https);
    request.body(()).unwrap()
}

fn verify(settings: &SignatureSettings, request: &Request<()>, now: f64) -> Result<String, String> {
    match message::verify(settings, &keys(), Head::of(request), Some(BODY), now) {
        Verified::Good(signed) => Ok(signed.principal.id().to_owned()),
        Verified::Bad(why) | Verified::Foreign(why) => Err(why.into_owned()),
        Verified::Absent => Err("absent".to_owned()),
    }
}

/// Whether the signature by this label is the one of the key by this name.
fn is_by(request: &Request<()>, label: &str, id: &str) -> bool {
    let parse =
        |name: &str| -> Dictionary { Parser::new(request.headers()[name].as_bytes()).parse().unwrap() };
    let (inputs, signatures) = (parse("signature-input"), parse("signature"));
    let ListEntry::InnerList(list) = &inputs[label] else { panic!("no list") };
    let ListEntry::Item(signature) = &signatures[label] else { panic!("no item") };
    let base = Covered::new(list).and_then(|covered| covered.base(list, Head::of(request))).unwrap();
    let keys = keys();
    let key = keys.iter().find(|key| *key.id == *id).unwrap();
    key.verify(base.as_bytes(), signature.bare_item.as_byte_sequence().unwrap())
}

const B25: [&str; 2] = [
    r#"sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#,
    "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:",
];
const B26: [&str; 2] = [
    r#"sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#,
    "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
];

#[test]
fn the_examples_of_rfc_9421_appendix_b_2_verify() {
    for (label, id, input, signature) in [
        (
            "sig-b21",
            "test-key-rsa-pss",
            r#"sig-b21=();created=1618884473;keyid="test-key-rsa-pss";nonce="b3k2pp5k7z-50gnwp.yemd""#,
            "sig-b21=:d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtRxf8Udx7zFZsckzXaJMkA7ChG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhzx2VjBqJzsPLMIQKhO4DGezXehhWwE56YCE+O6c0mKZsfxVrogUvA4HELjVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPYTU8IU1bLhdxO5Nyt8C8ssinQ98Xw9Q==:",
        ),
        (
            "sig-b22",
            "test-key-rsa-pss",
            r#"sig-b22=("@authority" "content-digest" "@query-param";name="Pet");created=1618884473;keyid="test-key-rsa-pss";tag="header-example""#,
            "sig-b22=:LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShLRiLMlAJjtq6N4CDfKtjvuJyE5qH7KT8UCMkSowOB4+ECxCmT8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TRJQzRw1rLEuEfY17SARYhpTlaqwZVtR8NV7+4UKkjqpcAoFqWFQh62s7Cl+H2fjBSpqfZUJcsIk4N6wiKYd4je2U/lankenQ99PZfB4jY3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAoxk//0RoKUqiYY8Bh0aaUEb0rQl3/XaVe4bXTugEjHSw==:",
        ),
        (
            "sig-b23",
            "test-key-rsa-pss",
            r#"sig-b23=("date" "@method" "@path" "@query" "@authority" "content-type" "content-digest" "content-length");created=1618884473;keyid="test-key-rsa-pss""#,
            "sig-b23=:bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeGt683+qRpRRU5p2voTp768ZrCUb38K0fUxN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/yPViV7KsLNmvKiLJH1pFkh/aYA2HXXZzNBXmIkoQoLd7YfW91kE9o/CCoC1xMy7JA1ipwvKvfrs65ldmlu9bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX2Zbhl5ZJzSRxpJyoEZAFL2FUo5fTIztsDZKEgM4cUA==:",
        ),
        ("sig-b25", "test-shared-secret", B25[0], B25[1]),
        ("sig-b26", "test-key-ed25519", B26[0], B26[1]),
    ] {
        let request = request(input, signature);
        assert!(is_by(&request, label, id), "{label}");
        let mut other = request.clone();
        other
            .headers_mut()
            .insert("signature-input", HeaderValue::from_str(&input.replace("473", "474")).unwrap());
        assert!(!is_by(&other, label, id), "{label} of another time");
    }
}

#[test]
fn the_examples_of_rfc_9421_for_proxies_verify() {
    // §4.3.
    let mut proxied = request(
        r#"sig1=("@method" "@authority" "@path" "content-digest" "content-type" "content-length");created=1618884475;keyid="test-key-ecc-p256", proxy_sig=("@method" "@authority" "@path" "content-digest" "content-type" "content-length" "forwarded");created=1618884480;keyid="test-key-rsa";alg="rsa-v1_5-sha256";expires=1618884540"#,
        "sig1=:X5spyd6CFnAG5QnDyHfqoSNICd+BUP4LYMz2Q0JXlb//4Ijpzp+kve2w4NIyqeAuM7jTDX+sNalzA8ESSaHD3A==:, proxy_sig=:S6ZzPXSdAMOPjN/6KXfXWNO/f7V6cHm7BXYUh3YD/fRad4BCaRZxP+JH+8XY1I6+8Cy+CM5g92iHgxtRPz+MjniOaYmdkDcnL9cCpXJleXsOckpURl49GwiyUpZ10KHgOEe11sx3G2gxI8S0jnxQB+Pu68U9vVcasqOWAEObtNKKZd8tSFu7LB5YAv0RAGhB8tmpv7sFnIm9y+7X5kXQfi8NMaZaA8i2ZHwpBdg7a6CMfwnnrtflzvZdXAsD3LH2TwevU+/PBPv0B6NMNk93wUs/vfJvye+YuI87HU38lZHowtznbLVdp770I6VHR6WfgS9ddzirrswsE1w5o0LV/g==:",
    );
    let headers = proxied.headers_mut();
    headers.insert("host", HeaderValue::from_static("origin.host.internal.example"));
    headers.insert("date", HeaderValue::from_static("Tue, 20 Apr 2021 02:07:56 GMT"));
    headers.insert("forwarded", HeaderValue::from_static("for=192.0.2.123;host=example.com;proto=https"));
    // That of the client was over another host: the second is the good one, until it ends.
    let covered = settings(&["@method", "@authority", "@path"]);
    assert_eq!(verify(&covered, &proxied, CREATED + 20.0), Ok("test-key-rsa".to_owned()));
    let late = verify(&covered, &proxied, CREATED + 67.0);
    assert_eq!(late, Err("the signature is not that of the request".to_owned()));
    assert!(is_by(&proxied, "proxy_sig", "test-key-rsa"));
    proxied.headers_mut().insert("host", HeaderValue::from_static("EXAMPLE.com:443"));
    assert_eq!(verify(&covered, &proxied, CREATED + 20.0), Ok("test-key-ecc-p256".to_owned()));

    // §B.3.
    let mut ttrp = request(
        r#"ttrp=("@path" "@query" "@method" "@authority" "client-cert");created=1618884473;keyid="test-key-ecc-p256""#,
        "ttrp=:xVMHVpawaAC/0SbHrKRs9i8I3eOs5RtTMGCWXm/9nvZzoHsIg6Mce9315T6xoklyy0yzhD9ah4JHRwMLOgmizw==:",
    );
    let headers = ttrp.headers_mut();
    headers.insert("host", HeaderValue::from_static("service.internal.example"));
    headers.insert("client-cert", HeaderValue::from_static(":MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdXRoZW50aWNhdGUxGzAZBgNVBAMMEkxBIEludGVybWVkaWF0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMjMyMjU1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8YnXXfaUgmnMtOXU/IncWalRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo9M6NyMHAwCQYDVR0TBAIwADAfBgNVHSMEGDAWgBRm3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAwwCgYIKwYBBQUHAwIwHQYDVR0RAQH/BBMwEYEPYmRjQGV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIBHda/r1vaL6G3VliL4/Di6YK0Q6bMjeSkC3dFCOOB8TAiEAx/kHSB4urmiZ0NX5r5XarmPk0wmuydBVoU4hBVZ1yhk=:"));
    assert!(is_by(&ttrp, "ttrp", "test-key-ecc-p256"));
}

/// A signature by the shared secret over these components, with these parameters.
fn signed(components: &str, params: &str) -> Request<()> {
    let input = format!("s=({components}){params}");
    let mut request = request(&input, "s=:AAAA:");
    let inputs: Dictionary = Parser::new(&input).parse().unwrap();
    let ListEntry::InnerList(list) = &inputs["s"] else { panic!("no list") };
    let base = Covered::new(list).and_then(|covered| covered.base(list, Head::of(&request)));
    if let Ok(base) = base {
        let secret = STANDARD.decode(SECRET.trim_start_matches("base64:")).unwrap();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), base.as_bytes());
        let signature = format!("s=:{}:", STANDARD.encode(tag));
        request.headers_mut().insert("signature", signature.parse().unwrap());
    }
    request
}

const WHOLE: &str = r#""@method" "@target-uri" "content-digest""#;
const PARAMS: &str = r#";created=1618884473;keyid="test-shared-secret""#;

#[test]
fn what_is_not_signed_as_it_must_be_is_refused_and_says_why() {
    let split = r#""@method" "@authority" "@path" "@query" "content-digest""#;
    for components in [WHOLE, split] {
        assert_eq!(
            verify(&settings(&[]), &signed(components, PARAMS), CREATED),
            Ok("test-shared-secret".to_owned())
        );
    }
    let nobody = PARAMS.replace("test-shared-secret", "nobody");
    let with = |more: &str| format!("{PARAMS}{more}");
    for (components, params, why) in [
        (r#""@method" "@target-uri""#, PARAMS, "does not cover `content-digest`"),
        (r#""@target-uri" "content-digest""#, PARAMS, "does not cover `@method`"),
        (r#""@method" "@path" "@query" "content-digest""#, PARAMS, "does not cover `@target-uri`, nor"),
        (&format!("{WHOLE} \"@method\""), PARAMS, "covers \"@method\" twice"),
        (&format!("{WHOLE} \"x-missing\""), PARAMS, "header `x-missing` is signed and missing"),
        (&format!("{WHOLE} \"Date\""), PARAMS, "not in lower case"),
        (&format!("{WHOLE} \"@status\""), PARAMS, "`@status`, which no request has"),
        (&format!("{WHOLE} \"date\";sf"), PARAMS, "cannot be checked here"),
        (&format!("{WHOLE} \"date\";req"), PARAMS, "cannot be checked here"),
        (&format!("{WHOLE} \"@query-param\""), PARAMS, "`@query-param` without a `name`"),
        (
            &format!("{WHOLE} \"@query-param\";name=\"x\""),
            PARAMS,
            "parameter `x` is signed and not there once",
        ),
        (&format!("{WHOLE} 1"), PARAMS, "covers something that is no text"),
        (WHOLE, r#";keyid="test-shared-secret""#, "does not say when it was `created`"),
        (WHOLE, r#";created="1";keyid="test-shared-secret""#, "`created` of the signature is no integer"),
        (WHOLE, &with(";expires=1618884473"), "has expired"),
        (WHOLE, &with(";nonce=1"), "`nonce` of the signature"),
        (WHOLE, &with(";nonce=\"\""), "`nonce` of the signature"),
        (WHOLE, &with(";alg=\"ed25519\""), "not that of the request"),
        (WHOLE, &nobody, "by a key that is not known"),
        (WHOLE, ";created=1618884473", "by a key that is not known"),
    ] {
        let why = why.replace("by a key that is not known", "no signature is by a key that is known here");
        let refused = verify(&settings(&[]), &signed(components, params), CREATED).unwrap_err();
        assert!(refused.contains(&why), "{components} {params}: {refused}");
    }
    let (good, window) = (signed(WHOLE, PARAMS), 300.0);
    for (now, passes) in [(-window - 1.0, false), (-window, true), (window, true), (window + 1.0, false)] {
        assert_eq!(verify(&settings(&[]), &good, CREATED + now).is_ok(), passes, "{now}");
    }
    let nonce = SignatureSettings { require_nonce: true, ..settings(&[]) };
    assert!(verify(&nonce, &good, CREATED).unwrap_err().contains("has no `nonce`"));
    assert!(verify(&nonce, &signed(WHOLE, &with(";nonce=\"n\"")), CREATED).is_ok());
    let tag = SignatureSettings { tag: Some("shop".to_owned()), ..settings(&[]) };
    assert!(verify(&tag, &good, CREATED).unwrap_err().contains("no signature is by a key"));
    assert!(verify(&tag, &signed(WHOLE, &with(";tag=\"shop\"")), CREATED).is_ok());
    let needed = settings(&["@method", "content-type"]);
    assert!(verify(&needed, &good, CREATED).unwrap_err().contains("does not cover `content-type`"));
}

#[test]
fn a_digest_is_that_of_the_body_or_the_request_is_refused() {
    for (digest, body, why) in [
        (DIGEST, BODY, None),
        (DIGEST, &b"another"[..], Some("is not that of the body")),
        ("sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:", BODY, None),
        (
            "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:, sha-512=:AAAA:",
            BODY,
            Some("is not that of"),
        ),
        ("md5=:AAAA:", BODY, Some("neither `sha-256` nor `sha-512`")),
        ("sha-256=abc", BODY, Some("holds no bytes")),
        ("sha-256=(1)", BODY, Some("holds a list")),
        ("=", BODY, Some("is not a dictionary")),
    ] {
        let found = crate::signatures::digest::is_of(digest, body).err();
        assert_eq!(found.is_some(), why.is_some(), "{digest}: {found:?}");
        assert!(found.is_none_or(|found| found.contains(why.unwrap())), "{digest}: {found:?}");
    }
    let good = signed(WHOLE, PARAMS);
    let unread = message::verify(&settings(&[]), &keys(), Head::of(&good), None, CREATED);
    assert!(matches!(unread, Verified::Bad(why) if why.contains("was not read")));
}

/// The example of the Standard Webhooks libraries.
const WEBHOOK: [(&str, &str); 3] = [
    ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
    ("webhook-timestamp", "1614265330"),
    ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
];
const SENT: f64 = 1_614_265_330.0;
const PAYLOAD: &[u8] = br#"{"test": 2432232314}"#;

fn webhook(changed: &[(&str, &str)], body: &[u8], now: f64) -> Result<String, String> {
    let key = SignatureKey {
        id: "sender".to_owned(),
        secret: Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()),
        ..SignatureKey::default()
    };
    let mut request = Request::new(());
    for (name, value) in WEBHOOK.iter().chain(changed) {
        request.headers_mut().insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    let keys = [Signer::new(0, &key).unwrap()];
    match webhook::verify(&SignatureSettings::default(), &keys, Head::of(&request), Some(body), now) {
        Verified::Good(signed) => Ok(signed.principal.id().to_owned()),
        Verified::Bad(why) | Verified::Foreign(why) => Err(why.into_owned()),
        Verified::Absent => Err("absent".to_owned()),
    }
}

#[test]
fn the_example_of_standard_webhooks_verifies_and_no_other() {
    let id = WEBHOOK[0].1;
    let several = format!("v1,AAAA v9,x {} v1a,AAAA", WEBHOOK[2].1);
    assert_eq!(webhook(&[], PAYLOAD, SENT), Ok("sender".to_owned()));
    assert_eq!(webhook(&[("webhook-signature", &several)], PAYLOAD, SENT + 300.0), Ok("sender".to_owned()));
    for (changed, body, now, why) in [
        ([("webhook-id", id)], &b"{}"[..], SENT, "by a key that is known"),
        ([("webhook-id", "msg_other")], PAYLOAD, SENT, "by a key that is known"),
        ([("webhook-id", "a.b")], PAYLOAD, SENT, "without a dot"),
        ([("webhook-timestamp", "1614265331")], PAYLOAD, SENT, "by a key that is known"),
        ([("webhook-timestamp", "+1614265330")], PAYLOAD, SENT, "not seconds since 1970"),
        ([("webhook-timestamp", "x")], PAYLOAD, SENT, "not seconds since 1970"),
        ([("webhook-id", id)], PAYLOAD, SENT + 301.0, "has expired"),
        ([("webhook-id", id)], PAYLOAD, SENT - 301.0, "not valid yet"),
        (
            [("webhook-signature", "v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")],
            PAYLOAD,
            SENT,
            "by a key",
        ),
        ([("webhook-signature", "v1,")], PAYLOAD, SENT, "by a key that is known"),
    ] {
        let refused = webhook(&changed, body, now).unwrap_err();
        assert!(refused.contains(why), "{changed:?}: {refused}");
    }
}

#[test]
fn webhooks_are_verified_by_public_keys_too() {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    let pair = Ed25519KeyPair::generate().unwrap();
    let public = format!("whpk_{}", STANDARD.encode(pair.public_key().as_ref()));
    let key = SignatureKey { id: "sender".to_owned(), public_key: Some(public), ..SignatureKey::default() };
    let keys = [Signer::new(0, &key).unwrap()];
    let signature = pair.sign(&[&b"m.1614265330."[..], PAYLOAD].concat());
    let request = Request::post("/")
        .header("webhook-id", "m")
        .header("webhook-timestamp", "1614265330")
        .header("webhook-signature", format!("v1a,{}", STANDARD.encode(signature)))
        .body(())
        .unwrap();
    let verify =
        |body| webhook::verify(&SignatureSettings::default(), &keys, Head::of(&request), Some(body), SENT);
    assert!(matches!(verify(PAYLOAD), Verified::Good(_)));
    assert!(matches!(verify(b"{}"), Verified::Foreign(_)));
}

proptest! {
    #[test]
    fn a_signature_with_a_flipped_bit_never_passes(at in 0..32usize, bit in 0..8u32) {
        let mut request = signed(WHOLE, PARAMS);
        let text = request.headers()["signature"].to_str().unwrap().to_owned();
        let mut bytes = STANDARD.decode(text.trim_start_matches("s=").trim_matches(':')).unwrap();
        bytes[at] ^= 1 << bit;
        let mangled = format!("s=:{}:", STANDARD.encode(bytes));
        request.headers_mut().insert("signature", mangled.parse().unwrap());
        prop_assert!(verify(&settings(&[]), &request, CREATED).is_err());
    }

    #[test]
    fn a_request_that_is_not_the_one_that_was_signed_never_passes(
        what in 0..4usize, path in "/[a-z]{1,5}", seconds in 1..1000i64
    ) {
        let mut request = signed(WHOLE, PARAMS);
        match what {
            0 => *request.uri_mut() = path.parse().unwrap(),
            1 => *request.method_mut() = http::Method::PUT,
            2 => drop(request.headers_mut().insert("host", "other.example".parse().unwrap())),
            _ => {
                let time = CREATED as i64 + seconds - 500;
                prop_assume!(time != CREATED as i64);
                let input = format!("s=({WHOLE});created={time};keyid=\"test-shared-secret\"");
                request.headers_mut().insert("signature-input", input.parse().unwrap());
            }
        }
        prop_assert!(verify(&settings(&[]), &request, CREATED).is_err());
    }

    #[test]
    fn whatever_stands_in_the_headers_is_refused_without_a_panic(input in "[ -~]{0,60}", signature in "[ -~]{0,60}") {
        prop_assert!(verify(&settings(&["@method"]), &request(&input, &signature), CREATED).is_err());
        let changed = [("webhook-id", input.as_str()), ("webhook-signature", signature.as_str())];
        prop_assert!(webhook(&changed, PAYLOAD, SENT).is_err());
    }
}
