//! Test tokens, signed with a configured secret.

use crate::config::{Config, nearest};
use gateway_auth::OneOrMany;
use gateway_core::units::Timespan;
use serde_json::{Map, Value};
use std::time::{SystemTime, UNIX_EPOCH};

/// Claims as they are written on a command line.
///
/// # Errors
/// Says which is none, and what was expected.
pub(crate) fn read(claims: &[String]) -> Result<Map<String, Value>, String> {
    let mut all = Map::new();
    for claim in claims {
        let (name, value) =
            claim.split_once('=').ok_or_else(|| format!("`{claim}` is not a claim; expected NAME=VALUE"))?;
        // What reads as JSON is JSON: numbers, lists; all else is text.
        all.insert(name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| Value::from(value)));
    }
    Ok(all)
}

/// A token with these claims that expires after a time, and with the issuer and audience that are asked for, unless the
/// claims say otherwise.
///
/// # Errors
/// Says what is wrong with the name, the claims or the key.
pub(crate) fn mint(
    config: &Config,
    auth: &str,
    claims: &[String],
    expires: Timespan,
) -> Result<String, String> {
    let known = &config.settings.auth.jwt;
    let settings = known.get(auth).ok_or_else(|| match nearest(auth, known.keys().map(String::as_str)) {
        Some(near) => format!("there is no [auth.jwt] `{auth}`; did you mean `{near}`?"),
        None if known.is_empty() => format!("there is no [auth.jwt] `{auth}`, nor any other"),
        None => {
            let defined: Vec<&str> = known.keys().map(String::as_str).collect();
            format!("there is no [auth.jwt] `{auth}`; defined are {}", defined.join(", "))
        }
    })?;
    let mut all = read(claims)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|e| e.to_string())?.as_secs();
    all.insert("iat".to_owned(), now.into());
    all.insert("exp".to_owned(), (now + expires.as_secs()).into());
    // What every token of this way must say.
    for (claim, expected) in [("iss", &settings.issuer), ("aud", &settings.audience)] {
        let first = expected.as_ref().map(|expected| match expected {
            OneOrMany::One(text) => Some(text.as_str()),
            OneOrMany::Many(texts) => texts.first().map(String::as_str),
        });
        if let Some(first) = first {
            all.entry(claim).or_insert_with(|| first.into());
        }
    }
    gateway_auth::mint(settings, all).map_err(|e| e.to_string())
}
