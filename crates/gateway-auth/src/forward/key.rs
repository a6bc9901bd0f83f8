use crate::credential::cookies;
use crate::method::Head;
use gateway_core::ClientAddr;
use http::HeaderName;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::str::FromStr;

/// What of a request an answer depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// `header NAME`: all values of a header.
    Header(HeaderName),
    /// `cookie NAME`: the values of a cookie.
    Cookie(String),
    /// `method`
    Method,
    /// `host`
    Host,
    /// `path`
    Path,
    /// `uri`: path and query.
    Uri,
    /// `client_ip`
    ClientIp,
}

/// What the parts are together, each with its length, so that no two requests are the same by chance.
pub(crate) fn of(parts: &[KeyPart], head: Head<'_>) -> Vec<u8> {
    let mut key = Vec::with_capacity(256);
    for part in parts {
        let begin = key.len();
        match part {
            KeyPart::Header(name) => {
                head.headers.get_all(name).iter().for_each(|v| push(&mut key, v.as_bytes()))
            }
            KeyPart::Cookie(name) => cookies(head.headers, name).for_each(|value| push(&mut key, value)),
            KeyPart::Method => push(&mut key, head.method.as_str().as_bytes()),
            KeyPart::Host => push(&mut key, host(head)),
            KeyPart::Path => push(&mut key, head.uri.path().as_bytes()),
            KeyPart::Uri => {
                push(&mut key, head.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes());
            }
            KeyPart::ClientIp => {
                let ip = head.extensions.get::<ClientAddr>().map(ClientAddr::ip);
                push(&mut key, ip.map_or(String::new(), |ip| ip.to_string()).as_bytes());
            }
        }
        let length = (key.len() - begin) as u64;
        key.extend_from_slice(&length.to_le_bytes());
    }
    key
}

fn push(key: &mut Vec<u8>, value: &[u8]) {
    key.extend_from_slice(value);
    key.extend_from_slice(&(value.len() as u64).to_le_bytes());
}

pub(crate) fn host<'a>(head: Head<'a>) -> &'a [u8] {
    match (head.uri.authority(), head.headers.get(http::header::HOST)) {
        (Some(authority), _) => authority.as_str().as_bytes(),
        (None, Some(host)) => host.as_bytes(),
        (None, None) => b"",
    }
}

const EXPECTED: &str = "`header NAME`, `cookie NAME`, `method`, `host`, `path`, `uri` or `client_ip`";

impl FromStr for KeyPart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.split_once(' ')) {
            ("method", _) => Ok(Self::Method),
            ("host", _) => Ok(Self::Host),
            ("path", _) => Ok(Self::Path),
            ("uri", _) => Ok(Self::Uri),
            ("client_ip", _) => Ok(Self::ClientIp),
            (_, Some(("header", name))) => {
                name.trim().parse().map(Self::Header).map_err(|_| format!("`{name}` cannot name a header"))
            }
            (_, Some(("cookie", name))) if !name.trim().is_empty() => {
                Ok(Self::Cookie(name.trim().to_owned()))
            }
            _ => Err(format!("`{text}` is nothing to remember answers by; expected {EXPECTED}")),
        }
    }
}

impl<'de> Deserialize<'de> for KeyPart {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for KeyPart {
    fn schema_name() -> Cow<'static, str> {
        "ForwardKeyPart".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": EXPECTED })
    }
    fn inline_schema() -> bool {
        true
    }
}
