//! The HTTP/2 connections to an endpoint, shared by its requests.

use crate::settings::UpstreamSettings;
use crate::slots::{Open, Permit};
use crate::socket::Socket;
use bytes::Bytes;
use gateway_core::UpstreamError;
use h2::client::{Connection, SendRequest};
use h2::{Ping, PingPong, Reason};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How much of an answer may be on its way before the client has taken it. Small, so that many slow clients fit
/// into a connection's window.
const STREAM_WINDOW: u32 = 256 * 1024;
/// RFC 9113 §6.9.1.
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// How much of a request may wait within the connection before no more is taken from its client.
const SEND_BUFFER: usize = 64 * 1024;
/// How many requests that were cancelled are remembered, and for how long, so that what was on its way for them is
/// passed over. What comes later is answered with another reset, which is all the harm there is.
const CANCELLED: usize = 4096;
const CANCELLED_FOR: Duration = Duration::from_secs(10);
/// Servers of gRPC, in Go, Java and C++ alike, close a connection on which they were asked more often than every 5 min
/// for the third time while they had nothing to send (gRFC A8, `too_many_pings`): the pause while they have not.
const QUIET: Duration = Duration::from_secs(5 * 60 + 30);

#[derive(Debug, Default)]
pub(crate) struct Links {
    open: Mutex<Vec<Link>>,
    /// Held by who opens the next one, so that a burst of requests opens one and not as many.
    pub(super) opening: tokio::sync::Mutex<()>,
    failed: Mutex<Failed>,
}

/// The last failure to connect, told to all who waited for it.
#[derive(Debug, Default)]
struct Failed {
    times: u64,
    last: Option<UpstreamError>,
}

/// One connection, driven by a task.
#[derive(Debug)]
pub(crate) struct Link {
    sender: SendRequest<Bytes>,
    state: Arc<State>,
    opened: Instant,
    requests: u32,
    last_used: Instant,
}

#[derive(Debug, Default)]
struct State {
    streams: AtomicUsize,
    /// Closed, or told not to take more: nothing new goes there.
    leaving: AtomicBool,
    /// Whether it took a request since the last ping.
    asked: AtomicBool,
    /// Whether something of an answer came since the last ping.
    heard: AtomicBool,
}

/// A place on a connection, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    state: Arc<State>,
    /// Whether the connection had taken requests before.
    pub(super) reused: bool,
}

impl Lease {
    /// Says that the connection takes no more requests.
    pub(super) fn leave(&self) {
        self.state.leaving.store(true, Ordering::Relaxed);
    }

