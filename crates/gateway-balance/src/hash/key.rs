use super::hash;
use gateway_core::{Captures, ClientAddr, Principal, cookie};
use http::HeaderName;
use http::request::Parts;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// What requests are told apart by: one key, or several of which the first that a request has counts
/// (Kong: `hash_on`, `hash_fallback`). A request that has none goes to any endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashOn(Vec<HashKey>);

/// One property of a request to tell it apart by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// `"client_ip"`: the client's address.
    ClientIp,
    /// `"header X-User"`: the first header of this name.
    Header(HeaderName),
    /// `"cookie sid"`: the cookie of this name.
    Cookie(String),
    /// `"query user"`: the query parameter of this name, as it is written.
    Query(String),
    /// `"path"`: the path as the service sees it.
    Path,
    /// `"param id"`: what the route captured by this name, see [`Captures`].
    Param(String),
    /// `"principal"`: who is calling, as authentication found out.
    Principal,
}

impl Default for HashOn {
    fn default() -> Self {
        Self(vec![HashKey::ClientIp])
    }
}

impl From<HashKey> for HashOn {
    fn from(key: HashKey) -> Self {
        Self(vec![key])
    }
}

impl HashOn {
    /// Several keys, of which the first that a request has counts.
    #[must_use]
    pub fn first_of(keys: impl IntoIterator<Item = HashKey>) -> Self {
        Self(keys.into_iter().collect())
    }

    /// What routes must capture for it.
    pub fn params(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter_map(|key| if let HashKey::Param(name) = key { Some(name.as_str()) } else { None })
    }

    /// The hash of the first key that the request has.
    pub(crate) fn hash(&self, head: &Parts) -> Option<u64> {
        self.0.iter().find_map(|key| key.hash(head))
    }
}

impl HashKey {
    fn hash(&self, head: &Parts) -> Option<u64> {
        match self {
            Self::ClientIp => Some(match head.extensions.get::<ClientAddr>()?.ip() {
                IpAddr::V4(ip) => hash([ip.octets().as_slice()]),
                IpAddr::V6(ip) => hash([ip.octets().as_slice()]),
            }),
            Self::Header(name) => Some(hash([head.headers.get(name)?.as_bytes()])),
            Self::Cookie(name) => Some(hash([cookie::values(&head.headers, name).next()?])),
            Self::Query(name) => {
                let mut pairs = head.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
                let (_, value) = pairs.find(|(key, _)| key == name)?;
                Some(hash([value.as_bytes()]))
            }
            Self::Path => Some(hash([head.uri.path().as_bytes()])),
            Self::Param(name) => {
                let value = head.extensions.get::<Captures>()?.get(name)?;
                (!value.is_empty()).then(|| hash([value.as_bytes()]))
            }
            Self::Principal => {
                let id = head.extensions.get::<Principal>()?.id();
                (!id.is_empty()).then(|| hash([id.as_bytes()]))
            }
        }
    }
}

const EXPECTED: &str = "`client_ip`, `header NAME`, `cookie NAME`, `query NAME`, `param NAME`, `path`, `principal`, or a list of those";

impl FromStr for HashKey {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is nothing to hash on; expected {EXPECTED}");
        let mut words = text.split_whitespace();
        let key = match (words.next(), words.next(), words.next()) {
            (Some("client_ip"), None, _) => Self::ClientIp,
            (Some("path"), None, _) => Self::Path,
            (Some("principal"), None, _) => Self::Principal,
            (Some("header"), Some(name), None) => Self::Header(name.parse().map_err(|_| wrong())?),
            (Some("cookie"), Some(name), None) if cookie::is_name(name) => Self::Cookie(name.to_owned()),
            (Some("query"), Some(name), None) => Self::Query(name.to_owned()),
            (Some("param"), Some(name), None) => Self::Param(name.to_owned()),
            _ => return Err(wrong()),
        };
        Ok(key)
    }
}

impl<'de> Deserialize<'de> for HashOn {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = HashOn;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<HashOn, E> {
                text.parse().map(|key| HashOn(vec![key])).map_err(E::custom)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<HashOn, A::Error> {
                let texts = Vec::<String>::deserialize(SeqAccessDeserializer::new(seq))?;
                let keys = texts.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>();
                match keys.map_err(A::Error::custom)? {
                    keys if keys.is_empty() => Err(A::Error::invalid_length(0, &self)),
                    keys => Ok(HashOn(keys)),
                }
            }
        }
        d.deserialize_any(OneOrMany)
    }
}

impl JsonSchema for HashOn {
    fn schema_name() -> Cow<'static, str> {
        "HashOn".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = json_schema!({ "type": "string", "pattern": "^(client_ip|path|principal|(header|cookie|query|param) .+)$" });
        json_schema!({ "description": EXPECTED, "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::AuthMethod;
    use http::Request;

    fn read(text: &str) -> Result<HashOn, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_are_read_one_or_many_and_mistakes_are_named() {
        assert_eq!(read("\"client_ip\""), Ok(HashOn::default()));
        let both =
            HashOn::first_of([HashKey::Cookie("sid".into()), HashKey::Header("x-user".parse().unwrap())]);
        assert_eq!(read(r#"["cookie sid", "header X-User"]"#), Ok(both));
        assert_eq!(read("[\"param id\", \"path\"]").unwrap().params().collect::<Vec<_>>(), ["id"]);
        for text in ["\"ip\"", "\"header\"", "\"param\"", "\"cookie a=b\"", "\"path /\"", "[\"user\"]"] {
            let error = read(text).unwrap_err();
            assert!(error.contains("is nothing to hash on; expected `client_ip`"), "{text}: {error}");
        }
        assert!(read("[]").unwrap_err().contains("expected `client_ip`"));
    }

    #[test]
    fn the_first_key_that_a_request_has_counts() {
        let mut head =
            Request::get("/a?user=7&x").header("x-user", "7").header("cookie", "sid=7").body(()).unwrap();
        head.extensions_mut().insert(ClientAddr("[::ffff:1.2.3.4]:5".parse().unwrap()));
        let captured = [("id".into(), "7".to_owned()), ("none".into(), String::new())];
        head.extensions_mut().insert(captured.into_iter().collect::<Captures>());
        head.extensions_mut().insert(Principal::new("7", AuthMethod::Jwt, Default::default()));
        let (full, bare) = (head.into_parts().0, Request::get("/7").body(()).unwrap().into_parts().0);
        let seven = hash([b"7".as_slice()]);
        for (keys, with, without) in [
            (r#""header X-User""#, Some(seven), None),
            (r#""cookie sid""#, Some(seven), None),
            (r#""query user""#, Some(seven), None),
            (r#""principal""#, Some(seven), None),
            (r#""param id""#, Some(seven), None),
            (r#"["param other", "path"]"#, Some(hash([b"/a".as_slice()])), Some(hash([b"/7".as_slice()]))),
            (r#"["param none", "param other", "principal"]"#, Some(seven), None),
            (r#""client_ip""#, Some(hash([[1, 2, 3, 4].as_slice()])), None),
            (r#""path""#, Some(hash([b"/a".as_slice()])), Some(hash([b"/7".as_slice()]))),
            (r#"["cookie no", "principal", "path"]"#, Some(seven), Some(hash([b"/7".as_slice()]))),
        ] {
            let on = read(keys).unwrap();
            assert_eq!((on.hash(&full), on.hash(&bare)), (with, without), "{keys}");
        }
    }
}
