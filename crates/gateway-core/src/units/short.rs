use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// A plain value where a table may also stand.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// `"100/min"`
    Text(&'a str),
    /// `3`
    Number(i64),
    /// `true`
    Switch(bool),
}

/// Settings whose table has a short form: `timeout = "5s"` for `timeout = { total = "5s" }`.
pub trait ShortForm: Sized {
    /// What may stand there, for messages: `a length of time such as "5s", or a table`.
    const EXPECTED: &'static str;
    /// The JSON type of the short form, for the schema: `string`, `boolean` or `integer`.
    const TYPE: &'static str;
    /// The JSON types of further short forms.
    const ALSO: &'static [&'static str] = &[];

    /// Reads the short form; `None` where a scalar of this kind means nothing here.
    ///
    /// # Errors
    /// Says what is wrong with the value.
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>>;

    /// Reads a list of texts, for settings with `array` among [`ALSO`](Self::ALSO). Default: `None`, lists mean
    /// nothing here.
    ///
    /// # Errors
    /// Says what is wrong with the list.
    fn from_list(texts: Vec<String>) -> Option<Result<Self, String>> {
        let _ = texts;
        None
    }
}

/// A setting of type `T`, read from its table or from its short form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Short<T>(pub T);

impl<T> std::ops::Deref for Short<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// A setting that can be turned off: `false`, or whatever [`Short`] reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switch<T> {
    /// `false`
    #[default]
    Off,
    /// `true` where the short form says so, another short form, or a table.
    On(T),
}

impl<T> Switch<T> {
    /// The settings, if it is on.
    #[must_use]
    pub fn on(&self) -> Option<&T> {
        match self {
            Self::Off => None,
            Self::On(settings) => Some(settings),
        }
    }
}

/// The JSON types of all short forms: one, or a list.
fn types<T: ShortForm>() -> serde_json::Value {
    if T::ALSO.is_empty() { T::TYPE.into() } else { [&[T::TYPE], T::ALSO].concat().into() }
}

/// `false` in front of the short forms of `T`.
struct OrOff<T>(Switch<T>);

impl<T: ShortForm> ShortForm for OrOff<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    const TYPE: &'static str = T::TYPE;
    const ALSO: &'static [&'static str] = T::ALSO;
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Switch(false) => Some(Ok(Self(Switch::Off))),
            value => T::from_short(value).map(|on| on.map(|on| Self(Switch::On(on)))),
        }
    }
    fn from_list(texts: Vec<String>) -> Option<Result<Self, String>> {
        T::from_list(texts).map(|on| on.map(|on| Self(Switch::On(on))))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OrOff<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        T::deserialize(d).map(|on| Self(Switch::On(on)))
    }
}

impl<'de, T: ShortForm + Deserialize<'de>> Deserialize<'de> for Switch<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Short::<OrOff<T>>::deserialize(d).map(|short| short.0.0)
    }
}

impl<T: ShortForm + JsonSchema> JsonSchema for Switch<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("SwitchOr{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "const": false }, { "type": types::<T>(), "description": T::EXPECTED }, table] })
    }
    fn inline_schema() -> bool {
        true
    }
}

struct ShortVisitor<T>(PhantomData<T>);

impl<T: ShortForm> ShortVisitor<T> {
    fn short<E: Error>(self, value: Scalar<'_>, found: serde::de::Unexpected<'_>) -> Result<Short<T>, E> {
        match T::from_short(value) {
            Some(Ok(value)) => Ok(Short(value)),
            Some(Err(message)) => Err(E::custom(message)),
            None => Err(E::invalid_type(found, &T::EXPECTED)),
        }
    }
}

impl<'de, T: ShortForm + Deserialize<'de>> Visitor<'de> for ShortVisitor<T> {
    type Value = Short<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Short<T>, E> {
        self.short(Scalar::Text(text), serde::de::Unexpected::Str(text))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Short<T>, E> {
        self.short(Scalar::Number(number), serde::de::Unexpected::Signed(number))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Short<T>, E> {
        let signed = i64::try_from(number).unwrap_or(i64::MAX);
        self.short(Scalar::Number(signed), serde::de::Unexpected::Unsigned(number))
    }
    fn visit_bool<E: Error>(self, on: bool) -> Result<Short<T>, E> {
        self.short(Scalar::Switch(on), serde::de::Unexpected::Bool(on))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Short<T>, A::Error> {
        let unexpected = || A::Error::invalid_type(serde::de::Unexpected::Seq, &T::EXPECTED);
        if !T::ALSO.contains(&"array") {
            return Err(unexpected());
        }
        let texts = Vec::deserialize(SeqAccessDeserializer::new(list))?;
        T::from_list(texts).ok_or_else(unexpected)?.map(Short).map_err(A::Error::custom)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Short<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Short)
    }
}

impl<'de, T: ShortForm + Deserialize<'de>> Deserialize<'de> for Short<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ShortVisitor(PhantomData))
    }
}

