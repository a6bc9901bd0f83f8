//! Version 2: binary (§2.2).

use super::{MAX_PROXY_HEADER, Proxied, ProxyHeader, ProxyHeaderError};
use std::net::{IpAddr, SocketAddr};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED: usize = 16;
/// Two `sockaddr_un` paths.
const UNIX: usize = 216;

pub(super) fn parse(bytes: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
    use ProxyHeaderError::Malformed;
    let seen = bytes.len().min(SIGNATURE.len());
    if bytes[..seen] != SIGNATURE[..seen] {
        return Err(Malformed("neither version's signature"));
    }
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else { return Ok(ProxyHeader::Partial) };
    let [.., command, family, high, low] = *fixed;
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed("the version is not 2, or the command is neither LOCAL nor PROXY")),
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if FIXED + length > MAX_PROXY_HEADER {
        return Err(ProxyHeaderError::TooLong(FIXED + length));
    }
    let Some(block) = rest.get(..length) else { return Ok(ProxyHeader::Partial) };
    // What stands behind the addresses are TLVs, of which none matter here.
    let proxied = match family {
        // The receiver must take LOCAL with any family, and ignore what it says.
        _ if is_local => Some(Proxied::Local),
        0x00 => Some(Proxied::Local),
        0x11 => tcp::<4>(block),
        0x21 => tcp::<16>(block),
        0x31 => (length >= UNIX).then_some(Proxied::Unix),
        _ => return Err(Malformed("the protocol is neither TCP nor a Unix stream")),
    };
    let proxied = proxied.ok_or(Malformed("it is shorter than its addresses"))?;
    Ok(ProxyHeader::Complete(proxied, FIXED + length))
}

/// Both addresses, then both ports.
fn tcp<const N: usize>(block: &[u8]) -> Option<Proxied>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (ports, _) = rest.split_first_chunk::<4>()?;
    let [a, b, c, d] = *ports;
    Some(Proxied::Tcp {
        source: SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(IpAddr::from(*destination), u16::from_be_bytes([c, d])),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, block].concat()
    }

    fn tcp(source: &str, destination: &str) -> Option<Proxied> {
        Some(Proxied::Tcp { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
    }

    #[test]
    fn headers_are_read_as_the_specification_says_or_refused() {
        let v4 = [203, 0, 113, 9, 192, 0, 2, 1, 0x9c, 0x40, 0x01, 0xbb];
        let with_tlvs = [&v4[..], &[0x01, 0, 2, b'h', b'2', 0x04, 0, 1, 0]].concat();
        let mut v6 = [0u8; 36];
        (v6[15], v6[31], v6[33], v6[35]) = (1, 2, 3, 4);
        let expected = tcp("203.0.113.9:40000", "192.0.2.1:443");
        for (header, expected) in [
            (header(0x21, 0x11, &v4), expected),
            (header(0x21, 0x11, &with_tlvs), expected),
            (header(0x21, 0x21, &v6), tcp("[::1]:3", "[::2]:4")),
            (header(0x21, 0x31, &[b'x'; 216]), Some(Proxied::Unix)),
            (header(0x21, 0x00, &[]), Some(Proxied::Local)),
            (header(0x21, 0x00, &[1, 2, 3]), Some(Proxied::Local)),
            (header(0x20, 0x00, &[]), Some(Proxied::Local)),
            (header(0x20, 0x11, &v4), Some(Proxied::Local)),
            (header(0x20, 0xff, &[1]), Some(Proxied::Local)),
            (header(0x21, 0x11, &v4[..11]), None),
            (header(0x21, 0x21, &v6[..35]), None),
            (header(0x21, 0x31, &[b'x'; 215]), None),
            // Datagrams do not come over a connection.
            (header(0x21, 0x12, &v4), None),
            (header(0x21, 0x41, &v4), None),
            (header(0x22, 0x11, &v4), None),
            (header(0x11, 0x11, &v4), None),
            (header(0x31, 0x11, &v4), None),
        ] {
            let wire = [&header[..], b"GET /"].concat();
            let seen = match parse(&wire) {
                Ok(ProxyHeader::Complete(proxied, length)) => {
                    assert_eq!(length, header.len(), "{header:?}");
                    Some(proxied)
                }
                Ok(ProxyHeader::Partial) => panic!("{header:?} is complete"),
                Err(_) => None,
            };
            assert_eq!(seen, expected, "{header:?}");
            for cut in 0..header.len() {
                match parse(&header[..cut]) {
                    Ok(ProxyHeader::Partial) => {}
                    Err(_) if expected.is_none() => {}
                    other => panic!("{header:?} up to {cut}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn a_header_that_is_too_long_is_refused_before_it_is_read() {
        let long = header(0x21, 0x11, &[0; MAX_PROXY_HEADER]);
        assert!(matches!(parse(&long[..FIXED]), Err(ProxyHeaderError::TooLong(4112))));
        assert!(parse(&header(0x21, 0x11, &[0; MAX_PROXY_HEADER - FIXED])).is_ok());
    }
}
