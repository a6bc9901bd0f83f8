//! A configuration file: its values, and, once somebody asks, the place of each of its keys.

use super::mistake::{Mistake, Mistakes};
use super::yaml;
use serde_json::{Map, Number, Value};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use toml::de::{DeTable, DeValue};
use toml_edit::{Document, Item, Table, TableLike, Value as TomlValue};

/// A larger one is surely not what was meant.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// A file as it was read.
#[derive(Clone)]
pub(crate) struct Source {
    name: Arc<str>,
    text: Arc<str>,
    format: Format,
}

pub(crate) struct FileText {
    pub(super) name: Arc<str>,
    pub(super) text: Arc<str>,
    format: Format,
    /// Looked up only for what is said of a key: few files have anything said of them, and many have many keys.
    places: OnceLock<HashMap<String, Place>>,
}

#[derive(Clone, Copy)]
enum Format {
    Toml,
    Yaml,
}

/// Where a key and its value stand, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
}

impl Source {
    /// What the file says now.
    pub(super) fn read(path: &Path) -> Result<Self, Mistakes> {
        let name = path.display().to_string();
        let failed = |what: String| Mistakes::from(Mistake::new(what).with_source(name.clone()));
        let size = std::fs::metadata(path).map_err(|e| failed(format!("the file cannot be read: {e}")))?;
        if size.is_file() && size.len() > MAX_BYTES {
            return Err(failed(format!("the file is {} bytes long; at most 16 MiB are read", size.len())));
        }
        let bytes = std::fs::read(path).map_err(|e| failed(format!("the file cannot be read: {e}")))?;
        let text = String::from_utf8(bytes).map_err(|e| {
            failed(format!("the file is not UTF-8 text, from byte {} on", e.utf8_error().valid_up_to()))
        })?;
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") | None => Format::Toml,
            Some("yaml" | "yml" | "json") => Format::Yaml,
            Some(other) => {
                let what = format!(
                    "`.{other}` is not a format of configuration; expected .toml, .yaml, .yml or .json"
                );
                return Err(Mistake::new(what).with_source(name).into());
            }
        };
        Ok(Self { name: name.into(), text: text.into(), format })
    }
}

impl FileText {
    /// What was read, and its values.
    pub(super) fn parse(source: Source) -> Result<(Self, Map<String, Value>), Mistakes> {
        let Source { name, text, format } = source;
        let file = Self { name, text, format, places: OnceLock::new() };
        let values = match format {
            Format::Toml => file.toml(),
            Format::Yaml => yaml::values(&file),
        }?;
        Ok((file, values))
    }

    pub(super) fn source(&self) -> Source {
        Source { name: self.name.clone(), text: self.text.clone(), format: self.format }
    }

    /// The place of a key, if it is written.
    pub(super) fn place(&self, key: &str) -> Option<&Place> {
        let places = self.places.get_or_init(|| {
            let mut places = HashMap::new();
            match self.format {
                // What could be read once can be read again.
                Format::Toml => {
                    if let Ok(document) = Document::parse(&*self.text) {
                        toml_places(document.as_table(), "", &mut places);
                    }
                }
                Format::Yaml => yaml::places(self, &mut places),
            }
            places
        });
        places.get(key)
    }

    fn toml(&self) -> Result<Map<String, Value>, Mistakes> {
        // Without what an editor would keep, which takes most of the time and memory.
        let plain = DeTable::parse(&self.text).ok();
        if let Some(values) = plain.and_then(|table| plain_table(table.into_inner())) {
            return Ok(values);
        }
        match Document::parse(&*self.text) {
            Ok(document) => Ok(toml_table(document.into_table())),
            Err(error) => {
                let (span, mut message) =
                    (error.span().unwrap_or(0..0), error.message().trim().replace('\n', "; "));
                if let (true, Some(name)) = (message == "duplicate key", self.text.get(span.clone())) {
                    message += &format!(" `{name}`");
                }
                Err(Mistake::new(message).with_place(self, span).into())
            }
        }
    }
}

