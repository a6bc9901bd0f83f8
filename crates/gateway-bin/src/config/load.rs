//! From files, the environment and flags to settings, or to every mistake at once with its place.

mod diagnose;
mod elsewhere;
mod environment;
mod file;
mod mistake;
mod strict;
mod substitute;
mod when;
mod yaml;

pub(crate) use file::{Source, join};
pub(crate) use mistake::{Mistake, Mistakes, Severity, nearest};
pub(crate) use when::of_expression;

use diagnose::Taken;
use environment::Environment;
use file::{FileText, Place};
use serde::de::DeserializeOwned;
use serde_json::Map;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use substitute::PutIn;

/// The key of the list of routes.
const ROUTES: &str = "routes";

/// Settings and where they came from.
pub(crate) struct Loaded<T> {
    /// `None` when too much is wrong to make any of them.
    pub(crate) settings: Option<T>,
    /// What is wrong with their shape. The settings then lack what was wrong.
    pub(crate) mistakes: Vec<Mistake>,
    pub(crate) origin: Origin,
}

/// Where each key stands.
pub(crate) struct Origin {
    file: Option<FileText>,
    /// What the environment says.
    environment: Environment,
    /// All that is written but the routes, of which there may be very many.
    tree: Value,
    /// Read again once somebody asks for one: that is seldom, and they take more room than the settings made of them.
    routes: OnceLock<Option<Value>>,
    /// What the settings lack because it was wrong: places in the settings are not those in the file.
    taken: Taken,
    /// By key: what was put in for variables, those of the environment that stand for a key as well.
    put_in: HashMap<String, PutIn>,
    /// Keys whose variables could not be put in.
    unresolved: Vec<String>,
}

impl Origin {
    /// What all of it was read from, but for the environment.
    pub(crate) fn source(&self) -> Option<Source> {
        self.file.as_ref().map(FileText::source)
    }

    /// Where relative paths of files beside the configuration begin.
    pub(crate) fn folder(&self) -> PathBuf {
        let file = self.file.as_ref().map(|file| Path::new(&*file.name));
        file.and_then(Path::parent).map(Path::to_owned).unwrap_or_default()
    }

    /// What follows a key in the one below it that a message is about: the key that the message begins with, or else the
    /// only one whose text it tells. Whoever checks settings does not know where they stand.
    pub(crate) fn meant_below(&self, key: &str, message: &str) -> Option<String> {
        let original = self.original(key);
        let written = self.written(&original)?;
        let first = message.strip_prefix('`').and_then(|message| message.split_once('`'));
        if let Some((mut first, _)) =
            first.filter(|(first, _)| first.starts_with(|c: char| c.is_ascii_lowercase()))
        {
            // What is missing stands nowhere, but what it is missing in does.
            while !first.is_empty() {
                if self.written(&format!("{original}.{first}")).is_some() {
                    return Some(format!(".{first}"));
                }
                first = first.rfind(['.', '[']).map_or("", |end| &first[..end]);
            }
        }
        let mut told = Vec::new();
        let mut left = vec![(String::new(), written)];
        while let Some((below, value)) = left.pop() {
            match value {
                Value::Object(table) => {
                    let keys =
                        table.iter().map(|(name, inner)| (format!("{below}.{}", join("", name)), inner));
                    left.extend(keys);
                }
                Value::Array(list) => {
                    left.extend(list.iter().enumerate().map(|(i, inner)| (format!("{below}[{i}]"), inner)));
                }
                Value::String(text) if message.contains(&format!("`{text}`")) => told.push(below),
                _ => {}
            }
        }
        told.pop().filter(|_| told.is_empty())
    }

    /// A mistake in the value of a key of the settings.
    pub(crate) fn mistake(&self, key: &str, message: impl Into<String>) -> Mistake {
        self.at(&self.original(key), message.into(), false)
    }

