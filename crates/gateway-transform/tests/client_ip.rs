//! Who the client is behind proxies.
#![allow(clippy::unwrap_used)]

use gateway_core::{ClientAddr, PeerAddr, Scheme};
use gateway_transform::{ClientIpLayer, ForwardedSettings};
use http::{HeaderMap, Request};
use proptest::prelude::*;
use serde_json::json;
use std::net::{IpAddr, SocketAddr};

fn layer(from: &str) -> ClientIpLayer {
    let settings = json!({ "trusted_proxies": ["10.0.0.0/8", "2001:db8:ffff::/48"], "client_from": from });
    ClientIpLayer::new(&serde_json::from_value::<ForwardedSettings>(settings).unwrap())
}

fn headers(sent: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in sent {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn client(from: &str, peer: &str, sent: &[(&'static str, &str)]) -> String {
    let peer = SocketAddr::new(peer.parse().unwrap(), 9);
    layer(from).resolve(peer, &headers(sent)).ip().to_string()
}

#[test]
fn the_walk_goes_from_right_to_left_to_the_first_untrusted_address() {
    for (peer, chain, expected) in [
        ("192.0.2.9", "1.1.1.1", "192.0.2.9"),
        ("10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("::ffff:10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.3", "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6, 1.1.1.1:5555 ,10.0.0.3:80", "1.1.1.1"),
        ("10.0.0.1", "10.0.0.4, 10.0.0.3", "10.0.0.4"),
        ("10.0.0.1", "2001:db8::1, [2001:db8:ffff::1]:443", "2001:db8::1"),
        ("10.0.0.1", "6.6.6.6, nonsense, 10.0.0.3", "10.0.0.3"),
        ("10.0.0.1", "6.6.6.6, unknown", "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6,", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
    ] {
        assert_eq!(client("auto", peer, &[("x-forwarded-for", chain)]), expected, "{peer} {chain}");
    }
}

#[test]
fn the_walk_ends_at_the_depth_whoever_is_met_on_the_way() {
    for (depth, trusted, peer, chain, expected) in [
        (1, &[][..], "192.0.2.9", "6.6.6.6, 1.1.1.1, 10.0.0.3", "10.0.0.3"),
        (2, &[], "192.0.2.9", "6.6.6.6, 1.1.1.1, 10.0.0.3", "1.1.1.1"),
        (2, &[], "192.0.2.9", "1.1.1.1", "1.1.1.1"),
        (2, &[], "192.0.2.9", "1.1.1.1, nonsense", "192.0.2.9"),
        (2, &[], "192.0.2.9", "", "192.0.2.9"),
        (u32::MAX, &[], "192.0.2.9", "6.6.6.6, 1.1.1.1", "6.6.6.6"),
        (1, &["10.0.0.0/8"], "10.0.0.1", "1.1.1.1, 10.0.0.3", "10.0.0.3"),
        (2, &["10.0.0.0/8"], "10.0.0.1", "6.6.6.6, 1.1.1.1, 2.2.2.2", "1.1.1.1"),
        (1, &["10.0.0.0/8"], "192.0.2.9", "1.1.1.1", "192.0.2.9"),
    ] {
        let settings = json!({ "trusted_proxies": trusted, "depth": depth });
        let layer = ClientIpLayer::new(&serde_json::from_value::<ForwardedSettings>(settings).unwrap());
        let peer = SocketAddr::new(peer.parse().unwrap(), 9);
        let client = layer.resolve(peer, &headers(&[("x-forwarded-for", chain)]));
        assert_eq!(client.ip().to_string(), expected, "{depth} {trusted:?} {peer} {chain}");
    }
    assert!(serde_json::from_value::<ForwardedSettings>(json!({ "depth": 0 })).is_err());
}

#[test]
fn several_lines_are_one_chain() {
    let sent =
        [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "10.0.0.3")];
    assert_eq!(client("auto", "10.0.0.1", &sent), "1.1.1.1");
    let sent = [("forwarded", "for=6.6.6.6"), ("forwarded", "for=\"[2001:db8::1]:80\", for=10.0.0.3")];
    assert_eq!(client("auto", "10.0.0.1", &sent), "2001:db8::1");
}

#[test]
fn forwarded_is_walked_when_it_is_configured_or_alone() {
    let both =
        [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=2.2.2.2;proto=https"), ("x-real-ip", "3.3.3.3")];
    for (from, expected) in [
        ("auto", "1.1.1.1"),
        ("x_forwarded_for", "1.1.1.1"),
        ("forwarded", "2.2.2.2"),
        ("x_real_ip", "3.3.3.3"),
        ("peer", "10.0.0.1"),
    ] {
        assert_eq!(client(from, "10.0.0.1", &both), expected, "{from}");
        assert_eq!(client(from, "192.0.2.9", &both), "192.0.2.9", "{from}: strangers are not believed");
    }
    assert_eq!(client("auto", "10.0.0.1", &both[1..]), "2.2.2.2");
    assert_eq!(client("x_forwarded_for", "10.0.0.1", &both[1..]), "10.0.0.1");
    assert_eq!(client("auto", "10.0.0.1", &both[2..]), "10.0.0.1", "X-Real-IP only where it is configured");
    for (chain, expected) in [
        ("for=1.1.1.1, for=_hidden", "10.0.0.1"),
        ("for=1.1.1.1, proto=https", "10.0.0.1"),
        ("for=1.1.1.1;for=2.2.2.2", "10.0.0.1"),
        ("for=\"1.1.1.1, for=2.2.2.2", "2.2.2.2"),
    ] {
        assert_eq!(client("forwarded", "10.0.0.1", &[("forwarded", chain)]), expected, "{chain}");
    }
    let twice = [("x-real-ip", "1.1.1.1"), ("x-real-ip", "2.2.2.2")];
    assert_eq!(client("x_real_ip", "10.0.0.1", &twice), "10.0.0.1");
}

#[test]
fn the_client_and_the_peer_are_told_to_the_layers_within() {
    let told = |peer: &str, sent: &[(&'static str, &str)]| {
        let mut request = Request::new(());
        *request.headers_mut() = headers(sent);
        request.extensions_mut().insert(ClientAddr(peer.parse().unwrap()));
        layer("auto").apply(&mut request);
        let facts = request.extensions();
        let client = facts.get::<ClientAddr>().unwrap().0.to_string();
        let peer = facts.get::<PeerAddr>().map(|peer| peer.0.to_string());
        (client, peer, facts.get::<Scheme>().copied())
    };
    let sent = [("x-forwarded-for", "1.1.1.1:7"), ("x-forwarded-proto", "https")];
    let expected = ("1.1.1.1:7".to_owned(), Some("10.0.0.1:9".to_owned()), Some(Scheme::Https));
    assert_eq!(told("10.0.0.1:9", &sent), expected);
    assert_eq!(told("192.0.2.9:9", &sent), ("192.0.2.9:9".to_owned(), None, None));
    assert_eq!(told("10.0.0.1:9", &[]), ("10.0.0.1:9".to_owned(), None, None));
    for (name, value, expected) in [
        ("x-forwarded-proto", "http", Some(Scheme::Http)),
        ("x-forwarded-proto", "WSS", Some(Scheme::Https)),
        ("x-forwarded-proto", "https, http", Some(Scheme::Http)),
        ("x-forwarded-proto", "https, https", Some(Scheme::Https)),
        ("x-forwarded-proto", "https,", None),
        ("forwarded", "for=1.1.1.1;proto=http, for=2.2.2.2;proto=https", Some(Scheme::Https)),
    ] {
        assert_eq!(told("10.0.0.1:9", &[(name, value)]).2, expected, "{name}: {value}");
    }
    let lines = [("x-forwarded-proto", "https"), ("x-forwarded-proto", "http")];
    assert_eq!(told("10.0.0.1:9", &lines).2, Some(Scheme::Http), "the last line is the peer's own");
}

proptest! {
    #[test]
    fn what_a_client_writes_never_hides_the_address_that_the_proxy_saw(
        written in "[ -~]{0,40}", seen: [u8; 4], from in prop_oneof![Just("x_forwarded_for"), Just("forwarded")],
    ) {
        let seen = IpAddr::from([192, seen[1], seen[2], seen[3]]);
        let sent = match from {
            "forwarded" => ("forwarded", format!("{written}, for={seen}")),
            _ => ("x-forwarded-for", format!("{written}, {seen}")),
        };
        prop_assert_eq!(client(from, "10.0.0.1", &[(sent.0, sent.1.as_str())]), seen.to_string());
    }

    #[test]
    fn an_untrusted_peer_is_always_its_own_client(chain in "[ -~]{0,60}", peer: [u8; 4]) {
        let peer = IpAddr::from([172, peer[1], peer[2], peer[3]]).to_string();
        prop_assert_eq!(&client("auto", &peer, &[("x-forwarded-for", &chain), ("forwarded", &chain)]), &peer);
    }
}
