use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Why settings make no way to authenticate.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// None or several of the key settings.
    #[error(
        "{0} of `secret`, `secret_file`, `public_key`, `public_key_file`, `jwks_file`, `jwks_url` and `discovery` are given; expected exactly one, or `keys`"
    )]
    Keys(usize),
    /// None or several sources of one of the `keys`.
    #[error(
        "`keys[{at}]` has {given} of `secret`, `secret_file`, `public_key`, `public_key_file` and `jwks_file`; expected exactly one"
    )]
    OneKey {
        /// Which of them, from 0.
        at: usize,
        /// How many it has.
        given: usize,
    },
    /// A file that is no key set, or one without a key for us.
    #[error("the key set `{path}` {why}", path = path.display())]
    KeySet {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing to discover the keys by.
    #[error("`discovery` finds the keys by the `issuer`; expected `issuer` to be one URL")]
    Discovery,
    /// More leeway than is good.
    #[error("`leeway` is {0}; expected at most 60s")]
    Leeway(gateway_core::units::Timespan),
    /// Not the name of a header, a cookie or a query parameter.
    #[error("`from`: `{0}` is not the name of a header, a cookie or a query parameter")]
    Place(String),
    /// A key file that cannot be read.
    #[error("cannot read `{path}`: {source}")]
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A secret that anybody could guess.
    #[error(
        "the secret is {0} bytes long; expected at least 16, and 32 or more are recommended (RFC 7518 §3.2)"
    )]
    ShortSecret(usize),
    /// Not a public key.
    #[error(
        "the key is not the PEM of an RSA (2048 bits or more), EC (P-256, P-384, P-521) or Ed25519 public key"
    )]
    NotAKey,
    /// An algorithm that the key is not for.
    #[error("`{algorithm}` does not go with {key}; expected {expected}")]
    Algorithm {
        /// The algorithm.
        algorithm: String,
        /// The key.
        key: &'static str,
        /// Algorithms that do.
        expected: &'static str,
    },
    /// Only a secret can sign.
    #[error("tokens can only be signed with a `secret`; this one has a public key, which can only verify")]
    CannotSign,
    /// Claims that make no token.
    #[error("the token cannot be made: {0}")]
    Mint(String),
    /// Not a header's name.
    #[error("`{0}` cannot name a header; expected something like `X-API-Key`")]
    Header(String),
    /// Nowhere to look for a credential.
    #[error("there is no place to look for the credential; expected one of `header`, `query` and `cookie`")]
    NoPlace,
    /// Two API keys are the same.
    #[error("the API keys `{0}` and `{1}` have the same hash; expected each key once")]
    SameKey(String, String),
    /// A file that does not hold what it should.
    #[error("`{path}` cannot be used: {why}")]
    Content {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody could pass.
    #[error("there are no users; expected at least one in `users` or `file`")]
    NoUsers,
    /// A user that cannot be checked.
    #[error("user `{name}`: {why}")]
    User {
        /// The user.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A certificate that cannot be on a list.
    #[error("{0}")]
    Certificate(String),
    /// Not the URL of an HTTP server.
    #[error("`{0}` is not a URL; expected something like https://auth.example/verify")]
    Url(String),
    /// A password without a user.
    #[error("there is a `client_secret` or a `client_auth` without a `client_id`")]
    NoClient,
    /// Nobody can be asked this way.
    #[error("`http`: {0}")]
    Fetch(#[from] gateway_fetch::FetchError),
    /// A setting that makes no sense.
    #[error("`{key}`: {why}")]
    Setting {
        /// The setting, as a path from the settings it stands in.
        key: String,
        /// What is wrong, and what was expected.
        why: String,
    },
    /// Settings of a login that cannot work.
    #[error("`{key}` {why}")]
    Oidc {
        /// The setting.
        key: &'static str,
        /// What it is, and what was expected.
        why: String,
    },
}

impl AuthError {
    pub(crate) fn setting(key: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Setting { key: key.into(), why: why.into() }
    }

    /// What is wrong with the text of a setting, or of the file that its `…_file` names in its place.
    pub(crate) fn text(setting: &str, file: Option<&Path>, why: impl Display) -> Self {
        match file {
            Some(path) => Self::setting(format!("{setting}_file"), format!("`{}`: {why}", path.display())),
            None => Self::setting(setting, why.to_string()),
        }
    }

    /// The same, where its setting stands below another.
    pub(crate) fn below(self, setting: &str) -> Self {
        match self {
            Self::Setting { key, why } => Self::Setting { key: format!("{setting}.{key}"), why },
            other => other,
        }
    }

    /// The same of a secret or a key that is none, with where it comes from.
    pub(crate) fn taken_from(self, setting: &str, file: Option<&Path>) -> Self {
        match self {
            Self::ShortSecret(_) | Self::NotAKey => Self::text(setting, file, self),
            other => other,
        }
    }
}
