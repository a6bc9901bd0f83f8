use crate::{CookieMatch, HeaderMatch, Networks, QueryMatch, RouteMatch, ValueMatch, When};
use gateway_core::units::Short;
use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// What else a request must be for a route to take it, besides host, path and method. All of it must hold.
///
/// A value is a text (exactly this), `true` (there, whatever its value), `false` (not there), or a table with
/// one test: see [`ValueSettings`](crate::ValueSettings).
///
/// ```
/// let settings: gateway_routing::MatchSettings = serde_json::from_value(serde_json::json!({
///     "headers": { "x-tenant": "acme", "x-debug": false },
///     "query": { "version": { "at_least": 2 } },
///     "cookies": { "group": { "prefix": "beta-", "not": true } },
///     "clients": ["10.0.0.0/8", "192.0.2.7"],
/// }))?;
/// let route = gateway_routing::RouteMatch::path("/api/*")?.with(&settings);
/// assert_eq!((route.headers.len(), route.query.len(), route.cookies.len()), (2, 1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MatchSettings {
    /// Header fields, by name: a text, `true` (there), `false` (not there), or a table with one test. One field
    /// line that fits is enough. Default: none.
    #[serde(deserialize_with = "headers")]
    #[schemars(with = "BTreeMap<String, Short<ValueMatch>>")]
    pub headers: Vec<HeaderMatch>,
    /// Query parameters, by name; names and values percent-decoded. Default: none.
    #[serde(deserialize_with = "query")]
    #[schemars(with = "BTreeMap<String, Short<ValueMatch>>")]
    pub query: Vec<QueryMatch>,
    /// Cookies, by name. Default: none.
    #[serde(deserialize_with = "cookies")]
    #[schemars(with = "BTreeMap<String, Short<ValueMatch>>")]
    pub cookies: Vec<CookieMatch>,
    /// The client's address is in one of these networks. Default: any address.
    pub clients: Networks,
    /// The client's address is in none of these networks. Default: any address.
    pub not_clients: Networks,
    /// An expression in CEL that must hold, asked last: for one thing or another, or a loop. It sees `request.method`,
    /// `.scheme`, `.host`, `.path` and `client.ip`, and by name `request.headers` (in lower case), `.query` and
    /// `.cookies`. Only in a gateway built with the feature `cel`. Default: none.
    pub when: Option<When>,
}

type ByName = BTreeMap<String, Short<ValueMatch>>;

fn headers<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<HeaderMatch>, D::Error> {
    let read = |(name, value): (String, Short<ValueMatch>)| match HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) => Ok(HeaderMatch { name, value: value.0 }),
        Err(_) => Err(serde::de::Error::custom(format!(
            "`{name}` is not the name of a header; expected one such as \"x-tenant\""
        ))),
    };
    ByName::deserialize(d)?.into_iter().map(read).collect()
}

fn query<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<QueryMatch>, D::Error> {
    Ok(ByName::deserialize(d)?.into_iter().map(|(name, value)| QueryMatch { name, value: value.0 }).collect())
}

fn cookies<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<CookieMatch>, D::Error> {
    Ok(ByName::deserialize(d)?
        .into_iter()
        .map(|(name, value)| CookieMatch { name, value: value.0 })
        .collect())
}

impl RouteMatch {
    /// The same, taking only requests that these settings take as well.
    #[must_use]
    pub fn with(mut self, settings: &MatchSettings) -> Self {
        self.headers.extend_from_slice(&settings.headers);
        self.query.extend_from_slice(&settings.query);
        self.cookies.extend_from_slice(&settings.cookies);
        if !settings.clients.is_empty() {
            self.clients = settings.clients.clone();
        }
        if !settings.not_clients.is_empty() {
            self.not_clients = settings.not_clients.clone();
        }
        if settings.when.is_some() {
            self.when.clone_from(&settings.when);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_name_what_was_found_and_what_was_expected() {
        for (text, part) in [
            (r#"{"header": {}}"#, "unknown field `header`"),
            (r#"{"headers": {"x y": "a"}}"#, "`x y` is not the name of a header"),
            (r#"{"query": {"v": {"regex": "("}}}"#, "`(` is not a regular expression"),
            (r#"{"clients": ["home"]}"#, "`home` is no network"),
            (r#"{"clients": "10.0.0.0/8"}"#, "expected a sequence"),
        ] {
            let error = serde_json::from_str::<MatchSettings>(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn the_schema_shows_every_key_of_a_value() {
        let schema = serde_json::to_string(&schemars::schema_for!(MatchSettings)).unwrap();
        for key in ["\"at_least\"", "\"regex\"", "\"not_clients\"", "additionalProperties"] {
            assert!(schema.contains(key), "{key}: {schema}");
        }
    }
}
