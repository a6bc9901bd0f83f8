use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// Which hosts a route takes: `shop.example`, `*.shop.example` for all below it, or `www.*` for all that begin
/// so. Case, port and a trailing dot make no difference.
///
/// Of several that fit, the exact one is tried first, then the longest `*.…`, then the longest `….*` (the order
/// of Envoy's virtual hosts). Internationalised names are written as they are sent: as A-labels (RFC 5890), such
/// as `xn--bcher-kva.example`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    pub(crate) kind: HostKind,
    /// Lower case, without the wildcard and its dot.
    pub(crate) name: String,
}

/// Where a host pattern has its wildcard, in the order they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum HostKind {
    Exact,
    /// `*.shop.example`
    Below,
    /// `www.*`
    Beginning,
}

impl HostPattern {
    /// The most characters of a host name (RFC 1035 §2.3.4).
    pub(crate) const LONGEST: usize = 253;

    /// Whether a host without port, in lower case, fits.
    pub(crate) fn matches(&self, host: &str) -> bool {
        let rest = match self.kind {
            HostKind::Exact => return host == self.name,
            HostKind::Below => host.strip_suffix(&*self.name).map(|rest| rest.strip_suffix('.')),
            HostKind::Beginning => host.strip_prefix(&*self.name).map(|rest| rest.strip_prefix('.')),
        };
        rest.flatten().is_some_and(|rest| !rest.is_empty())
    }

    /// This pattern and all others that take whatever it takes.
    pub(crate) fn broader(&self) -> Vec<Self> {
        let pattern = |kind, name: &str| Self { kind, name: name.to_owned() };
        let below =
            || self.name.match_indices('.').map(|(dot, _)| pattern(HostKind::Below, &self.name[dot + 1..]));
        let beginning =
            || self.name.match_indices('.').map(|(dot, _)| pattern(HostKind::Beginning, &self.name[..dot]));
        let mut all = vec![self.clone()];
        match self.kind {
            HostKind::Exact => all.extend(below().chain(beginning())),
            HostKind::Below => all.extend(below()),
            HostKind::Beginning => all.extend(beginning()),
        }
        all
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            HostKind::Exact => f.write_str(&self.name),
            HostKind::Below => write!(f, "*.{}", self.name),
            HostKind::Beginning => write!(f, "{}.*", self.name),
        }
    }
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.is_ascii() {
            return Err(format!(
                "`{text}` holds letters beyond ASCII; write the A-label that clients send, such as \"xn--bcher-kva.example\""
            ));
        }
        let (kind, name) = match (text.strip_prefix("*."), text.strip_suffix(".*")) {
            (Some(name), _) => (HostKind::Below, name),
            (None, Some(name)) => (HostKind::Beginning, name),
            (None, None) => (HostKind::Exact, text),
        };
        let name = match kind {
            HostKind::Beginning => name,
            HostKind::Exact | HostKind::Below => name.strip_suffix('.').unwrap_or(name),
        };
        let name = name.to_ascii_lowercase();
        let label = |label: &str| {
            !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        };
        let inner = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = kind == HostKind::Exact && inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
        if !(address || name.split('.').all(label)) {
            return Err(format!(
                "`{text}` is not a host; expected \"shop.example\", \"*.shop.example\" or \"www.*\", without scheme or port"
            ));
        }
        if name.len() > Self::LONGEST {
            return Err(format!(
                "`{name}` has {} characters; a host has at most {}",
                name.len(),
                Self::LONGEST
            ));
        }
        Ok(Self { kind, name })
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for HostPattern {
    fn schema_name() -> Cow<'static, str> {
        "HostPattern".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["shop.example", "*.shop.example", "www.*"] })
    }
    fn inline_schema() -> bool {
        true
    }
}

/// The host of a request without port and trailing dot.
pub(crate) fn bare(host: &str) -> &str {
    let bytes = host.as_bytes();
    // Byte by byte, for it is short and looked at for every request.
    let end = match bytes.first() {
        Some(b'[') => bytes.iter().position(|b| *b == b']').map(|bracket| bracket + 1),
        _ => bytes.iter().position(|b| *b == b':'),
    };
    let host = &host[..end.unwrap_or(host.len())];
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_match_whatever_their_case_port_and_trailing_dot() {
        for (pattern, host, expected) in [
            ("shop.example", "SHOP.Example", true),
            ("shop.example", "shop.example:8080", true),
            ("shop.example", "shop.example.", true),
            ("Shop.Example.", "shop.example", true),
            ("shop.example", "a.shop.example", false),
            ("*.shop.example", "a.shop.example", true),
            ("*.shop.example", "a.b.SHOP.example:1", true),
            ("*.shop.example", "shop.example", false),
            ("*.shop.example", ".shop.example", false),
            ("*.shop.example", "xshop.example", false),
            ("[::1]", "[::1]:80", true),
            ("www.*", "WWW.example:80", true),
            ("www.*", "www.a.b", true),
            ("www.*", "www", false),
            ("www.*", "www.", false),
            ("www.*", "wwwx.a", false),
            ("www.a.*", "www.a.b", true),
            ("www.a.*", "www.b", false),
            ("localhost", "localhost.", true),
        ] {
            let pattern: HostPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(&bare(host).to_ascii_lowercase()), expected, "{pattern} {host}");
        }
        for text in
            ["", "*", "*.", ".*", "*.x.*", "a..b", ".a", "http://x", "x:80", "a b", "x/y", "[x]", "*.[::1]"]
        {
            assert!(text.parse::<HostPattern>().unwrap_err().contains("without scheme or port"), "{text}");
        }
    }

    #[test]
    fn names_beyond_ascii_are_refused_with_what_to_write() {
        let error = "bücher.example".parse::<HostPattern>().unwrap_err();
        assert!(error.contains("A-label") && error.contains("xn--"), "{error}");
        assert!("xn--bcher-kva.example".parse::<HostPattern>().is_ok());
        let error = "a.".repeat(130).parse::<HostPattern>().unwrap_err();
        assert!(error.contains("at most 253"), "{error}");
    }

    #[test]
    fn broader_patterns_take_all_hosts_of_a_narrower_one() {
        for (one, other, expected) in [
            ("a.b", "a.b", true),
            ("*.b", "a.b", true),
            ("*.b", "*.a.b", true),
            ("*.b", "*.b", true),
            ("*.a.b", "*.b", false),
            ("*.b", "b", false),
            ("a.*", "a.b", true),
            ("a.*", "a.b.*", true),
            ("a.b.*", "a.*", false),
            ("a.*", "*.b", false),
            ("*.b", "a.*", false),
            ("a.b", "*.b", false),
        ] {
            let pattern = |text: &str| text.parse::<HostPattern>().unwrap();
            assert_eq!(pattern(other).broader().contains(&pattern(one)), expected, "{one} {other}");
        }
    }
}
