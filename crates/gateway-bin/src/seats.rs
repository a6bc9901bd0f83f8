//! How connections are spread over the workers: a new one goes to the worker that has the fewest.
//!
//! The kernel picks a worker by a hash of the connection's addresses, which is even only for many connections. A handful
//! of busy ones (HTTP/2 clients, another proxy, WebSockets) may all meet at one worker while the others idle, for as
//! long as they live. So a worker that has accepted one hands it on where another has fewer, as HAProxy's threads do and
//! Envoy's `exact_balance`. That costs a system call or two once, and no request anything.

use crate::doorway::{Doorway, Inside};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Where there are many connections, a difference of this part of them is left: it evens out by itself, while a
/// connection handed on costs at once.
const TOLERANCE: usize = 16;

/// All workers, and how many connections each has.
#[derive(Clone, Debug)]
pub(crate) struct Seats {
    each: Arc<[Seat]>,
    doorway: Doorway,
}

#[derive(Debug)]
struct Seat {
    taken: AtomicUsize,
    none_taken: Notify,
    handed: UnboundedSender<Handed>,
}

/// A connection that another worker has accepted. It has its seat already.
pub(crate) struct Handed {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) seat: Taken,
}

/// One worker's place among the others.
pub(crate) struct Place {
    seats: Seats,
    number: usize,
    handed: UnboundedReceiver<Handed>,
}

/// A connection's seat; free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    _seat: AtWorker,
    inside: Inside,
}

#[derive(Debug)]
struct AtWorker {
    each: Arc<[Seat]>,
    number: usize,
}

impl Seats {
    /// A place for each worker.
    pub(crate) fn for_workers(workers: usize, doorway: Doorway) -> (Self, Vec<Place>) {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| unbounded_channel()).unzip();
        let seat = |handed| Seat { taken: AtomicUsize::new(0), none_taken: Notify::new(), handed };
        let seats = Self { each: senders.into_iter().map(seat).collect(), doorway };
        let place = |(number, handed)| Place { seats: seats.clone(), number, handed };
        let places = receivers.into_iter().enumerate().map(place).collect();
        (seats, places)
    }

    /// How many connections each worker has.
    pub(crate) fn taken(&self) -> impl Iterator<Item = usize> {
        self.each.iter().map(|seat| seat.taken.load(Ordering::Relaxed))
    }

    /// Where their connections come in.
    pub(crate) fn doorway(&self) -> &Doorway {
        &self.doorway
    }

    fn take(&self, number: usize, inside: Inside) -> Taken {
        self.each[number].taken.fetch_add(1, Ordering::Relaxed);
        Taken { _seat: AtWorker { each: self.each.clone(), number }, inside }
    }
}

impl Drop for AtWorker {
    fn drop(&mut self) {
        let seat = &self.each[self.number];
        if seat.taken.fetch_sub(1, Ordering::Relaxed) == 1 {
            seat.none_taken.notify_one();
        }
    }
}

impl Place {
    /// A seat for a connection that this worker serves.
    pub(crate) fn take(&self, inside: Inside) -> Taken {
        self.seats.take(self.number, inside)
    }

    pub(crate) fn doorway(&self) -> &Doorway {
        self.seats.doorway()
    }

    pub(crate) fn taken(&self) -> usize {
        self.seats.each[self.number].taken.load(Ordering::Relaxed)
    }

    /// Gives a connection that was just accepted to a worker that has fewer. Returns it where there is none, or that
    /// worker takes no more.
    pub(crate) fn hand_on(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        inside: Inside,
    ) -> Option<(TcpStream, Inside)> {
        let Some(number) = elsewhere(self.number, self.seats.taken()) else { return Some((stream, inside)) };
        // Fails only where the poller has lost it: there is nothing left to serve.
        let stream = stream.into_std().ok()?;
        let handed = Handed { stream, peer, seat: self.seats.take(number, inside) };
        match self.seats.each[number].handed.send(handed) {
            Ok(()) => None,
            Err(back) => Some((TcpStream::from_std(back.0.stream).ok()?, back.0.seat.inside)),
        }
    }

    /// The next connection that another worker hands on.
    pub(crate) async fn handed(&mut self) -> Option<Handed> {
        self.handed.recv().await
    }

    /// From now on none is handed on to this worker; returns one that was before.
    pub(crate) async fn last_handed(&mut self) -> Option<Handed> {
        self.handed.close();
        self.handed.recv().await
    }

    /// Waits until this worker has no connection.
    pub(crate) async fn none_taken(&self) {
        while self.taken() > 0 {
            self.seats.each[self.number].none_taken.notified().await;
        }
    }
}

/// Where a connection that came to worker `here` has better company: with the worker that has the fewest.
fn elsewhere(here: usize, taken: impl Iterator<Item = usize>) -> Option<usize> {
    let (mut mine, mut least) = (0, (usize::MAX, here));
    for (number, taken) in taken.enumerate() {
        if number == here {
            mine = taken;
        } else if taken < least.0 {
            least = (taken, number);
        }
    }
    (least.0 < mine - mine / TOLERANCE).then_some(least.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_worker_keeps_all() {
        assert_eq!(elsewhere(0, [7].into_iter()), None);
    }

    #[test]
    fn a_connection_goes_to_who_has_fewest_but_stays_where_that_changes_nothing() {
        assert_eq!(elsewhere(0, [2, 1, 0].into_iter()), Some(2));
        assert_eq!(elsewhere(2, [1, 1, 1].into_iter()), None);
        assert_eq!(elsewhere(1, [3, 1, 2].into_iter()), None);
        // One more or less of a thousand is not worth a step.
        assert_eq!(elsewhere(0, [1000, 990].into_iter()), None);
        assert_eq!(elsewhere(0, [1000, 900].into_iter()), Some(1));
    }

    #[tokio::test]
    async fn a_worker_that_has_ended_is_handed_nothing() {
        let doorway = Doorway::new(9);
        let enter = || doorway.enter().unwrap();
        let (seats, mut places) = Seats::for_workers(2, doorway.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _seat = places[0].take(enter());
        let connect = async || {
            let (_, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
            accepted.unwrap()
        };
        let (stream, peer) = connect().await;
        assert!(places[0].hand_on(stream, peer, enter()).is_none());
        assert_eq!(seats.taken().collect::<Vec<_>>(), [1, 1]);
        let last = places[1].last_handed().await.unwrap();
        assert!(places[1].last_handed().await.is_none());
        drop(last);
        places[1].none_taken().await;
        let (stream, peer) = connect().await;
        assert!(places[0].hand_on(stream, peer, enter()).is_some());
        assert_eq!(seats.taken().collect::<Vec<_>>(), [1, 0]);
    }

    proptest! {
        #[test]
        fn long_lived_connections_are_even_wherever_the_kernel_put_them(
            workers in 1..9_usize,
            arrivals in prop::collection::vec(any::<prop::sample::Index>(), 0..100),
        ) {
            let mut taken = vec![0; workers];
            for arrival in &arrivals {
                let here = arrival.index(workers);
                let there = elsewhere(here, taken.iter().copied()).unwrap_or(here);
                taken[there] += 1;
            }
            let (least, most) = (taken.iter().min().unwrap(), taken.iter().max().unwrap());
            prop_assert!(most - least <= 1 + most / TOLERANCE, "{taken:?}");
        }
    }
}