    /// Says that something of an answer came.
    pub(super) fn heard(&self) {
        self.state.heard.store(true, Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.state.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Links {
    /// A place on the first connection with room, so that a few are full and the others may go idle.
    pub(super) fn lease(&self, settings: &UpstreamSettings) -> Option<(SendRequest<Bytes>, Lease)> {
        let now = Instant::now();
        let mut open = lock(&self.open);
        open.retain(|link| link.is_usable(settings, now));
        open.iter_mut().find(|link| link.has_room(settings)).map(|link| link.lease(now))
    }

    /// A place on the connection with the fewest requests, room or not.
    pub(super) fn share(&self) -> Option<(SendRequest<Bytes>, Lease)> {
        let mut open = lock(&self.open);
        open.iter_mut().min_by_key(|link| link.streams()).map(|link| link.lease(Instant::now()))
    }

    /// Adds a connection and takes the first place on it.
    pub(super) fn add(&self, mut link: Link) -> (SendRequest<Bytes>, Lease) {
        let leased = link.lease(Instant::now());
        lock(&self.open).push(link);
        leased
    }

    pub(super) fn failures(&self) -> u64 {
        lock(&self.failed).times
    }

    pub(super) fn note_failure(&self, error: &UpstreamError) {
        let mut failed = lock(&self.failed);
        failed.times += 1;
        failed.last = Some(error.clone());
    }

    /// The last failure, if there was one since there had been this many.
    pub(super) fn failed_since(&self, times: u64) -> Option<UpstreamError> {
        let failed = lock(&self.failed);
        if failed.times == times { None } else { failed.last.clone() }
    }

    /// Closes those that have been idle for too long or take no more requests.
    pub(crate) fn close_idle(&self, settings: &UpstreamSettings) {
        let mut open = lock(&self.open);
        let now = if open.is_empty() { return } else { Instant::now() };
        open.retain(|link| link.is_usable(settings, now));
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.open).iter().filter(|link| !link.state.leaving.load(Ordering::Relaxed)).count()
    }
}

impl Link {
    /// Begins HTTP/2 on a new connection and drives it in a task, which ends with the connection. `settled` waits for
    /// what the peer says that it can do.
    pub(super) async fn open(
        socket: Socket,
        settings: &UpstreamSettings,
        settled: bool,
        counted: Option<(Open, Permit)>,
    ) -> Result<Self, h2::Error> {
        let streams = settings.max_streams.get();
        let (sender, mut connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            // Clients that read slowly leave the others their share.
            .initial_connection_window_size(STREAM_WINDOW.saturating_mul(streams).min(MAX_WINDOW))
            .max_header_list_size(u32::try_from(settings.head_limit()).unwrap_or(u32::MAX))
            .max_send_buffer_size(SEND_BUFFER)
            .max_concurrent_reset_streams(CANCELLED)
            .reset_stream_duration(CANCELLED_FOR)
            // The count, of frames for streams that have ended, never falls: clients that cancel would close the
            // connection for all others by it. It protects from hostile peers, which a service is not.
            .max_local_error_reset_streams(None)
            .handshake::<_, Bytes>(socket)
            .await?;
        let state = Arc::new(State::default());
        let mut pings = connection.ping_pong();
        if let Some(pings) = pings.as_mut().filter(|_| settled) {
            // Its settings come before its answer to anything. One that answers no ping is found out as any other is.
            let answered = timeout(*settings.connect_timeout, pings.ping(Ping::opaque()));
            tokio::select! {
                ended = &mut connection => return Err(ended.err().unwrap_or_else(|| Reason::NO_ERROR.into())),
                _ = answered => {}
            }
        }
        tokio::spawn(drive(connection, pings, state.clone(), *settings.ping_interval, counted));
        let now = Instant::now();
        Ok(Self { sender, state, opened: now, requests: 0, last_used: now })
    }

    fn streams(&self) -> usize {
        self.state.streams.load(Ordering::Relaxed)
    }

    fn is_usable(&self, settings: &UpstreamSettings, now: Instant) -> bool {
        let idle = self.streams() == 0 && now.duration_since(self.last_used) > *settings.idle_timeout;
        let worn = settings.is_worn(|| now.duration_since(self.opened), self.requests);
        !idle && !worn && !self.state.leaving.load(Ordering::Relaxed)
    }

    fn has_room(&self, settings: &UpstreamSettings) -> bool {
        let ours = settings.max_streams.get() as usize;
        // A peer that allows none for the moment lets one wait rather than have connection after connection opened.
        self.streams() < self.sender.current_max_send_streams().clamp(1, ours)
    }

    fn lease(&mut self, now: Instant) -> (SendRequest<Bytes>, Lease) {
        self.state.streams.fetch_add(1, Ordering::Relaxed);
        self.state.asked.store(true, Ordering::Relaxed);
        let reused = self.requests > 0;
        self.requests = self.requests.saturating_add(1);
        self.last_used = now;
        (self.sender.clone(), Lease { state: self.state.clone(), reused })
    }
}

async fn drive(
    connection: Connection<Socket, Bytes>,
    pings: Option<PingPong>,
    state: Arc<State>,
    interval: Duration,
    _counted: Option<(Open, Permit)>,
) {
    tokio::select! {
        // Its end is told to every stream that is left.
        _ = connection => {}
        () = unanswered(pings, &state, interval) => {}
    }
    state.leaving.store(true, Ordering::Relaxed);
}

/// Ends when a connection in use has not answered a ping within an interval. One is sent when something was heard since
/// the last one, once more for a request of which nothing is heard, and then no more often than any peer bears.
async fn unanswered(pings: Option<PingPong>, state: &State, interval: Duration) {
    let Some(mut pings) = pings.filter(|_| !interval.is_zero()) else {
        return std::future::pending().await;
    };
    let (mut last, mut asked_in_vain) = (Instant::now(), false);
    loop {
        sleep(interval).await;
        if state.streams.load(Ordering::Relaxed) == 0 {
            continue;
        }
        let asked = state.asked.swap(false, Ordering::Relaxed);
        if state.heard.swap(false, Ordering::Relaxed) {
            asked_in_vain = false;
        } else if asked && !asked_in_vain {
            asked_in_vain = true;
        } else if last.elapsed() < QUIET {
            continue;
        }
        last = Instant::now();
        if timeout(interval, pings.ping(Ping::opaque())).await.is_err() {
            return;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    /// A peer that answers pings and says nothing else; gives when they came.
    async fn answer_pings(mut io: DuplexStream, asked: tokio::sync::mpsc::UnboundedSender<Instant>) {
        const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let mut preface = [0; 24];
        io.read_exact(&mut preface).await.unwrap();
        io.write_all(&SETTINGS).await.unwrap();
        let mut head = [0; 9];
        while io.read_exact(&mut head).await.is_ok() {
            let mut payload = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
            io.read_exact(&mut payload).await.unwrap();
            if head[3] == 6 {
                asked.send(Instant::now()).unwrap();
                head[4] = 1;
                io.write_all(&[&head[..], &payload].concat()).await.unwrap();
            }
        }
    }

    /// When pings came within an hour in which this is done every 10 s.
    async fn pings_while(does: impl Fn(&State)) -> Vec<Instant> {
        let (ours, theirs) = tokio::io::duplex(4096);
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(answer_pings(theirs, tell));
        let (_sender, mut connection) = h2::client::handshake(ours).await.unwrap();
        let pings = connection.ping_pong();
        tokio::spawn(connection);
        let state = State { streams: AtomicUsize::new(1), ..State::default() };
        let doing = async {
            for _ in 0..360 {
                does(&state);
                sleep(Duration::from_secs(10)).await;
            }
        };
        tokio::select! {
            () = unanswered(pings, &state, Duration::from_secs(20)) => panic!("a ping was not answered"),
            () = doing => {}
        }
        std::iter::from_fn(|| told.try_recv().ok()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_with_nothing_to_say_is_asked_no_more_often_than_grpc_servers_bear() {
        let asks = |state: &State| state.asked.store(true, Ordering::Relaxed);
        for pings in [pings_while(|_| {}).await, pings_while(asks).await] {
            // As grpc-go counts, at its worst: the first one not let off.
            let too_soon = |pair: &&[Instant]| pair[1] - pair[0] < Duration::from_secs(300);
            let strikes = pings.windows(2).filter(too_soon).count();
            assert!(strikes <= 2 && pings.len() >= 9, "{strikes} strikes of {} pings", pings.len());
        }
        let heard = |state: &State| state.heard.store(true, Ordering::Relaxed);
        assert!(pings_while(heard).await.len() > 150, "one that is in use is asked all the time");
    }
}
