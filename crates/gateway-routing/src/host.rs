use crate::lower::lowered;
use crate::regex::Expression;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::io::Write;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::Arc;

/// Which hosts a route takes: `shop.example`, `*.shop.example` for all below it, `www.*` for all that begin so, or
/// a regular expression such as `~(?<tenant>[a-z]+)\.shop\.example`. Case, port and a trailing dot make no
/// difference.
///
/// Of several that fit, the exact one is tried first, then the longest `*.…`, then the longest `….*` (the order
/// of Envoy's virtual hosts), then the expressions, all alike: which of their routes wins is up to the path.
///
/// An expression stands for the whole host, as if between `^` and `$`. It takes time linear in the host's length
/// and at most 256 KiB compiled. Its named groups become [`Captures`](gateway_core::Captures).
///
/// Internationalised names may be written as they are read: `bücher.example` is `xn--bcher-kva.example`, which is
/// what clients send (RFC 5890, UTS 46).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    pub(crate) kind: HostKind,
    /// Lower case, without the wildcard and its dot; an expression's text.
    pub(crate) name: String,
    /// In place of a name.
    pub(crate) regex: Option<Arc<Expression>>,
}

/// Where a host pattern has its wildcard, in the order they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum HostKind {
    Exact,
    /// `*.shop.example`
    Below,
    /// `www.*`
    Beginning,
    /// `~…`
    Expression,
}

impl HostPattern {
    /// The most characters of a host name (RFC 1035 §2.3.4).
    pub(crate) const LONGEST: usize = 253;

    /// Whether a host in its one form ([`normal`]) fits.
    pub(crate) fn matches(&self, host: &str) -> bool {
        if host.len() > Self::LONGEST {
            return false;
        }
        let rest = match self.kind {
            HostKind::Exact => return host == self.name,
            HostKind::Below => host.strip_suffix(&*self.name).map(|rest| rest.strip_suffix('.')),
            HostKind::Beginning => host.strip_prefix(&*self.name).map(|rest| rest.strip_prefix('.')),
            HostKind::Expression => {
                return self.regex.as_ref().is_some_and(|regex| regex.regex.is_match(host.as_bytes()));
            }
        };
        rest.flatten().is_some_and(|rest| !rest.is_empty())
    }

    /// What stood in the place of an expression's named groups, of a host in its one form.
    pub(crate) fn captures(&self, host: &str) -> Vec<(Arc<str>, String)> {
        self.regex.as_ref().map(|regex| regex.captures(host)).unwrap_or_default()
    }

    /// The names of an expression's groups.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.regex.iter().flat_map(|regex| regex.regex.capture_names().flatten())
    }

    /// Whether this pattern is known to take whatever another takes.
    pub(crate) fn takes_all_of(&self, other: &Self) -> bool {
        match (self.kind, other.kind) {
            (HostKind::Expression, HostKind::Exact) => self.matches(&other.name),
            _ => other.broader().contains(self),
        }
    }

    /// This pattern and all others that take whatever it takes, expressions apart.
    pub(crate) fn broader(&self) -> Vec<Self> {
        let pattern = |kind, name: &str| Self { kind, name: name.to_owned(), regex: None };
        let below =
            || self.name.match_indices('.').map(|(dot, _)| pattern(HostKind::Below, &self.name[dot + 1..]));
        let beginning =
            || self.name.match_indices('.').map(|(dot, _)| pattern(HostKind::Beginning, &self.name[..dot]));
        let mut all = vec![self.clone()];
        match self.kind {
            HostKind::Exact => all.extend(below().chain(beginning())),
            HostKind::Below => all.extend(below()),
            HostKind::Beginning => all.extend(beginning()),
            HostKind::Expression => {}
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
            HostKind::Expression => write!(f, "~{}", self.name),
        }
    }
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(expression) = text.strip_prefix('~') {
            let regex = match expression.trim_matches(['^', '$']) {
                "" => Err("it is empty".to_owned()),
                _ => Expression::new(expression),
            };
            let regex = regex.map_err(|why| format!("`{text}` is not a host expression: {why}"))?;
            // Hosts are looked up in lower case, whatever case the expression is written in.
            let regex = Some(Arc::new(regex.ignoring_case()));
            return Ok(Self { kind: HostKind::Expression, name: expression.to_owned(), regex });
        }
        let (kind, name) = match (text.strip_prefix("*."), text.strip_suffix(".*")) {
            (Some(name), _) => (HostKind::Below, name),
            (None, Some(name)) => (HostKind::Beginning, name),
            (None, None) => (HostKind::Exact, text),
        };
        let name = match kind {
            HostKind::Beginning => name,
            HostKind::Exact | HostKind::Below | HostKind::Expression => {
                name.strip_suffix('.').unwrap_or(name)
            }
        };
        let name = if name.is_ascii() {
            name.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(name).map_err(|_| {
                format!(
                    "`{text}` is not an internationalised host; expected something like \"bücher.example\""
                )
            })?
        };
        let label = |label: &str| {
            !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        };
        let address = address(&name).filter(|_| kind == HostKind::Exact);
        if address.is_none() && !name.split('.').all(label) {
            return Err(format!(
                "`{text}` is not a host; expected \"shop.example\", \"*.shop.example\", \"www.*\" or \"~regex\", without scheme or port"
            ));
        }
        let name = address.map_or(name, |address| format!("[{address}]"));
        if name.len() > Self::LONGEST {
            return Err(format!(
                "`{name}` has {} characters; a host has at most {}",
                name.len(),
                Self::LONGEST
            ));
        }
        Ok(Self { kind, name, regex: None })
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
        json_schema!({ "type": "string", "examples": ["shop.example", "*.shop.example", "www.*", "~(?<tenant>[a-z]+)\\.shop\\.example"] })
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

