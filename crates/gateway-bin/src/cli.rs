//! The commands.

use crate::check::{self, Verdict};
use crate::config::{self, Checked, Config, LogLevel, Settings};
use crate::explain::{self, Explained};
use crate::simulate::{self, SimulateError};
use crate::{reference, routes, run, token};
use clap::error::{ContextKind, ContextValue};
use clap::{Parser, Subcommand, ValueEnum};
use gateway_core::units::Timespan;
use gateway_core::{AuthRefused, Break, Code};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// An API gateway: one config file, one binary.
#[derive(Debug, Parser)]
#[command(name = "gateway", version, about, max_term_width = 100, arg_required_else_help = false)]
#[command(
    after_help = "Exit codes: 0 all is well; 1 it cannot run (a port in use, Redis away); 2 the configuration \
                        or the command line is wrong.\n\nAny key can be set by an environment variable: \
                        GATEWAY_SERVER__LISTEN=0.0.0.0:80 stands for `listen` in [server]."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration file: TOML, YAML or JSON, by its ending.
    #[arg(short, long, global = true, value_name = "FILE", default_value = "gateway.toml")]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway; what happens without a command too.
    Run,
    /// Say everything that is wrong with the configuration, and warn of what is likely not meant.
    #[command(
        after_help = "Exit codes: 0 no mistakes; 1 with --connect, something needed cannot be reached; 2 there \
                      are mistakes, or with --strict warnings."
    )]
    Check(check::Options),
    /// Say which route takes a request and why no other does, what happens on the way, and what the service gets.
    #[command(
        after_help = "Nothing is sent to a service, and nothing is counted: tokens and limits are not looked at.\n\n\
                      Exit codes: 0 a route takes it; 1 none does; 2 the configuration or the request is wrong.\n\n\
                      With --diff: 0 nothing changes; 1 something does; 2 a configuration is wrong."
    )]
    Explain(explain::Options),
    /// Try out rate limits.
    Limits {
        /// What is tried.
        #[command(subcommand)]
        command: LimitsCommand,
    },
    /// Show the route table.
    Routes {
        /// How.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Print a token for trying things out, signed with a configured secret.
    Token {
        /// The name of an [auth.jwt] with a secret.
        #[arg(long)]
        auth: String,
        /// A claim; may be given several times. `iss` and `aud` are what the settings ask for unless they are given.
        #[arg(long = "claim", value_name = "NAME=VALUE")]
        claims: Vec<String>,
        /// How long it is good for.
        #[arg(long, default_value = "1h")]
        expires: Timespan,
    },
    /// Print the JSON Schema of the configuration, for editors.
    Schema {
        /// As JSON Schema, or as the reference of all keys.
        #[arg(long, value_enum, default_value_t = SchemaFormat::Json)]
        format: SchemaFormat,
    },
    /// List the codes of the gateway's own answers, with their statuses, gRPC statuses and Proxy-Status types; and those
    /// that only stand in the log and the metrics.
    Codes,
}

#[derive(Debug, Subcommand)]
enum LimitsCommand {
    /// Say whom the configured rate limits would have refused of those that access logs tell of.
    #[command(
        after_help = "Lines may be our own JSON in any format, or common or combined log format. Nothing is sent, and no \
                      live count is touched.\n\nExit codes: 0 said; 1 a log cannot be read; 2 the configuration is \
                      wrong or has no such limit."
    )]
    Simulate(simulate::Options),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Aligned columns.
    Text,
    /// JSON.
    Json,
    /// Tables in Markdown: the routes, who may call them, and how often.
    Md,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SchemaFormat {
    /// JSON Schema.
    Json,
    /// A table in Markdown.
    Md,
}

