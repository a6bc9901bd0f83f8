//! Networks as they are written in settings.

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A range of addresses as it is written in settings, `10.0.0.0/8`, or one address, `192.0.2.7`, which is a range of
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(pub IpNet);

/// What is no [`Network`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no network; expected one such as \"10.0.0.0/8\", or an address such as \"192.0.2.7\"")]
pub struct NetworkError(String);

impl Network {
    /// Whether the address is in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Reads a list of them: for `#[serde(deserialize_with = "Network::list")]`.
    ///
    /// # Errors
    /// One is none.
    pub fn list<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<IpNet>, D::Error> {
        Ok(Vec::<Self>::deserialize(d)?.into_iter().map(|network| network.0).collect())
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| NetworkError(text.to_owned()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Network {
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "an address such as `192.0.2.7`, or a range such as `10.0.0.0/8`",
        })
    }
    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_network_is_a_range_or_one_address() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.1.2.3", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("::1", "::1", "127.0.0.1"),
        ] {
            let network: Network = text.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{text}");
            assert!(!network.contains(outside.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn what_is_no_network_is_named() {
        for text in ["", "home", "10.0.0.0/33", "shop.example", "10.0.0", "10.0.0.0/", " ::1", "::/129"] {
            let said = format!(
                "`{text}` is no network; expected one such as \"10.0.0.0/8\", or an address such as \"192.0.2.7\""
            );
            assert_eq!(text.parse::<Network>().unwrap_err().to_string(), said);
            let json = serde_json::to_string(text).unwrap();
            assert_eq!(serde_json::from_str::<Network>(&json).unwrap_err().to_string(), said);
        }
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
    }

    proptest! {
        #[test]
        fn an_address_is_a_network_of_itself_alone(address in address(), other in address()) {
            let network: Network = address.to_string().parse().unwrap();
            prop_assert!(network.contains(address));
            prop_assert_eq!(network.contains(other), address == other);
        }

        #[test]
        fn what_is_shown_reads_as_the_same_and_holds_what_begins_alike(
            address in any::<[u8; 4]>(), other in any::<[u8; 4]>(), length in 0u8..=32,
        ) {
            let network = Network(IpNet::new(address.into(), length).unwrap());
            prop_assert_eq!(network.to_string().parse::<Network>().unwrap(), network);
            let first = |octets| u64::from(u32::from_be_bytes(octets)) >> (32 - length);
            prop_assert_eq!(network.contains(other.into()), first(address) == first(other));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,20}") {
            let _ = text.parse::<Network>();
        }
    }
}
