use http::{HeaderMap, HeaderName};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// A header that has an answer retried: that it is there, or what it says (Envoy's `retriable-headers`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryHeader {
    /// Its name.
    pub name: HeaderName,
    /// What one of its field lines must say, exactly; `None` for anything.
    pub value: Option<String>,
}

/// What it must say, as it is written in settings: a text, or `true`.
#[derive(Default)]
struct Wanted(Option<String>);

impl RetryHeader {
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        match &self.value {
            None => headers.contains_key(&self.name),
            Some(value) => headers.get_all(&self.name).iter().any(|found| found == value.as_str()),
        }
    }

    /// Reads a table of them by name.
    pub(crate) fn by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Self>, D::Error> {
        let read = |(name, wanted): (String, Wanted)| match name.parse() {
            Ok(name) => Ok(Self { name, value: wanted.0 }),
            Err(_) => Err(Error::custom(format!(
                "`{name}` is not the name of a header; expected one such as \"x-try-again\""
            ))),
        };
        BTreeMap::deserialize(deserializer)?.into_iter().map(read).collect()
    }

    /// The schema of such a table.
    pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
        <BTreeMap<String, Wanted>>::json_schema(generator)
    }
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrTrue;
        impl Visitor<'_> for TextOrTrue {
            type Value = Wanted;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the header's value, or `true` for any")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Wanted, E> {
                Ok(Wanted(Some(text.to_owned())))
            }
            fn visit_bool<E: Error>(self, any: bool) -> Result<Wanted, E> {
                let absent = "`false` would retry every answer without it; expected a text or `true`";
                if any { Ok(Wanted(None)) } else { Err(E::custom(absent)) }
            }
        }
        deserializer.deserialize_any(TextOrTrue)
    }
}

impl JsonSchema for Wanted {
    fn schema_name() -> Cow<'static, str> {
        "RetryHeaderValue".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "boolean"] })
    }
    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RetrySettings;

    fn read(text: &str) -> Result<RetrySettings, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_header_is_there_or_says_exactly_this() {
        let settings = read(r#"{"headers": {"X-Try-Again": true, "x-state": "warming up"}}"#).unwrap();
        let mut headers = HeaderMap::new();
        let found = |headers: &HeaderMap| settings.headers.iter().any(|wanted| wanted.is_in(headers));
        assert!(!found(&headers));
        headers.append("x-state", "warming".parse().unwrap());
        assert!(!found(&headers));
        headers.append("x-state", "warming up".parse().unwrap());
        assert!(found(&headers), "one of its lines is enough");
        headers.clear();
        headers.append("x-try-again", "".parse().unwrap());
        assert!(found(&headers));
    }

    #[test]
    fn mistakes_name_what_was_found_and_what_was_expected() {
        for (text, part) in [
            (r#"{"headers": {"x y": true}}"#, "`x y` is not the name of a header"),
            (r#"{"headers": {"x": false}}"#, "expected a text or `true`"),
            (r#"{"headers": {"x": 7}}"#, "expected the header's value, or `true` for any"),
            (r#"{"on": ["unavailble"]}"#, "unknown variant `unavailble`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
