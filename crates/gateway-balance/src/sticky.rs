//! A cookie that brings a client back to the endpoint that answered it before.

use aws_lc_rs::hmac;
use gateway_core::units::{Scalar, ShortForm, Timespan};
use gateway_core::{Endpoint, cookie};
use http::header::HeaderValue;
use http::request::Parts;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use std::collections::HashMap;
use std::fmt;

/// Clients come back to the endpoint that answered them, by a cookie. Short form: the cookie's name.
///
/// The cookie names the endpoint by a keyed hash, which tells nothing about it. A client whose endpoint is not
/// available, or whose cookie is not known, gets another endpoint and another cookie.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StickySettings {
    /// The cookie's name. Default `gateway`.
    #[serde(deserialize_with = "cookie_name")]
    pub name: String,
    /// What the hash is keyed with, the same in all replicas: with a secret, nobody can find out the endpoints'
    /// addresses by trying. Default: the service's name.
    pub key: Option<StickyKey>,
    /// Whether clients send it over TLS only. Default false; true where clients come over HTTPS.
    pub secure: bool,
    /// Whether it is kept from scripts. Default true.
    pub http_only: bool,
    /// Whether it is sent with requests that other sites cause. Default `lax`; `none` implies `secure`.
    pub same_site: SameSite,
    /// The hosts it is sent to. Default: the one that was asked.
    #[serde(deserialize_with = "optional_attribute")]
    pub domain: Option<String>,
    /// The paths it is sent for. Default `/`.
    #[serde(deserialize_with = "attribute")]
    pub path: String,
    /// How long clients keep it, in whole seconds. Default: until the browser is closed.
    pub max_age: Option<Timespan>,
}

/// The key of the cookie's hash; never shown.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct StickyKey(#[serde(deserialize_with = "key")] String);

impl StickyKey {
    /// A key; any text will do.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }
}

impl fmt::Debug for StickyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StickyKey(…)")
    }
}

/// Whether a cookie is sent with requests that other sites cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// Never.
    Strict,
    /// Only when the client follows a link.
    #[default]
    Lax,
    /// Always; browsers then want it to be `secure`.
    None,
}

impl Default for StickySettings {
    fn default() -> Self {
        Self {
            name: "gateway".to_owned(),
            key: None,
            secure: false,
            http_only: true,
            same_site: SameSite::Lax,
            domain: None,
            path: "/".to_owned(),
            max_age: None,
        }
    }
}

impl ShortForm for StickySettings {
    const EXPECTED: &'static str = "the name of a cookie, or a table";
    const TYPE: &'static str = "string";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        let Scalar::Text(name) = value else { return None };
        Some(checked_name(name.to_owned()).map(|name| Self { name, ..Self::default() }))
    }
}

fn checked_name(name: String) -> Result<String, String> {
    let wrong = || format!("`{name}` cannot be the name of a cookie; expected letters, digits, `-` and `_`");
    if cookie::is_name(&name) { Ok(name) } else { Err(wrong()) }
}

fn checked_attribute(text: String) -> Result<String, String> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';');
    if good {
        Ok(text)
    } else {
        Err(format!("`{text}` cannot stand in a cookie; expected no blanks and no `;`"))
    }
}

fn cookie_name<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    checked_name(String::deserialize(d)?).map_err(serde::de::Error::custom)
}

fn attribute<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    checked_attribute(String::deserialize(d)?).map_err(serde::de::Error::custom)
}

/// None at all would be known to everybody.
fn key<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let key = String::deserialize(d)?;
    if key.trim().is_empty() {
        Err(serde::de::Error::custom("it is empty; expected a secret"))
    } else {
        Ok(key)
    }
}

fn optional_attribute<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(d)?;
    text.map(checked_attribute).transpose().map_err(serde::de::Error::custom)
}

/// The cookies of a set's endpoints, made once.
#[derive(Debug)]
pub(crate) struct Sticky {
    name: String,
    indexes: HashMap<Box<[u8]>, usize>,
    cookies: Box<[Option<HeaderValue>]>,
}

