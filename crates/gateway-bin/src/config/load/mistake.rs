//! Mistakes as an operator sees them.

use super::diagnose::MOST;
use super::file::FileText;
use serde::{Serialize, Serializer};
use std::fmt;
use std::ops::Range;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The configuration cannot be used.
    Mistake,
    /// It can, and is likely not what was meant.
    Warning,
    /// It can, but something that it needs cannot be reached.
    Failure,
}

/// Who says what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    File(String),
    Variable(String),
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    severity: Severity,
    message: String,
    help: Option<String>,
    /// What it is about, as the file calls it.
    key: Option<String>,
    source: Option<Source>,
    /// Line and column from 1, the line's text, and how much of it is meant.
    place: Option<(usize, usize, String, usize)>,
    /// Whether it stands in a file that the configuration names.
    elsewhere: bool,
}

impl Mistake {
    pub(crate) fn new(message: String) -> Self {
        Self {
            severity: Severity::Mistake,
            message,
            help: None,
            key: None,
            source: None,
            place: None,
            elsewhere: false,
        }
    }

    pub(crate) fn with_severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    pub(super) fn with_key(mut self, key: &str) -> Self {
        self.key = (!key.is_empty()).then(|| key.to_owned());
        self
    }

    /// Whether it is about this key, as the file calls it.
    pub(super) fn is_of(&self, key: &str) -> bool {
        self.key.as_deref() == Some(key)
    }

    /// What to do about it.
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The name of its file.
    pub(super) fn with_source(mut self, file: String) -> Self {
        self.source = Some(Source::File(file));
        self
    }

    /// The environment variable that it stands in.
    pub(super) fn with_variable(mut self, name: String) -> Self {
        self.source = Some(Source::Variable(name));
        self
    }

    pub(super) fn with_place(self, file: &FileText, span: Range<usize>) -> Self {
        self.with_span(&file.name, &file.text, span)
    }

    /// The part that is meant of what it stands at in this file; what stands in the environment stays there.
    pub(super) fn narrowed(self, file: &FileText, span: Range<usize>) -> Self {
        if self.place.is_some() { self.with_place(file, span) } else { self }
    }

    /// The part that is meant of another file, which the configuration names.
    pub(crate) fn elsewhere(self, name: &str, text: &str, span: Range<usize>) -> Self {
        Self { elsewhere: true, ..self.with_span(name, text, span) }
    }

    fn with_span(mut self, name: &str, text: &str, span: Range<usize>) -> Self {
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
        self.with_source(name.to_owned())
    }

    /// The other file that it stands in.
    fn other_file(&self) -> Option<&str> {
        match &self.source {
            Some(Source::File(name)) if self.elsewhere => Some(name),
            _ => None,
        }
    }

    /// By place, the files that the configuration names last.
    fn order(&self) -> (Option<&str>, usize, usize) {
        let (line, column) =
            self.place.as_ref().map_or((usize::MAX, 0), |(line, column, ..)| (*line, *column));
        (self.other_file(), line, column)
    }
}

impl Mistake {
    /// In one line, for logs.
    pub(crate) fn line(&self) -> String {
        let help = self.help.as_ref().map_or_else(String::new, |help| format!("; {help}"));
        format!("{}{}{help}", self.place(), self.message)
    }

    /// Where it is and how bad, to stand before what it is.
    fn place(&self) -> String {
        let place = self.place_name().map_or_else(String::new, |place| place + ": ");
        if self.severity == Severity::Warning { place + "warning: " } else { place }
    }

    /// The file, line and column, or the environment variable.
    pub(super) fn place_name(&self) -> Option<String> {
        Some(match (self.source.as_ref()?, &self.place) {
            (Source::File(file), Some((line, column, ..))) => format!("{file}:{line}:{column}"),
            (Source::File(file), None) => file.clone(),
            (Source::Variable(name), _) => format!("environment variable {name}"),
        })
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}{}", self.place(), self.message)?;
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

/// For programs: what is not known is `null`.
impl Serialize for Mistake {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Finding<'m> {
            severity: &'static str,
            message: &'m str,
            file: Option<&'m str>,
            line: Option<usize>,
            column: Option<usize>,
            variable: Option<&'m str>,
            key: Option<&'m str>,
            help: Option<&'m str>,
        }
        let (file, variable) = match &self.source {
            Some(Source::File(file)) => (Some(file.as_str()), None),
            Some(Source::Variable(name)) => (None, Some(name.as_str())),
            None => (None, None),
        };
        let finding = Finding {
            severity: if self.severity == Severity::Warning { "warning" } else { "error" },
            message: &self.message,
            file,
            line: self.place.as_ref().map(|(line, ..)| *line),
            column: self.place.as_ref().map(|(_, column, ..)| *column),
            variable,
            key: self.key.as_deref(),
            help: self.help.as_deref(),
        };
        finding.serialize(serializer)
    }
}

/// Everything that is wrong, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Several, if there are any.
    pub(crate) fn some(mistakes: Vec<Mistake>) -> Result<(), Self> {
        let all = Self::all(mistakes);
        if all.0.is_empty() { Ok(()) } else { Err(all) }
    }

    /// These, each once.
    pub(crate) fn all(mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by(|a, b| a.order().cmp(&b.order()));
        mistakes.dedup();
        Self(mistakes)
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Mistake> {
        self.0.iter()
    }

    /// The other files that they stand in.
    pub(crate) fn other_files(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(Mistake::other_file)
    }

    /// How many there are of this kind.
    pub(crate) fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|mistake| mistake.severity == severity).count()
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
        let number = |severity, what: &str| match self.count(severity) {
            0 => None,
            1 => Some(format!("1 {what}")),
            // Those after them were not looked for.
            many if severity == Severity::Mistake && many >= MOST => {
                Some(format!("the first {many} {what}s"))
            }
            many => Some(format!("{many} {what}s")),
        };
        let written = [number(Severity::Mistake, "mistake"), number(Severity::Warning, "warning")];
        let written: Vec<String> = written.into_iter().flatten().collect();
        let in_file = (!written.is_empty()).then(|| written.join(" and ") + " in the configuration");
        let failures =
            number(Severity::Failure, "needed connection").map(|number| number + " cannot be made");
        f.write_str(&in_file.into_iter().chain(failures).collect::<Vec<_>>().join("; "))
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
