use http::Uri;
use http::uri::Authority;
use std::sync::Arc;

/// One instance of a service: where it listens, its weight and its priority. Cheap to clone; equal when all are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint(Arc<Address>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Address {
    authority: Authority,
    port: u16,
    weight: u32,
    priority: u32,
}

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an endpoint: {why}; expected something like `http://127.0.0.1:3001`")]
pub struct EndpointError {
    text: String,
    why: &'static str,
}

impl Endpoint {
    /// Reads an endpoint from its URL: `http://HOST[:PORT]`, without path, query or credentials. Weight 1, priority 0.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let wrong = |why| EndpointError { text: text.to_owned(), why };
        let uri: Uri = text.parse().map_err(|_| wrong("it is no URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(wrong("TLS towards upstreams is not supported yet")),
            Some(_) => return Err(wrong("only the scheme `http` is supported")),
            None => return Err(wrong("it has no scheme")),
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(wrong("it has a path or a query, and the route decides those"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?.clone();
        if authority.host().is_empty() {
            return Err(wrong("it has no host"));
        }
        if authority.as_str().contains('@') {
            return Err(wrong("it holds credentials"));
        }
        let after_host = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        let port = match after_host.strip_prefix(':').map(str::parse) {
            None => 80,
            Some(Ok(0)) => return Err(wrong("port 0 cannot be connected to")),
            Some(Ok(port)) => port,
            Some(Err(_)) => return Err(wrong("its port is no number from 1 to 65535")),
        };
        Ok(Self(Arc::new(Address { authority, port, weight: 1, priority: 0 })))
    }

    /// The same endpoint with another share of the requests. 0 takes none: drained.
    #[must_use]
    pub fn with_weight(&self, weight: u32) -> Self {
        Self(Arc::new(Address { authority: self.0.authority.clone(), weight, ..*self.0 }))
    }

    /// The same endpoint with another priority: 0 comes first, and the next takes over what that cannot.
    #[must_use]
    pub fn with_priority(&self, priority: u32) -> Self {
        Self(Arc::new(Address { authority: self.0.authority.clone(), priority, ..*self.0 }))
    }

    /// Whether both are the same address, whatever their weights.
    #[must_use]
    pub fn is_at(&self, other: &Self) -> bool {
        self.0.authority == other.0.authority && self.0.port == other.0.port
    }

    /// Host and port as written, for the `Host` header and for logs.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.0.authority
    }

    /// The host to connect to, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    /// The port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// Its share of the requests, against the weights of the others.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.0.weight
    }

    /// Its priority: 0 comes first.
    #[must_use]
    pub fn priority(&self) -> u32 {
        self.0.priority
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}", self.0.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_or_refused_with_a_reason() {
        for (text, expected) in [
            ("http://127.0.0.1:3001", Ok(("127.0.0.1", 3001))),
            ("http://[::1]:80", Ok(("::1", 80))),
            ("http://users", Ok(("users", 80))),
            ("http://users/", Ok(("users", 80))),
            ("127.0.0.1:3001", Err("scheme")),
            ("localhost", Err("scheme")),
            ("ftp://x", Err("only the scheme")),
            ("https://x", Err("TLS")),
            ("http://x/api", Err("path")),
            ("http://u:p@x", Err("credentials")),
            ("http://x:0", Err("port 0")),
            ("http://x:99999", Err("its port")),
            ("", Err("no URL")),
        ] {
            match (Endpoint::parse(text), expected) {
                (Ok(e), Ok((host, port))) => assert_eq!((e.host(), e.port()), (host, port), "{text}"),
                (Err(e), Err(part)) => assert!(e.to_string().contains(part), "{text}: {e}"),
                (seen, _) => panic!("{text}: {seen:?}"),
            }
        }
    }
}
