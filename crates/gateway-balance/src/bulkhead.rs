//! A service that answers nobody keeps no more than some clients waiting.

use crate::circuit::{End, Sum, Window};
use crate::retry::Verdict;
use gateway_core::units::{Scalar, ShortForm};
use gateway_core::{Mode, Priority};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// How many requests wait for the head of their answer at once, once most of them come to nothing. Short form: the
/// number, or `false`.
///
/// A service that answers is not limited by this, however slow it is, and whatever it answers. It is once half or more of
/// the requests that ended in 10 s, 20 at least, had no answer: none in time, no connection, or a broken one. Then those
/// above the number are refused at once, with 503 `overloaded`, in place of waiting for the same end: the service has
/// room to recover, and the gateway's other services have theirs. It is over when more than half are
/// answered again, after 10 s at the earliest.
///
/// The last tenth is kept for requests with [`Priority::Critical`], the last quarter from those with
/// [`Priority::Sheddable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BulkheadSettings {
    /// How many requests of the service, of all workers together; 0 means any number. Default 1000 (Envoy allows 1024,
    /// always).
    pub max_waiting: u32,
    /// `enforce`, or `report` to refuse nobody and only say so. Default `enforce`.
    pub mode: Mode,
}

impl Default for BulkheadSettings {
    fn default() -> Self {
        Self { max_waiting: 1000, mode: Mode::Enforce }
    }
}

impl ShortForm for BulkheadSettings {
    const EXPECTED: &'static str = "a number of requests, false, or a table";
    const TYPE: &'static str = "integer";
    const ALSO: &'static [&'static str] = &["boolean"];
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        let max_waiting = match value {
            Scalar::Switch(true) => return Some(Ok(Self::default())),
            Scalar::Switch(false) => 0,
            Scalar::Number(number) => match u32::try_from(number) {
                Ok(number) => number,
                Err(_) => return Some(Err(format!("`{number}` is no number of requests"))),
            },
            Scalar::Text(_) => return None,
        };
        Some(Ok(Self { max_waiting, ..Self::default() }))
    }
}

/// How far back is looked, in milliseconds; and how long it stays closed after the last failure that says so.
const WINDOW: u64 = 10_000;
/// Fewer requests say nothing.
const ENOUGH: u32 = 20;

/// One service's. While nothing fails, a request reads one number that nobody writes, and that is all.
#[derive(Debug)]
pub(crate) struct Bulkhead {
    settings: BulkheadSettings,
    ends: Window,
    /// Until when ends, and who waits, are counted; 0 while all is well. Times are those of the set's clock.
    watched_until: AtomicU64,
    /// Since when.
    watched_from: AtomicU64,
    /// Until when it is closed at the least; 0 where it is not.
    closed_until: AtomicU64,
    waiting: AtomicU32,
}

/// What has changed, to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Closed,
    Opened,
}

/// A request that waits for the head of its answer, where those are counted; no longer when dropped.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    bulkhead: &'a Bulkhead,
    /// Whether it would have been refused, if that were not only reported.
    pub(crate) reported: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.bulkhead.waiting.fetch_sub(1, Relaxed);
    }
}