    /// Something about the value of a key that is likely not what was meant.
    pub(crate) fn warning(&self, key: &str, message: impl Into<String>) -> Mistake {
        self.mistake(key, message).with_severity(Severity::Warning)
    }

    /// The same, about all that a key names.
    pub(crate) fn warning_of(&self, key: &str, message: impl Into<String>) -> Mistake {
        self.at(&self.original(key), message.into(), true).with_severity(Severity::Warning)
    }

    /// What the file calls a key of the settings.
    pub(crate) fn original(&self, key: &str) -> String {
        self.taken.original_key(key)
    }

    /// Whether a key, or one below it, has a variable that could not be put in, or was left out for its shape: what
    /// else is wrong with it follows from that.
    pub(crate) fn is_known_wrong(&self, key: &str) -> bool {
        let key = self.original(key);
        self.unresolved.iter().any(|unresolved| is_of(unresolved, &key)) || self.taken.is_of(&key)
    }

    /// The names of the tables in a table, also of those that have mistakes.
    pub(crate) fn names(&self, pointer: &str) -> Vec<&str> {
        let table = self.tree.pointer(pointer).and_then(Value::as_object);
        table.map(|table| table.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    /// Whether a table has a table of this name, also if that has mistakes.
    pub(crate) fn defines(&self, pointer: &str, name: &str) -> bool {
        self.tree.pointer(pointer).is_some_and(|table| table.get(name).is_some())
    }

    /// What is written for a key, variables as they stand there.
    pub(crate) fn written(&self, key: &str) -> Option<&Value> {
        let steps = file::steps(key);
        let (tree, steps) = match steps.split_first() {
            Some((first, rest)) if first == ROUTES => {
                (self.routes.get_or_init(|| self.read_routes()).as_ref()?, rest)
            }
            _ => (&self.tree, &*steps),
        };
        steps.iter().try_fold(tree, |value, step| match value {
            Value::Array(elements) => elements.get(step.parse::<usize>().ok()?),
            _ => value.get(step),
        })
    }

    /// The text of a key, variables put in: it may be a secret.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        let put_in = self.put_in.get(key).map(|put_in| put_in.text.as_str());
        put_in.or_else(|| self.written(key)?.as_str())
    }

    /// What could be read once can be read again.
    fn read_routes(&self) -> Option<Value> {
        let source = self.source();
        let mut tree = source.and_then(|source| Some(FileText::parse(source).ok()?.1)).unwrap_or_default();
        Environment::put_over(&mut tree);
        tree.remove(ROUTES)
    }

    /// Where a key is written: `gateway.toml:3:8`, or the name of an environment variable.
    pub(crate) fn place(&self, key: &str) -> Option<String> {
        self.written(key)?;
        self.at(&self.original(key), String::new(), false).place_name()
    }

    /// Which variables or files the text of a key of the settings is taken from, if any.
    pub(crate) fn source_of(&self, key: &str) -> Option<String> {
        self.put_in.get(&self.original(key))?.source()
    }

    /// The text with a variable that a header's value was made of, in place of that value: it may be a secret.
    pub(crate) fn conceal<'t>(&'t self, value: &'t str) -> &'t str {
        let of_headers = self.put_in.iter().filter(|(key, _)| key.contains("headers."));
        let known = of_headers.map(|(_, known)| known).find(|known| known.text == value);
        known.map_or(value, |known| &known.written)
    }

    /// The value of a key with its variables as they stand there: what was put in for them may be a secret.
    pub(crate) fn shown<'t>(&'t self, key: &str, value: &'t str) -> &'t str {
        self.put_in.get(&self.original(key)).map_or(value, |put_in| &put_in.written)
    }

    /// A text about a key, as the file calls it, with every variable in place of what was put in for it: that may be
    /// a secret.
    pub(crate) fn concealed(&self, key: &str, mut message: String) -> String {
        if message.is_empty() {
            return message;
        }
        let known = self.put_in.iter().flat_map(|(of, put_in)| {
            let near = is_of(of, key) || is_of(key, of);
            put_in.parts().map(move |(text, written)| (text, written, near))
        });
        let mut known: Vec<_> = known.collect();
        // What is part of another comes after it.
        known.sort_unstable_by(|a, b| b.0.len().cmp(&a.0.len()).then(a.cmp(b)));
        for (text, written, near) in known {
            message = substitute::conceal(message, text, written, near);
        }
        message
    }

    fn at(&self, key: &str, message: String, at_key: bool) -> Mistake {
        let mut mistake = Mistake::new(self.concealed(key, message)).with_key(key);
        let stands = self.file.as_ref().is_some_and(|file| file.place(key).is_some());
        // A table may be of the environment in part.
        let in_part = || self.environment.below(key).filter(|_| !stands && !key.is_empty());
        if let Some(variable) = self.environment.of(key).map(|(_, variable)| variable).or_else(in_part) {
            return mistake.with_variable(variable.name.clone());
        }
        let Some(file) = &self.file else { return mistake };
        let mut path = key;
        loop {
            if let Some(Place { key, value }) = file.place(path) {
                mistake = mistake.with_place(file, if at_key { key.clone() } else { value.clone() });
                return mistake;
            }
            // Not written down: the nearest table that is.
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return mistake.with_source(file.name.to_string()),
            }
        }
    }
}

