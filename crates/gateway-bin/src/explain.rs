//! `gateway explain`: which route takes a request and why not another, what happens to it on the way, and what
//! the service gets.
//!
//! Nothing of this is imitated: the request passes the parser, the edge, the table and the layers that serve live
//! ones. Only
//! what would ask or count somebody is left out (tokens, limits, faults), and in place of the service's endpoints a
//! [`Recorder`](recorder::Recorder) listens.

mod policies;
mod probe;
mod recorder;
mod report;
mod request;

pub(crate) use request::Asked;

use crate::check::Format;
use crate::config::Checked;
use clap::Args;
use report::Report;

/// What is to be explained.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The method, such as GET.
    method: String,
    /// A URL such as http://shop.example/api/users/7, or only its path.
    url: String,
    /// A header of the request; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The address that the request comes from.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    client: std::net::IpAddr,
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
        Asked::read(&self.method, &self.url, &self.headers, self.client)
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
