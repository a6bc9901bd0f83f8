//! What the files say that policies name.

use super::PolicyChange;
use crate::explain::policies::NamedFile;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

/// A file as one configuration finds it.
#[derive(Debug)]
pub(super) struct FileRead {
    policy: &'static str,
    file: NamedFile,
    /// Nothing if it has gone since the configuration was checked.
    bytes: Rc<[u8]>,
}

/// Files, each read once.
#[derive(Debug, Default)]
pub(super) struct Contents(HashMap<PathBuf, Rc<[u8]>>);

impl Contents {
    pub(super) fn read(&mut self, policy: &'static str, file: NamedFile) -> FileRead {
        let read = || std::fs::read(&file.path).unwrap_or_default().into();
        let bytes = self.0.entry(file.path.clone()).or_insert_with(read).clone();
        FileRead { policy, file, bytes }
    }
}

/// The files that say something else by another configuration. One that only one of them names is no difference of its
/// own: the policy is written otherwise. What they say is not shown, as it may be secret; only how many lines differ.
pub(super) fn changes(before: &[FileRead], after: &[FileRead]) -> Vec<PolicyChange> {
    let same = |one: &FileRead| {
        after.iter().find(|other| (other.policy, &other.file.key) == (one.policy, &one.file.key))
    };
    let pairs = before.iter().filter_map(|one| Some((one, same(one)?)));
    let differing = pairs.filter(|(one, other)| one.bytes != other.bytes);
    let change = differing.map(|(one, other)| PolicyChange {
        name: format!("{} file", one.policy),
        before: one.beside(other),
        after: other.beside(one),
    });
    change.collect()
}

impl FileRead {
    /// What can be told of it beside another.
    fn beside(&self, other: &Self) -> Value {
        let count = |bytes| {
            let mut lines: HashMap<&[u8], usize> = HashMap::new();
            lines_of(bytes).for_each(|line| *lines.entry(line).or_default() += 1);
            lines
        };
        let (own, others) = (count(&*self.bytes), count(&*other.bytes));
        let beyond = |(line, times): (&&[u8], &usize)| {
            times.saturating_sub(others.get(*line).copied().unwrap_or_default())
        };
        json!({
            "name": self.file.name,
            "lines": lines_of(&self.bytes).count(),
            "only_here": own.iter().map(beyond).sum::<usize>(),
        })
    }
}

/// The lines of a file; the end of the last begins no further one.
fn lines_of(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    text.split(|byte| *byte == b'\n').take(if bytes.is_empty() { 0 } else { usize::MAX })
}
