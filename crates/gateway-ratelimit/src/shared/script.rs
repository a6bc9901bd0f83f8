use super::Answer;
use crate::Algorithm;
use crate::algorithm::{Kind, Rule};
use crate::plan::Plan;
use gateway_store::{Script, Store, StoreError};
use std::fmt::Write;

static DECIDE: Script = Script::new(include_str!("decide.lua"));

/// What the script does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Takes if all rules have room.
    Take,
    /// Only looks.
    Peek,
    /// Takes in any case.
    Force,
    /// Takes as much as there is.
    Lease,
}

/// One call of the script.
pub(crate) struct Call<'a> {
    pub(crate) key: &'a str,
    pub(crate) mode: Mode,
    pub(crate) cost: i64,
    /// What each rule is owed.
    pub(crate) owed: &'a [u64],
    /// A time in place of the server's, for tests.
    pub(crate) now: Option<u64>,
}

impl Call<'_> {
    /// `local` is what this instance takes the time to be; only calendars look at it.
    pub(crate) async fn run(&self, store: &Store, plan: &Plan, local: u64) -> Result<Answer, StoreError> {
        let mode = match self.mode {
            Mode::Take => "take",
            Mode::Peek => "peek",
            Mode::Force => "force",
            Mode::Lease => "lease",
        };
        let now = self.now.map(|now| now.to_string()).unwrap_or_default();
        let owed = self.owed.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        let cost = self.cost.to_string();
        let rules: Vec<String> = plan.rules.iter().map(|rule| wire(rule, local)).collect();
        let mut arguments = vec![now.as_bytes(), mode.as_bytes(), cost.as_bytes(), owed.as_bytes()];
        arguments.extend(rules.iter().map(String::as_bytes));
        let numbers = store.run(&DECIDE, &[self.key], &arguments).await?;
        Answer::read(&numbers).ok_or(StoreError::NoScripts)
    }
}

/// A rule as the script reads it.
fn wire(rule: &Rule, now: u64) -> String {
    let algorithm = match rule.kind {
        Kind::Counted(Algorithm::Gcra) => 1,
        Kind::Counted(Algorithm::TokenBucket) => 2,
        Kind::Counted(Algorithm::FixedWindow) => 3,
        Kind::Counted(Algorithm::SlidingWindow) => 4,
        Kind::Counted(Algorithm::LeakyBucket) => 5,
        Kind::Penalty => return format!("7 0 {}", rule.period),
        Kind::Calendar(calendar) => {
            // The period before, this one and two after: the server's clock may be a little off.
            let (start, end) = calendar.period(now);
            let (before, _) = calendar.period(start.saturating_sub(1));
            let (_, next) = calendar.period(end);
            return format!("6 {} {} {before} {start} {end} {next}", rule.count, rule.period);
        }
    };
    let Rule { count, period, burst, unit, drain, full, slices, slice, .. } = rule;
    let mut text = String::with_capacity(96);
    let _ = write!(text, "{algorithm} {count} {period} {burst} {unit} {drain} {full} {slices} {slice}");
    text
}

#[cfg(test)]
mod tests;
