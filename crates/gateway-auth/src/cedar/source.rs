//! Files as they were read, and what is wrong with them, with its place.

use crate::cedar::mistake::{CedarMistake, CedarPlace};
use miette::{Diagnostic, LabeledSpan};
use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The setting that names it.
    pub(crate) key: String,
    pub(crate) path: PathBuf,
    pub(crate) text: Arc<str>,
}

/// Something that is wrong with the settings.
pub(crate) fn wrong_setting(key: &str, message: impl Into<String>) -> CedarMistake {
    CedarMistake { key: key.to_owned(), place: None, policy: None, message: message.into(), help: None }
}

/// An error and what caused it.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// An error, and the cause that says most.
pub(crate) fn said(error: &(dyn Error + 'static)) -> String {
    let innermost = causes(error).last().map(ToString::to_string).unwrap_or_default();
    let all = error.to_string();
    if all.contains(&innermost) { all } else { format!("{all}: {innermost}") }
}

impl Source {
    pub(crate) fn read(key: impl Into<String>, path: &Path) -> Result<Self, Box<CedarMistake>> {
        let key = key.into();
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self { key, path: path.to_owned(), text: text.into() }),
            Err(error) => {
                let why = format!("{} cannot be read: {error}", path.display());
                Err(Box::new(wrong_setting(&key, why)))
            }
        }
    }

    /// What logs call a policy without `@id("…")`.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// What is wrong at a place, or with the whole file.
    pub(crate) fn wrong_at(&self, span: Option<Range<usize>>, message: impl Into<String>) -> CedarMistake {
        let (path, text) = (self.path.clone(), self.text.clone());
        let place = Some(CedarPlace { path, text, span: span.unwrap_or_default() });
        CedarMistake { place, ..wrong_setting(&self.key, message) }
    }

    /// What is wrong, with the place where it is if that is known.
    pub(crate) fn wrong(&self, what: &dyn Diagnostic) -> CedarMistake {
        let first = |what: &dyn Diagnostic| what.labels().and_then(|mut labels| labels.next());
        let label: Option<LabeledSpan> = first(what).or_else(|| first(what.related()?.next()?));
        let span = label.as_ref().map(|label| label.offset()..label.offset() + label.len());
        let help: Vec<String> = label
            .as_ref()
            .and_then(|label| label.label().map(str::to_owned))
            .into_iter()
            .chain(what.help().map(|help| help.to_string()))
            .collect();
        let help = (!help.is_empty()).then(|| help.join("; "));
        CedarMistake { help, ..self.wrong_at(span, what.to_string()) }
    }

    /// What is wrong with a file of JSON, at the place of its syntax, or of the entity that it is about.
    pub(crate) fn wrong_json(&self, error: &(dyn Error + 'static)) -> CedarMistake {
        let what = said(error);
        let syntax = causes(error).find_map(|cause| cause.downcast_ref::<serde_json::Error>());
        let at = match syntax.filter(|error| error.line() > 0) {
            Some(error) => {
                let starts = [0].into_iter().chain(self.text.match_indices('\n').map(|(at, _)| at + 1));
                let mut starts = starts.skip(error.line() - 1);
                starts.next().map(|start| start + error.column().saturating_sub(1)).map(|at| at..at + 1)
            }
            None => {
                let id = what.split_once("::\"").and_then(|(_, rest)| rest.split_once('"'));
                let written = id.map(|(id, _)| format!("\"{id}\""));
                written.and_then(|id| self.text.find(&id).map(|at| at..at + id.len()))
            }
        };
        self.wrong_at(at, what)
    }

    /// Something that is wrong with a policy, which the message is to name.
    pub(crate) fn wrong_policy(&self, id: Option<String>, what: &dyn Diagnostic) -> CedarMistake {
        let mistake = self.wrong(what);
        let Some(id) = id else { return mistake };
        let message = match mistake.message.contains(&format!("policy `{id}`")) {
            true => mistake.message,
            false => format!("policy `{id}`: {}", mistake.message),
        };
        CedarMistake { message, policy: Some(id), ..mistake }
    }

    /// The id of the policy that a place stands in, if it has one before that: of a text that does not parse.
    pub(crate) fn id_before(&self, mistake: &CedarMistake) -> Option<String> {
        let start = mistake.place.as_ref()?.span.start;
        let before = self.text.get(..start)?;
        let own = &before[before.rfind(';').map_or(0, |end| end + 1)..];
        let (_, rest) = own.rsplit_once("@id(\"")?;
        Some(rest.split_once('"')?.0.to_owned())
    }

    /// The last place that gives this id.
    pub(crate) fn place_of_id(&self, id: &str) -> Option<Range<usize>> {
        let written = format!("@id(\"{id}\")");
        self.text.rfind(&written).map(|at| at..at + written.len())
    }
}