/// Reads a file, and the environment over it.
///
/// # Errors
/// The file cannot be read, or is not written in its language.
pub(crate) fn load<T: DeserializeOwned>(path: Option<&Path>) -> Result<Loaded<T>, Mistakes> {
    parse(path.map(Source::read).transpose()?)
}

/// Makes the same of a file that was read before, and the environment over it.
///
/// # Errors
/// It is not written in its language.
pub(crate) fn parse<T: DeserializeOwned>(source: Option<Source>) -> Result<Loaded<T>, Mistakes> {
    let (file, mut tree) = match source.map(FileText::parse).transpose()? {
        Some((file, values)) => (Some(file), values),
        None => (None, Map::new()),
    };
    let environment = Environment::put_over(&mut tree);
    let mut origin = Origin {
        file,
        environment,
        tree: Value::Object(tree),
        routes: OnceLock::new(),
        taken: Taken::default(),
        put_in: HashMap::new(),
        unresolved: Vec::new(),
    };
    let substituted = substitute::all(&origin);
    origin.put_in = substituted.put_in;
    for (key, variable) in origin.environment.iter() {
        let put_in = || PutIn::of_variable(&variable.name, &variable.text);
        origin.put_in.entry(key.clone()).or_insert_with(put_in);
    }
    let tree = substituted.tree.as_ref().unwrap_or(&origin.tree);
    let extracted = diagnose::extract(tree, &origin);
    let mut mistakes = extracted.mistakes;
    let unresolved = |mistake: &Mistake| substituted.mistakes.iter().any(|(key, _)| mistake.is_of(key));
    // What is wrong with a variable's name in place of its value follows from that.
    mistakes.retain(|mistake| !unresolved(mistake));
    for (key, mistake) in substituted.mistakes {
        mistakes.push(mistake);
        origin.unresolved.push(key);
    }
    origin.taken = extracted.taken;
    // Before the plan is made, which then finds room where they were.
    drop(substituted.tree);
    if let Value::Object(table) = &mut origin.tree {
        table.remove(ROUTES);
    }
    Ok(Loaded { settings: extracted.settings, mistakes, origin })
}

/// Whether a key is this one or below it.
fn is_of(key: &str, above: &str) -> bool {
    key.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// One table over another: tables are put together, all else is replaced.
fn put_over(table: &mut Map<String, Value>, over: Map<String, Value>) {
    for (name, value) in over {
        match (table.get_mut(&name), value) {
            (Some(Value::Object(inner)), Value::Object(over)) => put_over(inner, over),
            (Some(known), value) => *known = value,
            (None, value) => drop(table.insert(name, value)),
        }
    }
}

#[cfg(test)]
mod tests;
