//! What is wrong with an expression, at its place within the text.

use super::Origin;
use super::mistake::Mistake;
use gateway_routing::{When, WhenMistake, WhenMistakes};

/// All that is wrong with the expression of a key; none if the key is not one of an expression.
pub(super) fn mistakes(key: &str, text: &str, origin: &Origin) -> Vec<Mistake> {
    if !(key.starts_with("routes[") && key.ends_with("].match.when")) {
        return Vec::new();
    }
    let Err(WhenMistakes(found)) = text.parse::<When>() else { return Vec::new() };
    found.iter().map(|one| mistake(key, text, one, origin)).collect()
}

/// All that is wrong with an expression which stands at a key of settings that could be read.
pub(crate) fn of_expression(key: &str, text: &str, found: &WhenMistakes, origin: &Origin) -> Vec<Mistake> {
    if origin.put_in.contains_key(&origin.original(key)) && cfg!(feature = "cel") {
        // What was put in for a variable may be a secret, and its text has other places than the file.
        return vec![origin.mistake(key, format!("`{}`: {found}", origin.original(key)))];
    }
    found.0.iter().map(|one| mistake(key, text, one, origin)).collect()
}

fn mistake(key: &str, text: &str, found: &WhenMistake, origin: &Origin) -> Mistake {
    let WhenMistake { line, column, length, message, help } = found;
    if cfg!(not(feature = "cel")) {
        let help = "build it with `cargo build --release -p gateway-bin --features cel`";
        return origin.mistake(key, format!("`{key}`: {message}")).with_help(help);
    }
    let place = if *line > 1 { format!("line {line}, column {column}") } else { format!("column {column}") };
    let mut mistake = origin.mistake(key, format!("`{key}`, {place}: {message}"));
    // Where the text stands in the file as it is, so does each part of it.
    if let Some(file) = &origin.file
        && let Some(value) = file.place(key).map(|place| place.value.clone())
        && let Some(at) = file.text.get(value.clone()).and_then(|written| written.find(text))
    {
        let lines: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
        let part = text.get(lines..).unwrap_or_default();
        let bytes = |chars: usize| part.char_indices().nth(chars).map_or(part.len(), |(at, _)| at);
        let start = value.start + at + lines;
        mistake = mistake.narrowed(file, start + bytes(column - 1)..start + bytes(column - 1 + length));
    }
    match help {
        Some(help) => mistake.with_help(help),
        None => mistake,
    }
}
