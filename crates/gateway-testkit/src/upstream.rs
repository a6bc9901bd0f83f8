use crate::free_port;
use crate::http::{find, read_body, read_head};
use socket2::{Domain, SockRef, Socket, Type};
use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A request as it stood on the wire.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The head's bytes.
    pub raw_head: Vec<u8>,
    /// The method.
    pub method: String,
    /// The request target, query included.
    pub target: String,
    /// Every header, in order.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Which connection it came over, counted from 0.
    pub connection: usize,
}

impl Recorded {
    /// The first header of this name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

/// What an upstream answers.
#[derive(Clone, Debug)]
pub struct Reply {
    bytes: Vec<u8>,
    close: bool,
    delay: Duration,
}

impl Reply {
    /// A status with a body.
    #[must_use]
    pub fn new(status: u16, body: &str) -> Self {
        Self::with(status, &[], body)
    }

    /// A status with headers and a body.
    #[must_use]
    pub fn with(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let mut text = format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        Self::raw(format!("{text}\r\n{body}").as_bytes(), false)
    }

    /// Bytes as they are, and whether the connection is closed after them.
    #[must_use]
    pub fn raw(bytes: &[u8], close: bool) -> Self {
        Self { bytes: bytes.to_vec(), close, delay: Duration::ZERO }
    }

    /// Given only after a time.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

type Answer = dyn Fn(&Recorded) -> Reply + Send + Sync;

/// A real HTTP/1.1 server on a thread per connection that records what it is asked.
pub struct Upstream {
    shared: Arc<Shared>,
    addr: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    answer: Box<Answer>,
    requests: Mutex<Vec<Recorded>>,
    broken_off: Mutex<Vec<Recorded>>,
    connections: AtomicUsize,
    open: Mutex<HashMap<usize, TcpStream>>,
    stopped: AtomicBool,
    stalled: (Mutex<bool>, Condvar),
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upstream {
    /// A server that answers what the function says.
    ///
    /// # Panics
    /// No port is free.
    #[must_use]
    pub fn start(answer: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            answer: Box::new(answer),
            requests: Mutex::default(),
            broken_off: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: Mutex::default(),
            stopped: AtomicBool::new(false),
            stalled: (Mutex::new(false), Condvar::new()),
        });
        // A port that nobody else gets while this is killed.
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let listener = listen(addr);
        let accepting = Some(Shared::accept(&shared, listener));
        Self { shared, addr, accepting }
    }

    /// A server that answers 200 with its name.
    #[must_use]
    pub fn named(name: &'static str) -> Self {
        Self::start(move |_| Reply::new(200, name))
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

    /// What it was asked so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        locked(&self.shared.requests).clone()
    }

    /// The heads of the requests whose bodies ended before they were whole.
    #[must_use]
    pub fn broken_off(&self) -> Vec<Recorded> {
        locked(&self.shared.broken_off).clone()
    }

    /// How often it was asked.
    #[must_use]
    pub fn hits(&self) -> usize {
        locked(&self.shared.requests).len()
    }

    /// How many connections were made to it.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Reads requests but answers none until resumed.
    pub fn stall(&self) {
        *locked(&self.shared.stalled.0) = true;
    }

    /// Answers again.
    pub fn resume(&self) {
        *locked(&self.shared.stalled.0) = false;
        self.shared.stalled.1.notify_all();
    }

    /// Stops listening and closes every connection.
    pub fn kill(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.resume();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.addr);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        self.close_connections();
    }

    /// Closes every connection, idle or not, and goes on listening.
    pub fn close_connections(&self) {
        for (_, stream) in locked(&self.shared.open).drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Listens again, on the same port.
    pub fn restart(&mut self) {
        self.shared.stopped.store(false, Ordering::SeqCst);
        self.accepting = Some(Shared::accept(&self.shared, listen(self.addr)));
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn listen(addr: SocketAddr) -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("an option");
    socket.bind(&addr.into()).unwrap_or_else(|e| panic!("cannot listen on {addr}: {e}"));
    socket.listen(1024).expect("a listener");
    socket.into()
}

/// Ends listening at once. Dropping it alone would not: a process that another test just starts has a copy of it until
/// it begins its program.
pub(crate) fn close(listener: &TcpListener) {
    let _ = SockRef::from(listener).shutdown(Shutdown::Both);
}

impl Shared {
    fn accept(shared: &Arc<Self>, listener: TcpListener) -> JoinHandle<()> {
        let shared = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let number = shared.connections.fetch_add(1, Ordering::SeqCst);
                if let Ok(handle) = stream.try_clone() {
                    locked(&shared.open).insert(number, handle);
                }
                let shared = shared.clone();
                std::thread::spawn(move || {
                    shared.serve(&stream, number);
                    let _ = stream.shutdown(Shutdown::Both);
                    locked(&shared.open).remove(&number);
                });
            }
            close(&listener);
        })
    }

    fn serve(&self, stream: &TcpStream, connection: usize) {
        let _ = stream.set_nodelay(true);
        let mut reader = BufReader::new(stream);
        while let Ok(Some((first, headers, raw_head))) = read_head(&mut reader) {
            let mut words = first.split(' ').map(str::to_owned);
            let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let body = read_body(&mut reader, &headers);
            let whole = body.is_ok();
            let body = body.ok().flatten().unwrap_or_default();
            let recorded = Recorded { raw_head, method, target, headers, body, connection };
            if !whole {
                locked(&self.broken_off).push(recorded);
                return;
            }
            locked(&self.requests).push(recorded.clone());
            let mut stalled = locked(&self.stalled.0);
            while *stalled {
                stalled = self.stalled.1.wait(stalled).unwrap_or_else(PoisonError::into_inner);
            }
            drop(stalled);
            let reply = (self.answer)(&recorded);
            std::thread::sleep(reply.delay);
            let mut writer = stream;
            if writer.write_all(&reply.bytes).is_err() || reply.close {
                return;
            }
        }
    }
}

/// A way for an upstream to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Accepts and closes.
    AcceptThenClose,
    /// Reads the request and resets the connection.
    ResetBeforeResponse,
    /// Resets within the answer's head.
    ResetInHead,
    /// Promises more than it sends.
    TruncatedBody,
    /// Speaks another protocol.
    Garbage,
    /// Takes the request and says nothing.
    Silence,
}

/// An upstream that fails like this for every request. Also tells how many connections it has seen.
///
/// # Panics
/// No port is free.
#[must_use]
pub fn failing(fault: Fault) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)));
    let addr = listener.local_addr().expect("a bound socket has an address");
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                if fault == Fault::AcceptThenClose {
                    return;
                }
                let _ = read_head(&mut BufReader::new(&stream));
                let bytes: &[u8] = match fault {
                    Fault::AcceptThenClose | Fault::ResetBeforeResponse | Fault::Silence => b"",
                    Fault::ResetInHead => b"HTTP/1.1 200 OK\r\nContent-Le",
                    Fault::TruncatedBody => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
                    Fault::Garbage => b"\x00\x01SSH-2.0-no-http-here\r\n\r\n",
                };
                let _ = stream.write_all(bytes);
                match fault {
                    Fault::Silence => loop {
                        std::thread::park();
                    },
                    Fault::ResetBeforeResponse | Fault::ResetInHead => {
                        // Lets the bytes arrive; with no time to linger, closing is a reset.
                        std::thread::sleep(Duration::from_millis(20));
                        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                    }
                    _ => {}
                }
            });
        }
    });
    (addr, seen)
}
