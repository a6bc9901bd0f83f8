use http::StatusCode;
use std::path::PathBuf;
use std::time::Duration;

/// Why there is no answer. Says the URL without user, password and query, which may hold secrets.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// A file of the settings could not be used.
    #[error("`{key}`: `{path}` {why}")]
    File {
        /// The setting that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The TLS settings do not go together.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// Not the URL of an HTTP server.
    #[error("`{0}` is not a URL; expected something like https://auth.example/keys")]
    Url(String),
    /// No answer, or none that was HTTP.
    #[error("{url}: {why}")]
    Failed {
        /// Who was asked.
        url: String,
        /// What happened.
        why: String,
    },
    /// It took too long to find its address.
    #[error("{url}: its name was not resolved within {}", gateway_core::units::Timespan(*limit))]
    Unresolved {
        /// Who was to be asked.
        url: String,
        /// How long it might have taken.
        limit: Duration,
    },
    /// It took too long.
    #[error("{url} did not answer within {}", gateway_core::units::Timespan(*limit))]
    Timeout {
        /// Who was asked.
        url: String,
        /// How long it might have taken.
        limit: Duration,
    },
    /// The answer is larger than it may be.
    #[error("{url} answered with more than {limit} bytes")]
    TooLarge {
        /// Who was asked.
        url: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// Another status than 2xx.
    #[error("{url} answered {status}")]
    Status {
        /// Who was asked.
        url: String,
        /// The status.
        status: StatusCode,
    },
    /// The answer is not the JSON that was expected.
    #[error("{url} answered with something else than expected: {why}")]
    Json {
        /// Who was asked.
        url: String,
        /// What is wrong with it.
        why: String,
    },
}
