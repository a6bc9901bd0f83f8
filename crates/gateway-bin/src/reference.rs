//! The reference of all keys, made from the schema of the settings.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Every key as a row of a table in Markdown.
pub(crate) fn markdown(schema: &Value) -> String {
    let mut text = String::from(
        "# Configuration\n\nEvery key, made by `gateway schema --format md`. `NAME` stands for a name of your choosing, `[]` for each \
         element of a list. Where a short form is named, it may stand in place of the table whose keys follow. What stands below \
         a key of `defaults` and of `groups.NAME` is told at the same key of `routes[]`.\n\n\
         | key | value | meaning |\n|---|---|---|\n",
    );
    for Row { key, kind, meaning } in table(schema) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "| `{key}` | {kind} | {meaning} |");
    }
    text
}

/// The name of every key.
pub(crate) fn keys(schema: &Value) -> Vec<String> {
    table(schema).into_iter().map(|row| row.key).collect()
}

struct Row {
    key: String,
    kind: String,
    meaning: String,
}

fn table(schema: &Value) -> Vec<Row> {
    let mut all = Vec::new();
    rows(schema, schema, "", &mut Vec::new(), &mut all);
    all
}

/// `within` are the definitions whose keys are being written.
fn rows<'v>(root: &'v Value, node: &'v Value, path: &str, within: &mut Vec<&'v Value>, all: &mut Vec<Row>) {
    let node = resolve(root, node);
    // By name, whether or not this build's tables keep the order in which they were written.
    let properties: BTreeMap<&String, &Value> =
        node.get("properties").and_then(Value::as_object).into_iter().flatten().collect();
    for (name, property) in properties {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let described = property.get("description").or(resolve(root, property).get("description"));
        let meaning =
            described.and_then(Value::as_str).unwrap_or_default().replace('\n', " ").replace('|', "\\|");
        all.push(Row { key: key.clone(), kind: kind(root, property), meaning });
        if !(path == "defaults" || path == "groups.NAME") {
            below(root, property, &key, within, all);
        }
    }
}

/// The keys below a property, whichever of its forms has some. What holds itself, as groups of rules do, is written once.
fn below<'v>(
    root: &'v Value,
    property: &'v Value,
    key: &str,
    within: &mut Vec<&'v Value>,
    all: &mut Vec<Row>,
) {
    let node = resolve(root, property);
    if within.iter().any(|outer| std::ptr::eq(*outer, node)) {
        return;
    }
    within.push(node);
    rows(root, node, key, within, all);
    if let Some(named) = node.get("additionalProperties").filter(|named| named.is_object()) {
        below(root, named, &format!("{key}.NAME"), within, all);
    }
    if let Some(items) = node.get("items") {
        below(root, items, &format!("{key}[]"), within, all);
    }
    for form in node.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
        below(root, form, key, within, all);
    }
    within.pop();
}

fn resolve<'v>(root: &'v Value, node: &'v Value) -> &'v Value {
    let name = node.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#'));
    name.and_then(|path| root.pointer(path)).map_or(node, |found| resolve(root, found))
}

/// What kind of value a property takes, in a word or two.
fn kind(root: &Value, property: &Value) -> String {
    let node = resolve(root, property);
    if let Some(forms) = node.get("anyOf").or(node.get("oneOf")).and_then(Value::as_array) {
        let forms: Vec<String> = forms.iter().map(|form| kind(root, form)).collect();
        let mut kinds: Vec<&str> = Vec::new();
        for kind in forms.iter().flat_map(|form| form.split(" or ")) {
            if kind != "null" && !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        return kinds.join(" or ");
    }
    if let Some(value) = node.get("const") {
        return format!("`{}`", value.to_string().trim_matches('"'));
    }
    if let Some(values) = node.get("enum").and_then(Value::as_array) {
        let shown: Vec<String> =
            values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect();
        return shown.join(" or ");
    }
    let named = |kind: &str| match kind {
        "string" => node
            .get("examples")
            .and_then(|e| e.get(0))
            .map_or("text".to_owned(), |e| format!("text such as `{e}`")),
        "object" => "table".to_owned(),
        "array" => "list".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        "integer" => "number".to_owned(),
        other => other.to_owned(),
    };
    match node.get("type") {
        Some(Value::String(one)) => named(one),
        Some(Value::Array(several)) => {
            let several: Vec<String> =
                several.iter().filter_map(Value::as_str).filter(|k| *k != "null").map(named).collect();
            several.join(" or ")
        }
        _ => String::new(),
    }
}
