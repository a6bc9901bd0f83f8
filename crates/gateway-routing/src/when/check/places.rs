//! Where in the text what is wrong stands.

use super::{Checker, Kind};
use crate::when::WhenMistake;
use cel::common::ast::{Expr, IdedExpr, SourceInfo};

/// The places of an expression's parts.
pub(super) struct Places<'s> {
    source: &'s SourceInfo,
    text: Vec<char>,
}

impl Checker<'_> {
    /// Notes what is wrong, which has no type.
    pub(super) fn wrong(
        &mut self,
        id: u64,
        length: usize,
        message: String,
        help: Option<String>,
    ) -> Option<Kind> {
        let start = self.places.start_of(id);
        self.wrong_at(start, length, message, help)
    }

    /// The same, of a call whose name stands just before its place, or at it.
    pub(super) fn wrong_call(
        &mut self,
        id: u64,
        name: &str,
        message: String,
        help: Option<String>,
    ) -> Option<Kind> {
        let start = self.places.start_of(id);
        let length = name.chars().count();
        let before = start.saturating_sub(length);
        let stands = |at: usize| self.places.text.iter().skip(at).take(length).copied().eq(name.chars());
        let start = if !stands(start) && stands(before) { before } else { start };
        let length = if stands(start) { length } else { 1 };
        self.wrong_at(start, length, message, help)
    }

    /// The same, at a character of the text.
    pub(super) fn wrong_at(
        &mut self,
        start: usize,
        length: usize,
        message: String,
        help: Option<String>,
    ) -> Option<Kind> {
        let before = &self.places.text[..start.min(self.places.text.len())];
        let line = before.iter().filter(|c| **c == '\n').count() + 1;
        let column = before.iter().rev().take_while(|c| **c != '\n').count() + 1;
        self.mistakes.push(WhenMistake { line, column, length: length.max(1), message, help });
        None
    }

    /// Where the first name of a path stands.
    pub(super) fn start(&self, expression: &IdedExpr) -> usize {
        match &expression.expr {
            Expr::Select(select) => self.start(&select.operand),
            _ => self.places.start_of(expression.id),
        }
    }
}

impl<'s> Places<'s> {
    pub(super) fn new(source: &'s SourceInfo) -> Self {
        Self { source, text: source.source.chars().collect() }
    }

    fn start_of(&self, id: u64) -> usize {
        let Some((start, _)) = self.source.offset_for(id) else { return 0 };
        // It counts bytes.
        let before = self.source.source.char_indices().take_while(|(at, _)| *at < start as usize);
        before.count()
    }
}
