use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;

/// How strongly the requests on their way to an endpoint count against its weight: a number from 0 (not at all) to 10
/// (Envoy: `active_request_bias`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RequestBias(f64);

impl RequestBias {
    /// The chance of an endpoint of this weight that has so many requests: `weight / (active + 1)^bias`. Pure.
    pub(crate) fn chance(self, weight: u32, active: usize) -> f64 {
        let busy = (active + 1) as f64;
        let busy = if self.0 == 1.0 { busy } else { busy.powf(self.0) };
        f64::from(weight) / busy
    }
}

impl Default for RequestBias {
    fn default() -> Self {
        Self(1.0)
    }
}

impl<'de> Deserialize<'de> for RequestBias {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(d)?;
        let wrong =
            || serde::de::Error::custom(format!("`{number}` is no bias; expected a number from 0 to 10"));
        (0.0..=10.0).contains(&number).then_some(Self(number)).ok_or_else(wrong)
    }
}

impl JsonSchema for RequestBias {
    fn schema_name() -> Cow<'static, str> {
        "RequestBias".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": 10 })
    }
    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bias_says_how_much_a_request_weighs() {
        let chance = |bias: &str| serde_json::from_str::<RequestBias>(bias).unwrap().chance(6, 2);
        assert_eq!(["0", "1", "1.0", "2"].map(chance), [6.0, 2.0, 2.0, 6.0 / 9.0]);
        assert_eq!(RequestBias::default().chance(6, 2), 2.0);
        for text in ["-1", "11"] {
            let error = serde_json::from_str::<RequestBias>(text).unwrap_err().to_string();
            assert!(error.contains("is no bias; expected a number from 0 to 10"), "{error}");
        }
    }
}
