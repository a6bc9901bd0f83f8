use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::str::FromStr;

/// Which hosts a route takes: `shop.example`, or `*.shop.example` for all below it. Case, port and a trailing
/// dot make no difference.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    pub(crate) wildcard: bool,
    /// Lower case, without the wildcard and its dot.
    pub(crate) name: String,
}

impl HostPattern {
    /// The most characters of a host name (RFC 1035 §2.3.4).
    pub(crate) const LONGEST: usize = 253;

    pub(crate) fn matches(&self, host: &str) -> bool {
        if !self.wildcard {
            return host.eq_ignore_ascii_case(&self.name);
        }
        let Some(at) = host.len().checked_sub(self.name.len() + 1) else { return false };
        at > 0
            && host.as_bytes()[at] == b'.'
            && host.as_bytes()[at + 1..].eq_ignore_ascii_case(self.name.as_bytes())
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", if self.wildcard { "*." } else { "" }, self.name)
    }
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let address = name.starts_with('[') && name.ends_with(']');
        if name.len() > Self::LONGEST {
            return Err(format!(
                "`{name}` has {} characters; a host has at most {}",
                name.len(),
                Self::LONGEST
            ));
        }
        if name.is_empty() || !(address || name.chars().all(plain)) {
            return Err(format!(
                "`{text}` is not a host; expected \"shop.example\" or \"*.shop.example\", without scheme or port"
            ));
        }
        Ok(Self { wildcard, name })
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
        json_schema!({ "type": "string", "examples": ["shop.example", "*.shop.example"] })
    }
    fn inline_schema() -> bool {
        true
    }
}

/// The host of a request without port and trailing dot.
pub(crate) fn bare(host: &str) -> &str {
    let end = match host.rfind(']') {
        Some(bracket) => bracket + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    let host = &host[..end];
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
        ] {
            let pattern: HostPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(bare(host)), expected, "{pattern} {host}");
        }
        for text in ["", "*", "*.", "http://x", "x:80", "a b", "x/y"] {
            assert!(text.parse::<HostPattern>().unwrap_err().contains("without scheme or port"), "{text}");
        }
    }
}
