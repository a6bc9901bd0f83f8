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
    /// By key.
    pub(super) put_in: HashMap<String, PutIn>,
    /// By key.
    pub(super) mistakes: Vec<(String, Mistake)>,
}

/// What stands where a variable was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PutIn {
    /// What stands there now.
    pub(super) text: String,
    /// What stood there.
    pub(super) written: String,
    /// What was put in for each variable in it, and how that is written.
    variables: Vec<(String, String)>,
}

impl PutIn {
    /// What a variable of the environment says of a key by its name.
    pub(super) fn of_variable(name: &str, text: &str) -> Self {
        Self { text: text.to_owned(), written: format!("${{{name}}}"), variables: Vec::new() }
    }

    /// Which variables or files the text is of, if any.
    pub(super) fn source(&self) -> Option<String> {
        let names: Vec<_> = self.variables.iter().map(|(_, written)| format!("`{written}`")).collect();
        let names = Some(names.join(" and ")).filter(|names| !names.is_empty())?;
        Some(if self.text.is_empty() {
            format!("{names} is empty")
        } else {
            format!("it is that of {names}")
        })
    }

    /// Whatever of it a message could tell, and what it tells instead.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&str, &str)> {
        let whole = std::iter::once((&self.text, &self.written));
        whole.chain(self.variables.iter().map(|(text, written)| (text, written))).map(|(a, b)| (&**a, &**b))
    }
}

/// Puts what is written back into a message, in place of what was put in for it. What is short is often part of a word
/// or a number by chance, unless the message is about its key: it must stand alone.
pub(super) fn conceal(message: String, text: &str, written: &str, near: bool) -> String {
    /// From here on nothing is there by chance.
    const LONG: usize = 8;
    /// What is shorter is no secret.
    const SHORT: usize = 3;
    let escaped = text.escape_debug().to_string();
    let forms = [text, escaped.as_str(), text.trim()];
    let forms = forms.into_iter().filter(|form| form.len() >= if near { 1 } else { SHORT });
    forms.fold(message, |message, form| {
        if form.len() >= LONG {
            return message.replace(form, written);
        }
        let (mut out, mut end) = (String::new(), 0);
        for (at, _) in message.match_indices(form) {
            let before = message[..at].chars().next_back();
            let after = message[at + form.len()..].chars().next();
            let is_of_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            if !is_of_word(before) && !is_of_word(after) {
                out += &message[end..at];
                out += written;
                end = at + form.len();
            }
        }
        out + &message[end..]
    })
}

pub(super) fn all(origin: &Origin) -> Substituted {
    let mut result = Substituted { tree: None, put_in: HashMap::new(), mistakes: Vec::new() };
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
            Ok(put_in) => {
                text.clone_from(&put_in.text);
                result.put_in.insert(path, put_in);
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

fn expand(written: &str) -> Result<PutIn, Problem> {
    let mut put_in = PutIn { written: written.to_owned(), ..PutIn::default() };
    let mut rest = written;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            put_in.text.push_str(&rest[..at - 1]);
            put_in.text.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        put_in.text.push_str(&rest[..at]);
        let end = rest[at..].find('}').ok_or_else(|| ("a `${` is not closed by `}`".to_owned(), None))?;
        let what = &rest[at + 2..at + end];
        if what.contains("${") {
            return Err(("a `${` within another is not looked up".to_owned(), None));
        }
        let found = look_up(what)?;
        put_in.text.push_str(&found);
        put_in.variables.push((found, rest[at..=at + end].to_owned()));
        rest = &rest[at + end + 1..];
    }
    put_in.text.push_str(rest);
    Ok(put_in)
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
        // As in a shell, `:-` stands for what is empty, too.
        (Ok(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
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
                (Ok(seen), Ok(expected)) => assert_eq!(seen.text, expected, "{text}"),
                (Err((seen, _)), Err(part)) => assert!(seen.contains(part), "{text}: {seen}"),
                (seen, _) => panic!("{text}: {seen:?}"),
            }
        }
        let path = std::env::var("PATH").unwrap();
        let found = expand("to ${PATH}").unwrap();
        assert_eq!(found.text, format!("to {path}"));
        let parts: Vec<_> = found.parts().collect();
        assert_eq!(parts, [(found.text.as_str(), "to ${PATH}"), (path.as_str(), "${PATH}")]);
    }

    #[test]
    fn what_was_put_in_is_told_by_its_name() {
        for (message, text, near, expected) in [
            ("`u:pw@host` is no URL", "u:pw@host", false, "`${X}` is no URL"),
            (r#""a secret\nof lines" is no header"#, "a secret\nof lines", false, "\"${X}\" is no header"),
            ("`a secret` is cut", " a secret\n", false, "`${X}` is cut"),
            ("Basicsecret-long", "secret-long", false, "Basic${X}"),
            ("`prod` is no product", "prod", false, "`${X}` is no product"),
            ("expected 1 to 10", "1", false, "expected 1 to 10"),
            ("it is the number 1; expected 10 to 20", "1", true, "it is the number ${X}; expected 10 to 20"),
            ("nothing", "", true, "nothing"),
        ] {
            assert_eq!(conceal(message.to_owned(), text, "${X}", near), expected);
        }
    }
}
