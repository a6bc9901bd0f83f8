use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;

/// A share in settings: a whole number from 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Percent {
    /// This many of a hundred; what is more than a hundred is a hundred.
    #[must_use]
    pub const fn new(percent: u8) -> Self {
        Self(if percent > 100 { 100 } else { percent })
    }

    /// As a number from 0 to 100.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Whether `part` of `whole` is less than this share. Nothing of nothing is no less than any share.
    pub(crate) fn exceeds(self, part: usize, whole: usize) -> bool {
        (part as u64) * 100 < (whole as u64) * u64::from(self.0)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::try_from(i64::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

impl TryFrom<i64> for Percent {
    type Error = String;
    fn try_from(number: i64) -> Result<Self, String> {
        let percent = u8::try_from(number).ok().filter(|percent| *percent <= 100).map(Self);
        percent.ok_or_else(|| format!("`{number}` is no percentage; expected a number from 0 to 100"))
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": 100 })
    }
    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_read_or_refused_by_name() {
        assert_eq!(serde_json::from_str::<Percent>("50").unwrap().get(), 50);
        for text in ["-1", "101", "300"] {
            let error = serde_json::from_str::<Percent>(text).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}` is no percentage; expected")), "{error}");
        }
    }

    #[test]
    fn below_half_means_below_half() {
        let half = Percent::new(50);
        assert!(!half.exceeds(1, 2));
        assert!(half.exceeds(1, 3));
        assert!(!half.exceeds(0, 0));
        assert!(!Percent::new(0).exceeds(0, 3));
    }
}
