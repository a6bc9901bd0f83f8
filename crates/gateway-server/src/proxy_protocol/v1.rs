//! Version 1: one line of text (§2.1).

use super::{Proxied, ProxyHeader, ProxyHeaderError};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const START: &[u8] = b"PROXY ";
/// With CRLF: what `UNKNOWN` and two full IPv6 addresses need.
const MAX_LINE: usize = 107;

pub(super) fn parse(bytes: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
    let seen = bytes.len().min(START.len());
    if bytes[..seen] != START[..seen] {
        return Err(ProxyHeaderError::Malformed("neither version's signature"));
    }
    let Some(end) = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n') else {
        return match bytes.len() {
            0..MAX_LINE => Ok(ProxyHeader::Partial),
            _ => Err(ProxyHeaderError::Malformed("the line is longer than 107 bytes")),
        };
    };
    let line = bytes[START.len()..end]
        .strip_suffix(b"\r")
        .ok_or(ProxyHeaderError::Malformed("the line does not end in CRLF"))?;
    let line = std::str::from_utf8(line).map_err(|_| ProxyHeaderError::Malformed("the line is not ASCII"))?;
    let proxied = addresses(line).ok_or(ProxyHeaderError::Malformed("the line's addresses are not valid"))?;
    Ok(ProxyHeader::Complete(proxied, end + 1))
}

fn addresses(line: &str) -> Option<Proxied> {
    let (family, rest) = line.split_once(' ').unwrap_or((line, ""));
    if family == "UNKNOWN" {
        // Whatever it says behind that is to be ignored.
        return Some(Proxied::Local);
    }
    let mut fields = rest.split(' ');
    let (source, destination) = (fields.next()?, fields.next()?);
    let (source_port, destination_port) = (port(fields.next()?)?, port(fields.next()?)?);
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let proxied = Proxied::Tcp {
        source: SocketAddr::new(address(source)?, source_port),
        destination: SocketAddr::new(address(destination)?, destination_port),
    };
    fields.next().is_none().then_some(proxied)
}

/// Decimal, without sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(source: &str, destination: &str) -> Option<Proxied> {
        Some(Proxied::Tcp { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
    }

    #[test]
    fn lines_are_read_as_the_specification_says_or_refused() {
        let longest = format!("PROXY UNKNOWN {}\r\n", ["ffff"; 8].join(":"));
        for (line, expected) in [
            ("PROXY TCP4 255.255.255.255 1.2.3.4 65535 0\r\n", tcp("255.255.255.255:65535", "1.2.3.4:0")),
            ("PROXY TCP6 ::1 2001:db8::2 1 2\r\n", tcp("[::1]:1", "[2001:db8::2]:2")),
            ("PROXY UNKNOWN\r\n", Some(Proxied::Local)),
            ("PROXY UNKNOWN whatever it says\r\n", Some(Proxied::Local)),
            (&longest, Some(Proxied::Local)),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", None),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", None),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", None),
            ("PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n", None),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", None),
            ("PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", None),
            ("PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n", None),
            ("PROXY TCP4 ::1 ::1 1 2\r\n", None),
            ("PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", None),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", None),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", None),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", None),
            ("PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", None),
            ("PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n", None),
            ("PROXY \r\n", None),
        ] {
            let seen = match parse(line.as_bytes()) {
                Ok(ProxyHeader::Complete(proxied, length)) => {
                    assert_eq!(length, line.len(), "{line:?}");
                    Some(proxied)
                }
                Ok(ProxyHeader::Partial) => panic!("{line:?} is complete"),
                Err(_) => None,
            };
            assert_eq!(seen, expected, "{line:?}");
            for cut in 0..line.len() - 1 {
                assert!(
                    matches!(parse(&line.as_bytes()[..cut]), Ok(ProxyHeader::Partial)),
                    "{line:?} up to {cut}"
                );
            }
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let line = "PROXY UNKNOWN ".to_owned() + &"x".repeat(MAX_LINE);
        assert!(matches!(parse(&line.as_bytes()[..MAX_LINE - 1]), Ok(ProxyHeader::Partial)));
        assert!(parse(&line.as_bytes()[..MAX_LINE]).is_err());
    }
}
