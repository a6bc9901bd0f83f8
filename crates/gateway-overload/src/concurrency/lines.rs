//! Counts by key with a queue for each: first come, first served, unless the queue only stands.

use super::codel::{CodelSettings, Delay, Turn};
use super::gate::Slot;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Enough that workers rarely meet.
const SHARDS: usize = 64;

/// The lines of all keys with requests in progress. A lock is held for as long as it takes to change one line.
#[derive(Debug)]
pub(crate) struct Lines {
    shards: Box<[Mutex<Shard>]>,
    max_waiting: u32,
    codel: Option<CodelSettings>,
}

#[derive(Debug, Default)]
struct Shard {
    lines: HashMap<u64, Line>,
    next_ticket: u64,
}

#[derive(Debug, Default)]
struct Line {
    taken: u32,
    waiting: VecDeque<Waiter>,
    delay: Delay,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    turn: oneshot::Sender<Slot>,
    /// Only where anybody asks.
    since: Option<Instant>,
}

impl Line {
    /// Takes out whose turn it is, and who has waited for too long.
    fn next(&mut self, codel: Option<&CodelSettings>) -> Option<(Waiter, Vec<Waiter>)> {
        let first = self.waiting.front()?;
        let turn = match (codel, first.since) {
            (Some(codel), Some(since)) => {
                let now = Instant::now();
                (self.delay.turn(codel, now.duration_since(since), now), now)
            }
            _ => return self.waiting.pop_front().map(|next| (next, Vec::new())),
        };
        match turn {
            (Turn::Oldest, _) => self.waiting.pop_front().map(|next| (next, Vec::new())),
            (Turn::Newest { too_long }, now) => {
                let next = self.waiting.pop_back()?;
                let is_late = |waiter: &Waiter| waiter.since.is_some_and(|since| now - since > too_long);
                let late = self.waiting.partition_point(is_late);
                Some((next, self.waiting.drain(..late).collect()))
            }
        }
    }
}

#[derive(Debug)]
pub(crate) enum Joined {
    /// A slot was free.
    Taken,
    /// The slot comes through the receiver; who stops waiting says so with the ticket.
    Waits(u64, oneshot::Receiver<Slot>),
    /// No slot is free, and the line is as long as it may be.
    Full,
}

impl Lines {
    pub(crate) fn new(keyed: bool, max_waiting: u32, codel: Option<CodelSettings>) -> Self {
        let shards = if keyed { SHARDS } else { 1 };
        Self { shards: (0..shards).map(|_| Mutex::default()).collect(), max_waiting, codel }
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        self.shards[key as usize % self.shards.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn join(&self, key: u64, max: u32) -> Joined {
        let mut shard = self.shard(key);
        let ticket = shard.next_ticket;
        let line = shard.lines.entry(key).or_default();
        // A slot that becomes free goes to who waits first, so that nobody can come between.
        if line.taken < max {
            line.taken += 1;
            return Joined::Taken;
        }
        if line.waiting.len() >= self.max_waiting as usize {
            return Joined::Full;
        }
        let (turn, slot) = oneshot::channel();
        let since = self.codel.map(|_| Instant::now());
        line.waiting.push_back(Waiter { ticket, turn, since });
        shard.next_ticket += 1;
        Joined::Waits(ticket, slot)
    }

    /// Gives the slot to the next in line, or back, and tells those who wait in vain by dropping their turns. Nobody is
    /// woken under the lock.
    pub(crate) fn leave(&self, key: u64, mut slot: Slot) {
        loop {
            let (next, late) = {
                let mut shard = self.shard(key);
                let Some(line) = shard.lines.get_mut(&key) else { return slot.forget() };
                if let Some(next) = line.next(self.codel.as_ref()) {
                    next
                } else {
                    line.taken -= 1;
                    if line.taken == 0 {
                        shard.lines.remove(&key);
                    }
                    return slot.forget();
                }
            };
            drop(late);
            match next.turn.send(slot) {
                Ok(()) => return,
                // It is gone; the next, then.
                Err(back) => slot = back,
            }
        }
    }

    /// No longer waits.
    pub(crate) fn give_up(&self, key: u64, ticket: u64) {
        let mut shard = self.shard(key);
        if let Some(line) = shard.lines.get_mut(&key) {
            // Tickets stand in order.
            if let Ok(at) = line.waiting.binary_search_by_key(&ticket, |waiter| waiter.ticket) {
                line.waiting.remove(at);
            }
        }
    }

    /// How many are in progress, and how many wait.
    pub(crate) fn sums(&self) -> (u64, u64) {
        let mut sums = (0, 0);
        for shard in &self.shards {
            for line in shard.lock().unwrap_or_else(PoisonError::into_inner).lines.values() {
                sums.0 += u64::from(line.taken);
                sums.1 += line.waiting.len() as u64;
            }
        }
        sums
    }
}
