//! The request that is asked about.

use bytes::BytesMut;
use gateway_core::{AuthMethod, ClientAddr, Code, Principal, Problem, Scheme, Upgrade};
use gateway_http1::{Framing, RequestError, parse_request};
use gateway_server::RequestBody;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A request that is asked about: what a client would have sent.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) host: String,
    /// As it comes over the wire.
    head: String,
    scheme: Scheme,
    client: IpAddr,
    /// Who would be recognised.
    pub(super) caller: Option<Principal>,
    /// Whether it is a running gateway that is asked, which has counted others.
    pub(super) live: bool,
}

/// A request as the admin listener is asked about it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRequest {
    method: String,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, OneOrMany>,
    #[serde(default)]
    client: Option<IpAddr>,
    #[serde(default)]
    claims: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

const EXPECTED: &str = r#"expected {"method": "GET", "url": "http://shop.example/api", "headers": {"name": "value"}, "client": "192.0.2.1", "claims": {"sub": "ada"}}, of which headers, client and claims may be left out"#;

impl Asked {
    /// Reads it from JSON, as a running gateway is asked.
    ///
    /// # Errors
    /// Says which part is none, and what was expected.
    pub(crate) fn from_json(text: &[u8]) -> Result<Self, String> {
        let asked: JsonRequest =
            serde_json::from_slice(text).map_err(|error| format!("{error}; {EXPECTED}"))?;
        let lines = asked.headers.iter().flat_map(|(name, values)| {
            let values = match values {
                OneOrMany::One(value) => std::slice::from_ref(value),
                OneOrMany::Many(values) => values,
            };
            values.iter().map(move |value| format!("{name}: {value}"))
        });
        let client = asked.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let read = Self::read(&asked.method, &asked.url, &lines.collect::<Vec<_>>(), client)?;
        Ok(Self { live: true, ..read.with_claims(asked.claims.clone()) })
    }

    /// Reads it from the command line.
    ///
    /// # Errors
    /// Says which part is none, and what was expected.
    pub(super) fn read(method: &str, url: &str, headers: &[String], client: IpAddr) -> Result<Self, String> {
        let is_method = Method::from_bytes(method.as_bytes()).is_ok() && *method == method.to_uppercase();
        if !is_method {
            return Err(format!("`{method}` is not a method; expected GET, POST, … in capitals"));
        }
        let wrong =
            || format!("`{url}` is not a URL; expected one such as http://shop.example/api, or a path");
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            None if uri.authority().is_none() => Scheme::Http,
            _ => return Err(wrong()),
        };
        let target = uri.path_and_query().ok_or_else(wrong)?.to_string();
        let (mut host, mut lines) = (None, String::new());
        for header in headers {
            let pair = header.split_once(':').and_then(|(name, value)| {
                let name: HeaderName = name.parse().ok()?;
                HeaderValue::from_str(value.trim()).ok()?;
                Some((name, value.trim()))
            });
            let (name, value) =
                pair.ok_or_else(|| format!("`{header}` is not a header; expected `NAME: VALUE`"))?;
            if name == http::header::HOST {
                host = host.or(Some(value.to_owned()));
            }
            lines += &format!("{name}: {value}\r\n");
        }
        let host = host.unwrap_or_else(|| {
            let host = uri.authority().map_or("localhost", |authority| authority.as_str()).to_owned();
            lines.insert_str(0, &format!("host: {host}\r\n"));
            host
        });
        let head = format!("{method} {target} HTTP/1.1\r\n{lines}\r\n");
        Ok(Self { method: method.to_owned(), target, host, head, scheme, client, caller: None, live: false })
    }

    /// The same of a caller whose token has these claims; without any, of nobody in particular.
    pub(super) fn with_claims(self, claims: Map<String, Value>) -> Self {
        if claims.is_empty() {
            return self;
        }
        let id = ["sub", "email"].iter().find_map(|name| claims.get(*name)?.as_str()).unwrap_or_default();
        let caller = Some(Principal::new(id.to_owned(), AuthMethod::Jwt, claims));
        Self { caller, ..self }
    }

    /// As the server hands it on, with the body that it announces, which never comes.
    ///
    /// # Errors
    /// What it answers instead.
    pub(super) fn request(&self, limits: &Limits) -> Result<Request<RequestBody>, Box<Problem>> {
        let mut buffer = BytesMut::from(self.head.as_str());
        let problem = match parse_request(&mut buffer, limits.max_head, limits.max_headers) {
            Ok(Some(head)) => {
                let body = match head.framing {
                    Framing::Length(length) => RequestBody::announced(Some(length)),
                    Framing::Chunked => RequestBody::announced(None),
                    Framing::None | Framing::UntilClose => RequestBody::default(),
                };
                let mut request = head.request.map(|()| body);
                if let Some(protocol) = head.upgrade {
                    request.extensions_mut().insert(Upgrade(protocol));
                }
                if self.scheme != Scheme::default() {
                    request.extensions_mut().insert(self.scheme);
                }
                return Ok(request);
            }
            Err(RequestError::Malformed(detail)) => Problem::new(Code::BadRequest).with_detail(detail),
            Err(RequestError::TargetTooLong) => Problem::new(Code::UriTooLong),
            Ok(None) | Err(RequestError::HeadTooLarge) => Problem::new(Code::HeadersTooLarge),
        };
        Err(Box::new(problem))
    }

    /// Who holds the connection.
    pub(super) fn client(&self) -> ClientAddr {
        ClientAddr(SocketAddr::new(self.client, 0))
    }
}

/// How large a request may be.
pub(super) struct Limits {
    /// Bytes of its head.
    pub(super) max_head: usize,
    /// Header fields.
    pub(super) max_headers: usize,
}
