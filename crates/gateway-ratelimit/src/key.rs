//! What a request is counted under.

mod sink;

pub(crate) use sink::{Key, key, readable};

use crate::facts::Facts;
use gateway_core::{AuthMethod, percent};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use sink::Sink;
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// What is counted: one part, or several together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyBy(Vec<KeyPart>);

/// One part of what a request is counted under.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPart {
    /// Who is authenticated; others, and those whose credentials name nobody, by their address.
    Caller,
    /// The client's address; IPv6 by /64.
    ClientIp,
    /// Who is authenticated; all others together.
    Principal,
    /// Who is authenticated by an API key.
    ApiKey,
    /// The route that the layer stands on.
    Route,
    /// The service that the layer stands before.
    Service,
    /// The path, without the query.
    Path,
    /// The method.
    Method,
    /// All requests together.
    All,
    /// The first request header of this name.
    Header(String),
    /// A claim of the principal; dots lead into tables.
    Claim(String),
    /// A cookie.
    Cookie(String),
    /// A parameter of the query, its percent-encoding undone.
    Query(String),
    /// What stood in the place of a parameter of the route, such as `{id}` of its path.
    Capture(String),
}

/// What becomes of a request that lacks a part of the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMissing {
    /// It counts with all others that lack it.
    #[default]
    Shared,
    /// It is not limited.
    Skip,
}

/// A part of a key as a request has it.
enum Found<'a> {
    Bytes(&'static str, Cow<'a, [u8]>),
    V4([u8; 4]),
    V6Network([u8; 8]),
    Missing,
}

impl Default for KeyBy {
    fn default() -> Self {
        Self(vec![KeyPart::Caller])
    }
}

impl From<KeyPart> for KeyBy {
    fn from(part: KeyPart) -> Self {
        Self(vec![part])
    }
}

impl FromIterator<KeyPart> for KeyBy {
    fn from_iter<I: IntoIterator<Item = KeyPart>>(parts: I) -> Self {
        Self(parts.into_iter().collect())
    }
}

impl KeyBy {
    pub(crate) fn parts(&self) -> &[KeyPart] {
        &self.0
    }

    /// Writes the key of a request; whether it had all parts.
    fn write(&self, facts: &Facts<'_>, sink: &mut impl Sink) -> bool {
        let mut whole = true;
        for part in &self.0 {
            match part.find(facts) {
                Found::Bytes(kind, bytes) => sink.bytes(kind, &bytes),
                Found::V4(ip) => sink.address(&ip, || IpAddr::from(ip).to_string()),
                Found::V6Network(network) => sink.address(&network, || {
                    let mut ip = [0; 16];
                    ip[..8].copy_from_slice(&network);
                    format!("{}/64", Ipv6Addr::from(ip))
                }),
                Found::Missing => {
                    whole &= *part == KeyPart::All;
                    sink.bytes("nobody", b"");
                }
            }
        }
        whole
    }
}

fn address<'a>(facts: &Facts<'_>) -> Found<'a> {
    match facts.ip() {
        Some(IpAddr::V4(ip)) => Found::V4(ip.octets()),
        Some(IpAddr::V6(ip)) => {
            let [a, b, c, d, e, f, g, h, ..] = ip.octets();
            Found::V6Network([a, b, c, d, e, f, g, h])
        }
        None => Found::Missing,
    }
}

impl KeyPart {
    fn find<'a>(&self, facts: &Facts<'a>) -> Found<'a> {
        let known = |kind, bytes: Option<&'a [u8]>| {
            bytes.map_or(Found::Missing, |bytes| Found::Bytes(kind, Cow::Borrowed(bytes)))
        };
        // Credentials that name nobody, such as a token without `sub`, do not make one caller of all who have them.
        let principal = || Some(facts.principal()?.id().as_bytes()).filter(|id| !id.is_empty());
        match self {
            Self::Caller => match principal() {
                Some(id) => known("principal", Some(id)),
                None => address(facts),
            },
            Self::ClientIp => address(facts),
            Self::Principal => known("principal", principal()),
            Self::ApiKey => {
                let by_key = facts.principal().is_some_and(|p| p.method() == AuthMethod::ApiKey);
                known("api_key", principal().filter(|_| by_key))
            }
            Self::Route => known("route", facts.scope.route.as_deref().map(str::as_bytes)),
            Self::Service => known("service", facts.scope.service.as_deref().map(str::as_bytes)),
            Self::Path => known("path", Some(facts.uri.path().as_bytes())),
            Self::Method => known("method", Some(facts.method.as_str().as_bytes())),
            Self::All => Found::Missing,
            Self::Header(name) => known("header", facts.header(name)),
            Self::Cookie(name) => known("cookie", facts.cookie(name)),
            Self::Claim(path) => match facts.claim(path) {
                Some(Value::String(text)) => known("claim", Some(text.as_bytes())),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => {
                    Found::Bytes("claim", value.to_string().into_bytes().into())
                }
                _ => Found::Missing,
            },
            Self::Query(name) => {
                // No other spelling of a value has a count of its own.
                let value = facts.query(name).map(percent::form_decoded);
                value.map_or(Found::Missing, |value| Found::Bytes("query", value))
            }
            Self::Capture(name) => known("capture", facts.capture(name).map(str::as_bytes)),
        }
    }
}

const EXPECTED: &str = "`caller`, `client_ip`, `principal`, `api_key`, `route`, `service`, `path`, \
    `method`, `all`, { header = \"…\" }, { claim = \"…\" }, { cookie = \"…\" }, { query = \"…\" }, \
    { capture = \"…\" }, or a list of those";

impl<'de> Deserialize<'de> for KeyBy {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = KeyBy;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<KeyBy, E> {
                KeyPart::deserialize(serde::de::value::StrDeserializer::new(text)).map(KeyBy::from)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<KeyBy, A::Error> {
                KeyPart::deserialize(MapAccessDeserializer::new(map)).map(KeyBy::from)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<KeyBy, A::Error> {
                match Vec::deserialize(SeqAccessDeserializer::new(seq))? {
                    parts if parts.is_empty() => Err(A::Error::invalid_length(0, &self)),
                    parts => Ok(KeyBy(parts)),
                }
            }
        }
        d.deserialize_any(OneOrMany)
    }
}

impl JsonSchema for KeyBy {
    fn schema_name() -> Cow<'static, str> {
        "KeyBy".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names =
            ["caller", "client_ip", "principal", "api_key", "route", "service", "path", "method", "all"];
        let one = |name: &str, what: &str| {
            json_schema!({ "type": "object", "required": [name], "additionalProperties": false,
                "properties": { name: { "type": "string", "description": what } } })
        };
        let tables = [
            one("header", "The first request header of this name."),
            one("claim", "A claim of the principal; dots lead into tables: `org.id`."),
            one("cookie", "The cookie of this name."),
            one("query", "The query's parameter of this name."),
            one(
                "capture",
                "What stood in the place of the route's parameter of this name: `id` of `/users/{id}`.",
            ),
        ];
        let part = json_schema!({ "anyOf": [{ "enum": names }, { "anyOf": tables }] });
        json_schema!({ "anyOf": [part, { "type": "array", "items": part, "minItems": 1 }] })
    }
    fn inline_schema() -> bool {
        true
    }
}
