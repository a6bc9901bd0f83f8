//! `${NAME}`, `${NAME:-default}` and `${file:/path}` in values; `$${` stands for a literal `${`.

use super::Origin;
use super::file::join;
use super::mistake::{Mistake, nearest};
use serde_json::Value;
use std::collections::HashMap;

/// What was put in, and what could not be.
pub(super) struct Substituted {
    /// What came of it; `None` if nothing was put in.
    pub(super) tree: Option<Value>,
    /// By key: what stands there now, and what stood there.
    pub(super) secrets: HashMap<String, (String, String)>,
    /// By key.
    pub(super) mistakes: Vec<(String, Mistake)>,
}

pub(super) fn all(origin: &Origin) -> Substituted {
    let mut result = Substituted { tree: None, secrets: HashMap::new(), mistakes: Vec::new() };
    if has_variables(&origin.tree) {
        let mut tree = origin.tree.clone();
        walk(&mut tree, String::new(), origin, &mut result);
        result.tree = Some(tree);
    }
    result
}

fn has_variables(value: &Value) -> bool {
    match value {
        Value::Object(table) => table.values().any(has_variables),
        Value::Array(list) => list.iter().any(has_variables),
        Value::String(text) => text.contains("${"),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn walk(value: &mut Value, path: String, origin: &Origin, result: &mut Substituted) {
    match value {
        Value::Object(table) => {
            for (name, inner) in table {
                walk(inner, join(&path, name), origin, result);
            }
        }
        Value::Array(list) => {
            for (i, inner) in list.iter_mut().enumerate() {
                walk(inner, format!("{path}[{i}]"), origin, result);
            }
        }
        Value::String(text) if text.contains("${") => match expand(text) {
            Ok(expanded) => {
                result.secrets.insert(path, (expanded.clone(), text.clone()));
                *text = expanded;
            }
            Err((message, help)) => {
                let mistake = origin.mistake(&path, format!("`{path}`: {message}"));
                let mistake = match help {
                    Some(help) => mistake.with_help(help),
                    None => mistake,
                };
                result.mistakes.push((path, mistake));
            }
        },
        _ => {}
    }
}

type Problem = (String, Option<String>);

fn expand(text: &str) -> Result<String, Problem> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let end = rest[at..].find('}').ok_or_else(|| ("a `${` is not closed by `}`".to_owned(), None))?;
        let what = &rest[at + 2..at + end];
        if what.contains("${") {
            return Err(("a `${` within another is not looked up".to_owned(), None));
        }
        out.push_str(&look_up(what)?);
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn look_up(what: &str) -> Result<String, Problem> {
    if let Some(path) = what.strip_prefix("file:") {
        return std::fs::read_to_string(path)
            .map(|text| text.trim_end_matches(['\n', '\r']).to_owned())
            .map_err(|e| (format!("the file {path} cannot be read: {e}"), None));
    }
    let (name, default) = match what.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (what, None),
    };
    if name.is_empty() {
        let help =
            "write `${NAME}`, `${NAME:-default}`, `${file:/path}`, or `$${` for a literal `${`".to_owned();
        return Err((format!("`${{{what}}}` names no variable"), Some(help)));
    }
    match (std::env::var(name), default) {
        (Ok(value), _) => Ok(value),
        (Err(_), Some(default)) => Ok(default.to_owned()),
        (Err(std::env::VarError::NotPresent), None) => {
            let known: Vec<String> =
                std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
            let help = nearest(name, known.iter().map(String::as_str))
                .map(|known| format!("did you mean `{known}`?"));
            Err((format!("the environment variable {name} is not set"), help))
        }
        (Err(std::env::VarError::NotUnicode(_)), None) => {
            Err((format!("the environment variable {name} is not UTF-8 text"), None))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_files_defaults_and_escapes_are_put_in() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from a file\n").unwrap();
        let from_file = format!("${{file:{}}}", file.path().display());
        for (text, expected) in [
            ("a${NO_SUCH_VARIABLE:-b}c", Ok("abc")),
            ("${NO_SUCH_VARIABLE:-}", Ok("")),
            ("$${A}", Ok("${A}")),
            (from_file.as_str(), Ok("from a file")),
            ("${NO_SUCH_VARIABLE}", Err("NO_SUCH_VARIABLE is not set")),
            ("${PATH", Err("not closed")),
            ("${}", Err("`${}` names no variable")),
            ("${:-a}", Err("`${:-a}` names no variable")),
            ("${NO_SUCH_VARIABLE:-${PATH}}", Err("within another")),
            ("${file:/nowhere}", Err("/nowhere cannot be read: No such file")),
        ] {
            match (expand(text), expected) {
                (Ok(seen), Ok(expected)) => assert_eq!(seen, expected, "{text}"),
                (Err((seen, _)), Err(part)) => assert!(seen.contains(part), "{text}: {seen}"),
                (seen, _) => panic!("{text}: {seen:?}"),
            }
        }
        assert_eq!(expand("${PATH}"), Ok(std::env::var("PATH").unwrap()));
    }
}
