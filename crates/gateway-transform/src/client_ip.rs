use crate::forwarded::{ClientFrom, ForwardedSettings, node};
use gateway_core::{ClientAddr, Network, PeerAddr, Scheme};
use http::header::{FORWARDED, HeaderName};
use http::{HeaderMap, Request};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

pub(crate) static FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) static PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Finds the client behind trusted proxies, before anything counts, logs or decides by it.
///
/// When the peer, the [`ClientAddr`] that the server set, is in a trusted network, the addresses it passed on are
/// walked from right to left, the nearest hop first, to the first that is not trusted: that one becomes the
/// [`ClientAddr`], and the peer stays at hand as [`PeerAddr`]. An entry that is no address ends the walk at the
/// hop that wrote it; if all are trusted, the furthest is the client (nginx: `real_ip_recursive on`). What such a
/// peer says of the client's scheme becomes the [`Scheme`]. Headers are read only, never changed:
/// [`ForwardedLayer`](crate::ForwardedLayer), further in, does that.
///
/// With a [`depth`](ForwardedSettings::depth) the walk ends there, whoever is met on the way (Traefik:
/// `ipStrategy.depth`); its `excludedIPs` are the trusted networks.
///
/// Without trusted proxies and a depth nothing is looked at.
#[derive(Clone, Debug)]
pub struct ClientIpLayer {
    trusted: Arc<[Network]>,
    depth: Option<NonZeroU32>,
    from: ClientFrom,
}

impl ClientIpLayer {
    /// A layer with these settings.
    #[must_use]
    pub fn new(settings: &ForwardedSettings) -> Self {
        let ForwardedSettings { trusted_proxies, depth, client_from, .. } = settings;
        Self { trusted: trusted_proxies.clone().into(), depth: *depth, from: *client_from }
    }

    /// Sets the extensions of one request, whose [`ClientAddr`] is still that of its peer. What the layer does,
    /// for servers that call no layer before they route.
    pub fn apply<B>(&self, request: &mut Request<B>) {
        if self.trusted.is_empty() && self.depth.is_none() {
            return;
        }
        let Some(ClientAddr(peer)) = request.extensions().get().copied() else { return };
        if !self.believes(peer) {
            return;
        }
        let client = self.client(peer, request.headers());
        let scheme = self.scheme(request.headers());
        if client != peer {
            request.extensions_mut().insert(PeerAddr(peer));
            request.extensions_mut().insert(ClientAddr(client));
        }
        if let Some(scheme) = scheme {
            request.extensions_mut().insert(scheme);
        }
    }

    /// Who the client of this peer is, by what the headers say: the peer itself, unless it is trusted and names
    /// somebody else. The port is 0 where none is told.
    #[must_use]
    pub fn resolve(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        if self.believes(peer) { self.client(peer, headers) } else { peer }
    }

    /// Whether who connects may speak for others.
    #[must_use]
    pub fn believes(&self, peer: SocketAddr) -> bool {
        if self.trusted.is_empty() { self.depth.is_some() } else { self.is_trusted(peer) }
    }

    fn is_trusted(&self, address: SocketAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address.ip()))
    }

    fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        match self.from {
            ClientFrom::Peer => peer,
            ClientFrom::XRealIp => {
                let mut all = headers.get_all(&REAL_IP).iter();
                let only = all.next().filter(|_| all.next().is_none());
                only.and_then(|v| node::address(v.to_str().ok()?.trim())).unwrap_or(peer)
            }
            ClientFrom::Auto if headers.contains_key(&FOR) => self.plain(peer, headers),
            ClientFrom::XForwardedFor => self.plain(peer, headers),
            ClientFrom::Auto | ClientFrom::Forwarded => {
                let lines = headers.get_all(FORWARDED).iter().rev().map(|v| v.to_str().unwrap_or(""));
                let entries = lines.flat_map(node::elements);
                self.walk(peer, entries.map(|e| node::parameter(e, "for").and_then(node::address)))
            }
        }
    }

    fn plain(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        let lines = headers.get_all(&FOR).iter().rev().map(|v| v.to_str().unwrap_or(""));
        self.walk(peer, lines.flat_map(node::plain).map(node::address))
    }

    /// The one at the depth of the entries, nearest first, or the first that is not trusted.
    fn walk(&self, peer: SocketAddr, entries: impl Iterator<Item = Option<SocketAddr>>) -> SocketAddr {
        let mut furthest = peer;
        for (hop, entry) in (1..).zip(entries) {
            let Some(address) = entry else { return furthest };
            furthest = address;
            let is_client = match self.depth {
                Some(depth) => hop == depth.get(),
                None => !self.is_trusted(address),
            };
            if is_client {
                return furthest;
            }
        }
        furthest
    }

    /// Whether who connects may say this, of what only proxies say: it is believed, and the header is one of those that
    /// it writes ([`client_from`](ForwardedSettings::client_from)).
    #[must_use]
    pub fn believes_in(&self, peer: SocketAddr, name: &HeaderName) -> bool {
        self.believes(peer) && self.from.is_of(name.as_str())
    }

    /// What the trusted peer says of the scheme, if it is understood: what stands last, as before it stands what the
    /// peer itself was told.
    fn scheme(&self, headers: &HeaderMap) -> Option<Scheme> {
        let mut lines = headers.get_all(&PROTO).iter();
        if let Some(nearest) = lines.next_back().filter(|_| self.from.is_of(PROTO.as_str())) {
            return node::plain(nearest.to_str().ok()?).next().and_then(scheme);
        }
        if !self.from.is_of(FORWARDED.as_str()) {
            return None;
        }
        let nearest = headers.get_all(FORWARDED).iter().next_back()?.to_str().ok()?;
        node::parameter(node::elements(nearest).next()?, "proto").and_then(scheme)
    }
}

fn scheme(text: &str) -> Option<Scheme> {
    let is = |names: [&str; 2]| names.iter().any(|name| text.trim().eq_ignore_ascii_case(name));
    // Traefik tells of WebSockets in their own schemes.
    if is(["https", "wss"]) { Some(Scheme::Https) } else { is(["http", "ws"]).then_some(Scheme::Http) }
}

impl<S> Layer<S> for ClientIpLayer {
    type Service = ClientIp<S>;
    fn layer(&self, inner: S) -> ClientIp<S> {
        ClientIp { inner, layer: self.clone() }
    }
}

/// The service of [`ClientIpLayer`].
#[derive(Clone, Debug)]
pub struct ClientIp<S> {
    inner: S,
    layer: ClientIpLayer,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for ClientIp<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        self.layer.apply(&mut request);
        self.inner.call(request)
    }
}
