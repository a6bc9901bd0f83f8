//! What stands in `X-Forwarded-For` and in the `for` of `Forwarded`, read from the right: what is furthest to the
//! right was written last, by whoever is nearest, and nothing to its left can change how it is read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:5`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:5`.
/// Without one the port is 0. `None` for anything else, also for `unknown` and names such as `_hidden`.
pub(crate) fn address(text: &str) -> Option<SocketAddr> {
    let of = |ip: IpAddr, port| SocketAddr::new(ip.to_canonical(), port);
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, port) = rest.split_once(']')?;
        let ip: Ipv6Addr = ip.parse().ok()?;
        let port = if port.is_empty() { 0 } else { self::port(port.strip_prefix(':')?)? };
        return Some(of(ip.into(), port));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(of(ip, 0));
    }
    let (ip, port) = text.split_once(':')?;
    Some(of(ip.parse::<Ipv4Addr>().ok()?.into(), self::port(port)?))
}

/// RFC 7239 §6.3: a number, or a name that hides it and says nothing.
fn port(text: &str) -> Option<u16> {
    match text.as_bytes() {
        [b'_', rest @ ..] if !rest.is_empty() && rest.iter().all(|b| is_obfuscated(*b)) => Some(0),
        digits if digits.iter().all(u8::is_ascii_digit) => text.parse().ok(),
        _ => None,
    }
}

fn is_obfuscated(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// The elements of an `X-Forwarded-For` from the right.
pub(crate) fn plain(value: &str) -> impl Iterator<Item = &str> {
    value.rsplit(',').map(str::trim)
}

/// The elements of a `Forwarded` from the right, commas in quotes aside.
pub(crate) fn elements(value: &str) -> impl Iterator<Item = &str> {
    FromRight { rest: Some(value), at: b',' }
}

/// The value of a parameter of one element of a `Forwarded`; `None` if it is not there, there twice, or malformed.
pub(crate) fn parameter<'v>(element: &'v str, name: &str) -> Option<&'v str> {
    let mut found = None;
    for pair in (FromRight { rest: Some(element), at: b';' }) {
        let (key, value) = pair.split_once('=')?;
        if key.eq_ignore_ascii_case(name) && found.replace(unquoted(value)?).is_some() {
            return None;
        }
    }
    found
}

fn unquoted(value: &str) -> Option<&str> {
    let inner = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => value,
    };
    // What nodes and schemes are made of needs no escapes.
    (!inner.is_empty() && !inner.contains(['"', '\\'])).then_some(inner)
}

/// Splits at a byte outside quotes, from the right.
struct FromRight<'v> {
    rest: Option<&'v str>,
    at: u8,
}

impl<'v> Iterator for FromRight<'v> {
    type Item = &'v str;

    fn next(&mut self) -> Option<&'v str> {
        let text = self.rest.take()?;
        let bytes = text.as_bytes();
        let mut quoted = false;
        for i in (0..bytes.len()).rev() {
            match bytes[i] {
                b'"' => {
                    let slashes = bytes[..i].iter().rev().take_while(|b| **b == b'\\').count();
                    // Within quotes an odd number of backslashes makes the quote part of the text.
                    quoted ^= !quoted || slashes % 2 == 0;
                }
                byte if byte == self.at && !quoted => {
                    self.rest = Some(&text[..i]);
                    return Some(text[i + 1..].trim());
                }
                _ => {}
            }
        }
        Some(text.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_read_with_and_without_ports() {
        for (text, expected) in [
            ("192.0.2.1", Some("192.0.2.1:0")),
            ("192.0.2.1:443", Some("192.0.2.1:443")),
            ("192.0.2.1:_p", Some("192.0.2.1:0")),
            ("2001:db8::1", Some("[2001:db8::1]:0")),
            ("[2001:db8::1]", Some("[2001:db8::1]:0")),
            ("[2001:db8::1]:443", Some("[2001:db8::1]:443")),
            ("::ffff:192.0.2.1", Some("192.0.2.1:0")),
            ("", None),
            ("unknown", None),
            ("_hidden", None),
            ("192.0.2.1:", None),
            ("192.0.2.1:99999", None),
            ("192.0.2.1:+5", None),
            ("192.0.2.01", None),
            ("[192.0.2.1]", None),
            ("[2001:db8::1", None),
            ("[2001:db8::1]5", None),
            ("shop.example", None),
        ] {
            assert_eq!(address(text), expected.map(|e| e.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn elements_and_parameters_of_forwarded_are_those_of_rfc_7239() {
        let all: Vec<_> = elements("for=a, for=\"b,c\";proto=http ,for=d").collect();
        assert_eq!(all, ["for=d", "for=\"b,c\";proto=http", "for=a"]);
        for (element, expected) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", Some("192.0.2.60")),
            ("For=\"[2001:db8:cafe::17]:4711\"", Some("[2001:db8:cafe::17]:4711")),
            ("proto=http; FOR=_gazonk", Some("_gazonk")),
            ("for=a;for=b", None),
            ("for=\"a", None),
            ("for=", None),
            ("for=\"\"", None),
            ("for=\"a\"b", None),
            ("proto=http", None),
            ("for", None),
        ] {
            assert_eq!(parameter(element, "for"), expected, "{element}");
        }
    }

    proptest! {
        #[test]
        fn nothing_a_client_writes_changes_how_the_proxys_own_element_is_read(
            written in "[ -~]{0,40}", own in prop_oneof![Just("for=1.2.3.4"), Just("for=\"[2001:db8::1]:5\";proto=\"a,b\"")],
        ) {
            let chain = format!("{written}, {own}");
            prop_assert_eq!(elements(&chain).next(), Some(own));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}") {
            for element in elements(&text) {
                let _ = parameter(element, "for").and_then(address);
            }
            assert!(plain(&text).filter_map(address).count() <= text.len() + 1);
        }
    }
}