impl<T: ShortForm + JsonSchema> JsonSchema for Short<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("ShortOr{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "type": types::<T>(), "description": T::EXPECTED }, table] })
    }
    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Retry {
        attempts: i64,
    }

    impl ShortForm for Retry {
        const EXPECTED: &'static str = "a number of attempts, or a table";
        const TYPE: &'static str = "integer";
        fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
            match value {
                Scalar::Number(attempts @ 1..) => Some(Ok(Self { attempts })),
                Scalar::Number(n) => Some(Err(format!("{n} attempts make no sense"))),
                _ => None,
            }
        }
    }

    #[derive(JsonSchema)]
    struct Either {}

    impl ShortForm for Either {
        const EXPECTED: &'static str = "a name, a number, or a table";
        const TYPE: &'static str = "string";
        const ALSO: &'static [&'static str] = &["integer"];
        fn from_short(_: Scalar<'_>) -> Option<Result<Self, String>> {
            None
        }
    }

    #[test]
    fn the_schema_knows_every_short_form() {
        let first = |schema: Schema| schema.as_value()["anyOf"][0]["type"].clone();
        assert_eq!(first(schemars::schema_for!(Short<Retry>)), "integer");
        assert_eq!(first(schemars::schema_for!(Short<Either>)), serde_json::json!(["string", "integer"]));
        let switch = schemars::schema_for!(Switch<Either>);
        assert_eq!(switch.as_value()["anyOf"][1]["type"], serde_json::json!(["string", "integer"]));
    }

    #[derive(Debug, PartialEq, serde::Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Names {
        names: Vec<String>,
    }

    impl ShortForm for Names {
        const EXPECTED: &'static str = "a name, a list of names, or a table";
        const TYPE: &'static str = "string";
        const ALSO: &'static [&'static str] = &["array"];
        fn from_short(_: Scalar<'_>) -> Option<Result<Self, String>> {
            None
        }
        fn from_list(names: Vec<String>) -> Option<Result<Self, String>> {
            Some(if names.is_empty() { Err("no name is given".to_owned()) } else { Ok(Self { names }) })
        }
    }

    #[test]
    fn lists_are_a_short_form_where_they_mean_something() {
        let read =
            |text: &str| serde_json::from_str::<Switch<Names>>(text).map_err(|error| error.to_string());
        assert_eq!(read(r#"["a"]"#), Ok(Switch::On(Names { names: vec!["a".to_owned()] })));
        assert!(read("[]").unwrap_err().contains("no name is given"));
        assert!(read("[1]").unwrap_err().contains("invalid type: integer `1`, expected a string"));
        let error = serde_json::from_str::<Short<Retry>>("[1]").unwrap_err().to_string();
        assert!(error.contains("expected a number of attempts, or a table"), "{error}");
    }

    #[test]
    fn short_and_long_forms_are_read_and_mistakes_keep_their_words() {
        let read =
            |text: &str| serde_json::from_str::<Short<Retry>>(text).map(|s| s.0).map_err(|e| e.to_string());
        assert_eq!(read("3"), Ok(Retry { attempts: 3 }));
        assert_eq!(read(r#"{"attempts": 4}"#), Ok(Retry { attempts: 4 }));
        let switch = |text: &str| serde_json::from_str::<Switch<Retry>>(text).map_err(|e| e.to_string());
        assert_eq!(switch("false"), Ok(Switch::Off));
        assert_eq!(switch("3"), Ok(Switch::On(Retry { attempts: 3 })));
        assert_eq!(switch(r#"{"attempts": 4}"#), Ok(Switch::On(Retry { attempts: 4 })));
        assert!(switch("true").unwrap_err().contains("expected a number of attempts, or a table"));
        for (text, part) in [
            ("0", "0 attempts make no sense"),
            ("true", "expected a number of attempts, or a table"),
            (r#"{"atempts": 4}"#, "unknown field `atempts`, expected `attempts`"),
            (r#"{"attempts": "x"}"#, "invalid type: string \"x\""),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
