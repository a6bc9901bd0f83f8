//! A configuration file: its values for figment, and the place of each of its keys.

use super::mistake::{Mistake, Mistakes};
use figment::value::{Dict, Map, Tag, Value};
use figment::{Metadata, Profile, Provider};
use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use toml_edit::{Document, Item, Table, Value as TomlValue};

/// A larger one is surely not what was meant.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

pub(crate) struct FileText {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) places: HashMap<String, Place>,
    values: Dict,
}

/// Where a key and its value stand, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
}

impl FileText {
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
        let file = Self { name, text: String::new(), places: HashMap::new(), values: Dict::new() };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") | None => file.parse_toml(text),
            Some("yaml" | "yml" | "json") => file.parse_yaml(text),
            Some(other) => {
                let what = format!(
                    "`.{other}` is not a format of configuration; expected .toml, .yaml, .yml or .json"
                );
                Err(Mistake::new(what).with_source(file.name).into())
            }
        }
    }

    fn parse_toml(mut self, text: String) -> Result<Self, Mistakes> {
        match Document::parse(text.as_str()) {
            Ok(document) => {
                let values = toml_table(document.as_table(), "", &mut self.places);
                self.values = values;
                self.text = text;
                Ok(self)
            }
            Err(error) => {
                let (span, message) =
                    (error.span().unwrap_or(0..0), error.message().trim().replace('\n', "; "));
                self.text = text;
                Err(Mistake::new(message).with_place(&self, span).into())
            }
        }
    }

    fn parse_yaml(mut self, text: String) -> Result<Self, Mistakes> {
        let line_starts: Vec<usize> =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let offset = |marker: &saphyr::Marker| {
            let start = line_starts.get(marker.line().saturating_sub(1)).copied().unwrap_or(text.len());
            let line = &text[start..];
            start + line.char_indices().nth(marker.col()).map_or(line.len(), |(at, _)| at)
        };
        match MarkedYaml::load_from_str(&text) {
            Ok(documents) => {
                let values = match documents.first() {
                    None => Dict::new(),
                    Some(root) => match yaml_value(root, "", &mut self.places, &offset) {
                        Some(Value::Dict(_, values)) => values,
                        Some(Value::Empty(..)) | None => Dict::new(),
                        Some(_) => {
                            return Err(Mistake::new(
                                "the file holds no table of keys and values".to_owned(),
                            )
                            .with_source(self.name)
                            .into());
                        }
                    },
                };
                self.values = values;
                self.text = text;
                Ok(self)
            }
            Err(error) => {
                let at = offset(error.marker());
                let message = error.info().to_owned();
                self.text = text;
                Err(Mistake::new(message).with_place(&self, at..at + 1).into())
            }
        }
    }
}

impl Provider for &FileText {
    fn metadata(&self) -> Metadata {
        Metadata::named("file")
    }
    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.values.clone()))
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

fn toml_table(table: &Table, path: &str, places: &mut HashMap<String, Place>) -> Dict {
    let mut dict = Dict::new();
    for (name, item) in table {
        let key = join(path, name);
        let at = table.key(name).and_then(toml_edit::Key::span).unwrap_or_default();
        let value = match item {
            Item::None => continue,
            Item::Value(value) => toml_value(value, &key, places),
            Item::Table(inner) => Value::Dict(Tag::Default, toml_table(inner, &key, places)),
            Item::ArrayOfTables(tables) => {
                let elements = tables.iter().enumerate().map(|(i, inner)| {
                    let key = format!("{key}[{i}]");
                    let span = inner.span().unwrap_or_default();
                    places.insert(key.clone(), Place { key: span.clone(), value: span });
                    Value::Dict(Tag::Default, toml_table(inner, &key, places))
                });
                Value::Array(Tag::Default, elements.collect())
            }
        };
        // A table's own span is its header.
        let span = item.span().filter(|_| item.is_value()).unwrap_or_else(|| at.clone());
        places.insert(key, Place { key: at, value: span });
        dict.insert(name.to_owned(), value);
    }
    dict
}

fn toml_value(value: &TomlValue, path: &str, places: &mut HashMap<String, Place>) -> Value {
    match value {
        TomlValue::String(text) => Value::from(text.value().as_str()),
        TomlValue::Integer(number) => Value::from(*number.value()),
        TomlValue::Float(number) => Value::from(*number.value()),
        TomlValue::Boolean(on) => Value::from(*on.value()),
        TomlValue::Datetime(time) => Value::from(time.value().to_string()),
        TomlValue::Array(array) => {
            let elements = array.iter().enumerate().map(|(i, element)| {
                let key = format!("{path}[{i}]");
                let span = element.span().unwrap_or_default();
                places.insert(key.clone(), Place { key: span.clone(), value: span });
                toml_value(element, &key, places)
            });
            Value::Array(Tag::Default, elements.collect())
        }
        TomlValue::InlineTable(table) => {
            let mut dict = Dict::new();
            for (name, inner) in table {
                let key = join(path, name);
                let at = table.get_key_value(name).and_then(|(key, _)| key.span()).unwrap_or_default();
                places.insert(key.clone(), Place { key: at, value: inner.span().unwrap_or_default() });
                dict.insert(name.to_owned(), toml_value(inner, &key, places));
            }
            Value::Dict(Tag::Default, dict)
        }
    }
}

fn yaml_value(
    node: &MarkedYaml<'_>,
    path: &str,
    places: &mut HashMap<String, Place>,
    offset: &impl Fn(&saphyr::Marker) -> usize,
) -> Option<Value> {
    let span = |node: &MarkedYaml<'_>| offset(&node.span.start)..offset(&node.span.end);
    Some(match &node.data {
        YamlData::Value(Scalar::Null) => Value::Empty(Tag::Default, figment::value::Empty::None),
        YamlData::Value(Scalar::Boolean(on)) => Value::from(*on),
        YamlData::Value(Scalar::Integer(number)) => Value::from(*number),
        YamlData::Value(Scalar::FloatingPoint(number)) => Value::from(number.into_inner()),
        YamlData::Value(Scalar::String(text)) => Value::from(text.as_ref()),
        YamlData::Sequence(elements) => {
            let values = elements.iter().enumerate().filter_map(|(i, element)| {
                let key = format!("{path}[{i}]");
                places.insert(key.clone(), Place { key: span(element), value: span(element) });
                yaml_value(element, &key, places, offset)
            });
            Value::Array(Tag::Default, values.collect())
        }
        YamlData::Mapping(pairs) => {
            let mut dict = Dict::new();
            for (name, inner) in pairs {
                let name_text = match &name.data {
                    YamlData::Value(Scalar::String(text)) => text.to_string(),
                    YamlData::Value(Scalar::Integer(number)) => number.to_string(),
                    YamlData::Value(Scalar::Boolean(on)) => on.to_string(),
                    _ => continue,
                };
                let key = join(path, &name_text);
                places.insert(key.clone(), Place { key: span(name), value: span(inner) });
                if let Some(value) = yaml_value(inner, &key, places, offset) {
                    dict.insert(name_text, value);
                }
            }
            Value::Dict(Tag::Default, dict)
        }
        YamlData::Tagged(_, inner) => return yaml_value(inner, path, places, offset),
        _ => return None,
    })
}