/// The one form of a host without port: in lower case, and an IPv6 address as RFC 5952 writes it. On the stack unless it
/// is long.
pub(crate) fn normal<'t>(host: &'t str, buffer: &'t mut [u8; 256]) -> Cow<'t, str> {
    let Some(address) = address(host) else { return lowered(host, buffer) };
    let all = buffer.len();
    let mut rest = &mut buffer[..];
    // An address takes some 40 bytes.
    let _ = write!(rest, "[{address}]");
    let length = all - rest.len();
    std::str::from_utf8(&buffer[..length]).map_or(Cow::Borrowed(host), Cow::Borrowed)
}

/// The IPv6 address of a host in brackets.
fn address(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
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
            ("[0:0:0:0:0:0:0:1]", "[::1]", true),
            ("[::1]", "[0:0::0:1]:80", true),
            ("[2001:DB8::1]", "[2001:0db8::1]", true),
            ("[::1]", "[::2]", false),
            ("~\\[::1\\]", "[0::1]", true),
            ("[::ffff:192.0.2.1]", "[::FFFF:c000:201]", true),
            ("www.*", "WWW.example:80", true),
            ("www.*", "www.a.b", true),
            ("www.*", "www", false),
            ("www.*", "www.", false),
            ("www.*", "wwwx.a", false),
            ("www.a.*", "www.a.b", true),
            ("www.a.*", "www.b", false),
            ("localhost", "localhost.", true),
            ("bücher.example", "XN--BCHER-KVA.example.", true),
            ("*.Bücher.Example.", "a.xn--bcher-kva.example", true),
            ("bücher。example", "xn--bcher-kva.example", true),
            ("~^(?<tenant>[a-z]+)\\.shop\\.example$", "ACME.shop.example.:80", true),
            ("~[a-z]+\\.shop\\.EXAMPLE", "acme.shop.example", true),
            ("~[a-z]+\\.shop\\.example", "acme.shop.example.evil", false),
            ("~[a-z]+\\.shop\\.example", "a.acme.shop.example", false),
            ("~a|b", "b", true),
            ("~a|b", "bb", false),
        ] {
            let pattern: HostPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(&normal(bare(host), &mut [0; 256])), expected, "{pattern} {host}");
        }
        for text in
            ["", "*", "*.", ".*", "*.x.*", "a..b", ".a", "http://x", "x:80", "a b", "x/y", "[x]", "*.[::1]"]
        {
            assert!(text.parse::<HostPattern>().unwrap_err().contains("without scheme or port"), "{text}");
        }
    }

    #[test]
    fn names_and_expressions_that_are_none_are_refused_with_a_reason() {
        for (text, part) in [
            ("a\u{ad}\u{2260}..b\u{fffd}", "not an internationalised host"),
            ("~", "it is empty"),
            ("~^$", "it is empty"),
            ("~a(", "unclosed group"),
            ("~a)(b", "unopened group"),
            ("~(a{1000}){1000}", "more than 256 KiB"),
        ] {
            let error = text.parse::<HostPattern>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let both =
            ["bücher.example", "xn--bcher-kva.example"].map(|text| text.parse::<HostPattern>().unwrap());
        assert_eq!(both[0], both[1]);
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
            ("~[a-z]\\.b", "a.b", true),
            ("~[a-z]\\.b", "1.b", false),
            ("~.*", "*.b", false),
            ("~.*", "~.*", true),
        ] {
            let pattern = |text: &str| text.parse::<HostPattern>().unwrap();
            assert_eq!(pattern(one).takes_all_of(&pattern(other)), expected, "{one} {other}");
        }
    }
}
