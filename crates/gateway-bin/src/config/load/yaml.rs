//! YAML, and JSON, which is a part of it: one document of plain values, or why it is not that, with the place.

use super::file::{FileText, Place, float, join};
use super::mistake::{Mistake, Mistakes};
use saphyr::{MarkedYaml, Marker, Scalar, Tag, YamlData, YamlLoader};
use saphyr_parser::{Event, Parser, Span, SpannedEventReceiver};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashMap;

/// How deep tables and lists may stand in each other, as in TOML. Whoever goes through them goes as deep with its stack.
const DEPTH: usize = 80;

/// The kinds of a value that need no program to be made.
const TAGS: [&str; 7] = ["bool", "float", "int", "map", "null", "seq", "str"];

/// What a file says.
pub(super) fn values(file: &FileText) -> Result<Map<String, Value>, Mistakes> {
    let wrong = |wrong: Wrong| Mistakes::from(wrong.mistake(file));
    match document(&text(file)).map_err(wrong)?.map(value).transpose().map_err(wrong)? {
        Some(Value::Object(values)) => Ok(values),
        Some(Value::Null) | None => Ok(Map::new()),
        Some(_) => {
            let what = "the file holds no table of keys and values".to_owned();
            Err(Mistake::new(what).with_source(file.name.to_string()).into())
        }
    }
}

/// The place of each of its keys.
pub(super) fn places(file: &FileText, places: &mut HashMap<String, Place>) {
    // What could be read once can be read again.
    if let Ok(Some(root)) = document(&text(file)) {
        below(&root, "", places, &offsets(&file.text));
    }
}

/// What is wrong, and from where to where.
struct Wrong {
    message: String,
    help: Option<String>,
    start: Marker,
    end: Option<Marker>,
}

impl Wrong {
    fn new(span: Span, message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, start: span.start, end: Some(span.end) }
    }

    fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    fn mistake(self, file: &FileText) -> Mistake {
        let offset = offsets(&file.text);
        let start = offset(&self.start);
        let end = self.end.map_or(start + 1, |end| offset(&end));
        let mistake = Mistake::new(self.message).with_place(file, start..end.max(start + 1));
        match self.help {
            Some(help) => mistake.with_help(help),
            None => mistake,
        }
    }
}

impl From<&saphyr::ScanError> for Wrong {
    fn from(error: &saphyr::ScanError) -> Self {
        let message = error.info().to_owned();
        // `*` and a name stand for what is called so elsewhere.
        let help = message
            .contains("unknown anchor")
            .then(|| "a text that begins with `*` stands in quotes, such as \"*.example.org\"".to_owned());
        Self { message, help, start: *error.marker(), end: None }
    }
}

/// What is read of a file: JSON may write a character as two escapes, which YAML knows as one.
fn text(file: &FileText) -> Cow<'_, str> {
    if file.name.ends_with(".json") { with_whole_characters(&file.text) } else { (&*file.text).into() }
}

/// The one document of a text; none if there is nothing in it.
fn document(text: &str) -> Result<Option<MarkedYaml<'_>>, Wrong> {
    let mut parser = Parser::new_from_iter(text.chars());
    let mut loader = YamlLoader::<MarkedYaml<'_>>::default();
    let mut shape = Shape::default();
    while let Some(next) = parser.next_event() {
        let (event, span) = next.map_err(|error| Wrong::from(&error))?;
        shape.admit(&event, span)?;
        loader.on_event(event, span);
        if let Some(error) = loader.error() {
            return Err(error.into());
        }
    }
    let root = loader.into_documents().into_iter().next();
    Ok(root.filter(|root| !matches!(root.data, YamlData::BadValue)))
}

/// Each pair of escapes that is one character, as that.
fn with_whole_characters(text: &str) -> Cow<'_, str> {
    /// How long two escapes are.
    const PAIR: usize = r"\ud83d\ude00".len();
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('\\') {
        let escape = rest.get(at..at + PAIR).and_then(|pair| {
            let hex = |unit: &str| u16::from_str_radix(unit.strip_prefix("\\u")?, 16).ok();
            let units = [hex(pair.get(..6)?)?, hex(pair.get(6..)?)?];
            char::decode_utf16(units).next()?.ok().filter(|c| c.len_utf16() == 2)
        });
        // What follows a backslash is not a new one.
        let end = if escape.is_some() { at + PAIR } else { rest.len().min(at + 2) };
        let end = (end..=rest.len()).find(|end| rest.is_char_boundary(*end)).unwrap_or(rest.len());
        out.push_str(&rest[..at]);
        match escape {
            Some(c) => out.push(c),
            None => out.push_str(&rest[at..end]),
        }
        rest = &rest[end..];
    }
    if out.is_empty() { rest.into() } else { (out + rest).into() }
}

/// What is seen of a document before it is made.
#[derive(Default)]
struct Shape {
    documents: usize,
    /// The lists and tables around the next value: the anchor of each, and how deep it is so far.
    open: Vec<(usize, usize)>,
    /// How deep the value of each anchor is.
    anchors: HashMap<usize, usize>,
}

