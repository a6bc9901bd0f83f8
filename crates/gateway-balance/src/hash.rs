//! Consistent hashing: the same key goes to the same endpoint, and stays there when others come and go.

mod key;
mod table;

pub use key::{HashKey, HashOn};
pub(crate) use table::{Slot, Table};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;

/// How much more than its share an endpoint may be busy before a key goes to the next one: a percentage of at
/// least 100 (HAProxy: `hash-balance-factor`; Envoy: `hash_balance_factor`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadFactor(u16);

impl LoadFactor {
    /// This percentage; what is less than 100 is 100.
    #[must_use]
    pub const fn new(percent: u16) -> Self {
        Self(if percent < 100 { 100 } else { percent })
    }

    /// Whether one more request is too many for an endpoint that has `active` of the `total` requests and this
    /// weight of the sum of all. Pure.
    pub(crate) fn is_exceeded(self, active: usize, total: usize, weight: u32, sum: u64) -> bool {
        let share = (total + 1) as f64 * f64::from(weight) / sum.max(1) as f64;
        (active + 1) as f64 > (share * f64::from(self.0) / 100.0).ceil()
    }
}

impl<'de> Deserialize<'de> for LoadFactor {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(d)?;
        let wrong = || {
            let message = format!("`{number}` is no load factor; expected a percentage from 100 to 10000");
            serde::de::Error::custom(message)
        };
        u16::try_from(number).ok().filter(|n| (100..=10_000).contains(n)).map(Self).ok_or_else(wrong)
    }
}

impl JsonSchema for LoadFactor {
    fn schema_name() -> Cow<'static, str> {
        "LoadFactor".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 100, "maximum": 10000 })
    }
    fn inline_schema() -> bool {
        true
    }
}

/// FNV-1a with the finish of MurmurHash3, which spreads it over all bits. Written out because it must be the same
/// in every version and every replica, or clients would move.
pub(crate) fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for part in parts {
        // A byte that is in no UTF-8 text parts the parts.
        for byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_stay_the_same_in_every_version() {
        assert_eq!(hash([b"a".as_slice()]), hash([b"a".as_slice()]));
        assert_ne!(hash([b"ab".as_slice(), b"c"]), hash([b"a".as_slice(), b"bc"]));
        assert_eq!(hash([b"gateway".as_slice()]), PINNED, "clients would move to other endpoints");
    }
    const PINNED: u64 = 9_973_135_921_534_727_547;

    #[test]
    fn the_bound_is_the_share_times_the_factor_rounded_up() {
        let factor = LoadFactor::new(125);
        // Nine requests on three endpoints, one more comes: 3.33 each, times 1.25 is 4.17: at most 5.
        for (active, exceeded) in [(3, false), (4, false), (5, true)] {
            assert_eq!(factor.is_exceeded(active, 9, 1, 3), exceeded, "{active}");
        }
        assert!(!factor.is_exceeded(0, 0, 1, 3), "the first request goes where it belongs");
        assert!(
            serde_json::from_str::<LoadFactor>("99")
                .unwrap_err()
                .to_string()
                .contains("`99` is no load factor")
        );
    }
}
