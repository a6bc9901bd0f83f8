//! The request that is asked about.

use gateway_core::{ClientAddr, Scheme};
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use std::net::{IpAddr, SocketAddr};

/// A request that is asked about: what a client would have sent.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(super) method: Method,
    pub(super) target: PathAndQuery,
    scheme: Scheme,
    headers: HeaderMap,
    client: IpAddr,
}

impl Asked {
    /// Reads it from the command line.
    ///
    /// # Errors
    /// Says which part is none, and what was expected.
    pub(super) fn read(method: &str, url: &str, headers: &[String], client: IpAddr) -> Result<Self, String> {
        let method = Method::from_bytes(method.as_bytes())
            .ok()
            .filter(|read| *read.as_str() == method.to_uppercase())
            .ok_or_else(|| format!("`{method}` is not a method; expected GET, POST, … in capitals"))?;
        let wrong =
            || format!("`{url}` is not a URL; expected one such as http://shop.example/api, or a path");
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            None if uri.authority().is_none() => Scheme::Http,
            _ => return Err(wrong()),
        };
        let mut map = HeaderMap::new();
        for header in headers {
            let pair = header.split_once(':').and_then(|(name, value)| {
                Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value.trim()).ok()?))
            });
            let (name, value) =
                pair.ok_or_else(|| format!("`{header}` is not a header; expected `NAME: VALUE`"))?;
            map.append(name, value);
        }
        if !map.contains_key(HOST) {
            let host = uri.authority().map_or("localhost", |authority| authority.as_str());
            map.insert(HOST, HeaderValue::from_str(host).map_err(|_| wrong())?);
        }
        let target = uri.path_and_query().cloned().ok_or_else(wrong)?;
        Ok(Self { method, target, scheme, headers: map, client })
    }

    /// As the server would hand it on.
    pub(super) fn request<B: Default>(&self) -> Request<B> {
        let mut request = Request::new(B::default());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from(self.target.clone());
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = self.headers.clone();
        if self.scheme != Scheme::default() {
            request.extensions_mut().insert(self.scheme);
        }
        request
    }

    /// Who holds the connection.
    pub(super) fn client(&self) -> ClientAddr {
        ClientAddr(SocketAddr::new(self.client, 0))
    }
}
