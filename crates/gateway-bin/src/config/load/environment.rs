//! What environment variables say of the configuration, and how they are read.

use super::file::join;
use super::{is_of, put_over};
use figment::providers::Env;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What environment variables begin with; `__` stands between the levels of a key.
const PREFIX: &str = "GATEWAY_";

/// Whether a variable, without our prefix, is one that Kubernetes sets in every pod of a namespace with a service
/// called `gateway`: `GATEWAY_SERVICE_HOST`, `GATEWAY_SERVICE_PORT_HTTP`, `GATEWAY_PORT_80_TCP_ADDR` and the like
/// (Docker's links do too). No key of ours is called so: levels are told apart by two underscores.
pub(super) fn is_of_kubernetes(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let is_port = |rest: &str| {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let protocol = ["_TCP", "_UDP", "_SCTP"].iter().find_map(|protocol| digits.strip_prefix(protocol));
        digits.len() < rest.len()
            && protocol.is_some_and(|end| matches!(end, "" | "_ADDR" | "_PORT" | "_PROTO"))
    };
    matches!(name.as_str(), "PORT" | "SERVICE_HOST" | "SERVICE_PORT")
        || name.strip_prefix("SERVICE_PORT_").is_some_and(|port| !port.starts_with('_'))
        || name.strip_prefix("PORT_").is_some_and(is_port)
}

/// The variables, by the key that each of them says something of.
#[derive(Default)]
pub(super) struct Environment(BTreeMap<String, Variable>);

/// One of them.
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) text: String,
    /// What it stands for where its first reading does not fit.
    pub(super) otherwise: Option<Value>,
}

impl Environment {
    /// Puts them over what a file says. Names are found there whatever their case: that of variables says nothing.
    pub(super) fn put_over(tree: &mut Map<String, Value>) -> Self {
        let variables = Env::prefixed(PREFIX).filter(|name| !is_of_kubernetes(name.as_str())).split("__");
        let mut variables: Vec<_> = variables.iter().map(|(key, text)| (key.into_string(), text)).collect();
        // In the order of their names, not in the one that they happen to have been set in.
        variables.sort_unstable();
        let mut said = BTreeMap::new();
        for (path, text) in variables {
            let steps: Vec<&str> = path.split('.').collect();
            let name = format!("{PREFIX}{}", steps.join("__").to_uppercase());
            let (value, otherwise) = readings(&text);
            said.insert(put(tree, &steps, value), Variable { name, text, otherwise });
        }
        Self(said)
    }

    /// By key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Variable)> {
        self.0.iter()
    }

    /// The one that says what a key is, with the key that it stands for: this, or one above it.
    pub(super) fn of(&self, key: &str) -> Option<(&String, &Variable)> {
        self.0.iter().find(|(said, _)| is_of(key, said))
    }

    /// The first that says something below a key.
    pub(super) fn below(&self, key: &str) -> Option<&Variable> {
        self.0.iter().find(|(said, _)| is_of(said, key)).map(|(_, variable)| variable)
    }
}

/// The two ways to read a text: as it is, or as the number, list, table or text in quotes that it looks like. Which of
/// them fits, the setting knows; first comes what would be lost otherwise.
fn readings(text: &str) -> (Value, Option<Value>) {
    let plain = Value::String(text.to_owned());
    let Ok(typed) = text.parse::<figment::value::Value>();
    match serde_json::to_value(typed) {
        Ok(typed @ Value::String(_)) => (plain.clone(), (typed != plain).then_some(typed)),
        Ok(typed) => (typed, Some(plain)),
        // A number that has no end, or is too large.
        Err(_) => (plain, None),
    }
}

/// Puts a value at its place; returns the key of that.
fn put(tree: &mut Map<String, Value>, steps: &[&str], value: Value) -> String {
    let (mut table, mut path) = (tree, String::new());
    let mut value = Some(value);
    for (i, step) in steps.iter().enumerate() {
        let name = name_in(table, step);
        path = join(&path, &name);
        if i + 1 == steps.len() {
            put_over(table, value.take().map(|value| (name, value)).into_iter().collect());
            break;
        }
        let inner = table.entry(name).or_insert(Value::Null);
        if !inner.is_object() {
            *inner = Value::Object(Map::new());
        }
        let Value::Object(inner) = inner else { break };
        table = inner;
    }
    path
}

/// What a table calls a key of this name: as it is, or the only one that differs in case alone.
fn name_in(table: &Map<String, Value>, name: &str) -> String {
    let mut alike = table.keys().filter(|key| key.eq_ignore_ascii_case(name));
    match (table.contains_key(name), alike.next(), alike.next()) {
        (false, Some(only), None) => only.clone(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_text_is_read_as_it_looks_and_kept_as_it_is() {
        for (text, first, otherwise) in [
            ("info", json!("info"), None),
            ("12345678", json!(12_345_678), Some(json!("12345678"))),
            ("1.10", json!(1.1), Some(json!("1.10"))),
            ("true", json!(true), Some(json!("true"))),
            ("\"sekret\"", json!("\"sekret\""), Some(json!("sekret"))),
            (" padded ", json!(" padded "), Some(json!("padded"))),
            ("{a=b}", json!({ "a": "b" }), Some(json!("{a=b}"))),
            ("[1, 2]", json!([1, 2]), Some(json!("[1, 2]"))),
            ("[1, 2", json!("[1, 2"), None),
            ("", json!(""), None),
        ] {
            assert_eq!(readings(text), (first, otherwise), "{text}");
        }
    }

    #[test]
    fn names_are_found_in_the_file_whatever_their_case() {
        let file = json!({ "services": { "Api": { "timeout": "1s" }, "b": 1, "B": 2 }, "x": 1 });
        let Value::Object(mut tree) = file else { panic!() };
        assert_eq!(put(&mut tree, &["services", "api", "timeout"], json!("2s")), "services.Api.timeout");
        assert_eq!(put(&mut tree, &["services", "b"], json!(3)), "services.b");
        assert_eq!(put(&mut tree, &["services", "new", "retry"], json!(1)), "services.new.retry");
        assert_eq!(put(&mut tree, &["x", "y"], json!(1)), "x.y");
        let expected = json!({
            "services": { "Api": { "timeout": "2s" }, "b": 3, "B": 2, "new": { "retry": 1 } }, "x": { "y": 1 }
        });
        assert_eq!(Value::Object(tree), expected);
    }
}
