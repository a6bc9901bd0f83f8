//! JSON that means one thing only: no name twice in an object, and not deep.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// No claim that anybody uses is deeper.
const MAX_DEPTH: usize = 32;

/// The object that these bytes are.
pub(crate) fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: MAX_DEPTH }.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    match value {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("too deep"))?;
        Ok(Self { depth })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if object.contains_key(&name) {
                return Err(A::Error::custom("a name stands twice"));
            }
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_read_in_two_ways_is_not_read() {
        let deep = |n| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        for (text, good) in [
            (r#"{"a":1,"b":{"a":[1,-2,0.5,"x",null,true]}}"#.to_owned(), true),
            (r#"{"a":1,"a":1}"#.to_owned(), false),
            (r#"{"a":1,"\u0061":2}"#.to_owned(), false),
            (r#"{"x":{"a":1,"a":2}}"#.to_owned(), false),
            (r#"{"a":1e400}"#.to_owned(), false),
            (r#"{"a":"\ud800"}"#.to_owned(), false),
            (r#"{"a":1}{"a":1}"#.to_owned(), false),
            ("\u{feff}{}".to_owned(), false),
            (r#"{"a":1,}"#.to_owned(), false),
            ("[]".to_owned(), false),
            (deep(MAX_DEPTH - 1), true),
            (deep(MAX_DEPTH), false),
            (deep(100_000), false),
        ] {
            assert_eq!(object(text.as_bytes()).is_some(), good, "{text:.60}");
        }
        assert!(object(b"{\"a\":\"\xff\"}").is_none());
        let whole = br#"{"a":[1,{"b":null}],"c":18446744073709551615}"#;
        assert_eq!(object(whole).map(Value::Object), serde_json::from_slice(whole).ok());
    }
}