/// A key below another, quoted where it needs to be.
pub(crate) fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if plain { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The names and indexes that a key is made of, as [`join`] and the places of lists write them.
pub(super) fn steps(key: &str) -> Vec<String> {
    let (mut steps, mut rest) = (Vec::new(), key);
    while !rest.is_empty() {
        rest = rest.trim_start_matches(['.', '[', ']']);
        let mut quoted = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        let (step, end) = match quoted.next() {
            Some(Ok(name)) if rest.starts_with('"') => (name, quoted.byte_offset()),
            _ => {
                let end = rest.find(['.', '[', ']']).unwrap_or(rest.len());
                (rest[..end].to_owned(), end)
            }
        };
        if !step.is_empty() {
            steps.push(step);
        }
        rest = &rest[end..];
    }
    steps
}

/// `None` where a number is out of range.
fn plain_table(table: DeTable<'_>) -> Option<Map<String, Value>> {
    let pairs = table.into_iter();
    pairs
        .map(|(name, value)| Some((name.into_inner().into_owned(), plain_value(value.into_inner())?)))
        .collect()
}

fn plain_value(value: DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.into(),
        DeValue::Float(number) => float(number.as_str().parse().ok()?),
        DeValue::Boolean(on) => on.into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(elements) => {
            let values = elements.into_iter().map(|element| plain_value(element.into_inner()));
            Value::Array(values.collect::<Option<_>>()?)
        }
        DeValue::Table(table) => Value::Object(plain_table(table)?),
    })
}

/// A number; the text of one that is none, or has no end: no setting takes those, and they must not pass for nothing.
pub(super) fn float(number: f64) -> Value {
    Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
}

fn toml_table(table: Table) -> Map<String, Value> {
    table.into_iter().filter_map(|(name, item)| Some((name, toml_item(item)?))).collect()
}

fn toml_item(item: Item) -> Option<Value> {
    Some(match item {
        Item::None => return None,
        Item::Value(value) => toml_value(value),
        Item::Table(inner) => Value::Object(toml_table(inner)),
        Item::ArrayOfTables(tables) => {
            Value::Array(tables.into_iter().map(|inner| Value::Object(toml_table(inner))).collect())
        }
    })
}

fn toml_value(value: TomlValue) -> Value {
    match value {
        TomlValue::String(text) => Value::String(text.into_value()),
        TomlValue::Integer(number) => number.into_value().into(),
        TomlValue::Float(number) => float(number.into_value()),
        TomlValue::Boolean(on) => on.into_value().into(),
        TomlValue::Datetime(time) => time.into_value().to_string().into(),
        TomlValue::Array(array) => Value::Array(array.into_iter().map(toml_value).collect()),
        TomlValue::InlineTable(table) => {
            Value::Object(table.into_iter().map(|(name, inner)| (name, toml_value(inner))).collect())
        }
    }
}

fn toml_places(table: &dyn TableLike, path: &str, places: &mut HashMap<String, Place>) {
    for (name, item) in table.iter() {
        let key = join(path, name);
        let at = table.key(name).and_then(toml_edit::Key::span).unwrap_or_default();
        match item {
            Item::None => continue,
            Item::Value(value) => toml_value_places(value, &key, places),
            Item::Table(inner) => toml_places(inner, &key, places),
            Item::ArrayOfTables(tables) => {
                for (i, inner) in tables.iter().enumerate() {
                    let key = format!("{key}[{i}]");
                    toml_places(inner, &key, places);
                    let span = inner.span().unwrap_or_default();
                    places.insert(key, Place { key: span.clone(), value: span });
                }
            }
        }
        // A table's own span is its header.
        let span = item.span().filter(|_| item.is_value()).unwrap_or_else(|| at.clone());
        places.insert(key, Place { key: at, value: span });
    }
}

fn toml_value_places(value: &TomlValue, path: &str, places: &mut HashMap<String, Place>) {
    match value {
        TomlValue::Array(array) => {
            for (i, element) in array.iter().enumerate() {
                let key = format!("{path}[{i}]");
                toml_value_places(element, &key, places);
                let span = element.span().unwrap_or_default();
                places.insert(key, Place { key: span.clone(), value: span });
            }
        }
        TomlValue::InlineTable(table) => toml_places(table, path, places),
        _ => {}
    }
}