/// Something is wrong with the world.
const FAILED: u8 = 1;
/// Something is wrong with what was asked for.
const MISTAKEN: u8 = 2;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { command, config: path } = match Cli::try_parse() {
        Ok(cli) => cli,
        // `--help` is among them.
        Err(error) => {
            let error = with_tip(error);
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    let text = match command.unwrap_or(Command::Run) {
        Command::Run => {
            return match config::read(Some(&path), None) {
                Ok(checked) => run(checked, &path),
                Err(mistakes) => fail(&mistakes.to_string(), MISTAKEN),
            };
        }
        Command::Schema { format } => schema(format),
        Command::Codes => codes(),
        Command::Check(options) => return check(&path, options),
        Command::Explain(options) => return explain(&path, &options),
        Command::Limits { command: LimitsCommand::Simulate(options) } => return simulate(&path, &options),
        Command::Routes { format } => checked(&path).map(|checked| match format {
            Format::Json => routes::json(&checked),
            Format::Text => routes::table(&checked),
            Format::Md => routes::markdown(&checked),
        }),
        Command::Token { auth, claims, expires } => load(&path).and_then(|config| {
            let token =
                token::mint(&config, &auth, &claims, expires).map_err(|error| fail(&error, MISTAKEN))?;
            Ok(token + "\n")
        }),
    };
    match text {
        // Whoever reads may have seen enough, as `head` does.
        Ok(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

/// Other gateways' commands take the configuration's name by itself.
fn with_tip(mut error: clap::Error) -> clap::Error {
    let unknown = [ContextKind::InvalidArg, ContextKind::InvalidSubcommand].map(|kind| error.get(kind));
    let tip = unknown.into_iter().flatten().find_map(|value| match value {
        ContextValue::String(name)
            if [".toml", ".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end)) =>
        {
            Some(format!("name the configuration by '--config {name}'"))
        }
        _ => None,
    });
    if let Some(tip) = tip {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

fn run(checked: Checked, path: &Path) -> ExitCode {
    let Checked { config, warnings, .. } = checked;
    if config.settings.log.level != LogLevel::Error {
        for warning in warnings.iter() {
            say(&warning.line());
        }
    }
    match run::run(config, path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), FAILED),
    }
}

fn check(path: &Path, options: check::Options) -> ExitCode {
    let report = match check::check(path, options) {
        Ok(report) => report,
        Err(error) => return fail(&error.to_string(), FAILED),
    };
    let _ = std::io::stdout().write_all(report.out.as_bytes());
    let code = match report.verdict {
        Verdict::Good => 0,
        Verdict::Unreachable => FAILED,
        Verdict::Mistaken => MISTAKEN,
    };
    match report.err {
        Some(findings) => fail(&findings, code),
        None => ExitCode::from(code),
    }
}

fn explain(path: &Path, options: &explain::Options) -> ExitCode {
    if let Some((old, new)) = options.diff() {
        return diff(old, new, options.format());
    }
    let checked = config::read(Some(path), None).map_err(|mistakes| mistakes.to_string());
    let (checked, asked) = match checked.and_then(|checked| Ok((checked, options.request()?))) {
        Ok(both) => both,
        Err(message) => return fail(&message, MISTAKEN),
    };
    match explain::explain(&checked, &asked, options.format()) {
        Ok(Explained { text, taken }) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            if taken { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
        }
        Err(error) => fail(&error.to_string(), FAILED),
    }
}

fn diff(old: &Path, new: &Path, format: check::Format) -> ExitCode {
    let read =
        |path| config::read(Some(path), None).map_err(|mistakes| fail(&mistakes.to_string(), MISTAKEN));
    let (old, new) = match read(old).and_then(|old| Ok((old, read(new)?))) {
        Ok(both) => both,
        Err(code) => return code,
    };
    match explain::diff(&old, &new, std::io::stdin().lock()) {
        Ok(difference) => {
            let text = match format {
                check::Format::Text => difference.to_string(),
                check::Format::Json => json(&difference),
            };
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::from(match (difference.is_unread(), difference.is_none()) {
                (true, _) => MISTAKEN,
                (false, true) => 0,
                (false, false) => FAILED,
            })
        }
        Err(error) => fail(&format!("standard input cannot be read: {error}"), MISTAKEN),
    }
}

fn simulate(path: &Path, options: &simulate::Options) -> ExitCode {
    let checked = match config::read(Some(path), None) {
        Ok(checked) => checked,
        Err(mistakes) => return fail(&mistakes.to_string(), MISTAKEN),
    };
    match simulate::simulate(&checked, options) {
        Ok(simulation) => {
            let text = match options.format {
                check::Format::Text => simulation.to_string(),
                check::Format::Json => json(&simulation),
            };
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error @ SimulateError::Unknown { .. }) => fail(&error.to_string(), MISTAKEN),
        Err(error @ SimulateError::Unreadable { .. }) => fail(&error.to_string(), FAILED),
    }
}

fn json(report: &impl serde::Serialize) -> String {
    // Texts and numbers always serialise.
    serde_json::to_string_pretty(report).unwrap_or_default() + "\n"
}

fn checked(path: &Path) -> Result<Checked, ExitCode> {
    config::read(Some(path), None).map_err(|mistakes| fail(&mistakes.to_string(), MISTAKEN))
}

fn load(path: &Path) -> Result<Config, ExitCode> {
    config::load(Some(path)).map_err(|mistakes| fail(&mistakes.to_string(), MISTAKEN))
}

fn fail(message: &str, code: u8) -> ExitCode {
    say(message);
    ExitCode::from(code)
}

/// On standard error, or nowhere: a full disk behind it is no reason to end.
fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "gateway: {message}");
}

fn schema(format: SchemaFormat) -> Result<String, ExitCode> {
    let schema = schemars::schema_for!(Settings);
    match format {
        SchemaFormat::Md => Ok(reference::markdown(schema.as_value())),
        SchemaFormat::Json => serde_json::to_string_pretty(&schema)
            .map(|text| text + "\n")
            .map_err(|error| fail(&error.to_string(), FAILED)),
    }
}

fn codes() -> Result<String, ExitCode> {
    let line = |code: Code| {
        let (name, status, grpc) = (code.name(), code.status().as_u16(), code.grpc_status());
        format!("{name:26} {status}  grpc {grpc:2}  {:26} {}\n", code.proxy_error().name(), code.title())
    };
    let logged = |(name, title)| format!("{name:26} -    {:35} {title}\n", "");
    let only_logged = Break::ALL.map(|broke| (broke.name(), broke.title()));
    let only_logged = std::iter::once((AuthRefused::NAME, AuthRefused::TITLE)).chain(only_logged);
    Ok(Code::all().map(line).chain(only_logged.map(logged)).collect())
}
