//! `gateway explain`: which route takes a request and why not another, what happens to it on the way, and what
//! the service gets.
//!
//! Nothing of this is imitated: the request passes the parser, the edge, the table and the layers that serve live
//! ones. Only
//! what would ask or count somebody is left out (tokens, limits, faults), and in place of the service's endpoints a
//! [`Recorder`](recorder::Recorder) listens.
//!
//! Of many requests, as logs tell of them, [`diff`] says which take another route or meet other policies by another
//! configuration.

mod authorization;
mod diff;
mod find;
mod logged;
mod policies;
mod probe;
mod recorder;
mod report;
mod request;

pub(crate) use diff::diff;
pub(crate) use find::{Alike, Fate, Finder, LooksAt};
pub(crate) use logged::{Logged, Unread, shown};
pub(crate) use policies::without_secrets;
pub(crate) use report::inline;
pub(crate) use request::Asked;

use crate::check::Format;
use crate::config::Checked;
use crate::token;
use clap::Args;
use report::Report;
use std::path::{Path, PathBuf};

/// What is to be explained.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The method, such as GET.
    #[arg(required_unless_present = "diff")]
    method: Option<String>,
    /// A URL such as http://shop.example/api/users/7, or only its path.
    #[arg(required_unless_present = "diff")]
    url: Option<String>,
    /// Say instead which requests, of those that standard input tells a line each, take another route or meet other
    /// policies by the new file: `METHOD URL`, lines of an access log in JSON, common or combined log format.
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with_all = ["method", "headers", "client"])]
    diff: Option<Vec<PathBuf>>,
    /// A header of the request; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The address that the request comes from.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    client: std::net::IpAddr,
    /// A claim of the caller, as its token would have it: asks `authorize` too. May be given several times.
    #[arg(long = "claim", value_name = "NAME=VALUE", conflicts_with = "diff")]
    claims: Vec<String>,
    /// How it is said.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Options {
    /// The request that is meant.
    ///
    /// # Errors
    /// Says what is wrong with its parts.
    pub(crate) fn request(&self) -> Result<Asked, String> {
        let text = |part: &'_ Option<String>| part.clone().unwrap_or_default();
        let asked = Asked::read(&text(&self.method), &text(&self.url), &self.headers, self.client)?;
        Ok(asked.with_claims(token::read(&self.claims)?))
    }

    /// The files to be compared, the old one first.
    pub(crate) fn diff(&self) -> Option<(&Path, &Path)> {
        match self.diff.as_deref() {
            Some([old, new]) => Some((old, new)),
            _ => None,
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }
}

/// An explanation, and whether a route takes the request.
pub(crate) struct Explained {
    pub(crate) text: String,
    pub(crate) taken: bool,
}

/// Explains what becomes of a request.
///
/// # Errors
/// The operating system refuses what recording takes.
pub(crate) fn explain(checked: &Checked, asked: &Asked, format: Format) -> std::io::Result<Explained> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let probed = runtime.block_on(probe::probe(&checked.config, asked))?;
    let report = Report::new(checked, asked, probed);
    let text = match format {
        Format::Text => report.to_string(),
        // Texts and numbers always serialise.
        Format::Json => serde_json::to_string_pretty(&report).unwrap_or_default() + "\n",
    };
    Ok(Explained { text, taken: report.is_taken() })
}