impl Sticky {
    pub(crate) fn new<'a>(
        settings: &StickySettings,
        service: &str,
        endpoints: impl Iterator<Item = &'a Endpoint> + Clone,
    ) -> Self {
        let key = settings.key.as_ref().map_or(service, |key| key.0.as_str());
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        let value = |endpoint: &Endpoint| -> String {
            let tag = hmac::sign(&key, endpoint.name().as_bytes());
            tag.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let indexes = endpoints.clone().enumerate().map(|(i, e)| (value(e).into_bytes().into(), i)).collect();
        let cookies = endpoints.map(|e| HeaderValue::from_str(&settings.cookie(&value(e))).ok()).collect();
        Self { name: settings.name.clone(), indexes, cookies }
    }

    /// The endpoint that the request's cookie names. There may be others of this name, such as that of a gateway of the
    /// domain above, and theirs may come first.
    pub(crate) fn endpoint(&self, head: &Parts) -> Option<usize> {
        cookie::values(&head.headers, &self.name).find_map(|value| self.indexes.get(value)).copied()
    }

    /// What has clients come back to this endpoint.
    pub(crate) fn cookie(&self, index: usize) -> Option<&HeaderValue> {
        self.cookies.get(index)?.as_ref()
    }
}

impl StickySettings {
    /// RFC 6265 §4.1.
    fn cookie(&self, value: &str) -> String {
        let mut cookie = format!("{}={value}; Path={}", self.name, self.path);
        if let Some(domain) = &self.domain {
            cookie += &format!("; Domain={domain}");
        }
        if let Some(age) = self.max_age {
            cookie += &format!("; Max-Age={}", age.as_secs());
        }
        if self.secure || self.same_site == SameSite::None {
            cookie += "; Secure";
        }
        if self.http_only {
            cookie += "; HttpOnly";
        }
        cookie
            + match self.same_site {
                SameSite::Strict => "; SameSite=Strict",
                SameSite::Lax => "; SameSite=Lax",
                SameSite::None => "; SameSite=None",
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::units::Short;

    #[test]
    fn the_cookie_has_the_attributes_that_were_asked_for_and_tells_nothing_of_the_endpoint() {
        let read = |text| serde_json::from_str::<Short<StickySettings>>(text).unwrap().0;
        let endpoints = ["http://10.1.1.1:80", "http://10.1.1.2:80"].map(|url| Endpoint::parse(url).unwrap());
        let cookie = |settings: &StickySettings| {
            let sticky = Sticky::new(settings, "users", endpoints.iter());
            sticky.cookie(0).unwrap().to_str().unwrap().to_owned()
        };
        let plain = cookie(&read("\"sid\""));
        let (value, attributes) = plain.strip_prefix("sid=").unwrap().split_at(32);
        assert!(value.bytes().all(|byte| byte.is_ascii_hexdigit()), "{plain}");
        assert_eq!(attributes, "; Path=/; HttpOnly; SameSite=Lax");
        let full = read(
            r#"{"name": "a", "key": "k", "same_site": "none", "http_only": false, "domain": "x.example", "path": "/p", "max_age": "1h"}"#,
        );
        let keyed = cookie(&full);
        assert!(!keyed.contains(value), "another key makes another value");
        assert_eq!(&keyed[34..], "; Path=/p; Domain=x.example; Max-Age=3600; Secure; SameSite=None");
        assert!(!format!("{full:?}").contains("\"k\""));
        for text in ["\"a b\"", r#"{"path": "/; x"}"#, r#"{"domain": ""}"#] {
            let error = serde_json::from_str::<Short<StickySettings>>(text).unwrap_err().to_string();
            assert!(error.contains("cannot"), "{text}: {error}");
        }
    }

    #[test]
    fn the_cookie_counts_that_names_an_endpoint_whatever_others_of_its_name_say() {
        let endpoints = ["http://10.1.1.1:80", "http://10.1.1.2:80"].map(|url| Endpoint::parse(url).unwrap());
        let sticky = Sticky::new(&StickySettings::default(), "users", endpoints.iter());
        let cookie = sticky.cookie(1).unwrap().to_str().unwrap();
        let (ours, _) = cookie.split_once(';').unwrap();
        for (cookies, found) in [
            (ours.to_owned(), Some(1)),
            (format!("gateway=of-another; {ours}"), Some(1)),
            (format!("{ours}; gateway=of-another"), Some(1)),
            ("gateway=of-another; gateway=".to_owned(), None),
        ] {
            let request = http::Request::get("/").header("cookie", &cookies).body(()).unwrap();
            assert_eq!(sticky.endpoint(&request.into_parts().0), found, "{cookies}");
        }
    }
}
