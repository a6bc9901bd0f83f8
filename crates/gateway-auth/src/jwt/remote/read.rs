//! One reading of an issuer's keys.

use super::{Remote, Source};
use crate::jwt::jwk::{self, Origin};
use crate::jwt::key::Key;
use bytes::Bytes;
use gateway_fetch::FetchError;
use http::header::{ACCEPT, CACHE_CONTROL, HeaderValue};
use http::{HeaderMap, Request};
use serde::Deserialize;
use std::time::Duration;

/// What one reading brought.
pub(super) struct Read {
    pub(super) keys: Vec<Key>,
    /// For how long they hold, if the answer says so.
    pub(super) max_age: Option<Duration>,
}

/// What we need of OpenID Connect Discovery 1.0 §3.
#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    jwks_uri: String,
}

impl Remote {
    /// Reads the keys. `found` is where the issuer said last that they are.
    pub(super) async fn read(&self, found: &mut Option<String>) -> Result<Read, String> {
        let url = match (&self.source, &*found) {
            (Source::Given, _) => return self.read_given(),
            (Source::Url(url), _) | (Source::Issuer(_), Some(url)) => url.clone(),
            (Source::Issuer(issuer), None) => self.discover(issuer).await?,
        };
        if let Source::Issuer(_) = self.source {
            // To be asked for again unless all goes well.
            *found = None;
        }
        let answer = self.get(&url).await.map_err(|error| error.to_string())?;
        let keys = jwk::read(answer.body(), Origin::Url, &self.algorithms)?;
        if keys.is_empty() {
            return Err("holds no key that verifies tokens".to_owned());
        }
        *found = Some(url);
        Ok(Read { keys, max_age: max_age(answer.headers()) })
    }

    fn read_given(&self) -> Result<Read, String> {
        let set = self.given.as_ref().and_then(|keys| keys()).ok_or("there are none yet")?;
        let keys = jwk::read(set.to_string().as_bytes(), Origin::Url, &self.algorithms)?;
        Ok(Read { keys, max_age: None })
    }

    async fn discover(&self, issuer: &str) -> Result<String, String> {
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let answer = self.get(&url).await.map_err(|error| error.to_string())?;
        let configuration: Configuration = serde_json::from_slice(answer.body())
            .map_err(|error| format!("{url} is no OpenID configuration: {error}"))?;
        // §4.3: whoever answers for one issuer must not answer for another.
        if configuration.issuer != issuer {
            return Err(format!("{url} is that of `{}`", configuration.issuer));
        }
        let uri = configuration.jwks_uri;
        if issuer.starts_with("https://") && !uri.starts_with("https://") {
            return Err(format!("{url} has its keys at `{uri}`, where anybody could change them"));
        }
        Ok(uri)
    }

    async fn get(&self, url: &str) -> Result<http::Response<Bytes>, FetchError> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = url.parse().map_err(|_| FetchError::Url(url.to_owned()))?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self.fetch.send(request).await?;
        if !answer.status().is_success() {
            let url = url.split('?').next().unwrap_or_default().to_owned();
            return Err(FetchError::Status { url, status: answer.status() });
        }
        Ok(answer)
    }
}

/// RFC 9111 §5.2.2.1. Other directives do not matter: keys are kept for a while in any case.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let ages = directives.flat_map(|value| value.split(',')).filter_map(|directive| {
        let (name, seconds) = directive.trim().split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| seconds.trim_matches('"').parse().ok()).flatten()
    });
    ages.min().map(Duration::from_secs)
}
