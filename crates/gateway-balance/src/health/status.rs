use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

/// Some statuses: written `200`, `"200-299"`, or a list of those.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRanges(Vec<RangeInclusive<u16>>);

impl Default for StatusRanges {
    fn default() -> Self {
        Self(vec![200..=200])
    }
}

impl StatusRanges {
    /// Whether this status is one of them.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl fmt::Display for StatusRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            match (range.start(), range.end()) {
                (one, other) if one == other => write!(f, "{one}")?,
                (first, last) => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong =
        || format!("`{text}` is no status; expected one from 100 to 599 or a range such as \"200-299\"");
    let one = |text: &str| text.trim().parse().ok().filter(|status| (100..=599).contains(status));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (one(first), one(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(wrong()),
    }
}

const EXPECTED: &str = "a status such as 200, a range such as \"200-299\", or a list of those";

/// One of a list.
struct Part(RangeInclusive<u16>);

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct OneRange;
        impl Visitor<'_> for OneRange {
            type Value = Part;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status such as 200 or a range such as \"200-299\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Part, E> {
                range(text).map(Part).map_err(E::custom)
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Part, E> {
                range(&number.to_string()).map(Part).map_err(E::custom)
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Part, E> {
                range(&number.to_string()).map(Part).map_err(E::custom)
            }
        }
        d.deserialize_any(OneRange)
    }
}

impl<'de> Deserialize<'de> for StatusRanges {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = StatusRanges;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<StatusRanges, E> {
                range(text).map(|range| StatusRanges(vec![range])).map_err(E::custom)
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<StatusRanges, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<StatusRanges, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<StatusRanges, A::Error> {
                let parts = Vec::<Part>::deserialize(SeqAccessDeserializer::new(seq))?;
                if parts.is_empty() {
                    return Err(A::Error::invalid_length(0, &self));
                }
                Ok(StatusRanges(parts.into_iter().map(|part| part.0).collect()))
            }
        }
        d.deserialize_any(OneOrMany)
    }
}

impl JsonSchema for StatusRanges {
    fn schema_name() -> Cow<'static, str> {
        "StatusRanges".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let number = json_schema!({ "type": "integer", "minimum": 100, "maximum": 599 });
        let text = json_schema!({ "type": "string", "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$" });
        let list = json_schema!({ "type": "array", "items": { "anyOf": [number, text] }, "minItems": 1 });
        json_schema!({ "description": EXPECTED, "anyOf": [number, text, list] })
    }
    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_one_or_many_and_shown_as_they_were() {
        let read = |text: &str| serde_json::from_str::<StatusRanges>(text).map_err(|error| error.to_string());
        for (text, shown, within, outside) in [
            ("204", "204", 204, 200),
            ("\"200-299\"", "200-299", 299, 300),
            (r#"[200, "300-399"]"#, "200, 300-399", 302, 201),
        ] {
            let ranges = read(text).unwrap();
            assert_eq!(ranges.to_string(), shown);
            assert!(ranges.contains(within) && !ranges.contains(outside), "{text}");
        }
        for text in ["99", "600", "\"299-200\"", "\"2xx\"", "[200, \"x\"]"] {
            assert!(read(text).unwrap_err().contains("is no status; expected one from 100 to 599"), "{text}");
        }
        for text in ["[]", "true"] {
            assert!(read(text).unwrap_err().contains("expected a status such as 200"), "{text}");
        }
    }
}