/// As many wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Bulkhead {
    fn new(settings: BulkheadSettings) -> Self {
        Self {
            settings,
            ends: Window::new(WINDOW),
            watched_until: AtomicU64::new(0),
            watched_from: AtomicU64::new(0),
            closed_until: AtomicU64::new(0),
            waiting: AtomicU32::new(0),
        }
    }

    /// One for these settings: `known` itself, where that has them; none for any number.
    pub(crate) fn renewed(known: Option<&Arc<Self>>, settings: BulkheadSettings) -> Option<Arc<Self>> {
        let same = known.filter(|known| known.settings == settings).cloned();
        (settings.max_waiting > 0).then(|| same.unwrap_or_else(|| Arc::new(Self::new(settings))))
    }

    /// Whether nothing has failed for a while.
    pub(crate) fn is_calm(&self) -> bool {
        self.watched_until.load(Relaxed) == 0
    }

    /// Whether only so many may wait.
    fn is_closed(&self) -> bool {
        self.closed_until.load(Relaxed) != 0
    }

    /// Whether it still is, or whoever comes next finds out.
    pub(crate) fn is_stuck(&self, now: u64) -> bool {
        let until = self.closed_until.load(Relaxed);
        until != 0 && (now < until || self.waiting.load(Relaxed) > 0)
    }

    /// Lets a request wait; `None` while all is well, so that nobody counts. What has changed with the time is told to
    /// `tell`.
    pub(crate) fn enter(
        &self,
        now: u64,
        class: impl FnOnce() -> Priority,
        tell: impl FnOnce(Change),
    ) -> Result<Option<Waiting<'_>>, Full> {
        let watched = self.watched_until.load(Relaxed);
        if watched == 0 {
            return Ok(None);
        }
        let before = self.waiting.fetch_add(1, Relaxed);
        let mut waiting = Waiting { bulkhead: self, reported: false };
        // Nobody is left to say how the service does: whoever comes finds out.
        if before == 0 && self.opens(now) {
            tell(Change::Opened);
        }
        if !self.is_closed() {
            if now >= watched {
                // Whoever fails at this moment begins anew.
                let _ = self.watched_until.compare_exchange(watched, 0, Relaxed, Relaxed);
            }
        } else if before >= class().room(self.settings.max_waiting).max(1) {
            if self.settings.mode == Mode::Enforce {
                return Err(Full);
            }
            waiting.reported = true;
        }
        Ok(Some(waiting))
    }

    /// Learns how a request ended, all its attempts taken together.
    pub(crate) fn record(&self, verdict: Verdict, now: u64) -> Option<Change> {
        match verdict {
            Verdict::Unknown => None,
            Verdict::Good | Verdict::ServerError | Verdict::GatewayError => {
                self.ends.add(now, End::Good);
                (self.is_closed() && !fails(self.ends.sum(now)) && self.opens(now)).then_some(Change::Opened)
            }
            Verdict::LocalFailure => {
                if self.watched_until.fetch_max(now + WINDOW, Relaxed) == 0 {
                    self.watched_from.store(now, Relaxed);
                }
                let sum = self.ends.add(now, End::Failed);
                // What went well before was not counted: connections that break at once are no sign yet.
                let seen_all = now >= self.watched_from.load(Relaxed) + WINDOW;
                let closes = seen_all && sum.total >= ENOUGH && fails(sum);
                let before = if closes { self.closed_until.fetch_max(now + WINDOW, Relaxed) } else { now };
                (before == 0).then_some(Change::Closed)
            }
        }
    }

    /// Opens it, if it is closed and its time is over.
    fn opens(&self, now: u64) -> bool {
        let until = self.closed_until.load(Relaxed);
        (1..=now).contains(&until) && self.closed_until.compare_exchange(until, 0, Relaxed, Relaxed).is_ok()
    }
}

