use crate::Scheme;
use http::Uri;
use http::uri::Authority;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One instance of a service: where it listens, its weight and its priority, its zone and other labels. Cheap to clone;
/// equal when all are equal.
///
/// | written | means |
/// |---|---|
/// | `http://HOST[:PORT]` | plain text over TCP, port 80 unless said |
/// | `https://HOST[:PORT]` | TLS over TCP, port 443 unless said |
/// | `unix:/PATH` | plain text over the Unix socket at this absolute path |
///
/// Which version of HTTP is spoken there is not part of the address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint(Arc<Address>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Address {
    place: Place,
    authority: Authority,
    port: u16,
    weight: u32,
    priority: u32,
    zone: Option<Box<str>>,
    metadata: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Network {
        tls: bool,
    },
    /// Its name starts with `unix:`, and the path follows.
    Socket {
        name: Box<str>,
        path: PathBuf,
    },
}

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not an endpoint: {why}; expected something like `http://127.0.0.1:3001`, `https://users` or `unix:/run/users.sock`"
)]
pub struct EndpointError {
    text: String,
    why: &'static str,
}

impl Endpoint {
    /// Reads an endpoint from its URL, without path, query or credentials: see [`Endpoint`]. Weight 1, priority 0.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let wrong = |why| EndpointError { text: text.to_owned(), why };
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::socket(text, path).map_err(wrong);
        }
        let uri: Uri = text.parse().map_err(|_| wrong("it is no URL"))?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some(_) => return Err(wrong("only `http`, `https` and `unix` are supported")),
            None => return Err(wrong("it has no scheme")),
        };
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
            None => scheme.default_port(),
            Some(Ok(0)) => return Err(wrong("port 0 cannot be connected to")),
            Some(Ok(port)) => port,
            Some(Err(_)) => return Err(wrong("its port is no number from 1 to 65535")),
        };
        let place = Place::Network { tls: scheme == Scheme::Https };
        Ok(Self::at(place, authority, port))
    }

    fn socket(text: &str, path: &str) -> Result<Self, &'static str> {
        if !path.starts_with('/') || path.ends_with('/') || path.starts_with("//") {
            return Err("the path of a Unix socket starts with one `/` and names a file");
        }
        // `sun_path` of unix(7) has 108 bytes, the zero at the end included; BSD and macOS have 104.
        if path.len() > 107 || path.contains('\0') {
            return Err("the path of a Unix socket has at most 107 bytes");
        }
        let place = Place::Socket { name: text.into(), path: path.into() };
        let authority = Authority::from_static("localhost");
        Ok(Self::at(place, authority, 0))
    }

    fn at(place: Place, authority: Authority, port: u16) -> Self {
        let metadata = BTreeMap::new();
        Self(Arc::new(Address { place, authority, port, weight: 1, priority: 0, zone: None, metadata }))
    }

    /// The same endpoint with another share of the requests. 0 takes none: drained.
    #[must_use]
    pub fn with_weight(&self, weight: u32) -> Self {
        Self(Arc::new(Address { weight, ..(*self.0).clone() }))
    }

    /// The same endpoint with another priority: 0 comes first, and the next takes over what that cannot.
    #[must_use]
    pub fn with_priority(&self, priority: u32) -> Self {
        Self(Arc::new(Address { priority, ..(*self.0).clone() }))
    }

    /// The same endpoint in a zone, such as that of a data centre: who balances may prefer those of its own.
    #[must_use]
    pub fn with_zone(&self, zone: &str) -> Self {
        Self(Arc::new(Address { zone: Some(zone.into()), ..(*self.0).clone() }))
    }

    /// The same endpoint with labels, such as `version` and `v2`, in place of those it has. Requests may be sent only
    /// to endpoints with a certain label.
    #[must_use]
    pub fn with_metadata(&self, metadata: BTreeMap<String, String>) -> Self {
        Self(Arc::new(Address { metadata, ..(*self.0).clone() }))
    }

    /// Whether both are the same place, whatever their weights, priorities, zones and labels, and however it is written:
    /// `http://a` is at `http://A:80`, and `http://[::1]` at `http://[0:0::1]`.
    #[must_use]
    pub fn is_at(&self, other: &Self) -> bool {
        let (this, other) = (&self.0, &other.0);
        (this.port, &this.place) == (other.port, &other.place)
            && is_same_host(this.authority.host(), other.authority.host())
    }

    /// What tells it from the others, in logs, metrics and hashes: host and port as written, or `unix:/PATH`.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.0.place {
            Place::Network { .. } => self.0.authority.as_str(),
            Place::Socket { name, .. } => name,
        }
    }

    /// Host and port as written, for the `Host` header. All Unix sockets are `localhost`, as with curl and nginx:
    /// [`name`](Self::name) tells them apart.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.0.authority
    }

    /// Whether TLS is spoken there. A Unix socket is plain text.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        match self.0.place {
            Place::Network { tls: true } => Scheme::Https,
            Place::Network { tls: false } | Place::Socket { .. } => Scheme::Http,
        }
    }

    /// The path of its Unix socket; `None` for an endpoint on the network.
    #[must_use]
    pub fn socket_path(&self) -> Option<&Path> {
        match &self.0.place {
            Place::Network { .. } => None,
            Place::Socket { path, .. } => Some(path),
        }
    }

    /// The host to connect to, an IPv6 address without its brackets. `localhost` for a Unix socket.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    /// The port to connect to. 0 for a Unix socket.
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

    /// Its zone, if it is in any.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.0.zone.as_deref()
    }

    /// Its labels.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.0.metadata
    }
}

