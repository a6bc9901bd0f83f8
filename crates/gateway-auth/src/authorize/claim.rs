//! What a claim must be.

use crate::AuthError;
use regex::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

/// What a claim must be: a value, one of several, or a table of tests.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimRule {
    /// This text, number or boolean.
    Is(Value),
    /// One of these.
    OneOf(Vec<Value>),
    /// All of these tests.
    Tests(Box<ClaimTests>),
}

/// Tests that must all hold of a claim. Of a list, all of them must hold of one of its elements.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClaimTests {
    /// Whether it is there at all; `null` is not. `false` goes with no other test. Default: it must be there.
    pub present: Option<bool>,
    /// One of these texts, numbers or booleans.
    pub one_of: Option<Vec<Value>>,
    /// None of these.
    pub none_of: Option<Vec<Value>>,
    /// How the text begins.
    pub prefix: Option<String>,
    /// How the text ends.
    pub suffix: Option<String>,
    /// What the text has in it; of a list, what one of its elements is.
    pub contains: Option<String>,
    /// What the whole text matches, as a regular expression in Rust's syntax.
    pub regex: Option<String>,
    /// The least number.
    pub min: Option<f64>,
    /// The greatest number.
    pub max: Option<f64>,
}

struct ClaimVisitor;

impl<'de> Visitor<'de> for ClaimVisitor {
    type Value = ClaimRule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, a boolean, a list of them, or a table of tests such as `{ min = 3 }`")
    }
    fn visit_str<E>(self, text: &str) -> Result<ClaimRule, E> {
        Ok(ClaimRule::Is(text.into()))
    }
    fn visit_bool<E>(self, on: bool) -> Result<ClaimRule, E> {
        Ok(ClaimRule::Is(on.into()))
    }
    fn visit_i64<E>(self, number: i64) -> Result<ClaimRule, E> {
        Ok(ClaimRule::Is(number.into()))
    }
    fn visit_u64<E>(self, number: u64) -> Result<ClaimRule, E> {
        Ok(ClaimRule::Is(number.into()))
    }
    fn visit_f64<E>(self, number: f64) -> Result<ClaimRule, E> {
        Ok(ClaimRule::Is(number.into()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<ClaimRule, A::Error> {
        let values = Vec::<Value>::deserialize(SeqAccessDeserializer::new(list))?;
        match values.iter().find(|value| value.is_array() || value.is_object() || value.is_null()) {
            Some(value) => Err(de::Error::custom(format!(
                "`{value}` is no text, number or boolean, and claims are compared with nothing else"
            ))),
            None => Ok(ClaimRule::OneOf(values)),
        }
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ClaimRule, A::Error> {
        let tests = ClaimTests::deserialize(MapAccessDeserializer::new(map))?;
        Ok(ClaimRule::Tests(Box::new(tests)))
    }
}

impl<'de> Deserialize<'de> for ClaimRule {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ClaimVisitor)
    }
}

impl JsonSchema for ClaimRule {
    fn schema_name() -> Cow<'static, str> {
        "ClaimRule".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<ClaimTests>();
        let plain = ["string", "number", "boolean"];
        json_schema!({ "anyOf": [{ "type": plain }, { "type": "array", "items": { "type": plain } }, table] })
    }
}

/// The tests of one claim, ready to be used.
#[derive(Debug)]
pub(crate) struct ClaimCheck {
    path: Box<str>,
    tests: Vec<Test>,
    absent: bool,
}

#[derive(Debug)]
enum Test {
    OneOf(Vec<Value>),
    NoneOf(Vec<Value>),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex(Regex),
    Range { min: f64, max: f64 },
}

impl ClaimCheck {
    pub(crate) fn new(key: &str, path: &str, rule: &ClaimRule) -> Result<Self, AuthError> {
        let wrong = |why: &str| AuthError::setting(format!("{key}.{path}"), why);
        let (tests, absent) = match rule {
            ClaimRule::Is(value) => (vec![Test::OneOf(vec![value.clone()])], false),
            ClaimRule::OneOf(values) => (vec![Test::OneOf(values.clone())], false),
            ClaimRule::Tests(tests) if **tests == ClaimTests::default() => {
                return Err(wrong("the table is empty; expected a test such as `present = true`"));
            }
            ClaimRule::Tests(tests) => {
                let absent = tests.present == Some(false);
                (compile(tests).map_err(|why| wrong(&why))?, absent)
            }
        };
        if absent && !tests.is_empty() {
            return Err(wrong("`present = false` stands with other tests; expected it alone"));
        }
        if tests.iter().any(|test| matches!(test, Test::OneOf(values) if values.is_empty())) {
            return Err(wrong("the list is empty, so that nobody could pass; expected at least one value"));
        }
        Ok(Self { path: path.into(), tests, absent })
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Whether a claim, if it is there, passes all tests.
    pub(crate) fn holds(&self, claim: Option<&Value>) -> bool {
        match claim {
            None | Some(Value::Null) => self.absent,
            Some(_) if self.absent => false,
            Some(Value::Array(list)) => {
                self.tests.is_empty() || list.iter().any(|element| self.all(element, true))
            }
            Some(value) => self.all(value, false),
        }
    }

    fn all(&self, value: &Value, in_list: bool) -> bool {
        self.tests.iter().all(|test| test.holds(value, in_list))
    }
}

fn compile(tests: &ClaimTests) -> Result<Vec<Test>, String> {
    let ClaimTests { present: _, one_of, none_of, prefix, suffix, contains, regex, min, max } = tests.clone();
    let regex = match regex {
        None => None,
        // The whole text: what is meant by `shop` is seldom `workshop`.
        Some(regex) => Some(Regex::new(&format!("^(?:{regex})$")).map_err(|error| error.to_string())?),
    };
    let range = match (min, max) {
        (None, None) => None,
        (min, max) => {
            let (min, max) = (min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY));
            if min > max {
                return Err(format!("`min` is {min} and `max` is {max}; expected the lesser first"));
            }
            Some(Test::Range { min, max })
        }
    };
    let all = [
        one_of.map(Test::OneOf),
        none_of.map(Test::NoneOf),
        prefix.map(Test::Prefix),
        suffix.map(Test::Suffix),
        contains.map(Test::Contains),
        regex.map(Test::Regex),
        range,
    ];
    Ok(all.into_iter().flatten().collect())
}

