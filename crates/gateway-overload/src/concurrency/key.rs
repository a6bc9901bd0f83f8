//! What a request is counted under: a hash, so that no key is allocated per request.

use gateway_core::{ClientAddr, Principal};
use http::{HeaderName, Request};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::str::FromStr;

/// What is counted together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ConcurrencyKey {
    /// `all`: all requests.
    #[default]
    All,
    /// `caller`: those of who is authenticated; others by their address.
    Caller,
    /// `client_ip`: those of one address; IPv6 by /64.
    ClientIp,
    /// `principal`: those of who is authenticated; all others together.
    Principal,
    /// `header:NAME`: those with the same value; those without it together.
    Header(HeaderName),
}

#[derive(Hash)]
enum Caller<'a> {
    Principal(&'a str),
    V4([u8; 4]),
    V6Network([u8; 8]),
    Value(&'a [u8]),
    Nobody,
}

impl ConcurrencyKey {
    /// The hash of what the request is counted under. The hasher's keys are random and never leave the process,
    /// so that nobody can choose a value that shares another's count.
    pub(crate) fn hash<B>(&self, hasher: &RandomState, request: &Request<B>) -> u64 {
        let facts = request.extensions();
        let address = || match facts.get::<ClientAddr>().map(ClientAddr::ip) {
            Some(IpAddr::V4(ip)) => Caller::V4(ip.octets()),
            Some(IpAddr::V6(ip)) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Caller::V6Network([a, b, c, d, e, f, g, h])
            }
            None => Caller::Nobody,
        };
        let principal = || facts.get::<Principal>().map(|principal| Caller::Principal(principal.id()));
        hasher.hash_one(match self {
            Self::All => return 0,
            Self::Caller => principal().unwrap_or_else(address),
            Self::ClientIp => address(),
            Self::Principal => principal().unwrap_or(Caller::Nobody),
            Self::Header(name) => {
                request.headers().get(name).map_or(Caller::Nobody, |value| Caller::Value(value.as_bytes()))
            }
        })
    }
}

impl FromStr for ConcurrencyKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("header:").map(str::trim)) {
            ("all", _) => Ok(Self::All),
            ("caller", _) => Ok(Self::Caller),
            ("client_ip", _) => Ok(Self::ClientIp),
            ("principal", _) => Ok(Self::Principal),
            (_, Some(name)) => name.parse().map(Self::Header).map_err(|_| {
                format!("`{name}` cannot name a header; expected something like `header:x-tenant`")
            }),
            _ => Err(format!(
                "`{text}` is nothing to count by; expected `all`, `caller`, `client_ip`, `principal` or `header:NAME`"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for ConcurrencyKey {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ConcurrencyKey {
    fn schema_name() -> Cow<'static, str> {
        "ConcurrencyKey".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(all|caller|client_ip|principal|header:.+)$",
            "examples": ["all", "client_ip", "header:x-tenant"]
        })
    }
    fn inline_schema() -> bool {
        true
    }
}
