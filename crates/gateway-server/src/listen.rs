//! The sockets that clients connect to.

mod address;
mod inherited;
mod unix;

pub use address::{ListenAddress, ListenAddressError};
pub use inherited::{InheritedError, InheritedSocket, inherited_sockets};

use socket2::{Domain, Protocol, SockRef, Type};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use tokio::net::{TcpStream, UnixStream};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;

/// A listening socket that no runtime knows yet, to be handed to a worker.
#[derive(Debug)]
pub enum Socket {
    /// Clients come over TCP.
    Tcp(std::net::TcpListener),
    /// Clients are processes of this machine.
    Unix(std::os::unix::net::UnixListener),
}

impl ListenAddress {
    /// Opens one listening socket per worker.
    ///
    /// TCP: each has its own queue (`SO_REUSEPORT`), over which the kernel spreads connections. Unix: they share one,
    /// from which the workers take in turn.
    ///
    /// A Unix socket's file has its mode from the moment that it is there. A file that an earlier process left is
    /// replaced, if it is a socket on which nobody listens.
    ///
    /// # Errors
    /// `AddrInUse` when somebody listens there, or a file stands there that is no socket; else what the system says.
    pub fn listen(&self, workers: usize) -> io::Result<Vec<Socket>> {
        match self {
            Self::Tcp(address) => listen_tcp(*address, workers),
            Self::Unix { path, mode } => Socket::Unix(unix::listen(path, *mode)?).shared_by(workers),
        }
    }
}

fn listen_tcp(address: SocketAddr, workers: usize) -> io::Result<Vec<Socket>> {
    // Without SO_REUSEPORT first: it fails when anyone else listens there, be it another gateway.
    let first = bind_tcp(address, false)?;
    if workers <= 1 {
        return Ok(vec![listening(first)?]);
    }
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    // It never listened: who connected to it meanwhile would be cut off now.
    drop(first);
    (0..workers).map(|_| listening(bind_tcp(address, true)?)).collect()
}

fn bind_tcp(address: SocketAddr, shared: bool) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listening(socket: socket2::Socket) -> io::Result<Socket> {
    socket.listen(BACKLOG)?;
    Ok(Socket::Tcp(socket.into()))
}

impl Socket {
    /// The same socket once per worker; whoever is free accepts.
    ///
    /// # Errors
    /// The process has no more file descriptors.
    pub fn shared_by(self, workers: usize) -> io::Result<Vec<Self>> {
        let mut all = Vec::with_capacity(workers);
        for _ in 1..workers {
            all.push(self.try_clone()?);
        }
        all.push(self);
        Ok(all)
    }

    /// The same socket once more.
    ///
    /// # Errors
    /// The process has no more file descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }

    /// Where it listens, as [`ListenAddress`] would say it.
    #[must_use]
    pub fn address(&self) -> String {
        let address = match self {
            Self::Tcp(socket) => socket.local_addr().ok().map(|address| address.to_string()),
            Self::Unix(socket) => socket.local_addr().ok().and_then(|address| {
                address.as_pathname().map(|path| format!("{}{}", address::UNIX, path.display()))
            }),
        };
        address.unwrap_or_else(|| "an unnamed socket".to_owned())
    }

    /// The listener, for the runtime that this is called in.
    ///
    /// # Errors
    /// There is no runtime with I/O, or the system refuses.
    pub fn into_listener(self) -> io::Result<Listener> {
        match self {
            Self::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(socket).map(Listener::Tcp)
            }
            Self::Unix(socket) => {
                socket.set_nonblocking(true)?;
                tokio::net::UnixListener::from_std(socket).map(Listener::Unix)
            }
        }
    }

    fn is_listening(&self) -> bool {
        let listening = match self {
            Self::Tcp(socket) => SockRef::from(socket).is_listener(),
            Self::Unix(socket) => SockRef::from(socket).is_listener(),
        };
        listening.unwrap_or(false)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

/// A listening socket of one worker.
#[derive(Debug)]
pub enum Listener {
    /// Clients come over TCP.
    Tcp(tokio::net::TcpListener),
    /// Clients are processes of this machine.
    Unix(tokio::net::UnixListener),
    /// Where fewer workers than before take over the sockets of all.
    Several {
        /// These, in turn.
        all: Vec<Listener>,
        /// Which is the first to be asked for a connection.
        next: AtomicUsize,
    },
}

/// A connection that was accepted, to be served by what fits it: no request pays for there being two kinds.
#[derive(Debug)]
pub enum Accepted {
    /// With the client's address.
    Tcp(TcpStream, SocketAddr),
    /// Its client has no address.
    Unix(UnixStream),
}

impl Listener {
    /// One worker's listener of these sockets, for the runtime that this is called in.
    ///
    /// # Errors
    /// There is no runtime with I/O, or the system refuses.
    pub fn of(sockets: Vec<Socket>) -> io::Result<Self> {
        let mut all: Vec<Self> = sockets.into_iter().map(Socket::into_listener).collect::<io::Result<_>>()?;
        Ok(match all.pop() {
            Some(one) if all.is_empty() => one,
            last => {
                all.extend(last);
                Self::Several { all, next: AtomicUsize::new(0) }
            }
        })
    }

    /// The next connection. To be asked by one task only.
    ///
    /// # Errors
    /// None can be accepted now, for instance for want of file descriptors. Worth another try after a pause.
    pub async fn accept(&self) -> io::Result<Accepted> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = ready!(listener.poll_accept(cx))?;
                // Heads and small bodies are written whole: Nagle's algorithm would only delay them.
                let _ = stream.set_nodelay(true);
                Poll::Ready(Ok(Accepted::Tcp(stream, peer)))
            }
            Self::Unix(listener) => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                Poll::Ready(Ok(Accepted::Unix(stream)))
            }
            Self::Several { all, next } => {
                let first = next.load(Relaxed);
                for i in (0..all.len()).map(|i| (first + i) % all.len()) {
                    if let Poll::Ready(accepted) = all[i].poll_accept(cx) {
                        next.store(i + 1, Relaxed);
                        return Poll::Ready(accepted);
                    }
                }
                Poll::Pending
            }
        }
    }
}
