//! The PROXY protocol: whom a load balancer in front speaks for (HAProxy's `proxy-protocol.txt`, versions 1 and 2).
//!
//! Whoever may send it can say any address, so it is only read from peers that are trusted, and is then mandatory:
//! whether it is there is never guessed (§2).

mod v1;
mod v2;

use bytes::BytesMut;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest header that is taken: room for the addresses and some 3.5 KiB of TLVs, such as a client certificate's
/// names. The format would allow 64 KiB.
pub const MAX_PROXY_HEADER: usize = 4096;

/// What the header of a connection said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// TCP over IPv4 or IPv6.
    Tcp {
        /// Who connected to the load balancer.
        source: SocketAddr,
        /// Where to.
        destination: SocketAddr,
    },
    /// A Unix socket's client: it has no address that means anything here.
    Unix,
    /// The load balancer speaks for itself (v2 `LOCAL`, such as its health checks), or does not know (v1 `UNKNOWN`,
    /// v2 `UNSPEC`): the addresses are those of the connection.
    Local,
}

/// Why a connection has no PROXY header. It is to be closed: it says nothing that could be answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyHeaderError {
    /// The bytes are not one.
    #[error("the connection does not begin with a PROXY protocol header: {0}")]
    Malformed(&'static str),
    /// It says that it is longer than [`MAX_PROXY_HEADER`].
    #[error("the PROXY protocol header has {0} bytes, more than {MAX_PROXY_HEADER}")]
    TooLong(usize),
    /// It did not arrive in time.
    #[error("no PROXY protocol header arrived within {0:?}")]
    TimedOut(Duration),
    /// The connection ended within it.
    #[error("the connection ended within its PROXY protocol header")]
    Ended,
    /// The connection failed.
    #[error("the connection failed within its PROXY protocol header: {0}")]
    Io(#[from] std::io::Error),
}

/// What there is at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// A header of so many bytes.
    Complete(Proxied, usize),
    /// The beginning of one.
    Partial,
}

/// Parses the header, version 1 or 2, at the start of `bytes`. Nothing after it is looked at.
///
/// ```
/// use gateway_server::{parse_proxy_header, ProxyHeader, Proxied};
///
/// let bytes = b"PROXY TCP4 203.0.113.9 192.0.2.1 40000 443\r\nGET / HTTP/1.1\r\n";
/// let ProxyHeader::Complete(Proxied::Tcp { source, .. }, length) = parse_proxy_header(bytes).unwrap() else { panic!() };
/// assert_eq!(source.to_string(), "203.0.113.9:40000");
/// assert_eq!(&bytes[length..], b"GET / HTTP/1.1\r\n");
/// ```
///
/// # Errors
/// The first byte that cannot be part of one.
pub fn parse_proxy_header(bytes: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
    if bytes.first() == v2::SIGNATURE.first() { v2::parse(bytes) } else { v1::parse(bytes) }
}

/// Reads the header that a connection must begin with, and what came behind it in the same reads: that is to be
/// served first, by [`serve_connection_from`](crate::serve_connection_from).
///
/// # Errors
/// There is none within `limit`. The connection is to be closed.
pub async fn read_proxy_header<I: AsyncRead + Unpin>(
    io: &mut I,
    limit: Duration,
) -> Result<(Proxied, BytesMut), ProxyHeaderError> {
    let reading = async {
        let mut buffer = BytesMut::with_capacity(MAX_PROXY_HEADER);
        loop {
            if io.read_buf(&mut buffer).await? == 0 {
                return Err(ProxyHeaderError::Ended);
            }
            if let ProxyHeader::Complete(proxied, length) = parse_proxy_header(&buffer)? {
                return Ok((proxied, buffer.split_off(length)));
            }
        }
    };
    tokio::time::timeout(limit, reading).await.unwrap_or(Err(ProxyHeaderError::TimedOut(limit)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_no_header_is_longer_than_they_are(
            start in prop_oneof![Just(&b""[..]), Just(&b"PROXY "[..]), Just(&b"PROXY TCP4 "[..]), Just(v2::SIGNATURE)],
            rest in prop::collection::vec(any::<u8>(), 0..120),
        ) {
            let bytes = [start, &rest].concat();
            if let Ok(ProxyHeader::Complete(_, length)) = parse_proxy_header(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_is_read_however_it_arrives_and_what_follows_is_kept() {
        let header = &b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n"[..];
        for cut in [1, 7, 100] {
            let (mut client, mut server) = tokio::io::duplex(1024);
            let wire = [header, b"GET /"].concat();
            let send = async move {
                for piece in wire.chunks(cut) {
                    client.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
                client
            };
            let (_client, read) = tokio::join!(send, read_proxy_header(&mut server, Duration::from_secs(1)));
            let (proxied, rest) = read.unwrap();
            assert!(matches!(proxied, Proxied::Tcp { source, .. } if source.to_string() == "192.0.2.7:1"));
            assert!(b"GET /".starts_with(&rest[..]), "cut {cut}: {rest:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_does_not_come_is_not_waited_for() {
        let (mut client, mut server) = tokio::io::duplex(1024);
        client.write_all(b"PROXY TCP4").await.unwrap();
        let read = read_proxy_header(&mut server, Duration::from_secs(3)).await;
        assert!(matches!(read, Err(ProxyHeaderError::TimedOut(_))), "{read:?}");
        drop(client);
        let read = read_proxy_header(&mut server, Duration::from_secs(3)).await;
        assert!(matches!(read, Err(ProxyHeaderError::Ended)), "{read:?}");
    }

    #[test]
    fn what_is_no_header_is_known_by_its_first_bytes() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"P0", b"\x16\x03\x01", b"\r\n\r\n\0\r\nQUIP\n", b"proxy "]
        {
            assert!(parse_proxy_header(bytes).is_err(), "{bytes:?}");
        }
        for bytes in [&b""[..], b"PR", b"\r\n\r\n\0\r\nQUI"] {
            assert_eq!(parse_proxy_header(bytes).unwrap(), ProxyHeader::Partial, "{bytes:?}");
        }
    }
}
