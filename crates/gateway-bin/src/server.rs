//! The data plane's threads: each worker has its own listener, runtime, stacks and pools, and a request never
//! leaves the thread that accepted it.

use crate::assemble::{Assembly, Observers};
use crate::config::Plan;
use crate::stack::{AnswerBody, Answering, Edge};
use futures_util::FutureExt;
use gateway_core::{ClientAddr, Problem};
use gateway_observe::ConnectionGauge;
use gateway_server::{Drain, Handler, Limits, RequestBody, serve_connection};
use http::Request;
use socket2::{Domain, Protocol, Socket, Type};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
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

/// What a worker is told from outside.
#[derive(Clone)]
pub(crate) struct Orders {
    /// The plan in force.
    pub(crate) plan: watch::Receiver<Arc<Plan>>,
    /// Whether to take no more connections and end: with how long requests may take to finish.
    pub(crate) end: watch::Receiver<Option<Duration>>,
}

/// One worker's thread. It ends when it is ordered to and the connections are done, or the time is up.
pub(crate) fn spawn_worker(
    name: String,
    listener: std::net::TcpListener,
    observers: Observers,
    connections: ConnectionGauge,
    mut orders: Orders,
) -> io::Result<JoinHandle<io::Result<()>>> {
    std::thread::Builder::new().name(name).spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
        runtime.block_on(async move {
            let plan = orders.plan.borrow_and_update().clone();
            let mut assembly = Assembly::new(&plan, observers);
            let worker = Worker {
                shared: Rc::new(Shared { edge: RefCell::new(assembly.edge(&plan)) }),
                limits: RefCell::new(Rc::new(plan.connections)),
                open: Rc::default(),
                gauge: connections,
                draining: Drain::default(),
            };
            worker.run(TcpListener::from_std(listener)?, assembly, orders).await;
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
    shared: Rc<Shared>,
    limits: RefCell<Rc<Limits>>,
    open: Rc<Open>,
    gauge: ConnectionGauge,
    draining: Drain,
}

/// What all connections of a worker use. A reload replaces it between two requests.
struct Shared {
    edge: RefCell<Edge<RequestBody>>,
}

impl Worker {
    async fn run(&self, listener: TcpListener, mut assembly: Assembly, mut orders: Orders) {
        let mut reloads = true;
        let timeout = loop {
            let accepted = tokio::select! {
                biased;
                end = orders.end.wait_for(Option::is_some) => break end.ok().and_then(|end| *end).unwrap_or_default(),
                changed = orders.plan.changed(), if reloads => {
                    reloads = changed.is_ok();
                    let plan = orders.plan.borrow_and_update().clone();
                    let edge = assembly.edge(&plan);
                    // What was in force lives on in the requests that it answers.
                    drop(self.shared.edge.replace(edge));
                    self.limits.replace(Rc::new(plan.connections));
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.serve(stream, peer),
                Err(error) => {
                    tracing::warn!("cannot accept connections: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        };
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
        if tokio::time::timeout(timeout, left).await.is_err() {
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
        let handler = ToEdge { shared: self.shared.clone(), client: ClientAddr(peer) };
        let serving = serve_connection(stream, handler, self.limits.borrow().clone(), self.draining.clone());
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
    shared: Rc<Shared>,
    client: ClientAddr,
}

impl Handler for ToEdge {
    type Body = AnswerBody<RequestBody>;
    type Future = Answering<RequestBody>;

    fn call(&self, request: Request<RequestBody>) -> Self::Future {
        self.shared.edge.borrow().call(request, self.client)
    }

    fn refuse(&self, problem: Problem) -> Self::Future {
        self.shared.edge.borrow().refuse_unread(problem, self.client)
    }
}
