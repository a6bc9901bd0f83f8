//! Every mistake in the shape of settings: serde stops at the first, so what is wrong is noted, taken out, and the
//! rest is tried again.

use super::elsewhere;
use super::file::{join, steps};
use super::mistake::{Mistake, nearest};
use super::strict::Strict;
use super::substitute::PutIn;
use super::{Origin, is_of, when};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use std::collections::{HashMap, HashSet};

/// More mistakes than anybody reads at once.
pub(super) const MOST: usize = 200;

#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// What could be made of a tree.
pub(super) struct Extracted<T> {
    /// `None` when too much is wrong.
    pub(super) settings: Option<T>,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) taken: Taken,
}

pub(super) fn extract<T: DeserializeOwned>(tree: &Value, origin: &Origin) -> Extracted<T> {
    let mut mistakes = Vec::new();
    let mut taken = Taken::default();
    // Where nothing is wrong nobody asks where.
    if let Ok(settings) = T::deserialize(Strict(tree)) {
        return Extracted { settings: Some(settings), mistakes, taken };
    }
    let mut tree = tree.clone();
    let mut reread = HashSet::new();
    for _ in 0..MOST {
        let error = match serde_path_to_error::deserialize(Strict(&tree)) {
            Ok(settings) => return Extracted { settings: Some(settings), mistakes, taken },
            Err(error) => error,
        };
        let mut steps: Vec<Step> = error.path().iter().filter_map(step).collect();
        let message = error.inner().to_string();
        let wrong = Wrong::read(&message);
        if let Wrong::UnknownKey { name, .. } = &wrong {
            // The path ends at the key or at its table.
            if !matches!(steps.last(), Some(Step::Key(last)) if last == name) {
                steps.push(Step::Key((*name).to_owned()));
            }
        }
        let key = taken.original(&steps);
        // A variable says the same in another way, which may be the one that fits.
        if let Some((said, variable)) = origin.environment.of(&key)
            && let Some(otherwise) = &variable.otherwise
            && let Some(value) = find_key_mut(&mut tree, said)
            && reread.insert(said.clone())
        {
            *value = otherwise.clone();
            continue;
        }
        if let Wrong::UnknownKey { name, known } = &wrong
            && let Some(meant) = nearest(name, known.iter().copied())
        {
            // That it is missing as well is the same mistake.
            let table = &steps[..steps.len() - 1];
            taken.keys.insert(join(&taken.original(table), meant));
        }
        match &wrong {
            Wrong::MissingKey(name) if taken.keys.contains(&join(&key, name)) => {}
            // That nothing is left of it is the same mistake.
            Wrong::Unfit { .. } | Wrong::Other(_)
                if find(&tree, &steps).is_some_and(is_empty) && taken.is_below(&key) => {}
            Wrong::MissingKey(name) => {
                let place = if key.is_empty() { String::new() } else { format!(" in {key}") };
                mistakes.push(origin.at(&key, format!("`{name}` is missing{place}"), true));
            }
            // A table stands for the choice that its only key names.
            Wrong::UnknownValue { name, known } if matches!(steps.last(), Some(Step::Key(last)) if last == name) =>
            {
                let table = taken.original(&steps[..steps.len() - 1]);
                let mistake = origin.at(&key, format!("`{name}` is not a value of `{table}`"), true);
                mistakes.push(mistake.with_help(suggestion(name, known, "values")));
            }
            _ => {
                let (value, secret) = (find(&tree, &steps), origin.put_in.get(&key));
                let text = value.and_then(Value::as_str).filter(|_| secret.is_none());
                match text.map(|text| when::mistakes(&key, text, origin)).unwrap_or_default() {
                    several if !several.is_empty() => mistakes.extend(several),
                    _ => mistakes.push(describe(&wrong, &key, value, secret, origin)),
                }
            }
        }
        if steps.is_empty() {
            break;
        }
        taken.take(&mut tree, &steps);
    }
    Extracted { settings: None, mistakes, taken }
}

fn step(segment: &Segment) -> Option<Step> {
    match segment {
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Seq { index } => Some(Step::Index(*index)),
        // What is written as a table of one key.
        Segment::Enum { variant } => Some(Step::Key(variant.clone())),
        Segment::Unknown => None,
    }
}