impl Test {
    fn holds(&self, value: &Value, in_list: bool) -> bool {
        let text = || value.as_str();
        match self {
            Self::OneOf(values) => values.iter().any(|known| same(known, value)),
            Self::NoneOf(values) => !values.iter().any(|known| same(known, value)),
            Self::Prefix(prefix) => text().is_some_and(|text| text.starts_with(prefix)),
            Self::Suffix(suffix) => text().is_some_and(|text| text.ends_with(suffix)),
            Self::Contains(part) if in_list => text() == Some(part),
            Self::Contains(part) => text().is_some_and(|text| text.contains(part)),
            Self::Regex(regex) => text().is_some_and(|text| regex.is_match(text)),
            Self::Range { min, max } => value.as_f64().is_some_and(|number| *min <= number && number <= *max),
        }
    }
}

/// Whether two values are the same; 1 and 1.0 are.
fn same(a: &Value, b: &Value) -> bool {
    a == b || (a.is_number() && (a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64() && b.is_number())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(rule: Value) -> Result<ClaimCheck, String> {
        let rule: ClaimRule = serde_json::from_value(rule).map_err(|error| error.to_string())?;
        ClaimCheck::new("claims", "c", &rule).map_err(|error| error.to_string())
    }

    #[test]
    fn a_claim_holds_or_not() {
        for (rule, holds, not) in [
            (json!("acme"), json!(["acme", ["x", "acme"]]), json!(["acm", "acme ", null, 1, ["x"], {}])),
            (json!(3), json!([3, 3.0, [1, 3]]), json!(["3", 4, 3.5, null])),
            (json!(true), json!([true, [true]]), json!([false, "true", 1])),
            (json!(["DE", "AT", 7]), json!(["DE", "AT", 7]), json!(["CH", "de", null])),
            (json!({ "min": 3 }), json!([3, 3.5, 1e9, [1, 5]]), json!([2.99, "4", null, [1, 2]])),
            (json!({ "min": 3, "max": 4 }), json!([3, 4]), json!([5, 2, [2, 5]])),
            (
                json!({ "prefix": "a", "suffix": "z" }),
                json!(["az", "abz", ["x", "az"]]),
                json!(["a", ["a", "z"]]),
            ),
            (json!({ "contains": "bc" }), json!(["abcd", ["bc"]]), json!(["b", ["abcd"], 7])),
            (
                json!({ "regex": "[a-z]+@x\\.de|b" }),
                json!(["ab@x.de", "b"]),
                json!(["ab@x.de\n", "bb", "1ab@x.de"]),
            ),
            (json!({ "present": true }), json!(["", 0, false, [], {}]), json!([null])),
            (json!({ "present": false }), json!([null]), json!(["", 0, []])),
            (json!({ "none_of": ["x", "y"] }), json!(["z", 1]), json!(["x", "y", null])),
        ] {
            let check = check(rule.clone()).unwrap();
            for value in holds.as_array().unwrap() {
                assert!(check.holds(Some(value)), "{rule} does not take {value}");
            }
            for value in not.as_array().unwrap() {
                assert!(!check.holds(Some(value)), "{rule} takes {value}");
            }
            assert_eq!(check.holds(None), check.absent, "{rule}");
        }
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        for (rule, part) in [
            (json!({}), "the table is empty"),
            (json!([]), "the list is empty"),
            (json!([["a"]]), "is no text, number or boolean"),
            (json!({ "mni": 3 }), "unknown field `mni`"),
            (json!({ "regex": "(" }), "unclosed group"),
            (json!({ "min": 4, "max": 3 }), "expected the lesser first"),
            (json!({ "present": false, "min": 3 }), "expected it alone"),
            (json!(null), "expected a text, a number"),
        ] {
            let error = check(rule.clone()).unwrap_err();
            assert!(error.contains(part), "{rule}: {error}");
        }
    }
}
