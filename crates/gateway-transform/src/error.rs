use gateway_core::percent;
use http::header::{HeaderName, HeaderValue};
use std::path::PathBuf;

/// Why settings make no layer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransformError {
    /// Not the name of a header.
    #[error("`{0}` is not a header name; expected letters, digits and dashes")]
    Name(String),
    /// Not the value of a header.
    #[error("the value of `{name}` holds characters that no header may: {value:?}")]
    Value {
        /// The header.
        name: String,
        /// The value.
        value: String,
    },
    /// A header that frames messages or belongs to one connection.
    #[error(
        "`{0}` frames a message or belongs to one connection: the gateway writes it itself, or leaves it out; rules cannot change it"
    )]
    Framing(String),
    /// A rule for the host that is asked.
    #[error(
        "`Host` is changed by `rewrite.host`, which tells the service of the client's in X-Forwarded-Host"
    )]
    HostHeader,
    /// A placeholder where nothing that was captured is at hand.
    #[error(
        "`{{{0}}}` stands for what a route captured in requests only; in answers write `{{{{{0}}}}}` for the text `{{{0}}}`"
    )]
    AnswerPlaceholder(String),
    /// A method that is none.
    #[error("`{0}` is not an HTTP method; expected GET, POST, … in capitals")]
    Method(String),
    /// A star that browsers take for a name.
    #[error("`*` in `{0}` stands for all only without `credentials`; name them")]
    StarWithCredentials(&'static str),
    /// An origin that is none.
    #[error("`{0}` is not an origin; expected \"*\", \"https://shop.example\" or \"https://*.shop.example\"")]
    Origin(String),
    /// A prefix that is none.
    #[error("`{0}` is not a path prefix; expected something like \"/api/users\", without a slash at the end{hint}", hint = encoded(.0))]
    Prefix(String),
    /// What no gateway may call itself in `Via`.
    #[error("`{0}` is not a name for Via; expected a word such as \"gateway\", or a host")]
    Pseudonym(String),
    /// A path that is none, or not the normal form of one.
    #[error("`{0}` is not a path; expected something like \"/v2/status\", without dot segments or a query{hint}", hint = encoded(.0))]
    Path(String),
    /// Several ways to make a path, or none.
    #[error("expected exactly one of `full`, `add_prefix`, `replace_prefix` and `regex`")]
    PathRewrite,
    /// A regular expression that is none.
    #[error("`{pattern}` is not a regular expression: {why}")]
    Regex {
        /// The expression.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// What a regular expression's match cannot become.
    #[error("`{template}` is no path with groups, such as \"/people/{{1}}\": {why}")]
    Template {
        /// The path with groups.
        template: String,
        /// What is wrong with it.
        why: String,
    },
    /// A fallback without a way to fall or a place to land.
    #[error("it falls back on nothing: give at least one `on`, and `service` or `respond`")]
    Fallback,
    /// A placeholder for what the route does not capture.
    #[error("`{{{name}}}` stands for nothing here; this route has {}", listed(known))]
    Placeholder {
        /// The name between its braces.
        name: String,
        /// The names that would stand for something.
        known: Vec<String>,
    },
    /// A host that is none.
    #[error("`{0}` is not a host; expected something like \"shop.example\"")]
    Host(String),
    /// A redirect to where the client is.
    #[error("a redirect needs at least one of `scheme`, `host`, `port` and `path`")]
    Redirect,
    /// A status that sends nobody anywhere.
    #[error("{0} is not the status of a redirect; expected 301, 302, 303, 307 or 308")]
    RedirectStatus(u16),
    /// A port that is none.
    #[error("{0} is not a port; expected 1 to 65535")]
    Port(u16),
    /// A status that ends no exchange.
    #[error("{0} is not a status; expected 200 to 599")]
    Status(u16),
    /// Several bodies.
    #[error("only one of `text`, `json` and `file` makes the body")]
    RespondBody,
    /// A body where none may be.
    #[error("an answer with status {0} has no body; expected none, or another status")]
    NoBody(u16),
    /// A file that is none, or not ours to read.
    #[error("`{path}` cannot be read: {why}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
}

/// `{a}`, `{b}` and `{*}`, each in backticks.
fn listed(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{{{name}}}`")).collect();
    match quoted.split_last() {
        None => "no parameters".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

pub(crate) fn name(text: &str) -> Result<HeaderName, TransformError> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| TransformError::Name(text.to_owned()))
}

pub(crate) fn value(name: &str, text: &str) -> Result<HeaderValue, TransformError> {
    HeaderValue::from_str(text)
        .map_err(|_| TransformError::Value { name: name.to_owned(), value: text.to_owned() })
}

/// What to write for a path that is written as it is read.
fn encoded(path: &str) -> String {
    if path.is_ascii() { String::new() } else { format!(", percent-encoded: `{}`", percent::in_ascii(path)) }
}
