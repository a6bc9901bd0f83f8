//! The PROXY header (HAProxy's `proxy-protocol.txt`) that tells an upstream at the start of a connection for whom it
//! is.

use crate::settings::ProxyProtocol;
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, PROXY; version 2, LOCAL.
const PROXY: u8 = 0x21;
const LOCAL: u8 = 0x20;

/// The header's bytes. Without a client, as for health checks, the gateway speaks for itself: `LOCAL`, or `UNKNOWN`.
pub(crate) fn encode(
    version: ProxyProtocol,
    client: Option<SocketAddr>,
    destination: Option<SocketAddr>,
) -> Vec<u8> {
    let addresses = client.map(|client| in_one_family(client, destination));
    match version {
        ProxyProtocol::V1 => v1(addresses),
        ProxyProtocol::V2 => v2(addresses),
    }
}

/// A header has room for one family: IPv4 where both are, else IPv6. Who has no address, such as a Unix socket, is
/// the unspecified one.
fn in_one_family(client: SocketAddr, destination: Option<SocketAddr>) -> (SocketAddr, SocketAddr) {
    let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
    let client = canonical(client);
    let unspecified = match client {
        SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
    };
    let destination = destination.map_or(unspecified, canonical);
    if client.is_ipv4() == destination.is_ipv4() {
        return (client, destination);
    }
    let wide = |addr: SocketAddr| SocketAddr::from((to_v6(addr.ip()), addr.port()));
    (wide(client), wide(destination))
}

fn to_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

fn v1(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let Some((source, destination)) = addresses else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let mut line = Vec::with_capacity(108);
    // Memory takes all that is written to it.
    let _ = write!(
        line,
        "PROXY {family} {} {} {} {}\r\n",
        source.ip(),
        destination.ip(),
        source.port(),
        destination.port()
    );
    line
}

fn v2(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    let Some((source, destination)) = addresses else {
        header.extend_from_slice(&[LOCAL, 0, 0, 0]);
        return header;
    };
    let (family, length) = if source.is_ipv4() { (0x11, 12) } else { (0x21, 36) };
    header.extend_from_slice(&[PROXY, family, 0, length]);
    for ip in [source.ip(), destination.ip()] {
        match ip {
            IpAddr::V4(ip) => header.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => header.extend_from_slice(&ip.octets()),
        }
    }
    for port in [source.port(), destination.port()] {
        header.extend_from_slice(&port.to_be_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_server::{Proxied, ProxyHeader, parse_proxy_header};
    use proptest::prelude::*;

    #[test]
    fn headers_are_as_the_specification_shows_them() {
        let (v4, v6) = ("203.0.113.9:40000", "[2001:db8::1]:40000");
        for (client, destination, expected) in [
            (Some(v4), "192.0.2.1:443", "PROXY TCP4 203.0.113.9 192.0.2.1 40000 443\r\n"),
            (
                Some("[::ffff:203.0.113.9]:40000"),
                "192.0.2.1:443",
                "PROXY TCP4 203.0.113.9 192.0.2.1 40000 443\r\n",
            ),
            (Some(v6), "[2001:db8::2]:443", "PROXY TCP6 2001:db8::1 2001:db8::2 40000 443\r\n"),
            (Some(v6), "192.0.2.1:443", "PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 40000 443\r\n"),
            (Some(v4), "", "PROXY TCP4 203.0.113.9 0.0.0.0 40000 0\r\n"),
            (None, "192.0.2.1:443", "PROXY UNKNOWN\r\n"),
        ] {
            let client = client.map(|client| client.parse().unwrap());
            let header = encode(ProxyProtocol::V1, client, destination.parse().ok());
            assert_eq!(String::from_utf8(header).unwrap(), expected);
        }
        let header = encode(ProxyProtocol::V2, v4.parse().ok(), "192.0.2.1:443".parse().ok());
        let expected =
            [SIGNATURE, &[0x21, 0x11, 0, 12, 203, 0, 113, 9, 192, 0, 2, 1, 0x9c, 0x40, 0x01, 0xbb]];
        assert_eq!(header, expected.concat());
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_the_gateways_own_reader_reads(
            version in prop_oneof![Just(ProxyProtocol::V1), Just(ProxyProtocol::V2)],
            client in any::<Option<SocketAddr>>(),
            destination in any::<Option<SocketAddr>>(),
        ) {
            let header = encode(version, client, destination);
            let expected = match client.map(|client| in_one_family(client, destination)) {
                Some((source, destination)) => Proxied::Tcp { source, destination },
                None => Proxied::Local,
            };
            let read = parse_proxy_header(&header).unwrap();
            let ProxyHeader::Complete(read, length) = read else { panic!("{header:?}: {read:?}") };
            prop_assert_eq!(length, header.len());
            match (read, expected) {
                // Flow labels and scopes do not travel.
                (Proxied::Tcp { source: a, destination: b }, Proxied::Tcp { source, destination }) => {
                    prop_assert_eq!((a.ip(), a.port(), b.ip(), b.port()),
                        (source.ip(), source.port(), destination.ip(), destination.port()));
                }
                (read, expected) => prop_assert_eq!(read, expected),
            }
        }
    }
}
