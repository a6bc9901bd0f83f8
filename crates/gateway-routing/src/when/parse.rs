//! From text to tree, and a parser's words in an operator's.

use super::WhenMistake;
use cel::common::ast::{IdedExpr, SourceInfo};
use cel::parser::{ParseError, Parser};
use std::thread;

/// What the parser and the walk through its tree may take of the stack: it goes down with every bracket and operator
/// of a text, which is bounded. Only what is touched is taken.
const STACK: usize = 64 << 20;
/// The most brackets, calls and conditions within one another.
const DEEPEST: u16 = 20;

/// Reads an expression and hands its tree on to be checked.
///
/// The parser is generated code, written to panic where its grammar and its runtime disagree. It runs in a thread of
/// its own, so that a text which makes it do so is a mistake in the configuration and does not end the program; what
/// was checked has none of the parts that make an evaluation panic. This is when configurations are read, never when
/// requests are matched.
pub(super) fn parse<R: Send>(
    text: &str,
    check: impl FnOnce(IdedExpr, &SourceInfo) -> Result<R, Vec<WhenMistake>> + Send,
) -> Result<R, Vec<WhenMistake>> {
    let read = || {
        let parser = Parser::new().max_recursion_depth(DEEPEST);
        match parser.parse_with_source_info(text) {
            Ok((expression, source)) => check(expression, &source),
            Err(errors) => Err(mistakes(text, &errors.errors)),
        }
    };
    let cannot = |message: String| vec![WhenMistake { line: 1, column: 1, length: 1, message, help: None }];
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("expression".to_owned()).stack_size(STACK);
        let reading = builder.spawn_scoped(scope, read);
        let reading = reading.map_err(|error| cannot(format!("it could not be read: {error}")))?;
        reading.join().unwrap_or_else(|_| Err(cannot("it is nothing that the parser can read".to_owned())))
    })
}

/// Each that says more than that another one left the parser astray.
fn mistakes(text: &str, errors: &[ParseError]) -> Vec<WhenMistake> {
    if let Some(error) = errors.iter().find(|error| error.msg.contains("Recursion limit")) {
        let message = format!("brackets, calls or conditions are nested more than {DEEPEST} deep");
        return vec![WhenMistake { length: 1, message, help: None, ..mistake(text, error).1 }];
    }
    let is_of_text = |error: &&ParseError| error.msg.contains("token recognition error");
    let whole = !errors.iter().any(|error| is_of_text(&error));
    let all = errors.iter().filter(|error| whole || is_of_text(error)).map(|error| mistake(text, error));
    let (follow, mut told): (Vec<_>, Vec<_>) = all.partition(|(follows, _)| *follows);
    if told.is_empty() {
        told.extend(follow.into_iter().take(1));
    }
    told.dedup();
    told.into_iter().map(|(_, mistake)| mistake).collect()
}

/// What is wrong, and whether it may well follow from something else that is.
fn mistake(text: &str, error: &ParseError) -> (bool, WhenMistake) {
    let said = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
    let quoted = |said: &str| {
        let rest = said.split_once('\'').map_or(said, |(_, rest)| rest);
        let found =
            rest.split_once("' expecting").map(|(found, _)| found).or_else(|| rest.strip_suffix('\''));
        found.unwrap_or(rest).trim().to_owned()
    };
    let (follows, length, message) = if said.contains("input '<EOF>'") {
        (true, 1, "the expression ends too early".to_owned())
    } else if said.starts_with("token recognition error") {
        let found = quoted(said);
        let length = found.chars().count();
        if found.starts_with(['\'', '"', 'r', 'b']) {
            (false, length, "the text that begins here has no end, or a `\\` that means nothing".to_owned())
        } else {
            (false, length, format!("`{found}` means nothing here"))
        }
    } else if let Some(rest) = said.strip_prefix("missing ") {
        let missing = rest.split("' at").next().unwrap_or(rest).trim_matches('\'');
        (false, 1, format!("`{missing}` is missing"))
    } else if said.starts_with("mismatched input") || said.starts_with("extraneous input") {
        let found = quoted(said);
        (false, found.chars().count(), format!("`{found}` cannot stand here"))
    } else if said.starts_with("no viable alternative") {
        (false, 1, "this is no expression".to_owned())
    } else if said.starts_with("Incomplete") || said.starts_with("No `") || said.contains("recovery") {
        (true, 1, "this is no expression".to_owned())
    } else {
        (false, 1, said.to_owned())
    };
    let number = |at: isize| usize::try_from(at).unwrap_or(1).max(1);
    let (line, column) = (number(error.pos.0), number(error.pos.1));
    let help = meant(text, line, column).map(str::to_owned);
    (follows, WhenMistake { line, column, length: length.max(1), message, help })
}

/// What was probably meant by what stands at a place, in the words of other languages.
fn meant(text: &str, line: usize, column: usize) -> Option<&'static str> {
    let line = text.lines().nth(line - 1)?;
    let at = line.char_indices().nth(column - 1).map_or(line.len(), |(at, _)| at);
    let (before, rest) = line.split_at(at);
    let word = |text: &str, word: &str| {
        let rest = text.strip_prefix(word);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    if word(rest, "and") || rest.starts_with("& ") {
        Some("both is `&&`")
    } else if word(rest, "or") || rest.starts_with("| ") {
        Some("either is `||`")
    } else if before.trim_end().ends_with("not") {
        Some("the opposite is `!`, as in `!(name in list)`")
    } else if rest.starts_with('=') || rest.starts_with("~") {
        Some("equal is `==`; for a regular expression there is `text.matches('…')`")
    } else {
        None
    }
}
