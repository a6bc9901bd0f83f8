use std::net::{IpAddr, SocketAddr};

/// Request extension: the address of the client, set by the server for every request.
///
/// Layers that count or log by client read it. In an axum service, a one-line middleware can copy it from
/// axum's `ConnectInfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddr(pub SocketAddr);

impl ClientAddr {
    /// The client's IP address, an IPv4-mapped IPv6 address shown as the IPv4 address it stands for.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.0.ip().to_canonical()
    }
}
