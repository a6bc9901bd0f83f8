//! Signed requests: HTTP Message Signatures and Standard Webhooks.
#![allow(clippy::unwrap_used)]

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_testkit::{Client, Gateway, Request, Response, Upstream, get};
use std::time::{SystemTime, UNIX_EPOCH};

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const SECRET: &str = "a secret for tests, 32 bytes long";

fn gateway(upstream: &Upstream) -> Gateway {
    let config = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\nwatch = false\n\
         [services.a]\nendpoints = [\"{}\"]\n\
         [auth.signatures.partners]\nmax_body = \"1KiB\"\n\
         [[auth.signatures.partners.keys]]\nid = \"acme-1\"\nowner = \"acme\"\nsecret = \"{SECRET}\"\nroles = [\"partner\"]\n\
         [auth.signatures.hooks]\nprotocol = \"standard_webhooks\"\n\
         [[auth.signatures.hooks.keys]]\nid = \"sender\"\nsecret = \"{SECRET}\"\n\
         [[routes]]\npath = \"/hooks\"\nservice = \"a\"\nauth = \"hooks\"\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\nauth = \"partners\"\nidentity_headers = {{ preset = \"s4\" }}\n",
        upstream.url(),
    );
    Gateway::builder(EXE).config(&config).start()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn sign(text: &[u8]) -> String {
    STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), text))
}

/// A POST to `/orders` of which this body and time are signed.
fn signed(body: &[u8], created: u64) -> Request {
    let digest = format!("sha-256=:{}:", STANDARD.encode(digest(&SHA256, body)));
    let params = format!(
        "(\"@method\" \"@authority\" \"@path\" \"@query\" \"content-digest\");created={created};keyid=\"acme-1\""
    );
    let base = format!(
        "\"@method\": POST\n\"@authority\": api.example\n\"@path\": /orders\n\"@query\": ?a=1\n\
         \"content-digest\": {digest}\n\"@signature-params\": {params}"
    );
    Request::new("POST", "/orders?a=1")
        .header("Host", "api.example")
        .header("Content-Digest", &digest)
        .header("Signature-Input", &format!("s={params}"))
        .header("Signature", &format!("s=:{}:", sign(base.as_bytes())))
        .body(body)
}

fn said(answer: &Response) -> (u16, String, String) {
    let text = |name: &str| answer.json()[name].as_str().unwrap_or_default().to_owned();
    (answer.status, text("code"), text("detail"))
}

#[test]
fn a_signed_request_passes_once_with_its_body() {
    let upstream = Upstream::named("a");
    let gateway = gateway(&upstream);
    let mut client = Client::new(gateway.addr());
    let request = signed(b"two apples", now());
    assert_eq!(client.send(&request).status, 200);
    let [seen] = upstream.requests().try_into().unwrap();
    assert_eq!(seen.body, b"two apples");
    assert_eq!((seen.header("x-user-id"), seen.header("x-user-roles")), (Some("acme"), Some("partner")));

    let again = client.send(&request);
    let seen_before = "the signed request was seen before".to_owned();
    assert_eq!(said(&again), (401, "invalid-credentials".to_owned(), seen_before));
    assert!(again.header("www-authenticate").unwrap().starts_with("Signature realm="));
    assert_eq!(client.send(&signed(b"", now())).status, 200, "a body of nothing is signed as well");
}

#[test]
fn what_is_not_signed_does_not_pass() {
    let upstream = Upstream::named("a");
    let gateway = gateway(&upstream);
    let send = |request: &Request| Client::new(gateway.addr()).send(request);

    let bare = get(gateway.addr(), "/orders");
    assert_eq!(said(&bare).1, "missing-credentials");
    let accept = bare.header("accept-signature").unwrap();
    assert_eq!(accept, "sig1=(\"@method\" \"@target-uri\" \"content-digest\");created;keyid");

    let other_body = signed(b"two apples", now()).body(b"two pears!");
    let refused = "the Content-Digest is not that of the body".to_owned();
    assert_eq!(said(&send(&other_body)), (401, "invalid-credentials".to_owned(), refused));
    for (created, why) in [(now() - 400, "has expired"), (now() + 400, "is not valid yet")] {
        let (status, code, detail) = said(&send(&signed(b"x", created)));
        assert_eq!((status, code.as_str()), (401, "invalid-credentials"));
        assert!(detail.contains(why), "{detail}");
    }
    let large = said(&send(&signed(&[b'x'; 2000], now())));
    assert_eq!((large.0, large.1.as_str()), (413, "body-too-large"));
    assert_eq!(upstream.hits(), 0);
}

#[test]
fn a_webhook_passes_as_it_was_signed() {
    let upstream = Upstream::named("a");
    let gateway = gateway(&upstream);
    let hook = |id: &str, body: &[u8]| {
        let sent = now();
        let text = [format!("{id}.{sent}.").as_bytes(), body].concat();
        Request::new("POST", "/hooks")
            .header("webhook-id", id)
            .header("webhook-timestamp", &sent.to_string())
            .header("webhook-signature", &format!("v1,{}", sign(&text)))
            .body(body)
    };
    let send = |request: &Request| Client::new(gateway.addr()).send(request);
    let first = hook("msg_1", b"{}");
    assert_eq!(send(&first).status, 200);
    assert_eq!(upstream.requests()[0].body, b"{}");
    assert_eq!(said(&send(&first)).2, "the signed request was seen before");
    let (status, code, detail) = said(&send(&hook("msg_2", b"{}").body(b"[]")));
    assert_eq!((status, code.as_str()), (401, "invalid-credentials"));
    assert!(detail.contains("by a key that is known"), "{detail}");
    assert_eq!(upstream.hits(), 1);
}
