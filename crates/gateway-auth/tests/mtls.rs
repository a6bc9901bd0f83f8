//! Client certificates: whose word is believed, and who is on the list.
#![allow(clippy::unwrap_used)]

mod ask;

use ask::{ask, get, outcome};
use gateway_auth::{AuthLayer, AuthPolicy, MtlsMethod, MtlsSettings};
use gateway_core::{Certificate, ClientAddr, ClientCertificate, PeerAddr, Principal};
use std::net::SocketAddr;
use std::sync::Arc;

const PRINT: &str = "468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688";

fn layer(toml: &str) -> AuthLayer {
    let settings: MtlsSettings = toml_edit::de::from_str(toml).unwrap();
    AuthLayer::new(vec![Arc::new(MtlsMethod::new(&settings).unwrap())], &AuthPolicy::default())
}

fn address(text: &str) -> SocketAddr {
    format!("{text}:1").parse().unwrap()
}

fn certificate() -> ClientCertificate {
    ClientCertificate::new(Certificate {
        subject: Some("CN=orders,O=Shop".into()),
        dns: vec!["Orders.shop.example".into()],
        uris: vec!["spiffe://shop.example/orders".into()],
        emails: vec![],
        fingerprint: Some(PRINT.into()),
    })
}

#[tokio::test]
async fn the_header_is_believed_from_trusted_proxies_only_and_never_reaches_the_service() {
    let layer = layer("trusted_proxies = ['10.0.0.0/8', '::1/128']");
    let header = "Hash=1;URI=spiffe://shop.example/forged,By=spiffe://x/gw;URI=spiffe://shop.example/orders";
    for (client, peer, expected) in [
        ("10.1.2.3", None, "spiffe://shop.example/orders"),
        ("203.0.113.9", Some("10.1.2.3"), "spiffe://shop.example/orders"),
        ("203.0.113.9", Some("[::1]"), "spiffe://shop.example/orders"),
        ("203.0.113.9", None, "missing-credentials"),
        ("10.1.2.3", Some("203.0.113.9"), "missing-credentials"),
    ] {
        let mut request = get(&[("x-forwarded-client-cert", header)]);
        request.extensions_mut().insert(ClientAddr(address(client)));
        if let Some(peer) = peer {
            request.extensions_mut().insert(PeerAddr(address(peer)));
        }
        let response = ask(&layer, request).await;
        assert_eq!(outcome(&response), expected, "{client} {peer:?}");
        if let Some(seen) = response.extensions().get::<ask::Seen>() {
            assert!(!seen.headers.contains_key("x-forwarded-client-cert"));
        }
    }
    let nobody = get(&[("x-forwarded-client-cert", header)]);
    assert_eq!(outcome(&ask(&layer, nobody).await), "missing-credentials", "no address, no trust");
}

#[tokio::test]
async fn a_certificate_passes_by_any_of_its_names_that_is_on_the_list() {
    let colons = PRINT.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap().to_uppercase());
    let colons = colons.collect::<Vec<_>>().join(":");
    for (allow, passes) in [
        (String::new(), true),
        ("allow.spiffe = ['spiffe://shop.example/orders']".into(), true),
        ("allow.spiffe = ['spiffe://shop.example/*']".into(), true),
        ("allow.spiffe = ['spiffe://shop.example/order']".into(), false),
        ("allow.spiffe = ['spiffe://other.example/*']".into(), false),
        ("allow.dns = ['orders.SHOP.example']".into(), true),
        ("allow.dns = ['*.shop.example']".into(), true),
        ("allow.dns = ['*.hop.example', 'shop.example']".into(), false),
        ("allow.subjects = ['CN=orders,O=Shop']".into(), true),
        ("allow.subjects = ['CN=orders']".into(), false),
        (format!("allow.fingerprints = ['{colons}']"), true),
        (format!("allow.fingerprints = ['{}']", PRINT.replace('4', "5")), false),
        ("allow.dns = ['x.example']\nallow.subjects = ['CN=orders,O=Shop']".into(), true),
    ] {
        let mut request = get(&[]);
        request.extensions_mut().insert(certificate());
        let expected = match passes {
            true => "spiffe://shop.example/orders",
            false => "invalid-credentials the client certificate is not on the list",
        };
        assert_eq!(outcome(&ask(&layer(&allow), request).await), expected, "{allow}");
    }
}

#[tokio::test]
async fn the_principal_is_called_as_the_operator_wants_and_knows_the_rest() {
    for (name, id) in [
        ("spiffe", "spiffe://shop.example/orders"),
        ("dns", "Orders.shop.example"),
        ("subject", "CN=orders,O=Shop"),
        ("fingerprint", PRINT),
    ] {
        let mut request = get(&[]);
        request.extensions_mut().insert(certificate());
        let response = ask(&layer(&format!("principal = '{name}'")), request).await;
        let principal = response.extensions().get::<Principal>().unwrap();
        assert_eq!(principal.id(), id);
        assert_eq!(principal.claim("subject").unwrap(), "CN=orders,O=Shop");
    }
    let mut request = get(&[]);
    request.extensions_mut().insert(ClientCertificate::new(Certificate::default()));
    let expected = "invalid-credentials the client certificate does not have the name that is asked for";
    assert_eq!(outcome(&ask(&layer(""), request).await), expected);
}

#[tokio::test]
async fn a_proxy_is_not_taken_for_those_who_ask_through_it() {
    let mut request = get(&[]);
    request.extensions_mut().insert(ClientAddr(address("10.0.0.1")));
    request.extensions_mut().insert(certificate());
    let layer = layer("trusted_proxies = ['10.0.0.1/32']");
    assert_eq!(outcome(&ask(&layer, request).await), "missing-credentials");
}

#[test]
fn lists_that_match_nothing_or_too_much_say_what_is_wrong() {
    for (toml, expected) in [
        ("header = 'a b'", "cannot name a header"),
        ("allow.spiffe = ['shop.example']", "no SPIFFE id"),
        ("allow.spiffe = ['spiffe://shop.example*']", "does not stand for a path"),
        ("allow.dns = ['*shop.example']", "does not stand for whole labels"),
        ("allow.fingerprints = ['12:34']", "no SHA-256 fingerprint"),
    ] {
        let settings: MtlsSettings = toml_edit::de::from_str(toml).unwrap();
        let error = MtlsMethod::new(&settings).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
