//! The data plane's threads: each worker has its own listener, runtime, stacks and pools, and a request never
//! leaves the thread that accepted it.

use crate::stack::{Answering, Edge};
use futures_util::FutureExt;
use gateway_core::ClientAddr;
use gateway_observe::ConnectionGauge;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// How long a worker waits before it accepts again when it cannot, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const BACKLOG: i32 = 4096;

/// What one client connection may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    pub(crate) header_timeout: Duration,
    pub(crate) max_head: usize,
    pub(crate) max_headers: usize,
}

/// Opens one listening socket per worker on the same address; the kernel spreads connections over them.
pub(crate) fn listen(address: SocketAddr, workers: usize) -> io::Result<Vec<std::net::TcpListener>> {
    // Without SO_REUSEPORT first: it fails when anyone else listens there, be it another gateway.
    let first = open(address, false)?;
    let address = first.local_addr()?;
    if workers == 1 {
        return Ok(vec![first]);
    }
    drop(first);
    (0..workers).map(|_| open(address, true)).collect()
}

fn open(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// How a worker learns that it is to end.
#[derive(Clone)]
pub(crate) struct Drain {
    /// True when it is.
    pub(crate) signal: watch::Receiver<bool>,
    /// False before the signal is given.
    pub(crate) ready: Arc<AtomicBool>,
    /// How long requests may take to finish.
    pub(crate) timeout: Duration,
}

/// One worker's thread. It ends when the signal is given and the connections are done, or the time is up.
pub(crate) fn spawn_worker(
    name: String,
    listener: std::net::TcpListener,
    edge: impl FnOnce() -> Edge<Incoming> + Send + 'static,
    limits: ConnectionLimits,
    connections: ConnectionGauge,
    drain: Drain,
) -> io::Result<JoinHandle<io::Result<()>>> {
    std::thread::Builder::new().name(name).spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
        runtime.block_on(async move {
            let worker = Worker {
                edge: Rc::new(edge()),
                http: connection_builder(limits),
                open: Rc::default(),
                gauge: connections,
                drain,
            };
            worker.run(TcpListener::from_std(listener)?).await;
            Ok(())
        })
    })
}

fn connection_builder(limits: ConnectionLimits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.max_head.max(8192))
        .max_headers(limits.max_headers);
    http
}

#[derive(Default)]
struct Open {
    count: Cell<usize>,
    none_left: Notify,
}

struct Worker {
    edge: Rc<Edge<Incoming>>,
    http: http1::Builder,
    open: Rc<Open>,
    gauge: ConnectionGauge,
    drain: Drain,
}

impl Worker {
    async fn run(&self, listener: TcpListener) {
        let mut drain = self.drain.signal.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = drain.wait_for(|draining| *draining) => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.serve(stream, peer),
                Err(error) => {
                    tracing::warn!("cannot accept connections: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Whoever has connected already is still served.
        while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
            self.serve(stream, peer);
        }
        drop(listener);
        let left = async {
            while self.open.count.get() > 0 {
                self.open.none_left.notified().await;
            }
        };
        if tokio::time::timeout(self.drain.timeout, left).await.is_err() {
            tracing::warn!(
                "{} connections were still busy when the time to drain was up",
                self.open.count.get()
            );
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        // Heads and small bodies are written whole: Nagle's algorithm would only delay them.
        let _ = stream.set_nodelay(true);
        let guard = OpenGuard::new(&self.open);
        let gauge = self.gauge.enter();
        let service = ToEdge { edge: self.edge.clone(), client: ClientAddr(peer) };
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        let Drain { signal: mut drain, ready, .. } = self.drain.clone();
        tokio::task::spawn_local(async move {
            let _guards = (guard, gauge);
            let mut connection = pin!(connection);
            let mut told = pin!(drain.wait_for(|draining| *draining));
            let mut listening = false;
            // How a connection ends is the client's affair: there is nobody to tell.
            let ended = poll_fn(|cx| {
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(true);
                }
                // Listening once is enough to be woken; the flag says when it was for this.
                if (!listening || !ready.load(Ordering::Relaxed)) && told.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(false);
                }
                listening = true;
                Poll::Pending
            })
            .await;
            if !ended {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        });
    }
}

struct OpenGuard(Rc<Open>);

impl OpenGuard {
    fn new(open: &Rc<Open>) -> Self {
        open.count.set(open.count.get() + 1);
        Self(open.clone())
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        if self.0.count.get() == 0 {
            self.0.none_left.notify_one();
        }
    }
}

struct ToEdge {
    edge: Rc<Edge<Incoming>>,
    client: ClientAddr,
}

impl hyper::service::Service<Request<Incoming>> for ToEdge {
    type Response = http::Response<crate::stack::AnswerBody<Incoming>>;
    type Error = std::convert::Infallible;
    type Future = Answering<Incoming>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.edge.call(request, self.client)
    }
}