impl Shape {
    /// Takes the next part, unless a document with it would be too deep, or something of it would be left out.
    fn admit(&mut self, event: &Event<'_>, span: Span) -> Result<(), Wrong> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Wrong::new(span, "a second document begins here; expected one in a file"));
                }
            }
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => {
                plain(tag.as_ref(), span)?;
                self.admit_depth(1, span)?;
                self.open.push((*anchor, 0));
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some((anchor, inner)) = self.open.pop() {
                    self.closed(anchor, inner + 1);
                }
            }
            Event::Scalar(_, _, anchor, tag) => {
                plain(tag.as_ref(), span)?;
                self.closed(*anchor, 0);
            }
            Event::Alias(anchor) => {
                let depth = self.anchors.get(anchor).copied();
                let depth = depth.ok_or_else(|| Wrong::new(span, "this would stand in itself"))?;
                self.admit_depth(depth, span)?;
                self.closed(0, depth);
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn admit_depth(&self, more: usize, span: Span) -> Result<(), Wrong> {
        if self.open.len() + more <= DEPTH {
            return Ok(());
        }
        let message = format!("tables and lists stand in each other more than {DEPTH} deep");
        Err(Wrong { end: None, ..Wrong::new(span, message) })
    }

    fn closed(&mut self, anchor: usize, depth: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, depth);
        }
        if let Some((_, inner)) = self.open.last_mut() {
            *inner = depth.max(*inner);
        }
    }
}

/// Refuses what asks for a program to make a value: the text alone would be taken for it.
fn plain(tag: Option<&Cow<'_, Tag>>, span: Span) -> Result<(), Wrong> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && TAGS.contains(&tag.suffix.as_str())) => {
            let core = tag.is_yaml_core_schema();
            let tag = if core { format!("!!{}", tag.suffix) } else { tag.to_string() };
            let message = format!("the tag `{tag}` is not known here");
            Err(Wrong::new(span, message)
                .with_help("write \"${NAME}\" for the value of an environment variable"))
        }
        _ => Ok(()),
    }
}

fn value(node: MarkedYaml<'_>) -> Result<Value, Wrong> {
    Ok(match node.data {
        YamlData::Value(Scalar::Null) => Value::Null,
        YamlData::Value(Scalar::Boolean(on)) => on.into(),
        YamlData::Value(Scalar::Integer(number)) => number.into(),
        YamlData::Value(Scalar::FloatingPoint(number)) => float(number.into_inner()),
        YamlData::Value(Scalar::String(text)) => Value::String(text.into_owned()),
        YamlData::Sequence(elements) => {
            Value::Array(elements.into_iter().map(value).collect::<Result<_, _>>()?)
        }
        YamlData::Mapping(pairs) => {
            let mut table = Map::new();
            for (key, inner) in pairs {
                let Some(name) = name(&key) else {
                    return Err(Wrong::new(key.span, "a key that is no text; expected a name"));
                };
                if table.contains_key(&name) {
                    return Err(Wrong::new(key.span, format!("duplicate key `{name}`")));
                }
                table.insert(name, value(inner)?);
            }
            Value::Object(table)
        }
        _ => return Err(Wrong::new(node.span, "this is not a value of the kind that its tag says")),
    })
}

fn name(key: &MarkedYaml<'_>) -> Option<String> {
    match &key.data {
        YamlData::Value(Scalar::String(text)) => Some(text.to_string()),
        YamlData::Value(Scalar::Integer(number)) => Some(number.to_string()),
        YamlData::Value(Scalar::Boolean(on)) => Some(on.to_string()),
        _ => None,
    }
}

/// From a place as the parser says it to one in bytes.
fn offsets(text: &str) -> impl Fn(&Marker) -> usize {
    let line_starts: Vec<usize> =
        std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    move |marker: &Marker| {
        let start = line_starts.get(marker.line().saturating_sub(1)).copied().unwrap_or(text.len());
        let line = &text[start..];
        start + line.char_indices().nth(marker.col()).map_or(line.len(), |(at, _)| at)
    }
}

fn below(
    node: &MarkedYaml<'_>,
    path: &str,
    places: &mut HashMap<String, Place>,
    offset: &impl Fn(&Marker) -> usize,
) {
    let span = |node: &MarkedYaml<'_>| offset(&node.span.start)..offset(&node.span.end);
    match &node.data {
        YamlData::Sequence(elements) => {
            for (i, element) in elements.iter().enumerate() {
                let key = format!("{path}[{i}]");
                below(element, &key, places, offset);
                places.insert(key, Place { key: span(element), value: span(element) });
            }
        }
        YamlData::Mapping(pairs) => {
            for (key, inner) in pairs {
                let Some(name) = name(key) else { continue };
                let path = join(path, &name);
                below(inner, &path, places, offset);
                places.insert(path, Place { key: span(key), value: span(inner) });
            }
        }
        _ => {}
    }
}
