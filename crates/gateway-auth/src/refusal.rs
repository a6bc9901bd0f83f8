use gateway_core::{Code, Problem};
use http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};

/// Why a request does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Missing,
    Invalid(&'static str),
    /// Something that is not for us, and may be for another method.
    Foreign(&'static str),
    Expired,
    Revoked,
    StoreAway,
    /// There are no keys yet.
    KeysAway,
}

/// The challenges of a realm, made once.
#[derive(Debug)]
pub(crate) struct Challenges {
    bare: HeaderValue,
    invalid: HeaderValue,
}

impl Challenges {
    pub(crate) fn new(realm: &str) -> Self {
        let realm = realm.replace(['"', '\\'], "'");
        let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer"));
        Self {
            // RFC 6750 §3.1: no error code when there were no credentials.
            bare: value(format!("Bearer realm=\"{realm}\"")),
            invalid: value(format!("Bearer realm=\"{realm}\", error=\"invalid_token\"")),
        }
    }

    /// What a 401 without credentials asks for.
    pub(crate) fn bare(&self) -> &HeaderValue {
        &self.bare
    }

    pub(crate) fn problem(&self, refusal: Refusal) -> Problem {
        let invalid = |code| Problem::new(code).with_header(WWW_AUTHENTICATE, self.invalid.clone());
        match refusal {
            Refusal::Missing => {
                Problem::new(Code::MissingCredentials).with_header(WWW_AUTHENTICATE, self.bare.clone())
            }
            Refusal::Invalid(why) | Refusal::Foreign(why) => invalid(Code::InvalidToken).with_detail(why),
            Refusal::Expired => invalid(Code::ExpiredToken),
            Refusal::Revoked => invalid(Code::RevokedToken),
            Refusal::KeysAway => Problem::new(Code::AuthUnavailable)
                .with_detail("the issuer's keys could not be read yet")
                .with_header(RETRY_AFTER, HeaderValue::from_static("1")),
            Refusal::StoreAway => {
                Problem::new(Code::StoreUnavailable).with_header(RETRY_AFTER, HeaderValue::from_static("1"))
            }
        }
    }
}
