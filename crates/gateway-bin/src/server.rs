//! The data plane's threads: each worker has its own listener, runtime, stacks and pools, and a connection never leaves
//! the thread that serves it.

use crate::assemble::{Assembly, Observers};
use crate::config::Plan;
use crate::doorway::{Doorway, Inside, OfAddress};
use crate::seats::{Handed, Place, Taken};
use crate::stack::{AnswerBody, Answering, Edge};
use futures_util::FutureExt;
use gateway_core::{ClientAddr, Code, Network, Problem, Splice, Spliced, clock, given_up};
use gateway_observe::ConnectionGauge;
use gateway_server::{
    Accepted, Drain, Handler, Limits, Listener, Proxied, ProxyHeaderError, RequestBody, Socket,
    read_proxy_header, serve_connection, serve_connection_from,
};
use http::Request;
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// How long a worker waits before it accepts again when it cannot, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often a worker looks for connections to services that have been idle for too long.
const IDLE_LOOK: Duration = Duration::from_secs(5);
/// Who comes over a Unix socket: a process of this machine.
const UNIX_CLIENT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// What a worker is told from outside.
#[derive(Clone)]
pub(crate) struct Orders {
    /// The plan in force.
    pub(crate) plan: watch::Receiver<Arc<Plan>>,
    /// Whether to take no more connections and end: with how long requests may take to finish. No time at all is for those
    /// that are finishing, too.
    pub(crate) end: watch::Receiver<Option<Duration>>,
}

/// One worker's thread. It ends when it is ordered to and the connections are done, or the time is up.
pub(crate) fn spawn_worker(
    name: String,
    sockets: Vec<Socket>,
    observers: Observers,
    connections: ConnectionGauge,
    place: Place,
    mut orders: Orders,
) -> io::Result<JoinHandle<io::Result<()>>> {
    std::thread::Builder::new().name(name).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_unpark(clock::awoke)
            .build_local(Default::default())?;
        let result = runtime.block_on(async move {
            let plan = orders.plan.borrow_and_update().clone();
            plan.clients.apply(place.doorway());
            let mut assembly = Assembly::new(&plan, observers);
            let worker = Worker {
                shared: Rc::new(Shared { edge: RefCell::new(assembly.edge(&plan)) }),
                limits: RefCell::new(Rc::new(plan.connections)),
                proxies: RefCell::new(plan.proxy_protocol.clone()),
                gauge: connections,
                doorway: place.doorway().clone(),
                draining: Drain::default(),
            };
            worker.run(Listener::of(sockets)?, place, assembly, orders).await;
            Ok(())
        });
        // Without waiting for the resolver, which may be busy with a name that nobody wants any more.
        runtime.shutdown_background();
        result
    })
}

struct Worker {
    shared: Rc<Shared>,
    limits: RefCell<Rc<Limits>>,
    /// Whose connections begin with a PROXY header.
    proxies: RefCell<Arc<[Network]>>,
    gauge: ConnectionGauge,
    doorway: Doorway,
    draining: Drain,
}

/// What all connections of a worker use. A reload replaces it between two requests.
struct Shared {
    edge: RefCell<Edge<RequestBody>>,
}

