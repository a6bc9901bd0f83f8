//! A token endpoint (RFC 6749 §3.2), and what it is asked.

use crate::AuthError;
use crate::client::proof::{Client, secret_or_file};
use crate::client::settings::ClientAuth;
use crate::outbound::settings::{ClientCredentials, OnTokenFailure};
use crate::remote::{shown, url};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::Serializer;
use gateway_core::{Code, Problem};
use gateway_fetch::{Fetch, FetchError};
use http::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use http::{StatusCode, Uri};
use serde::Deserialize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(crate) struct Endpoint {
    url: Uri,
    fetch: Fetch,
    /// Who asks.
    client: Client,
    /// What is the same in every form.
    form: Vec<(&'static str, String)>,
    default_ttl: Duration,
    refresh_ahead: Duration,
    unavailable: Problem,
    away: AtomicBool,
}

/// Without secrets.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("url", &shown(&self.url)).finish_non_exhaustive()
    }
}

/// A token as a header's value, and for how long it is good from when it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) header: HeaderValue,
    pub(crate) ttl: Duration,
}

/// Why there is no token.
#[derive(Clone, Debug)]
pub(crate) enum Denied {
    /// The endpoint does not give one for this (RFC 6749 §5.2: 400).
    Refused,
    /// It does not answer, or not as it should.
    Away,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    #[serde(default)]
    token_type: String,
    expires_in: Option<f64>,
}

impl Endpoint {
    pub(crate) fn new(settings: &ClientCredentials) -> Result<Self, AuthError> {
        if settings.client_id.is_empty() {
            return Err(AuthError::setting(
                "client_id",
                "it is empty; expected the id of the gateway as a client",
            ));
        }
        let secret = match settings.client_auth {
            ClientAuth::PrivateKeyJwt => None,
            _ => Some(secret(
                "client_secret",
                settings.client_secret.as_deref(),
                settings.client_secret_file.as_deref(),
            )?),
        };
        let client = Client::new(
            &settings.client_id,
            secret.as_deref(),
            settings.client_auth,
            &settings.client_assertion,
        )?;
        let mut form = Vec::new();
        if !settings.scopes.is_empty() {
            form.push(("scope", settings.scopes.join(" ")));
        }
        form.extend(settings.audience.clone().map(|audience| ("audience", audience)));
        let code = match settings.on_failure {
            OnTokenFailure::Unavailable => Code::AuthUnavailable,
            OnTokenFailure::BadGateway => Code::UpstreamConnectFailed,
        };
        let seconds = settings.retry_after.as_secs_f64().ceil().max(1.0) as u64;
        let unavailable = Problem::new(code)
            .with_detail("the credentials for the service cannot be had now")
            .with_header(RETRY_AFTER, HeaderValue::from(seconds));
        Ok(Self {
            url: url(&settings.url)?,
            fetch: Fetch::new(&settings.http)?,
            client,
            form,
            default_ttl: *settings.default_ttl,
            refresh_ahead: *settings.refresh_ahead,
            unavailable,
            away: AtomicBool::new(false),
        })
    }

    /// What requests are answered while there is no token.
    pub(crate) fn unavailable(&self) -> Problem {
        self.unavailable.clone()
    }

    /// How long a token is used before another is asked for.
    pub(crate) fn fresh(&self, ttl: Duration) -> Duration {
        ttl - self.refresh_ahead.min(ttl / 2)
    }

    /// Asks for a token, with these fields besides the client's own.
    pub(crate) async fn ask(&self, fields: &[(&'static str, &str)]) -> Result<Granted, Denied> {
        let (url, mut headers) = (self.url.to_string(), HeaderMap::new());
        let form = self.form(&url, &mut headers, fields);
        let answer = self.fetch.post_form::<Answer>(&url, headers, form).await;
        let granted = match answer {
            Ok(answer) => self.granted(&answer),
            Err(FetchError::Status { status: StatusCode::BAD_REQUEST, .. }) => {
                self.answers();
                return Err(Denied::Refused);
            }
            Err(error) => Err(error.to_string()),
        };
        match granted {
            Ok(granted) => {
                self.answers();
                Ok(granted)
            }
            Err(why) => {
                if !self.away.swap(true, Ordering::Relaxed) {
                    tracing::error!(url = shown(&self.url), why, "there is no token for the service");
                }
                Err(Denied::Away)
            }
        }
    }

    fn form(&self, url: &str, headers: &mut HeaderMap, fields: &[(&'static str, &str)]) -> String {
        let mut form = Serializer::new(String::new());
        self.client.prove(url, headers, &mut form);
        form.extend_pairs(self.form.iter().map(|(name, value)| (*name, value.as_str())));
        form.extend_pairs(fields);
        form.finish()
    }

    fn answers(&self) {
        if self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::Relaxed) {
            tracing::info!(url = shown(&self.url), "there are tokens for the service again");
        }
    }

    fn granted(&self, answer: &Answer) -> Result<Granted, String> {
        // RFC 8693 §2.2.1 has N_A for what is no access token.
        if !["", "bearer", "n_a"].contains(&answer.token_type.to_ascii_lowercase().as_str()) {
            return Err(format!("it gave a token of type `{}`; expected `Bearer`", answer.token_type));
        }
        let mut header = HeaderValue::try_from(format!("Bearer {}", answer.access_token))
            .map_err(|_| "it gave a token that cannot stand in a header".to_owned())?;
        header.set_sensitive(true);
        // A year is for ever.
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds.clamp(0.0, 31_536_000.0));
        let ttl = answer.expires_in.map_or(Ok(self.default_ttl), seconds).unwrap_or(self.default_ttl);
        Ok(Granted { header, ttl })
    }
}

/// A secret that stands in the settings or in a file.
pub(crate) fn secret(key: &str, text: Option<&str>, file: Option<&Path>) -> Result<String, AuthError> {
    let one = || format!("none or both of `{key}` and `{key}_file` are given; expected one of them");
    if text.is_some() && file.is_some() {
        return Err(AuthError::setting(key, one()));
    }
    secret_or_file(key, text, file)?.ok_or_else(|| AuthError::setting(key, one()))
}

/// `Basic …` (RFC 7617 §2).
pub(crate) fn basic(user: &str, password: &str) -> Result<HeaderValue, AuthError> {
    let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    // Base64 is always a header's value.
    let mut value =
        HeaderValue::try_from(value).map_err(|_| AuthError::setting("user", "it cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}