/// Names in capitals or not, and IPv6 addresses however many of their zeros are written.
fn is_same_host(one: &str, other: &str) -> bool {
    let address = |host: &str| host.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    one.eq_ignore_ascii_case(other) || address(one).is_some_and(|one| address(other) == Some(one))
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0.place {
            Place::Network { .. } => write!(f, "{}://{}", self.scheme().as_str(), self.0.authority),
            Place::Socket { name, .. } => f.write_str(name),
        }
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
            ("ftp://x", Err("only `http`, `https` and `unix`")),
            ("https://x", Ok(("x", 443))),
            ("https://x:8443", Ok(("x", 8443))),
            ("unix:/run/users.sock", Ok(("localhost", 0))),
            ("unix:", Err("Unix socket")),
            ("unix:users.sock", Err("Unix socket")),
            ("unix:///run/users.sock", Err("Unix socket")),
            ("unix:/run/", Err("names a file")),
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

    #[test]
    fn an_endpoint_is_shown_as_it_was_written_and_knows_its_place() {
        let long = format!("unix:/{}", "x".repeat(107));
        assert!(Endpoint::parse(&long).is_err_and(|e| e.to_string().contains("107 bytes")));
        for (text, name, scheme, path) in [
            ("http://users:81", "users:81", Scheme::Http, None),
            ("https://users", "users", Scheme::Https, None),
            ("unix:/run/a b.sock", "unix:/run/a b.sock", Scheme::Http, Some("/run/a b.sock")),
        ] {
            let endpoint = Endpoint::parse(text).unwrap().with_weight(3).with_priority(1);
            assert_eq!((endpoint.to_string().as_str(), endpoint.name()), (text, name));
            assert_eq!((endpoint.scheme(), endpoint.socket_path()), (scheme, path.map(Path::new)), "{text}");
            assert_eq!((endpoint.weight(), endpoint.priority()), (3, 1));
        }
        let plain = Endpoint::parse("http://a").unwrap();
        let labels = BTreeMap::from([("version".to_owned(), "v2".to_owned())]);
        let labelled = plain.with_zone("eu-1").with_metadata(labels).with_weight(2);
        assert_eq!((labelled.zone(), labelled.metadata()["version"].as_str()), (Some("eu-1"), "v2"));
        assert!(labelled.is_at(&plain) && labelled != plain && plain.metadata().is_empty());
        let is_at = |this, other| Endpoint::parse(this).unwrap().is_at(&Endpoint::parse(other).unwrap());
        assert!(is_at("http://a", "http://A:80") && is_at("https://a:443", "https://a"));
        assert!(
            is_at("http://[::1]", "http://[0:0:0:0:0:0:0:1]:80")
                && is_at("http://[FE80::a]", "http://[fe80::A]")
        );
        assert!(is_at("http://[2001:db8::0:1]:81", "http://[2001:DB8::1]:81"));
        assert!(!is_at("http://[::1]", "http://[::2]") && !is_at("http://[::1]:1", "http://[0::1]"));
        assert!(!is_at("http://a", "http://a:81") && !is_at("http://a:443", "https://a"));
        assert_ne!(Endpoint::parse("http://a:443").unwrap(), Endpoint::parse("https://a:443").unwrap());
    }
}
