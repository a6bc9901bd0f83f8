use gateway_core::Network;
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

/// Networks a client may be in, such as `10.0.0.0/8`, `2001:db8::/32` or the single address `192.0.2.7`.
///
/// Kept sorted and merged, so that a look-up in thousands of them is a binary search.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// These networks, as a [`Network`] is read: those of IPv4 are not mapped to IPv6.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let networks = networks.into_iter().map(|network| network.trunc()).collect();
        let mut merged = IpNet::aggregate(&networks);
        merged.sort_unstable_by_key(IpNet::network);
        Self(merged)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the address is in one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.last_before(address).is_some_and(|network| network.contains(&address))
    }

    /// Whether every address of the others is in one of these.
    pub(crate) fn contain_all_of(&self, others: &Self) -> bool {
        // Merged networks that adjoin have become one, so that none is covered by two.
        others.0.iter().all(|other| self.last_before(other.network()).is_some_and(|own| own.contains(other)))
    }

    /// Whether no address is in both.
    pub(crate) fn are_apart_from(&self, others: &Self) -> bool {
        let apart = |one: &Self, other: &Self| other.0.iter().all(|network| !one.contains(network.network()));
        apart(self, others) && apart(others, self)
    }

    /// The only one an address can be in.
    fn last_before(&self, address: IpAddr) -> Option<&IpNet> {
        let after = self.0.partition_point(|network| network.network() <= address);
        self.0.get(after.checked_sub(1)?)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, network) in self.0.iter().enumerate() {
            write!(f, "{}{network}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let networks = Vec::<Network>::deserialize(d)?;
        if networks.is_empty() {
            // Whoever empties a list of those who may come hardly means everybody.
            return Err(serde::de::Error::custom(
                "the list of networks is empty; expected at least one such as \"10.0.0.0/8\", or no list at all",
            ));
        }
        Ok(Self::new(networks.into_iter().map(|network| network.0)))
    }
}

impl JsonSchema for Networks {
    fn schema_name() -> Cow<'static, str> {
        "Networks".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "type": "string" }, "minItems": 1, "examples": [["10.0.0.0/8", "192.0.2.7"]] })
    }
    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(texts: &[&str]) -> Networks {
        serde_json::from_value(serde_json::json!(texts)).unwrap()
    }

    #[test]
    fn addresses_are_in_their_networks_and_in_no_other() {
        let networks =
            read(&["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "2001:db8::/32", "::ffff:172.16.0.0/108"]);
        for (address, expected) in [
            ("10.255.0.1", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("172.31.0.1", true),
            ("172.32.0.1", false),
            ("2001:db8:1::", true),
            ("2001:db9::", false),
            ("::1", false),
        ] {
            assert_eq!(networks.contains(address.parse().unwrap()), expected, "{address}");
        }
        let error = serde_json::from_str::<Networks>(r#"["10.0.0.0/33"]"#).unwrap_err().to_string();
        assert!(error.contains("`10.0.0.0/33` is no network; expected one such as"), "{error}");
    }

    fn few() -> impl Strategy<Value = Vec<IpNet>> {
        let network = (0u8..16, 28u8..=32)
            .prop_map(|(last, length)| IpNet::new([10, 0, 0, last].into(), length).unwrap());
        prop::collection::vec(network, 0..6)
    }

    #[test]
    fn an_empty_list_is_a_mistake() {
        let error = serde_json::from_str::<Networks>("[]").unwrap_err().to_string();
        assert!(error.contains("expected at least one"), "{error}");
    }

    proptest! {
        #[test]
        fn merged_networks_hold_what_the_list_holds(one in few(), other in few()) {
            let all: Vec<IpAddr> = (0u8..32).map(|last| [10, 0, 0, last].into()).collect();
            let within = |list: &[IpNet], address: &IpAddr| list.iter().any(|n| n.contains(address));
            let (a, b) = (Networks::new(one.clone()), Networks::new(other.clone()));
            for address in &all {
                prop_assert_eq!(a.contains(*address), within(&one, address), "{}", address);
            }
            let covered = all.iter().all(|x| !within(&other, x) || within(&one, x));
            prop_assert_eq!(a.contain_all_of(&b), covered, "{} {}", a, b);
            let apart = all.iter().all(|x| !within(&other, x) || !within(&one, x));
            prop_assert_eq!(a.are_apart_from(&b), apart, "{} {}", a, b);
        }
    }
}
