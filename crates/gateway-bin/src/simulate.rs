//! `gateway limits simulate`: whom the configured rate limits would have refused of those that access logs tell of.
//!
//! Routes are found by the live matcher, and each limit decides by the arithmetic that decides live, at the times that
//! the lines say. What logs do not tell (claims, headers, costs) is said to be missing.

mod key;
mod limit;
mod report;

use crate::check::Format;
use crate::config::{Checked, nearest};
use crate::explain::{Alike, Fate, Finder, Logged, LooksAt};
use clap::Args;
use gateway_core::{AuthRefused, Code};
use http::StatusCode;
use limit::Limit;
pub(crate) use report::Simulation;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// What is simulated.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Only this limit.
    #[arg(long, value_name = "NAME")]
    limit: Option<String>,
    /// How it is said.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Access logs; `-` is standard input. One that is given twice counts twice.
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SimulateError {
    #[error("there is no rate limit `{name}`{help}")]
    Unknown { name: String, help: String },
    #[error("{} cannot be read: {why}", log.display())]
    Unreadable { log: PathBuf, why: io::Error },
}

/// A request that comes to limits.
struct Asking {
    /// Microseconds since 1970.
    time: u64,
    parts: Vec<Part>,
}

/// What one of them has to do with it.
struct Part {
    limit: usize,
    caller: usize,
    failed: bool,
}

/// Everything that is read before time begins.
struct Reading<'a> {
    checked: &'a Checked,
    finder: Finder,
    looks_at: LooksAt,
    known: HashMap<Alike, Fate>,
    limits: Vec<Limit<'a>>,
    askings: Vec<Asking>,
    simulation: Simulation,
}

/// Replays logs.
///
/// # Errors
/// There is no limit of this name, or a log cannot be read.
pub(crate) fn simulate(checked: &Checked, options: &Options) -> Result<Simulation, SimulateError> {
    let all = &checked.config.settings.rate_limits;
    if let Some(name) = options.limit.as_ref().filter(|name| !all.contains_key(*name)) {
        let help = match nearest(name, all.keys().map(String::as_str)) {
            Some(near) => format!("; did you mean `{near}`?"),
            None if all.is_empty() => "; none is defined".to_owned(),
            None => format!("; defined are {}", all.keys().cloned().collect::<Vec<_>>().join(", ")),
        };
        return Err(SimulateError::Unknown { name: name.clone(), help });
    }
    let asked_for = all.iter().filter(|(name, _)| options.limit.as_ref().is_none_or(|only| only == *name));
    let looks_at = LooksAt::of(&checked.config.plan);
    let mut reading = Reading {
        checked,
        finder: Finder::new(&checked.config),
        looks_at,
        known: HashMap::new(),
        limits: asked_for.map(|(name, settings)| Limit::new(name, settings, &checked.origin)).collect(),
        askings: Vec::new(),
        simulation: Simulation::new(looks_at.note()),
    };
    for log in &options.logs {
        let read = if log == Path::new("-") {
            reading.read(log, io::stdin().lock())
        } else {
            File::open(log).and_then(|file| reading.read(log, BufReader::new(file)))
        };
        read.map_err(|why| SimulateError::Unreadable { log: log.clone(), why })?;
    }
    Ok(reading.play())
}

impl Reading<'_> {
    fn read(&mut self, log: &Path, lines: impl BufRead) -> io::Result<()> {
        for (number, line) in lines.split(b'\n').enumerate() {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            let read =
                Logged::read(&line).and_then(|logged| logged.map_or(Ok(()), |logged| self.line(&logged)));
            if let Err(why) = read {
                self.simulation.unread.note(|| format!("{}:{}", log.display(), number + 1), &line, why);
            }
        }
        Ok(())
    }

    fn line(&mut self, logged: &Logged) -> Result<(), String> {
        let time = logged.time.ok_or("expected a line with the time of its request")?;
        let alike = self.looks_at.key(logged);
        let fate = match self.known.get(&alike) {
            Some(fate) => fate.clone(),
            None => {
                let fate = self.finder.find(&logged.asked()?).fate;
                self.known.insert(alike, fate.clone());
                fate
            }
        };
        self.simulation.requests += 1;
        let Fate::Route(index) = fate else {
            self.simulation.elsewhere += 1;
            return Ok(());
        };
        let route = &self.checked.config.plan.routes[index];
        let mut limits: Vec<(usize, bool)> = (route.rate_limits.iter())
            .filter_map(|of| {
                let index = self.limits.iter().position(|limit| limit.name == of.name)?;
                Some((index, of.counts_failures))
            })
            .collect();
        let reason = logged.reason.as_deref();
        let code = reason.and_then(Code::from_name);
        if limits.is_empty() || code.is_some_and(is_answered_outside) {
            self.simulation.elsewhere += 1;
            return Ok(());
        }
        if route.auth.is_some() && (reason == Some(AuthRefused::NAME) || code.is_some_and(is_of_auth)) {
            // Limits that count failures stand outside of authentication.
            limits.retain(|(_, counts_failures)| *counts_failures);
            if limits.is_empty() {
                self.simulation.unauthenticated += 1;
                return Ok(());
            }
        }
        let mut parts = Vec::with_capacity(limits.len());
        for (limit, _) in limits {
            if let Some(caller) = self.limits[limit].caller(logged, route) {
                let failed = logged.status.is_some_and(|status| self.limits[limit].is_failure(status));
                parts.push(Part { limit, caller, failed });
            }
        }
        self.askings.push(Asking { time, parts });
        Ok(())
    }

    /// By the lines' times, whatever their order: a line is written when its request ends.
    fn play(mut self) -> Simulation {
        self.askings.sort_by_key(|asking| asking.time);
        for Asking { time, parts } in self.askings {
            // All or nothing, as live: who is refused by one takes from none.
            let passes = !parts.iter().any(|part| self.limits[part.limit].stops(part.caller, time));
            for Part { limit, caller, failed } in parts {
                self.limits[limit].ask(caller, time, failed, passes);
            }
        }
        self.simulation.limits = self.limits.into_iter().map(Limit::report).collect();
        self.simulation
    }
}

/// Whether the gateway answers so before it comes to any limit.
fn is_answered_outside(code: Code) -> bool {
    matches!(code, Code::Maintenance | Code::BodyTooLarge)
}

/// Whether the gateway itself refuses so whom it does not let in, before it comes to a limit, or cannot ask about them.
fn is_of_auth(code: Code) -> bool {
    matches!(code.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) || code == Code::AuthUnavailable
}
