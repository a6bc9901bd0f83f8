//! What methods that ask somebody over HTTP have in common.

use crate::AuthError;
use gateway_core::{Code, Problem};
use http::Uri;
use http::header::{HeaderValue, RETRY_AFTER};
use std::sync::atomic::{AtomicBool, Ordering};

/// The URL of the setting `url`, which is needed.
pub(crate) fn needed_url(text: &str) -> Result<Uri, AuthError> {
    if text.is_empty() {
        return Err(AuthError::setting(
            "url",
            "it is missing; expected something like https://auth.example/verify",
        ));
    }
    url(text)
}

/// The URL of a setting.
pub(crate) fn url(text: &str) -> Result<Uri, AuthError> {
    let wrong = || AuthError::Url(text.to_owned());
    let url: Uri = text.parse().map_err(|_| wrong())?;
    match (url.scheme_str(), url.host()) {
        (Some("http" | "https"), Some(_)) => Ok(url),
        _ => Err(wrong()),
    }
}

/// Without user, password and query.
pub(crate) fn shown(url: &Uri) -> String {
    let host = url.authority().map_or("", |authority| authority.host());
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    format!("{}://{host}{port}{}", url.scheme_str().unwrap_or_default(), url.path())
}

/// What a request is answered about which nobody answers.
pub(crate) fn unavailable() -> Problem {
    let problem =
        Problem::new(Code::AuthUnavailable).with_detail("who decides about the credentials does not answer");
    problem.with_header(RETRY_AFTER, HeaderValue::from_static("1"))
}

/// Whether somebody answered last time. The log hears of every change, and of nothing else.
#[derive(Debug, Default)]
pub(crate) struct Reachable {
    away: AtomicBool,
}

impl Reachable {
    pub(crate) fn answered(&self) -> bool {
        !self.away.load(Ordering::Relaxed)
    }

    pub(crate) fn is_back(&self, url: &Uri) {
        if self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::Relaxed) {
            tracing::info!(url = shown(url), "it answers about credentials again");
        }
    }

    pub(crate) fn is_away(&self, url: &Uri, why: &str) {
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::error!(url = shown(url), why, "it does not answer about credentials");
        }
    }
}
