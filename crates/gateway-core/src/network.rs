//! Networks as they are written in settings.

use ipnet::{IpNet, Ipv4Net};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses as it is written in settings, `10.0.0.0/8`, or one address, `192.0.2.7`, which is a range of
/// one.
///
/// Clients' addresses are shown as IPv4 where they are IPv4 mapped to IPv6 (RFC 4291 §2.5.5.2), and so are these:
/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(pub IpNet);

/// What is no [`Network`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Neither a range nor an address.
    #[error("`{0}` is no network; expected one such as \"10.0.0.0/8\", or an address such as \"192.0.2.7\"")]
    Unreadable(String),
    /// An IPv4 address mapped to IPv6, and a range wider than all of IPv4: no address of a client would be in it.
    #[error(
        "`{0}` is wider than all of IPv4; write its IPv4 range, such as \"10.0.0.0/8\", and its IPv6 range apart"
    )]
    Mixed(String),
}

impl Network {
    /// Whether the address is in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let network = network.map_err(|_| NetworkError::Unreadable(text.to_owned()))?;
        canonical(network).map(Self).ok_or_else(|| NetworkError::Mixed(text.to_owned()))
    }
}

/// The address that stands for all that a client may have: its own, or, as whoever has one address of IPv6 has a whole
/// network of them, the first of its /64.
#[must_use]
pub fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

/// IPv4 for the IPv4-mapped part of IPv6; `None` for a range around all of that, written by an address in it.
fn canonical(network: IpNet) -> Option<IpNet> {
    let mapped = match network {
        IpNet::V6(v6) => v6.addr().to_ipv4_mapped().map(|address| (address, v6.prefix_len())),
        IpNet::V4(_) => None,
    };
    let Some((address, length)) = mapped else { return Some(network) };
    Ipv4Net::new(address, length.checked_sub(96)?).ok().map(IpNet::V4)
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
    fn a_client_has_its_ipv4_address_or_its_64_of_ipv6() {
        for (address, network) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            let [address, network] = [address, network].map(|text| text.parse::<IpAddr>().unwrap());
            assert_eq!(client_network(address), network);
        }
    }

    #[test]
    fn a_network_is_a_range_or_one_address() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.1.2.3", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("::1", "::1", "127.0.0.1"),
            ("::ffff:127.0.0.0/104", "127.9.9.9", "128.0.0.1"),
            ("::ffff:0:0/96", "192.0.2.7", "::1"),
            ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.0/24", "::ffff:192.0.2.7", "::ffff:192.0.3.1"),
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

    #[test]
    fn a_range_around_all_of_ipv4_by_a_mapped_address_is_refused() {
        for text in ["::ffff:127.0.0.0/90", "::ffff:0:0/80", "::ffff:1.2.3.4/0"] {
            let error = text.parse::<Network>().unwrap_err();
            assert_eq!(error, NetworkError::Mixed(text.to_owned()));
        }
        assert!("::/0".parse::<Network>().unwrap().contains("2001:db8::1".parse().unwrap()));
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
