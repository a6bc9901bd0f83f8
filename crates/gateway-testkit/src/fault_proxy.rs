use crate::free_port;
use crate::upstream::{self, listen};
use socket2::SockRef;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What goes wrong between the gateway and an upstream.
///
/// "Within the answer" is counted in the bytes that the upstream sends over one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// Nothing: bytes pass as they are.
    None,
    /// Nobody listens: connections are refused.
    Refuse,
    /// Connections are taken and closed at once.
    CloseOnAccept,
    /// The request is read, and the connection reset before it reaches the upstream.
    ResetOnRequest,
    /// The request reaches the upstream; the connection is reset before a byte of its answer.
    ResetBeforeAnswer,
    /// The connection is reset after so many bytes of the answer.
    ResetAfter(usize),
    /// The connection is closed in order after so many bytes of the answer: it is truncated.
    CloseAfter(usize),
    /// After so many bytes of the answer nothing more comes, and the connection stays open.
    StallAfter(usize),
    /// The answer comes in single bytes, with this long between them.
    Drip(Duration),
    /// All of the answer comes this much later.
    Delay(Duration),
    /// These bytes come in place of the answer, and the connection is closed.
    Garbage(&'static [u8]),
    /// These bytes come as soon as there is a connection, before a request; then all passes as it is.
    Early(&'static [u8]),
    /// The answer passes; then, with nothing under way, the connection is closed.
    CloseIdle,
}

/// A TCP proxy between the gateway and an upstream that does harm as it is told, connection by connection.
///
/// ```
/// use gateway_testkit::{Client, Disturbance, FaultProxy, Request, Upstream};
///
/// let upstream = Upstream::named("a");
/// let proxy = FaultProxy::start(upstream.addr());
/// let mut client = Client::new(proxy.addr());
/// assert_eq!(client.send(&Request::get("/")).text(), "a");
/// proxy.disturb(Disturbance::ResetBeforeAnswer);
/// assert!(Client::new(proxy.addr()).try_send(&Request::get("/")).is_err());
/// assert_eq!((upstream.hits(), proxy.connections()), (2, 2));
/// ```
pub struct FaultProxy {
    shared: Arc<Shared>,
    addr: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: SocketAddr,
    state: Mutex<State>,
    connections: AtomicUsize,
    stopped: AtomicBool,
}

struct State {
    disturbance: Disturbance,
    /// For how many more connections, where that is limited.
    times: Option<usize>,
    /// Both sides of what is open.
    open: HashMap<usize, [TcpStream; 2]>,
}

impl FaultProxy {
    /// A proxy to this upstream that does nothing wrong yet.
    ///
    /// # Panics
    /// No port is free.
    #[must_use]
    pub fn start(upstream: SocketAddr) -> Self {
        // A port that nobody else gets once connections are refused.
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let listener = listen(addr);
        let state = State { disturbance: Disturbance::None, times: None, open: HashMap::new() };
        let shared = Arc::new(Shared {
            upstream,
            state: Mutex::new(state),
            connections: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let accepting = Some(Shared::accept(&shared, listener));
        Self { shared, addr, accepting }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// How many connections were made to it.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many connections to the upstream are open through it. One that it has closed is not, from the moment that both
    /// sides have been told.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.lock().open.len()
    }

    /// From now on this happens to new connections; those that are open are closed first, so that none is in a pool.
    ///
    /// [`Disturbance::Refuse`] stops listening: nothing can be told after it but through another proxy.
    pub fn disturb(&self, how: Disturbance) {
        self.disturb_first(how, None);
    }

    /// As [`disturb`](Self::disturb), for the next connection alone; those after it pass undisturbed.
    pub fn disturb_once(&self, how: Disturbance) {
        self.disturb_first(how, Some(1));
    }

    fn disturb_first(&self, how: Disturbance, times: Option<usize>) {
        let mut state = self.shared.lock();
        (state.disturbance, state.times) = (how, times);
        for (_, sides) in state.open.drain() {
            close(&sides);
        }
        drop(state);
        if how == Disturbance::Refuse {
            self.stop_listening();
        }
    }

    fn stop_listening(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts, which then closes the listener.
        let _ = TcpStream::connect(self.addr);
        while TcpStream::connect_timeout(&self.addr, Duration::from_millis(200)).is_ok() {
            std::thread::yield_now();
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if !self.shared.stopped.load(Ordering::SeqCst) {
            self.stop_listening();
        }
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for (_, sides) in self.shared.lock().open.drain() {
            close(&sides);
        }
    }
}

fn close(sides: &[TcpStream; 2]) {
    for side in sides {
        let _ = side.shutdown(Shutdown::Both);
    }
}

/// With no time to linger, closing is a reset.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(shared: &Arc<Self>, listener: TcpListener) -> JoinHandle<()> {
        let shared = shared.clone();
        std::thread::spawn(move || {
            for near in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(near) = near else { continue };
                let number = shared.connections.fetch_add(1, Ordering::SeqCst);
                let how = shared.next();
                let shared = shared.clone();
                std::thread::spawn(move || shared.serve(number, &near, how));
            }
            upstream::close(&listener);
        })
    }

    /// What happens to the next connection.
    fn next(&self) -> Disturbance {
        let mut state = self.lock();
        match &mut state.times {
            None => state.disturbance,
            Some(0) => Disturbance::None,
            Some(times) => {
                *times -= 1;
                state.disturbance
            }
        }
    }

    /// Whatever fails ends the connection.
    fn serve(&self, number: usize, near: &TcpStream, how: Disturbance) -> io::Result<()> {
        near.set_nodelay(true)?;
        match how {
            Disturbance::Refuse | Disturbance::CloseOnAccept => return Ok(()),
            Disturbance::ResetOnRequest => {
                let mut first = [0; 4096];
                let mut from = near;
                let _ = from.read(&mut first)?;
                reset(near);
                return Ok(());
            }
            _ => {}
        }
        let far = TcpStream::connect(self.upstream)?;
        far.set_nodelay(true)?;
        self.lock().open.insert(number, [near.try_clone()?, far.try_clone()?]);
        let (from, to) = (near.try_clone()?, far.try_clone()?);
        let requests = std::thread::spawn(move || copy(&from, &to));
        let _ = Self::answer(near, &far, how);
        let resets = matches!(how, Disturbance::ResetBeforeAnswer | Disturbance::ResetAfter(_));
        if resets {
            // Every other handle is to be gone first: the last one's closing is what is a reset.
            self.lock().open.remove(&number);
            // Lets what was sent arrive.
            std::thread::sleep(Duration::from_millis(20));
            reset(near);
            let _ = far.shutdown(Shutdown::Both);
            let _ = near.shutdown(Shutdown::Read);
        } else {
            let _ = near.shutdown(Shutdown::Both);
            let _ = far.shutdown(Shutdown::Both);
            self.lock().open.remove(&number);
        }
        let _ = requests.join();
        Ok(())
    }

    fn answer(mut near: &TcpStream, mut far: &TcpStream, how: Disturbance) -> io::Result<()> {
        if let Disturbance::Early(bytes) = how {
            near.write_all(bytes)?;
        }
        let (mut sent, mut buffer) = (0, [0; 16 * 1024]);
        loop {
            let count = far.read(&mut buffer)?;
            let bytes = &buffer[..count];
            if bytes.is_empty() {
                return Ok(());
            }
            match how {
                Disturbance::ResetBeforeAnswer => return Ok(()),
                Disturbance::Garbage(garbage) => return near.write_all(garbage),
                Disturbance::ResetAfter(limit) | Disturbance::CloseAfter(limit) if sent + count >= limit => {
                    return near.write_all(&bytes[..limit - sent]);
                }
                Disturbance::StallAfter(limit) if sent + count >= limit => {
                    near.write_all(&bytes[..limit - sent])?;
                    // Until either side goes.
                    while far.read(&mut buffer)? > 0 {}
                    return Ok(());
                }
                Disturbance::Drip(pause) => {
                    for byte in bytes {
                        near.write_all(std::slice::from_ref(byte))?;
                        std::thread::sleep(pause);
                    }
                }
                Disturbance::Delay(delay) => {
                    std::thread::sleep(delay);
                    near.write_all(bytes)?;
                }
                Disturbance::CloseIdle => return near.write_all(bytes),
                _ => near.write_all(bytes)?,
            }
            sent += count;
        }
    }
}

/// Until the end of one side, which the other is told.
fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
