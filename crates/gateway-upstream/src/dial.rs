//! Making a connection: all addresses of a name, a Unix socket, TLS on top.

use crate::http1::describe;
use crate::proxy_header::encode;
use crate::settings::UpstreamSettings;
use crate::socket::Socket;
use crate::tls::{UpstreamTls, tls_cause};
use gateway_core::{Endpoint, FailureKind, ProxyError, Scheme, UpstreamError};
use gateway_lookup::Lookup;
use socket2::{Domain, SockRef, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// How long the next address waits for the one before (RFC 8305 §5, "Connection Attempt Delay").
const STAGGER: Duration = Duration::from_millis(250);

/// What may be offered to the other side as the language to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// What the settings say.
    Preferred,
    /// HTTP/1.1 only.
    Http1,
}

/// A new connection, and whether its other side chose HTTP/2 in the TLS handshake.
#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) socket: Socket,
    pub(crate) chose_http2: bool,
}

/// Connects within the time that the settings give. `client` is whom a PROXY header names, where one is sent.
pub(crate) async fn dial(
    endpoint: &Endpoint,
    lookup: &Lookup,
    settings: &UpstreamSettings,
    tls: Option<&UpstreamTls>,
    offer: Offer,
    client: Option<SocketAddr>,
) -> Result<Dialed, UpstreamError> {
    let limit = settings.connect_timeout;
    let mut step = Step::Connect;
    let dialed = timeout(*limit, connect(endpoint, lookup, settings, tls, offer, client, &mut step)).await;
    let (why, cause) = match (step, dialed) {
        (_, Ok(Ok(dialed))) => return Ok(dialed),
        (_, Ok(Err(e))) if lacks_means(step, &e) => {
            let why = format!("the gateway has nothing left for a connection: {}", describe(&e));
            let error = UpstreamError::new(FailureKind::Exhausted, endpoint, why);
            return Err(error.with_cause(ProxyError::ProxyInternalError));
        }
        (Step::Resolve, Ok(Err(e))) => (unresolved(&e), Some(ProxyError::DnsError)),
        (Step::Resolve, Err(_)) => {
            (format!("its name was not resolved within {limit}"), Some(ProxyError::DnsTimeout))
        }
        (Step::Connect, Ok(Err(e))) => (describe(&e), cause_of(&e)),
        (Step::Connect, Err(_)) => {
            (format!("no connection within {limit}"), Some(ProxyError::ConnectionTimeout))
        }
    };
    let error = UpstreamError::new(FailureKind::Connect, endpoint, why);
    Err(match cause {
        Some(cause) => error.with_cause(cause),
        None => error,
    })
}

/// How far an attempt has come.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The name's addresses are asked for.
    Resolve,
    /// They are known, or the endpoint is a Unix socket.
    Connect,
}

/// Whether it failed for want of something of our own, such as descriptors.
fn lacks_means(step: Step, error: &io::Error) -> bool {
    let is_own = |error: &io::Error| FailureKind::of_connecting(error) == FailureKind::Exhausted;
    // Resolvers tell of most failures alike.
    let without_socket = || socket2::Socket::new(Domain::IPV4, Type::DGRAM, None).err();
    is_own(error) || matches!(step, Step::Resolve) && without_socket().is_some_and(|error| is_own(&error))
}

/// What the resolver said, without the words that every failure of it begins with.
fn unresolved(error: &io::Error) -> String {
    let why = describe(error);
    let why = why.strip_prefix("failed to lookup address information: ").unwrap_or(&why);
    format!("its name cannot be resolved: {why}")
}

/// What RFC 9209 calls a connection that could not be made.
fn cause_of(error: &io::Error) -> Option<ProxyError> {
    use io::ErrorKind as K;
    tls_cause(error).or(match error.kind() {
        K::ConnectionRefused => Some(ProxyError::ConnectionRefused),
        K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe | K::UnexpectedEof => {
            Some(ProxyError::ConnectionTerminated)
        }
        K::HostUnreachable | K::NetworkUnreachable => Some(ProxyError::DestinationIpUnroutable),
        K::TimedOut => Some(ProxyError::ConnectionTimeout),
        _ => None,
    })
}