/// What was taken out, so that places are still called by the names they have in the file.
#[derive(Default)]
pub(super) struct Taken {
    keys: HashSet<String>,
    /// By list, in its original name: the original indexes taken out of it, sorted.
    elements: HashMap<String, Vec<usize>>,
}

impl Taken {
    /// Whether a key, as the file calls it, or one below it was taken out.
    pub(super) fn is_of(&self, key: &str) -> bool {
        self.keys.iter().any(|taken| is_of(taken, key))
    }

    /// Whether something below a key, as the file calls it, was taken out.
    fn is_below(&self, key: &str) -> bool {
        self.keys.iter().any(|taken| taken != key && is_of(taken, key))
    }

    /// A key of what is left, as it is called in the file.
    pub(super) fn original_key(&self, key: &str) -> String {
        let mut path = String::new();
        for part in key.split_inclusive(']') {
            let (before, index) = match part.strip_suffix(']').and_then(|part| part.rsplit_once('[')) {
                Some((before, index)) => (before, index.parse().ok()),
                None => (part, None),
            };
            path.push_str(before);
            if let Some(index) = index {
                path = self.original_element(&path, index);
            }
        }
        path
    }

    fn original_element(&self, list: &str, index: usize) -> String {
        let gone = self.elements.get(list).map(Vec::as_slice).unwrap_or_default();
        let index = gone.iter().fold(index, |index, gone| index + usize::from(*gone <= index));
        format!("{list}[{index}]")
    }

    /// The key of a place in what is left, as it is called in the file.
    fn original(&self, steps: &[Step]) -> String {
        let mut path = String::new();
        for step in steps {
            path = match step {
                Step::Key(key) => join(&path, key),
                Step::Index(index) => self.original_element(&path, *index),
            };
        }
        path
    }

    fn take(&mut self, tree: &mut Value, steps: &[Step]) {
        self.keys.insert(self.original(steps));
        let Some((last, before)) = steps.split_last() else { return };
        let list = self.original(before);
        let key = self.original(steps);
        match (find_mut(tree, before), last) {
            (Some(Value::Object(table)), Step::Key(key)) => drop(table.remove(key)),
            (Some(Value::Array(elements)), Step::Index(index)) if *index < elements.len() => {
                elements.remove(*index);
                let original = key[list.len() + 1..key.len() - 1].parse().unwrap_or(*index);
                let gone = self.elements.entry(list).or_default();
                gone.push(original);
                gone.sort_unstable();
            }
            // A place that is not in the tree: the table around it is what cannot be used.
            _ => self.take(tree, before),
        }
    }
}

fn find<'t>(tree: &'t Value, steps: &[Step]) -> Option<&'t Value> {
    steps.iter().try_fold(tree, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty)
}

fn find_mut<'t>(tree: &'t mut Value, steps: &[Step]) -> Option<&'t mut Value> {
    steps.iter().try_fold(tree, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    })
}

/// By a key in which there is no list: no variable names one.
fn find_key_mut<'t>(tree: &'t mut Value, key: &str) -> Option<&'t mut Value> {
    steps(key).into_iter().try_fold(tree, |value, step| value.get_mut(step))
}

/// What serde's message says.
enum Wrong<'m> {
    UnknownKey {
        name: &'m str,
        known: Vec<&'m str>,
    },
    MissingKey(&'m str),
    UnknownValue {
        name: &'m str,
        known: Vec<&'m str>,
    },
    /// Another type or value than expected.
    Unfit {
        expected: &'m str,
    },
    Other(&'m str),
}

impl<'m> Wrong<'m> {
    fn read(message: &'m str) -> Self {
        if let Some((name, known)) = message.strip_prefix("unknown field `").and_then(Self::unknown) {
            return Self::UnknownKey { name, known };
        }
        if let Some((name, known)) = message.strip_prefix("unknown variant `").and_then(Self::unknown) {
            return Self::UnknownValue { name, known };
        }
        if let Some(name) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            return Self::MissingKey(name);
        }
        if let Some(expected) = message.strip_prefix("expected ") {
            return Self::Unfit { expected };
        }
        if message == "invalid socket address syntax" {
            return Self::Unfit { expected: "socket address" };
        }
        match message.split_once(", expected ") {
            Some((_, expected)) if message.starts_with("invalid ") => Self::Unfit { expected },
            _ => Self::Other(message),
        }
    }

    /// The name, in which there may be anything, and those that are known.
    fn unknown(rest: &'m str) -> Option<(&'m str, Vec<&'m str>)> {
        let end = rest.rfind("`, expected ").or_else(|| rest.rfind("`, there are no "))?;
        let known = rest[end + 1..].split('`').skip(1).step_by(2);
        Some((&rest[..end], known.collect()))
    }
}

