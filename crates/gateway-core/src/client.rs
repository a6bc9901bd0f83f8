use std::net::{IpAddr, SocketAddr};

/// Request extension: the address of the client, set by the server for every request.
///
/// Layers that count or log by client read it. Behind a trusted proxy it is the address that the proxy names,
/// with port 0 where it names none, and [`PeerAddr`] is that of the proxy. In an axum service, a one-line
/// middleware can copy it from axum's `ConnectInfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddr(pub SocketAddr);

impl ClientAddr {
    /// The client's IP address, an IPv4-mapped IPv6 address shown as the IPv4 address it stands for.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.0.ip().to_canonical()
    }
}

/// Request extension: who holds the connection, there only if that is not the [`ClientAddr`]: a trusted proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

impl PeerAddr {
    /// The peer's IP address, an IPv4-mapped IPv6 address shown as the IPv4 address it stands for.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.0.ip().to_canonical()
    }
}

/// Request extension: how the client asked, there only if it is known to differ from plain `http`.
///
/// Set by the server for requests that came over TLS, and for those of which a trusted proxy says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// In plain text.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As it stands in URLs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that URLs leave out.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}
