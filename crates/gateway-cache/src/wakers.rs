use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// Tasks that wait for the same thing, each in a seat of its own, so that many can wait and leave again.
#[derive(Debug, Default)]
pub(crate) struct Wakers(Mutex<Seats>);

#[derive(Debug, Default)]
struct Seats {
    seats: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// Where a task waits; nowhere at first.
#[derive(Debug, Default)]
pub(crate) struct Seat(Option<usize>);

impl Wakers {
    /// Wakes this task the next time.
    pub(crate) fn register(&self, seat: &mut Seat, waker: &Waker) {
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = *seat.0.get_or_insert_with(|| {
            seats.free.pop().unwrap_or_else(|| {
                seats.seats.push(None);
                seats.seats.len() - 1
            })
        });
        match &mut seats.seats[index] {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Gives a seat back.
    pub(crate) fn leave(&self, seat: &mut Seat) {
        if let Some(index) = seat.0.take() {
            let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            seats.seats[index] = None;
            seats.free.push(index);
        }
    }

    /// Wakes all.
    pub(crate) fn wake(&self) {
        let wakers: Vec<Waker> = {
            let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            seats.seats.iter_mut().filter_map(Option::take).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}