/// Whether half of the requests or more have no answer.
fn fails(sum: Sum) -> bool {
    sum.failed * 2 >= sum.total
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::units::Short;

    fn bulkhead(settings: &str) -> Bulkhead {
        Bulkhead::new(serde_json::from_str::<Short<BulkheadSettings>>(settings).unwrap().0)
    }

    fn fail(bulkhead: &Bulkhead, times: usize, now: u64) -> Vec<Change> {
        (0..times).filter_map(|_| bulkhead.record(Verdict::LocalFailure, now)).collect()
    }

    fn enter(bulkhead: &Bulkhead, class: Priority, now: u64) -> Result<Option<Waiting<'_>>, Full> {
        bulkhead.enter(now, || class, |_| {})
    }

    #[test]
    fn nobody_is_counted_or_refused_while_all_is_well() {
        let bulkhead = bulkhead("1");
        let held: Vec<_> = (0..10).map(|_| enter(&bulkhead, Priority::Default, 5).unwrap()).collect();
        assert!(bulkhead.is_calm());
        assert_eq!(bulkhead.waiting.load(Relaxed), 0);
        drop(held);
        assert_eq!(bulkhead.waiting.load(Relaxed), 0);
    }

    #[test]
    fn it_closes_when_half_of_enough_requests_have_no_answer_and_opens_when_they_have() {
        let bulkhead = bulkhead("10");
        assert_eq!(fail(&bulkhead, 1, 1), []);
        assert!(!bulkhead.is_calm());
        assert_eq!(fail(&bulkhead, 18, 9_000), [], "many at once, when nobody has counted what went well");
        let held: Vec<_> = (0..50).map(|_| enter(&bulkhead, Priority::Default, 9_000).unwrap()).collect();
        assert_eq!(fail(&bulkhead, 3, 10_001), [Change::Closed]);
        assert_eq!(enter(&bulkhead, Priority::Critical, 10_002).unwrap_err(), Full);
        drop(held);
        for (class, room) in [(Priority::Critical, 10), (Priority::Default, 9), (Priority::Sheddable, 8)] {
            let held: Vec<_> = (0..room).map(|_| enter(&bulkhead, class, 10_002).unwrap()).collect();
            assert_eq!(enter(&bulkhead, class, 10_002).unwrap_err(), Full, "{class:?}");
            drop(held);
        }
        // Once more is answered than not, nothing keeps it closed for longer.
        (0..30).for_each(|_| assert_eq!(bulkhead.record(Verdict::ServerError, 10_003), None));
        assert_eq!(fail(&bulkhead, 1, 19_000), []);
        assert_eq!(bulkhead.record(Verdict::Good, 20_000), None);
        assert!(bulkhead.is_closed());
        assert_eq!(bulkhead.record(Verdict::Good, 20_001), Some(Change::Opened));
        assert!(!bulkhead.is_closed() && !bulkhead.is_calm(), "there was a failure just now");
        drop(enter(&bulkhead, Priority::Default, 29_000));
        assert!(bulkhead.is_calm());
        assert_eq!(bulkhead.waiting.load(Relaxed), 0);
    }

    #[test]
    fn it_stays_closed_for_as_long_as_those_who_wait_know_nothing() {
        let bulkhead = bulkhead("10");
        fail(&bulkhead, 20, 1);
        assert_eq!(fail(&bulkhead, 20, 10_001), [Change::Closed]);
        let held = [(); 9].map(|()| enter(&bulkhead, Priority::Default, 10_002).unwrap());
        assert_eq!(enter(&bulkhead, Priority::Default, 60_000).unwrap_err(), Full);
        assert!(bulkhead.is_stuck(60_000));
        drop(held);
        assert!(!bulkhead.is_stuck(60_000), "nobody waits");
        let mut told = None;
        assert!(bulkhead.enter(60_000, || Priority::Default, |change| told = Some(change)).is_ok());
        assert_eq!(told, Some(Change::Opened));
        assert!(!bulkhead.is_closed());
    }

    #[test]
    fn what_says_nothing_of_the_service_counts_as_nothing() {
        let bulkhead = bulkhead("10");
        (0..100).for_each(|_| assert_eq!(bulkhead.record(Verdict::Unknown, 1), None));
        assert!(bulkhead.is_calm());
    }

    #[test]
    fn in_report_mode_all_wait_and_it_is_said() {
        let bulkhead = bulkhead(r#"{"max_waiting": 1, "mode": "report"}"#);
        assert_eq!(fail(&bulkhead, 20, 1), []);
        assert_eq!(fail(&bulkhead, 20, 10_001), [Change::Closed]);
        let waiting = [(); 3].map(|()| enter(&bulkhead, Priority::Default, 10_002).unwrap().unwrap());
        assert_eq!(waiting.each_ref().map(|waiting| waiting.reported), [false, true, true]);
    }

    #[test]
    fn a_number_or_false_is_enough_and_mistakes_are_named() {
        let read =
            |text: &str| serde_json::from_str::<Short<BulkheadSettings>>(text).map_err(|e| e.to_string());
        assert_eq!(read("7").unwrap().max_waiting, 7);
        assert_eq!(read("false").unwrap().max_waiting, 0);
        assert_eq!(read("true").unwrap().0, BulkheadSettings::default());
        assert!(Bulkhead::renewed(None, read("false").unwrap().0).is_none());
        for (text, part) in [
            ("-1", "-1"),
            ("\"many\"", "expected a number of requests"),
            (r#"{"max": 7}"#, "unknown field `max`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
