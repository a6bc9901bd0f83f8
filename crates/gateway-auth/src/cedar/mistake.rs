//! What is wrong with policies, and where.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// One thing that is wrong with policies, their schema, their entities, or the settings that name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CedarMistake {
    /// The setting that it is about: `policies[1]`, `schema`.
    pub key: String,
    /// The file and its place there, if it is one of a file that can be read.
    pub place: Option<CedarPlace>,
    /// The policy that it is about, where it is known: its `@id("…")`, or its file and number.
    pub policy: Option<String>,
    /// What is wrong. Names the policy.
    pub message: String,
    /// What was expected, or what to do.
    pub help: Option<String>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CedarPlace {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub text: Arc<str>,
    /// The part that is meant, in bytes; empty at the beginning where it is the whole file.
    pub span: Range<usize>,
}

impl CedarPlace {
    /// The line and the column where it begins, both from 1.
    #[must_use]
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = self.text.get(..self.span.start).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        (line, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
    }
}

impl fmt::Display for CedarMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => {
                let (line, column) = place.line_and_column();
                write!(f, "{}:{line}:{column}: {}", place.path.display(), self.message)?;
            }
            None => write!(f, "`{}`: {}", self.key, self.message)?,
        }
        self.help.as_ref().map_or(Ok(()), |help| write!(f, "; {help}"))
    }
}

/// Everything that is wrong with policies and what they need.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct CedarMistakes(pub Vec<CedarMistake>);

impl fmt::Display for CedarMistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.0.iter().enumerate() {
            write!(f, "{}{mistake}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}
