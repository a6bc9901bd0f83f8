//! `gateway check`: what is wrong with a configuration, what is likely not what was meant, and what cannot be
//! reached.

mod asking;
mod balancing;
mod connect;
pub(crate) use connect::evicts;
mod danger;
mod limiting;
mod paths;
mod sarif;
mod warnings;

pub(crate) use warnings::warnings;

use crate::config::{self, Checked, Mistake, Mistakes, Severity};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::Path;

/// How a configuration is checked.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Options {
    /// Take warnings for mistakes: exit with 2.
    #[arg(long)]
    strict: bool,
    /// Try to reach Redis and every endpoint too.
    #[arg(long)]
    connect: bool,
    /// How it is said.
    #[arg(long, value_enum, default_value_t = FindingsFormat::Text)]
    format: FindingsFormat,
}

/// How findings of a check are shown.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum FindingsFormat {
    /// With the lines of the file.
    Text,
    /// A list in JSON.
    Json,
    /// SARIF 2.1.0, which code hosts show beside the lines.
    Sarif,
}

/// How findings are shown.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// JSON, for programs.
    Json,
}

/// What was found, and what that means for the process.
pub(crate) struct Report {
    pub(crate) verdict: Verdict,
    /// For standard output.
    pub(crate) out: String,
    /// For standard error.
    pub(crate) err: Option<String>,
}

/// Whether a configuration will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    /// Something that it needs is out of reach.
    Unreachable,
    Mistaken,
}

/// Checks the configuration in a file.
///
/// # Errors
/// The operating system refuses what connecting takes.
pub(crate) fn check(path: &Path, options: Options) -> std::io::Result<Report> {
    let (checked, findings) = match config::read(Some(path), None) {
        Err(mistakes) => (None, mistakes),
        Ok(checked) if options.connect => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let reached = runtime.block_on(connect::connect(&checked));
            // Without waiting for the resolver.
            runtime.shutdown_background();
            let findings: Vec<Mistake> = checked.warnings.iter().cloned().chain(reached).collect();
            (Some(checked), Mistakes::all(findings))
        }
        Ok(Checked { config, warnings, origin }) => {
            let findings = warnings.clone();
            (Some(Checked { config, warnings, origin }), findings)
        }
    };
    let warned = findings.count(Severity::Warning);
    let verdict = if findings.count(Severity::Mistake) > 0 || (options.strict && warned > 0) {
        Verdict::Mistaken
    } else if findings.count(Severity::Failure) > 0 {
        Verdict::Unreachable
    } else {
        Verdict::Good
    };
    Ok(match options.format {
        FindingsFormat::Sarif => Report { verdict, out: pretty(&sarif::sarif(findings.iter())), err: None },
        FindingsFormat::Json => {
            let findings: Vec<&Mistake> = findings.iter().collect();
            let out = pretty(&findings);
            Report { verdict, out, err: None }
        }
        FindingsFormat::Text => {
            let good = checked.filter(|_| verdict == Verdict::Good);
            let out = good.map_or_else(String::new, |checked| summary(path, &checked, warned));
            let err = (findings.iter().len() > 0).then(|| findings.to_string());
            Report { verdict, out, err }
        }
    })
}

fn pretty(value: &impl Serialize) -> String {
    // Texts and numbers always serialise.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn summary(path: &Path, checked: &Checked, warned: usize) -> String {
    let plan = &checked.config.plan;
    let warnings = match warned {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        many => format!(", {many} warnings"),
    };
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (routes, services) = (counted(plan.routes.len(), "route"), counted(plan.services.len(), "service"));
    format!("{}: no mistakes{warnings}; {routes} to {services}\n", path.display())
}
