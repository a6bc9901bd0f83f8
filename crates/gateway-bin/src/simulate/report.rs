//! What a simulation found, for people and programs.

use crate::explain::Unread;
use serde::Serialize;
use std::fmt;

/// What limits make of the requests of logs.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Simulation {
    /// Those that were read.
    pub(super) requests: u64,
    /// Those of them that come to none of these limits.
    pub(super) elsewhere: u64,
    /// Those that were refused for who they were, before they came to a limit.
    pub(super) unauthenticated: u64,
    pub(super) limits: Vec<LimitReport>,
    pub(super) unread: Unread,
    pub(super) notes: Vec<String>,
}

/// What one limit makes of them.
#[derive(Debug, Serialize)]
pub(super) struct LimitReport {
    pub(super) name: String,
    /// As they are written, each with the callers it is for.
    pub(super) limits: Vec<String>,
    pub(super) requests: u64,
    pub(super) refused: u64,
    /// Those that wait for their turn.
    pub(super) delayed: u64,
    /// Those that come to the limit and are not limited.
    pub(super) exempt: u64,
    pub(super) callers: usize,
    pub(super) refused_callers: usize,
    pub(super) first: Option<Refused>,
    /// Those who are refused most.
    pub(super) worst: Vec<Worst>,
    pub(super) peaks: Vec<Peak>,
    pub(super) notes: Vec<String>,
}

/// Who is refused when.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    pub(super) key: String,
    pub(super) time: String,
}

/// Who is refused how often, and since when.
#[derive(Debug, Serialize)]
pub(super) struct Worst {
    pub(super) key: String,
    pub(super) requests: u64,
    pub(super) refused: u64,
    pub(super) first: Option<String>,
}

/// The most requests of one caller in one period of a limit, by the clock.
#[derive(Debug, Serialize)]
pub(super) struct Peak {
    pub(super) limit: String,
    pub(super) requests: u64,
    pub(super) key: String,
    pub(super) from: String,
}

impl Simulation {
    pub(super) fn new(note: Option<String>) -> Self {
        Self { notes: note.into_iter().collect(), ..Self::default() }
    }
}

impl fmt::Display for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} requests, of which {} come to no limit", self.requests, self.elsewhere)?;
        if self.unauthenticated > 0 {
            writeln!(f, "{} were refused for who they were before they came to one", self.unauthenticated)?;
        }
        self.limits.iter().try_for_each(|limit| write!(f, "\n{limit}"))?;
        if !self.notes.is_empty() {
            writeln!(f)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))?;
        self.unread.fmt(f)
    }
}

impl fmt::Display for LimitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, refused, callers, refused_callers, .. } = self;
        writeln!(f, "{}: {}", self.name, self.limits.join(", "))?;
        writeln!(
            f,
            "  {refused} of {requests} requests would be refused, of {refused_callers} of {callers} callers"
        )?;
        if self.delayed > 0 {
            writeln!(f, "  {} would wait for their turn", self.delayed)?;
        }
        if self.exempt > 0 {
            writeln!(f, "  {} are not limited", self.exempt)?;
        }
        if let Some(Refused { key, time }) = &self.first {
            writeln!(f, "  the first at {time}, of {key}")?;
        }
        for Peak { limit, requests, key, from } in &self.peaks {
            writeln!(f, "  the most in one period of {limit}: {requests}, of {key} from {from}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  {note}"))?;
        if self.worst.is_empty() {
            return Ok(());
        }
        writeln!(f, "  refused   of        key")?;
        self.worst.iter().try_for_each(|Worst { key, requests, refused, .. }| {
            writeln!(f, "  {refused:<8}  {requests:<8}  {key}")
        })
    }
}
