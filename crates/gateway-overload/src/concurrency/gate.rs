//! Who may come in: slots, and guards that give them back.

use super::ConcurrencyKey;
use super::codel::CodelSettings;
use super::lines::{Joined, Lines};
use super::settings::ConcurrencySettings;
use super::table::{MAX_COUNT, Table, Taken};
use crate::settings::{OverloadError, within};
use gateway_core::Mode;
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

/// All slots of one limit.
#[derive(Debug)]
pub(crate) struct Gate {
    max: u32,
    patience: Duration,
    slots: Slots,
}

#[derive(Debug)]
enum Slots {
    /// Of all requests together, nobody waits.
    One(AtomicU32),
    /// Of each key, nobody waits.
    Table(Table),
    /// Some wait.
    Lines(Lines),
}

pub(crate) enum Entry {
    In(Slot),
    Wait(Pin<Box<Wait>>),
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// All slots are taken and nobody may wait, or no more may.
    Full,
    /// It waited for too long.
    TooLate,
    /// More keys than can be counted.
    NoRoom,
}

impl Gate {
    pub(crate) fn new(settings: &ConcurrencySettings) -> Result<Self, OverloadError> {
        let max = within("max", settings.max, 1..=MAX_COUNT, "1 to 1000000")?;
        within("max_keys", settings.max_keys, 1..=1_000_000, "1 to 1000000")?;
        let keyed = settings.key != ConcurrencyKey::All;
        let waiting = if settings.mode == Mode::Report { 0 } else { settings.queue.length };
        let slots = match (waiting, keyed) {
            (0, false) => Slots::One(AtomicU32::new(0)),
            (0, true) => Slots::Table(Table::new(settings.max_keys)),
            (length, _) => {
                if settings.queue.timeout.is_zero() {
                    let (key, found) = ("queue.timeout", settings.queue.timeout.to_string());
                    return Err(OverloadError::Range { key, found, expected: "more than 0s" });
                }
                let codel = settings.queue.codel.on().copied();
                Slots::Lines(Lines::new(keyed, length, codel.map(CodelSettings::checked).transpose()?))
            }
        };
        Ok(Self { max, patience: settings.queue.timeout.0, slots })
    }

    pub(crate) fn max(&self) -> u32 {
        self.max
    }

    pub(crate) fn enter(self: &Arc<Self>, key: u64) -> Entry {
        let slot = |place| Entry::In(Slot { gate: Some(self.clone()), place });
        match &self.slots {
            Slots::One(taken) if take_one(taken, self.max) => slot(0),
            Slots::One(_) => Entry::Refused(Refusal::Full),
            Slots::Table(table) => match table.take(key, self.max) {
                Taken::At(cell) => slot(cell as u64),
                Taken::Full => Entry::Refused(Refusal::Full),
                Taken::NoRoom => Entry::Refused(Refusal::NoRoom),
            },
            Slots::Lines(lines) => match lines.join(key, self.max) {
                Joined::Taken => slot(key),
                Joined::Full => Entry::Refused(Refusal::Full),
                Joined::Waits(number, turn) => {
                    let ticket = Ticket { gate: self.clone(), key, number };
                    Entry::Wait(Box::pin(Wait { turn, timeout: sleep(self.patience), ticket: Some(ticket) }))
                }
            },
        }
    }

    /// How many are in progress, and how many wait.
    pub(crate) fn sums(&self) -> (u64, u64) {
        match &self.slots {
            Slots::One(taken) => (taken.load(Ordering::Relaxed).into(), 0),
            Slots::Table(table) => (table.sum(), 0),
            Slots::Lines(lines) => lines.sums(),
        }
    }
}

/// Counts one more, unless there are `max` already.
pub(crate) fn take_one(taken: &AtomicU32, max: u32) -> bool {
    let more = |taken| (taken < max).then_some(taken + 1);
    taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

/// A place among those in progress, given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    /// `None` once it is given back.
    gate: Option<Arc<Gate>>,
    /// The cell in the table, or the key of the line.
    place: u64,
}

impl Slot {
    /// It is given back already.
    pub(crate) fn forget(mut self) {
        self.gate = None;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(gate) = self.gate.take() else { return };
        match &gate.slots {
            Slots::One(taken) => {
                taken.fetch_sub(1, Ordering::Relaxed);
            }
            Slots::Table(table) => table.give_back(self.place as usize),
            Slots::Lines(lines) => {
                let handed_on = Slot { gate: Some(gate.clone()), place: self.place };
                lines.leave(self.place, handed_on);
            }
        }
    }
}

pin_project! {
    /// Waits for a slot. Dropped, it leaves the line; a slot that comes at the same moment goes to the next.
    pub(crate) struct Wait {
        turn: oneshot::Receiver<Slot>,
        #[pin]
        timeout: Sleep,
        ticket: Option<Ticket>,
    }
}

struct Ticket {
    gate: Arc<Gate>,
    key: u64,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Slots::Lines(lines) = &self.gate.slots {
            lines.give_up(self.key, self.number);
        }
    }
}

impl Future for Wait {
    /// The slot, if it came in time.
    type Output = Option<Slot>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Slot>> {
        let this = self.project();
        if let Poll::Ready(slot) = Pin::new(this.turn).poll(cx) {
            return Poll::Ready(slot.ok());
        }
        this.timeout.poll(cx).map(|()| None)
    }
}
