//! Settings where one value or a list of them may stand.

use crate::{Limit, Quota};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

struct OneOrMany<T>(&'static str, PhantomData<T>);

impl<'de, T: Deserialize<'de> + FromStr<Err = String>> Visitor<'de> for OneOrMany<T> {
    type Value = Vec<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
        text.parse().map(|one| vec![one]).map_err(E::custom)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<T>, A::Error> {
        match Vec::deserialize(SeqAccessDeserializer::new(seq))? {
            list if list.is_empty() => Err(A::Error::invalid_length(0, &self)),
            list => Ok(list),
        }
    }
}

macro_rules! list_setting {
    ($(#[$doc:meta])* $name:ident of $item:ident, $expecting:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(Vec<$item>);

        impl From<$item> for $name {
            fn from(one: $item) -> Self {
                Self(vec![one])
            }
        }
        impl FromIterator<$item> for $name {
            fn from_iter<I: IntoIterator<Item = $item>>(items: I) -> Self {
                Self(items.into_iter().collect())
            }
        }
        impl std::ops::Deref for $name {
            type Target = [$item];
            fn deref(&self) -> &[$item] {
                &self.0
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_any(OneOrMany($expecting, PhantomData)).map(Self)
            }
        }
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let one = json_schema!({ "type": "string", "examples": [$example] });
                json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
            }
            fn inline_schema() -> bool {
                true
            }
        }
    };
}

list_setting!(
    /// One limit or several: `"100/min"`, `["10/s", "1000/h"]`.
    Limits of Limit, "a rate such as \"100/min\", or a list of them", "100/min"
);
impl Limits {
    /// Reads a list as it stands in a file.
    pub(super) fn from_texts(texts: &[String]) -> Result<Self, String> {
        if texts.is_empty() {
            return Err(
                "the list is empty; expected rates such as \"10/s\" and \"1000/h burst 50\"".to_owned()
            );
        }
        let read = |(i, text): (usize, &String)| {
            text.parse().map_err(|error: String| format!("number {} of the list: {error}", i + 1))
        };
        texts.iter().enumerate().map(read).collect()
    }
}

list_setting!(
    /// One quota or several: `"10000/day"`, `["10000/day", "100000/month"]`.
    Quotas of Quota, "a quota such as \"10000/day\", or a list of them", "10000/day"
);
