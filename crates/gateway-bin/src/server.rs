//! The data plane's threads: each worker has its own listener, runtime, stacks and pools, and a request never
//! leaves the thread that accepted it.

use crate::stack::{AnswerBody, Answering, Edge};
use futures_util::FutureExt;
use gateway_core::{ClientAddr, Problem};
use gateway_observe::ConnectionGauge;
use gateway_server::{Drain, Handler, Limits, RequestBody, serve_connection};
use http::Request;
use socket2::{Domain, Protocol, Socket, Type};
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// How long a worker waits before it accepts again when it cannot, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const BACKLOG: i32 = 4096;

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
pub(crate) struct End {
    /// True when it is.
    pub(crate) signal: watch::Receiver<bool>,
    /// How long requests may take to finish.
    pub(crate) timeout: Duration,
}

/// One worker's thread. It ends when the signal is given and the connections are done, or the time is up.
pub(crate) fn spawn_worker(
    name: String,
    listener: std::net::TcpListener,
    edge: impl FnOnce() -> Edge<RequestBody> + Send + 'static,
    limits: Limits,
    connections: ConnectionGauge,
    end: End,
) -> io::Result<JoinHandle<io::Result<()>>> {
    std::thread::Builder::new().name(name).spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
        runtime.block_on(async move {
            let worker = Worker {
                edge: Rc::new(edge()),
                limits: Rc::new(limits),
                open: Rc::default(),
                gauge: connections,
                end,
                draining: Drain::default(),
            };
            worker.run(TcpListener::from_std(listener)?).await;
            Ok(())
        })
    })
}

#[derive(Default)]
struct Open {
    count: Cell<usize>,
    none_left: Notify,
}

struct Worker {
    edge: Rc<Edge<RequestBody>>,
    limits: Rc<Limits>,
    open: Rc<Open>,
    gauge: ConnectionGauge,
    end: End,
    draining: Drain,
}

impl Worker {
    async fn run(&self, listener: TcpListener) {
        let mut end = self.end.signal.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = end.wait_for(|ending| *ending) => break,
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
        self.draining.begin();
        let left = async {
            while self.open.count.get() > 0 {
                self.open.none_left.notified().await;
            }
        };
        if tokio::time::timeout(self.end.timeout, left).await.is_err() {
            tracing::warn!(
                "{} connections were still busy when the time to drain was up",
                self.open.count.get()
            );
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        // Heads and small bodies are written whole: Nagle's algorithm would only delay them.
        let _ = stream.set_nodelay(true);
        let guards = (OpenGuard::new(&self.open), self.gauge.enter());
        let handler = ToEdge { edge: self.edge.clone(), client: ClientAddr(peer) };
        let serving = serve_connection(stream, handler, self.limits.clone(), self.draining.clone());
        tokio::task::spawn_local(async move {
            let _guards = guards;
            serving.await;
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

/// Hands the requests of one client to the edge.
#[derive(Clone)]
struct ToEdge {
    edge: Rc<Edge<RequestBody>>,
    client: ClientAddr,
}

impl Handler for ToEdge {
    type Body = AnswerBody<RequestBody>;
    type Future = Answering<RequestBody>;

    fn call(&self, request: Request<RequestBody>) -> Self::Future {
        self.edge.call(request, self.client)
    }

    fn refuse(&self, problem: Problem) -> Self::Future {
        self.edge.refuse_unread(problem, self.client)
    }
}
