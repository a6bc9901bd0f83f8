use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The most memory one compiled expression may take, in bytes.
const SIZE: usize = 256 << 10;
/// The most memory the expressions of one set may take together.
const SET_SIZE: usize = 8 << 20;

/// A regular expression for a whole value or path: in time linear in its length, byte by byte (`\w` and `(?i)`
/// know ASCII only). Equal to one of the same text and case.
#[derive(Clone, Debug)]
pub(crate) struct Expression {
    pub(crate) text: Box<str>,
    pub(crate) ignore_case: bool,
    pub(crate) regex: Regex,
}

impl Expression {
    /// Says what is wrong with the text.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        // By itself first, so that no parenthesis of it closes the one of the anchors.
        let regex = searching(text).and_then(|_| searching(&wrapped(text)))?;
        Ok(Self { text: text.into(), ignore_case: false, regex })
    }

    /// What stood in the place of the named groups that took part.
    pub(crate) fn captures(&self, text: &str) -> Vec<(Arc<str>, String)> {
        let names = || self.regex.capture_names().flatten();
        let captures = names().next().and_then(|_| self.regex.captures(text.as_bytes()));
        let Some(captures) = captures else { return Vec::new() };
        let value = |name| Some((Arc::from(name), text.get(captures.name(name)?.range())?.to_owned()));
        names().filter_map(value).collect()
    }

    /// The same, upper and lower case being the same.
    pub(crate) fn ignoring_case(&self) -> Self {
        let mut builder = RegexBuilder::new(&wrapped(&self.text));
        // A letter becomes two, so that what was in its limit is far from this crate's own of 10 MiB.
        let regex = builder.unicode(false).case_insensitive(true).build();
        Self {
            text: self.text.clone(),
            ignore_case: true,
            regex: regex.unwrap_or_else(|_| self.regex.clone()),
        }
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.ignore_case) == (&other.text, other.ignore_case)
    }
}

impl Eq for Expression {}

impl Hash for Expression {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.text, self.ignore_case).hash(state);
    }
}

/// One that is found anywhere. Says what is wrong with the text.
pub(crate) fn searching(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).unicode(false).size_limit(SIZE).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!("it takes more than {} KiB compiled", SIZE >> 10),
        // The last line says what is wrong, those before draw where.
        error => {
            error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
    })
}

fn wrapped(text: &str) -> String {
    format!(r"\A(?:{text})\z")
}

/// Expressions looked for together; `None` if they are too many for one set.
pub(crate) fn set<'a>(expressions: impl Iterator<Item = &'a Expression>) -> Option<RegexSet> {
    let flagged = expressions.map(|expression| {
        let text = wrapped(&expression.text);
        if expression.ignore_case { format!("(?i:{text})") } else { text }
    });
    RegexSetBuilder::new(flagged).unicode(false).size_limit(SET_SIZE).build().ok()
}
