use gateway_core::{Code, Problem};
use http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use std::fmt;
use std::time::Duration;

/// Why there is no [`Identity`](crate::Identity).
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Values that make no sense.
    #[error("{0}")]
    Settings(String),
    /// The database cannot be opened, or its schema not be brought up to date.
    #[error("the database of accounts cannot be opened: {0}")]
    Database(String),
    /// A key that cannot be read.
    #[error("signing key {kid} cannot be read: {why}")]
    Key {
        /// Its identifier.
        kid: String,
        /// Why.
        why: &'static str,
    },
    /// The configured administrator cannot be made.
    #[error("`first_admin` cannot be made: {0}")]
    FirstAdmin(IdentityError),
}

/// Why something was not done. What it shows never holds a password, a token or a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Name and password do not go together, there is no such account, or it is disabled: no more is said.
    #[error("name and password do not go together")]
    InvalidCredentials,
    /// Too many attempts.
    #[error("too many attempts; the next is allowed in {retry_after:?}")]
    Throttled {
        /// When to come back.
        retry_after: Duration,
    },
    /// Too many passwords are being checked.
    #[error("too many logins at once")]
    Busy,
    /// There is no access token.
    #[error("an access token is required")]
    MissingCredentials,
    /// A token that is none of ours, or not for this.
    #[error("{0}")]
    InvalidToken(&'static str),
    /// A token that was good once.
    #[error("the token has expired")]
    ExpiredToken,
    /// A token of a session that was ended.
    #[error("the session has ended")]
    RevokedToken,
    /// A refresh token that was used before: its session has ended.
    #[error("the refresh token was used before; its session has been ended")]
    ReplayedToken,
    /// Known caller, not allowed.
    #[error("only an administrator, or whom it is about, may do this")]
    Forbidden,
    /// Not there, or nothing that the caller may know of.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// A name that another account has.
    #[error("{pointer} is taken")]
    Taken {
        /// Which field, as a JSON pointer.
        pointer: &'static str,
    },
    /// The request cannot be understood.
    #[error("{0}")]
    Malformed(&'static str),
    /// The body is too long.
    #[error("the body is longer than 64KiB")]
    TooLarge,
    /// The body came too slowly.
    #[error("the body did not come in time")]
    TooSlow,
    /// The body is in another format.
    #[error("expected `application/json` or `application/x-www-form-urlencoded`")]
    MediaType,
    /// Fields that break the rules.
    #[error("{}", Violation::join(.0))]
    Invalid(Vec<Violation>),
    /// The database does not answer.
    #[error("the database of accounts is away: {0}")]
    Unavailable(String),
    /// A fault of ours.
    #[error("{0}")]
    Internal(String),
}

/// A field that breaks the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which field, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// What is wrong with it, to be read after the pointer: `is required`.
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }

    fn join(all: &[Self]) -> String {
        all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pointer, self.detail)
    }
}

impl IdentityError {
    /// What a client is answered.
    #[must_use]
    pub fn problem(&self) -> Problem {
        const BARE: HeaderValue = HeaderValue::from_static("Bearer");
        const INVALID: HeaderValue = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        let problem = |code| Problem::new(code).with_detail(self.to_string());
        let challenge = |code, value| problem(code).with_header(WWW_AUTHENTICATE, value);
        match self {
            Self::InvalidCredentials => challenge(Code::InvalidCredentials, BARE),
            Self::Throttled { retry_after } => {
                let seconds = retry_after.as_millis().div_ceil(1000).max(1);
                let value = HeaderValue::try_from(seconds.to_string());
                problem(Code::RateLimited)
                    .with_header(RETRY_AFTER, value.unwrap_or(HeaderValue::from_static("60")))
            }
            Self::Busy => problem(Code::Overloaded).with_header(RETRY_AFTER, HeaderValue::from_static("1")),
            // RFC 6750 §3.1: no error code when there were no credentials.
            Self::MissingCredentials => challenge(Code::MissingCredentials, BARE),
            Self::InvalidToken(_) => challenge(Code::InvalidToken, INVALID),
            Self::ExpiredToken => challenge(Code::ExpiredToken, INVALID),
            Self::RevokedToken | Self::ReplayedToken => challenge(Code::RevokedToken, INVALID),
            Self::Forbidden => problem(Code::Forbidden),
            Self::NotFound(_) => problem(Code::NotFound),
            Self::Taken { .. } => problem(Code::Conflict),
            Self::Malformed(_) => problem(Code::BadRequest),
            Self::TooLarge => problem(Code::BodyTooLarge),
            Self::TooSlow => problem(Code::RequestTimeout),
            Self::MediaType => problem(Code::UnsupportedMediaType),
            Self::Invalid(_) => problem(Code::InvalidRequest),
            // What went wrong inside is for the log.
            Self::Unavailable(_) => {
                Problem::new(Code::StoreUnavailable).with_header(RETRY_AFTER, HeaderValue::from_static("1"))
            }
            Self::Internal(_) => Problem::new(Code::InternalError),
        }
    }
}