impl Worker {
    async fn run(&self, listener: Listener, mut place: Place, mut assembly: Assembly, mut orders: Orders) {
        let mut reloads = true;
        let mut accepted = None;
        let mut looks = tokio::time::interval(IDLE_LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let timeout = loop {
            let entered = tokio::select! {
                biased;
                end = orders.end.wait_for(Option::is_some) => break end.ok().and_then(|end| *end).unwrap_or_default(),
                changed = orders.plan.changed(), if reloads => {
                    reloads = changed.is_ok();
                    let plan = orders.plan.borrow_and_update().clone();
                    let edge = assembly.edge(&plan);
                    // What was in force lives on in the requests that it answers.
                    drop(self.shared.edge.replace(edge));
                    self.limits.replace(Rc::new(plan.connections));
                    self.proxies.replace(plan.proxy_protocol.clone());
                    plan.clients.apply(&self.doorway);
                    continue;
                }
                Some(handed) = place.handed() => {
                    self.serve_handed(handed);
                    continue;
                }
                _ = looks.tick() => {
                    assembly.close_idle();
                    continue;
                }
                entered = enter(&listener, &self.doorway, &mut accepted) => entered,
            };
            match entered {
                Ok((accepted, inside)) => self.serve(accepted, inside, &place),
                Err(error) => {
                    self.doorway.failed(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        // Whoever has connected already is still served, if there is room.
        while let Some(Ok((accepted, inside))) = enter(&listener, &self.doorway, &mut accepted).now_or_never()
        {
            self.serve(accepted, inside, &place);
        }
        drop(listener);
        while let Some(handed) = place.last_handed().await {
            self.serve_handed(handed);
        }
        self.draining.begin();
        let why = tokio::select! {
            biased;
            () = place.none_taken() => return,
            () = tokio::time::sleep(timeout) => "the time to drain was up",
            _ = orders.end.wait_for(|end| end.is_some_and(|left| left.is_zero())) => "it was to end at once",
        };
        tracing::warn!("{} connections were still busy when {why}", place.taken());
        given_up::cut_off();
    }

    fn serve(&self, accepted: Accepted, inside: Inside, place: &Place) {
        match accepted {
            Accepted::Tcp(stream, peer) => {
                if let Some((stream, inside)) = place.hand_on(stream, peer, inside) {
                    self.serve_accepted(stream, peer, place.take(inside));
                }
            }
            Accepted::Unix(stream) => self.serve_accepted(stream, UNIX_CLIENT, place.take(inside)),
        }
    }

    fn serve_handed(&self, Handed { stream, peer, seat }: Handed) {
        match TcpStream::from_std(stream) {
            Ok(stream) => self.serve_accepted(stream, peer, seat),
            Err(error) => tracing::warn!("cannot serve a connection: {error}"),
        }
    }

    fn serve_accepted<I>(&self, stream: I, peer: SocketAddr, seat: Taken)
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        if self.proxies.borrow().iter().any(|network| network.contains(peer.ip())) {
            self.serve_proxied(stream, peer, seat);
        } else {
            // Over a Unix socket nobody has an address.
            let entered = if peer == UNIX_CLIENT { Ok(None) } else { self.doorway.enter_from(peer.ip()) };
            match entered {
                Ok(of_address) => self.serve_from(stream, peer, (seat, of_address)),
                Err(why) => tracing::debug!("a connection from {peer} is closed: {why}"),
            }
        }
    }

    fn serve_from<I>(&self, stream: I, client: SocketAddr, seat: (Taken, Option<OfAddress>))
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let handler = ToEdge { shared: self.shared.clone(), client: ClientAddr(client) };
        let limits = self.limits.borrow().clone();
        self.spawn(seat, serve_connection(stream, handler, limits, self.draining.clone()));
    }

    /// A load balancer says first who the client is.
    fn serve_proxied<I>(&self, mut stream: I, peer: SocketAddr, seat: Taken)
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (shared, limits) = (self.shared.clone(), self.limits.borrow().clone());
        let (draining, doorway) = (self.draining.clone(), self.doorway.clone());
        self.spawn(seat, async move {
            let (proxied, read) = match read_proxy_header(&mut stream, limits.header_timeout).await {
                Ok(read) => read,
                Err(error) => {
                    let why = error.to_string();
                    tracing::debug!("no PROXY header from {peer}: {why}");
                    // Others are a health check's that only connects, or the network's.
                    if matches!(error, ProxyHeaderError::Malformed(_) | ProxyHeaderError::TooLong(_)) {
                        let problem = Problem::new(Code::BadRequest).with_detail(why);
                        // For the log and the metrics: whoever sent it could not be told.
                        let _ = ToEdge { shared, client: ClientAddr(peer) }.refuse(problem).await;
                    }
                    return;
                }
            };
            let (client, entered) = match proxied {
                Proxied::Tcp { source, .. } => (source, doorway.enter_from(source.ip())),
                // Whoever is in front speaks for itself.
                Proxied::Unix | Proxied::Local => (peer, Ok(None)),
            };
            let _of_address = match entered {
                Ok(of_address) => of_address,
                Err(why) => return tracing::debug!("a connection of {client} is closed: {why}"),
            };
            let handler = ToEdge { shared, client: ClientAddr(client) };
            serve_connection_from(stream, read, handler, limits, draining).await;
        });
    }

    fn spawn(&self, seat: impl Sized + 'static, connection: impl Future<Output = ()> + 'static) {
        let guards = (seat, self.gauge.enter());
        tokio::task::spawn_local(async move {
            let _guards = guards;
            connection.await;
        });
    }
}

/// The next connection for which there is room. `accepted` keeps one that was accepted just as another worker took the
/// last of it.
async fn enter(
    listener: &Listener,
    doorway: &Doorway,
    accepted: &mut Option<Accepted>,
) -> io::Result<(Accepted, Inside)> {
    loop {
        doorway.room().await;
        let next = match accepted.take() {
            Some(next) => next,
            None => listener.accept().await?,
        };
        match doorway.enter() {
            Some(inside) => return Ok((next, inside)),
            None => *accepted = Some(next),
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

    fn splice(body: Pin<&mut Self::Body>, cx: &mut Context<'_>, to: BorrowedFd<'_>) -> Poll<Spliced> {
        body.poll_splice(cx, to)
    }
}