fn describe(
    wrong: &Wrong<'_>,
    key: &str,
    value: Option<&Value>,
    secret: Option<&PutIn>,
    origin: &Origin,
) -> Mistake {
    match wrong {
        Wrong::UnknownKey { name, known } => {
            let table = key.strip_suffix(name).unwrap_or(key).trim_end_matches('.');
            let place = if table.is_empty() { String::new() } else { format!(" in {table}") };
            let mistake = origin.at(key, format!("unknown key `{name}`{place}"), true);
            mistake.with_help(match nearest(name, known.iter().copied()) {
                None => elsewhere::hint(table, name).unwrap_or_else(|| suggestion(name, known, "keys")),
                Some(_) => suggestion(name, known, "keys"),
            })
        }
        Wrong::UnknownValue { name, known } => origin
            .mistake(key, format!("`{name}` is not a value of `{key}`"))
            .with_help(suggestion(name, known, "values")),
        Wrong::MissingKey(name) => origin.mistake(key, format!("`{name}` is missing")),
        Wrong::Unfit { expected } => {
            let found = match secret {
                Some(PutIn { written, .. }) => format!("the text \"{written}\""),
                None => found(value),
            };
            let expected = plain(expected, value);
            let mistake = origin.mistake(key, format!("`{key}` is {found}; expected {expected}"));
            match (expected, value) {
                ("a list", Some(Value::String(one))) if secret.is_none() => {
                    mistake.with_help(format!("write [{}]", Value::from(one.as_str())))
                }
                ("a list", Some(Value::Object(_))) if key == "routes" => {
                    mistake.with_help("write [[routes]]")
                }
                ("a table", Some(value)) if !value.is_object() => match elsewhere::nameless(key) {
                    Some(help) => mistake.with_help(help),
                    None => mistake,
                },
                _ => mistake,
            }
        }
        Wrong::Other(message) => origin.mistake(key, format!("`{key}`: {message}")),
    }
}

fn suggestion(name: &str, known: &[&str], what: &str) -> String {
    match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if known.is_empty() => format!("there are no {what} here"),
        None => format!("the {what} are {}", known.join(", ")),
    }
}

fn found(value: Option<&Value>) -> String {
    match value {
        None => "of another kind".to_owned(),
        Some(Value::Null) => "empty".to_owned(),
        Some(Value::Bool(on)) => format!("`{on}`"),
        Some(Value::Number(number)) => format!("the number {number}"),
        Some(Value::String(text)) => format!("the text \"{text}\""),
        Some(Value::Array(list)) if list.is_empty() => "an empty list".to_owned(),
        Some(Value::Array(_)) => "a list".to_owned(),
        Some(Value::Object(_)) => "a table".to_owned(),
    }
}

/// serde's words for types in an operator's.
fn plain<'e>(expected: &'e str, found: Option<&Value>) -> &'e str {
    let number = found.and_then(Value::as_u64);
    match expected {
        "u16" if number > Some(u16::MAX.into()) => "a whole number of at most 65535",
        "u32" | "a nonzero u32" if number > Some(u32::MAX.into()) => "a whole number of at most 4294967295",
        "a boolean" => "`true` or `false`",
        "a string" | "a borrowed string" | "path string" => "a text",
        "a sequence" => "a list",
        "a map" => "a table",
        "1 element in map" => "a table with one key",
        "a nonzero usize" | "a nonzero u32" | "a nonzero u64" => "a whole number of at least 1",
        "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative",
        "i32" | "i64" => "a whole number",
        "socket address" => "an address and port such as \"127.0.0.1:8080\"",
        text if text.starts_with("struct ") => "a table",
        text => text,
    }
}