async fn connect(
    endpoint: &Endpoint,
    lookup: &Lookup,
    settings: &UpstreamSettings,
    tls: Option<&UpstreamTls>,
    offer: Offer,
    client: Option<SocketAddr>,
    step: &mut Step,
) -> io::Result<Dialed> {
    if let Some(path) = endpoint.socket_path() {
        let mut stream = UnixStream::connect(path).await?;
        if let Some(version) = settings.proxy_protocol {
            stream.write_all(&encode(version, client, None)).await?;
        }
        let socket = Socket::Unix(stream);
        return Ok(Dialed { socket, chose_http2: false });
    }
    *step = Step::Resolve;
    let addresses = lookup.addresses(endpoint.host(), endpoint.port()).await?;
    *step = Step::Connect;
    let mut stream = connect_tcp(&addresses).await?;
    // Heads and small bodies are written whole: Nagle's algorithm would only delay them.
    stream.set_nodelay(true)?;
    let keepalive = *settings.tcp_keepalive;
    if !keepalive.is_zero() {
        let keepalive = TcpKeepalive::new().with_time(keepalive).with_interval(keepalive);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    }
    if let Some(version) = settings.proxy_protocol {
        stream.write_all(&encode(version, client, stream.peer_addr().ok())).await?;
    }
    if endpoint.scheme() == Scheme::Http {
        return Ok(Dialed { socket: Socket::Tcp(stream), chose_http2: false });
    }
    let tls = tls.ok_or_else(|| io::Error::other("TLS towards it was not set up"))?;
    let name = tls.server_name(endpoint.host());
    let name = name.ok_or_else(|| io::Error::other("its host is no name that a certificate can be for"))?;
    let connector = TlsConnector::from(tls.config(offer == Offer::Http1));
    let stream = Box::new(connector.connect(name, stream).await?);
    let chose_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Dialed { socket: Socket::Tls(stream), chose_http2 })
}

/// Tries the addresses of a host in turn, each a little after the one before or as soon as that has failed; the
/// first connection wins and the other attempts end.
async fn connect_tcp(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    if let [only] = *addresses {
        return connect_to(only).await;
    }
    let mut waiting = interleaved(addresses).into_iter();
    let mut attempts = JoinSet::new();
    loop {
        attempts.extend(waiting.next().map(connect_to));
        let ended = tokio::select! {
            Some(ended) = attempts.join_next() => ended.unwrap_or_else(|e| Err(io::Error::other(e))),
            () = sleep(STAGGER), if waiting.len() > 0 => continue,
        };
        // The last failure is what is told.
        if ended.is_ok() || (attempts.is_empty() && waiting.len() == 0) {
            return ended;
        }
    }
}

/// Over IPv4, that there is no address to connect from says that all ports are taken; over IPv6 mostly that this machine
/// has none at all, so that this address will never be reached.
async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrNotAvailable if address.is_ipv6() => io::ErrorKind::NetworkUnreachable.into(),
        _ => error,
    })
}

/// IPv6 and IPv4 by turns, beginning with what the resolver put first (RFC 8305 §4).
fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let mut first = addresses.iter().filter(|address| address.is_ipv6() == first_is_v6);
    let mut second = addresses.iter().filter(|address| address.is_ipv6() != first_is_v6);
    let mut mixed = Vec::with_capacity(addresses.len());
    while mixed.len() < addresses.len() {
        mixed.extend(first.next());
        mixed.extend(second.next());
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::units::Timespan;

    #[test]
    fn addresses_of_both_families_take_turns_and_none_is_lost() {
        let parse = |text: &str| -> Vec<SocketAddr> {
            text.split_whitespace()
                .map(|word| match word.strip_prefix('6') {
                    Some(number) => format!("[::{number}]:80").parse().unwrap(),
                    None => format!("10.0.0.{}:80", &word[1..]).parse().unwrap(),
                })
                .collect()
        };
        for (given, expected) in [
            ("", ""),
            ("41", "41"),
            ("41 42", "41 42"),
            ("61 62 63 41 42", "61 41 62 42 63"),
            ("41 42 61", "41 61 42"),
        ] {
            assert_eq!(interleaved(&parse(given)), parse(expected), "{given}");
        }
    }

    #[tokio::test]
    async fn every_address_is_tried_and_the_last_failure_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        // Nobody listens.
        let closed = ([127, 0, 0, 1], gateway_testkit::free_port()).into();
        for addresses in [vec![open], vec![closed, open], vec![closed, closed, open]] {
            assert_eq!(connect_tcp(&addresses).await.unwrap().peer_addr().unwrap(), open, "{addresses:?}");
        }
        for addresses in [vec![closed], vec![closed; 3]] {
            let error = connect_tcp(&addresses).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{addresses:?}");
        }
    }

    #[tokio::test]
    async fn the_system_asks_whether_a_silent_side_is_there_unless_that_is_off() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let minute = Duration::from_secs(60);
        for (keepalive, on) in [(minute, true), (Duration::from_secs(7), true), (Duration::ZERO, false)] {
            let settings =
                UpstreamSettings { tcp_keepalive: Timespan(keepalive), ..UpstreamSettings::default() };
            let dialed =
                dial(&endpoint, &Lookup::default(), &settings, None, Offer::Preferred, None).await.unwrap();
            let Socket::Tcp(stream) = dialed.socket else { panic!("{dialed:?}") };
            let socket = SockRef::from(&stream);
            assert_eq!(socket.keepalive().unwrap(), on, "{keepalive:?}");
            if on {
                let times = (socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_interval().unwrap());
                assert_eq!(times, (keepalive, keepalive));
            }
        }
        assert_eq!(*UpstreamSettings::default().tcp_keepalive, minute);
    }
}
