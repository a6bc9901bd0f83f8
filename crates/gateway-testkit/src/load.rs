use crate::{Client, Request};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Clients that go on sending requests, each over its own connection, until they are told to stop.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
    clients: Vec<JoinHandle<()>>,
}

/// What came of one request.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Which client asked, counted from 0; client 0 asks the first server.
    pub client: usize,
    /// When it asked.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
    /// The status; `None` if there was no answer.
    pub status: Option<u16>,
}

fn locked(seen: &Mutex<Vec<Seen>>) -> MutexGuard<'_, Vec<Seen>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Load {
    /// So many clients, dealt out to the servers in turn, that each send a request this often: the next one at once
    /// where an answer took longer. The function makes the request of a client, by its number.
    #[must_use]
    pub fn start(
        servers: &[SocketAddr],
        clients: usize,
        every: Duration,
        request: impl Fn(usize) -> Request + Send + Sync + 'static,
    ) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<Seen>>>::default());
        let request = Arc::new(request);
        let clients = (0..clients).map(|number| {
            let (stop, seen, request) = (stop.clone(), seen.clone(), request.clone());
            let mut client = Client::new(servers[number % servers.len()]);
            std::thread::spawn(move || {
                let mut next = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    let at = Instant::now();
                    let answer = client.try_send(&request(number));
                    let status = answer.ok().map(|answer| answer.status);
                    locked(&seen).push(Seen { client: number, at, took: at.elapsed(), status });
                    next = (next + every).max(at);
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            })
        });
        let clients = clients.collect();
        Self { stop, seen, clients }
    }

    /// How many answers there were so far.
    #[must_use]
    pub fn count(&self) -> usize {
        locked(&self.seen).len()
    }

    /// What was seen so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        locked(&self.seen).clone()
    }

    /// Lets all clients finish what they ask, and tells what was seen in all.
    ///
    /// # Panics
    /// A client did.
    #[must_use]
    pub fn stop(mut self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.join().expect("clients do not panic");
        }
        self.seen()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Seen {
    /// How many have this status.
    #[must_use]
    pub fn with(seen: &[Self], status: u16) -> usize {
        seen.iter().filter(|one| one.status == Some(status)).count()
    }

    /// How long such a share of them took at most: 0.5 for the median, 1.0 for all. Zero if there are none.
    #[must_use]
    pub fn took(seen: &[Self], share: f64) -> Duration {
        let mut took: Vec<_> = seen.iter().map(|one| one.took).collect();
        took.sort_unstable();
        let last = took.len().saturating_sub(1);
        took.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }
}
