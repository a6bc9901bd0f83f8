//! Mistakes as an operator sees them.

use super::file::FileText;
use std::fmt;
use std::ops::Range;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    message: String,
    help: Option<String>,
    source: Option<String>,
    /// Line and column from 1, the line's text, and how much of it is meant.
    place: Option<(usize, usize, String, usize)>,
}

impl Mistake {
    pub(crate) fn new(message: String) -> Self {
        Self { message, help: None, source: None, place: None }
    }

    /// What to do about it.
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn with_source(mut self, source: String) -> Self {
        self.source = Some(source);
        self
    }

    pub(super) fn with_place(mut self, file: &FileText, span: Range<usize>) -> Self {
        let text = &file.text;
        let mut start = span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = text[line_start..].lines().next().unwrap_or_default();
        let line_number = text[..line_start].matches('\n').count() + 1;
        let column = text[line_start..start].chars().count() + 1;
        let end = span.end.clamp(start, (line_start + line.len()).max(start));
        let meant = text.get(start..end).map_or(1, |meant| meant.chars().count()).max(1);
        self.place = Some((line_number, column, line.to_owned(), meant));
        self.with_source(file.name.clone())
    }

    fn order(&self) -> (usize, usize) {
        self.place.as_ref().map_or((usize::MAX, 0), |(line, column, ..)| (*line, *column))
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source}:")?;
            if let Some((line, column, ..)) = &self.place {
                write!(f, "{line}:{column}:")?;
            }
            f.write_str(" ")?;
        }
        writeln!(f, "{}", self.message)?;
        let Some((line, column, text, meant)) = &self.place else {
            return self.help.as_ref().map_or(Ok(()), |help| writeln!(f, "  {help}"));
        };
        let margin = " ".repeat(line.to_string().len());
        // Tabs stay tabs, so that the caret stands under what it means.
        let indent: String =
            text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        writeln!(f, "{margin} |\n{line} | {text}")?;
        write!(f, "{margin} | {indent}{}", "^".repeat(*meant))?;
        match &self.help {
            Some(help) => writeln!(f, " {help}"),
            None => writeln!(f),
        }
    }
}

/// Everything that is wrong, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Several, if there are any.
    pub(crate) fn some(mut mistakes: Vec<Mistake>) -> Result<(), Self> {
        if mistakes.is_empty() {
            return Ok(());
        }
        mistakes.sort_by_key(Mistake::order);
        mistakes.dedup();
        Err(Self(mistakes))
    }
}

impl From<Mistake> for Mistakes {
    fn from(mistake: Mistake) -> Self {
        Self(vec![mistake])
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.0 {
            writeln!(f, "{mistake}")?;
        }
        let count = self.0.len();
        write!(f, "{count} mistake{} in the configuration", if count == 1 { "" } else { "s" })
    }
}

/// The candidate that was probably meant.
pub(crate) fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(name.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
