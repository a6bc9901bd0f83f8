//! A service that answers nobody keeps no more than some clients waiting.

use crate::circuit::{End, Sum, Window};
use crate::retry::Verdict;
use gateway_core::units::{Scalar, ShortForm};
use gateway_core::{Mode, Priority, Slot};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, AtomicUsize};

/// How many requests wait for the head of their answer at once, from when most of them come to nothing. Short form: the
/// number, or `false`.
///
/// A service that answers is not limited by this, however slow it is, and whatever it answers. It is stuck once half or
/// more of the requests that ended within 10 s, 20 at least, had no answer: none in time, no connection, or a broken one.
/// Then those above the number are refused at once, with 503 `overloaded`, in place of waiting for the same end: the
/// service has room to recover, and the gateway's other services have theirs. One a second passes all the same, to see
/// how it does. It is over when more than half are answered again, after 10 s at the earliest.
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

/// How far back is looked, in milliseconds; and how long a service is taken for stuck after the last failure that says so.
const WINDOW: u64 = 10_000;
/// Fewer requests say nothing.
const ENOUGH: u32 = 20;
/// So often, in milliseconds, one more is let in: those who wait may know nothing for long, as one that polls, or one whose
/// client is sending its body.
const PROBE: u64 = 1000;

/// One service's. While nothing fails, a request reads one number that nobody writes, and that is all.
#[derive(Clone, Debug)]
pub(crate) struct Bulkhead {
    settings: BulkheadSettings,
    state: Arc<State>,
}

/// What lives on where the settings change. Times are those of the set's clock.
#[derive(Debug)]
struct State {
    ends: Window,
    /// Until when ends, and who waits, are counted; 0 while all is well.
    watched_until: AtomicU64,
    /// Since when.
    watched_from: AtomicU64,
    /// Until when it is stuck at the least; 0 where it is not.
    stuck_until: AtomicU64,
    /// When the last one was let in on top.
    probed: AtomicU64,
    waiting: AtomicUsize,
}

/// What has changed, to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Stuck,
    Well,
}

/// A request that waits for the head of its answer, where those are counted; no longer when dropped.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    _slot: Slot<'a>,
    /// Whether it would have been refused, if that were not only reported.
    pub(crate) reported: bool,
}

/// As many wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Bulkhead {
    /// One for these settings, which knows what the earlier one does; none for any number.
    pub(crate) fn renewed(earlier: Option<&Self>, settings: BulkheadSettings) -> Option<Self> {
        let fresh = || {
            Arc::new(State {
                ends: Window::new(WINDOW),
                watched_until: AtomicU64::new(0),
                watched_from: AtomicU64::new(0),
                stuck_until: AtomicU64::new(0),
                probed: AtomicU64::new(0),
                waiting: AtomicUsize::new(0),
            })
        };
        let state = || earlier.map_or_else(fresh, |earlier| earlier.state.clone());
        (settings.max_waiting > 0).then(|| Self { settings, state: state() })
    }

    /// Whether nothing has failed for a while.
    pub(crate) fn is_calm(&self) -> bool {
        self.state.watched_until.load(Relaxed) == 0
    }

    /// Whether only so many may wait. Where nobody does, whoever comes next finds out.
    pub(crate) fn is_stuck(&self, now: u64) -> bool {
        let until = self.state.stuck_until.load(Relaxed);
        until != 0 && (now < until || self.state.waiting.load(Relaxed) > 0)
    }

    /// Lets a request wait; `None` while all is well, so that nobody counts. What has changed with the time is told to
    /// `tell`.
    pub(crate) fn enter(
        &self,
        now: u64,
        class: impl FnOnce() -> Priority,
        tell: impl FnOnce(Change),
    ) -> Result<Option<Waiting<'_>>, Full> {
        let state = &*self.state;
        let watched = state.watched_until.load(Acquire);
        if watched == 0 {
            return Ok(None);
        }
        // Nobody is left to say how the service does: whoever comes finds out.
        if state.waiting.load(Relaxed) == 0 && state.is_over(now) {
            tell(Change::Well);
        }
        let stuck = state.stuck_until.load(Relaxed) != 0;
        if !stuck && now >= watched {
            // Whoever fails at this moment begins anew.
            let _ = state.watched_until.compare_exchange(watched, 0, Relaxed, Relaxed);
        }
        let any = usize::MAX;
        let room = if stuck { class().room(self.settings.max_waiting).max(1) as usize } else { any };
        let slot = Slot::take(&state.waiting, room);
        let full = slot.is_none() && !state.probes(now);
        if full && self.settings.mode == Mode::Enforce {
            return Err(Full);
        }
        let slot = slot.or_else(|| Slot::take(&state.waiting, any));
        Ok(slot.map(|slot| Waiting { _slot: slot, reported: full }))
    }

    /// Learns how a request ended, all its attempts taken together.
    pub(crate) fn record(&self, verdict: Verdict, now: u64) -> Option<Change> {
        let state = &*self.state;
        match verdict {
            Verdict::Unknown => None,
            Verdict::Good | Verdict::ServerError | Verdict::GatewayError => {
                state.ends.add(now, End::Good);
                let stuck = state.stuck_until.load(Relaxed) != 0;
                (stuck && !fails(state.ends.sum(now)) && state.is_over(now)).then_some(Change::Well)
            }
            Verdict::LocalFailure => {
                if state.watched_until.load(Acquire) == 0 {
                    state.watched_from.store(now, Relaxed);
                }
                state.watched_until.fetch_max(now + WINDOW, Release);
                let sum = state.ends.add(now, End::Failed);
                // What went well before was not counted: connections that break at once are no sign yet.
                let seen_all = now >= state.watched_from.load(Relaxed) + WINDOW;
                let stuck = seen_all && sum.total >= ENOUGH && fails(sum);
                let before = if stuck { state.stuck_until.fetch_max(now + WINDOW, Relaxed) } else { now };
                (before == 0).then_some(Change::Stuck)
            }
        }
    }
}

impl State {
    /// Ends it, if it is stuck and its time is over.
    fn is_over(&self, now: u64) -> bool {
        let until = self.stuck_until.load(Relaxed);
        (1..=now).contains(&until) && self.stuck_until.compare_exchange(until, 0, Relaxed, Relaxed).is_ok()
    }

    /// Whether it is time to let one in on top, which is then this one.
    fn probes(&self, now: u64) -> bool {
        let last = self.probed.load(Relaxed);
        now >= last + PROBE && self.probed.compare_exchange(last, now, Relaxed, Relaxed).is_ok()
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
        let settings = serde_json::from_str::<Short<BulkheadSettings>>(settings).unwrap().0;
        Bulkhead::renewed(None, settings).unwrap()
    }

    fn fail(bulkhead: &Bulkhead, times: usize, now: u64) -> Vec<Change> {
        (0..times).filter_map(|_| bulkhead.record(Verdict::LocalFailure, now)).collect()
    }

    /// One that is stuck since 10,001, and has just let one in on top.
    fn stuck(settings: &str) -> Bulkhead {
        let bulkhead = bulkhead(settings);
        assert_eq!(fail(&bulkhead, 20, 1), [], "many at once, when nobody has counted what went well");
        assert_eq!(fail(&bulkhead, 20, 10_001), [Change::Stuck]);
        assert!(bulkhead.state.probes(10_001));
        bulkhead
    }

    fn enter(bulkhead: &Bulkhead, class: Priority, now: u64) -> Result<Option<Waiting<'_>>, Full> {
        bulkhead.enter(now, || class, |_| {})
    }

    fn waiting(bulkhead: &Bulkhead) -> usize {
        bulkhead.state.waiting.load(Relaxed)
    }

    #[test]
    fn nobody_is_counted_or_refused_while_all_is_well() {
        let bulkhead = bulkhead("1");
        let held: Vec<_> = (0..10).map(|_| enter(&bulkhead, Priority::Default, 5).unwrap()).collect();
        assert!(bulkhead.is_calm());
        assert_eq!(waiting(&bulkhead), 0);
        drop(held);
        assert_eq!(waiting(&bulkhead), 0);
    }

    #[test]
    fn so_many_wait_once_half_have_no_answer_until_more_have_one() {
        let bulkhead = stuck("10");
        for (class, room) in [(Priority::Critical, 10), (Priority::Default, 9), (Priority::Sheddable, 8)] {
            let held: Vec<_> = (0..room).map(|_| enter(&bulkhead, class, 10_002).unwrap()).collect();
            assert_eq!(enter(&bulkhead, class, 10_002).unwrap_err(), Full, "{class:?}");
            drop(held);
        }
        // Once more is answered than not, nothing prolongs it.
        (0..30).for_each(|_| assert_eq!(bulkhead.record(Verdict::ServerError, 10_003), None));
        assert_eq!(fail(&bulkhead, 1, 19_000), []);
        assert_eq!(bulkhead.record(Verdict::Good, 20_000), None);
        assert!(bulkhead.is_stuck(20_000));
        assert_eq!(bulkhead.record(Verdict::Good, 20_001), Some(Change::Well));
        assert!(!bulkhead.is_stuck(20_001) && !bulkhead.is_calm(), "there was a failure just now");
        drop(enter(&bulkhead, Priority::Default, 29_000));
        assert!(bulkhead.is_calm());
        assert_eq!(waiting(&bulkhead), 0);
    }

    #[test]
    fn it_stays_stuck_for_as_long_as_nobody_knows_better_and_one_a_second_finds_out() {
        let bulkhead = stuck("10");
        // They poll, and go on waiting whatever becomes of the service.
        let held = [(); 9].map(|()| enter(&bulkhead, Priority::Default, 10_002).unwrap());
        assert_eq!(enter(&bulkhead, Priority::Default, 11_000).unwrap_err(), Full);
        let probe = enter(&bulkhead, Priority::Default, 20_001).unwrap();
        assert_eq!(enter(&bulkhead, Priority::Default, 20_002).unwrap_err(), Full);
        assert_eq!(bulkhead.record(Verdict::LocalFailure, 20_003), None);
        assert_eq!(bulkhead.record(Verdict::Good, 20_004), None, "as many as not have none");
        assert_eq!(bulkhead.record(Verdict::Good, 20_005), Some(Change::Well));
        assert!((0..20).all(|_| enter(&bulkhead, Priority::Default, 20_006).is_ok()));
        drop((held, probe));
        assert_eq!(waiting(&bulkhead), 0);
    }

    #[test]
    fn where_nobody_waits_whoever_comes_finds_out() {
        let bulkhead = stuck("10");
        let held = enter(&bulkhead, Priority::Default, 10_002).unwrap();
        assert!(bulkhead.is_stuck(60_000));
        drop(held);
        assert!(!bulkhead.is_stuck(60_000));
        let mut told = None;
        assert!(bulkhead.enter(60_000, || Priority::Default, |change| told = Some(change)).is_ok());
        assert_eq!(told, Some(Change::Well));
    }

    #[test]
    fn another_number_holds_for_what_is_known() {
        let before = stuck("10");
        let held = [(); 5].map(|()| enter(&before, Priority::Default, 10_002).unwrap());
        let settings = BulkheadSettings { max_waiting: 5, ..BulkheadSettings::default() };
        let after = Bulkhead::renewed(Some(&before), settings).unwrap();
        assert_eq!(enter(&after, Priority::Default, 10_003).unwrap_err(), Full);
        drop(held);
        assert!(enter(&after, Priority::Default, 10_003).is_ok());
    }

    #[test]
    fn what_says_nothing_of_the_service_counts_as_nothing() {
        let bulkhead = bulkhead("10");
        (0..100).for_each(|_| assert_eq!(bulkhead.record(Verdict::Unknown, 1), None));
        assert!(bulkhead.is_calm());
    }

    #[test]
    fn in_report_mode_all_wait_and_it_is_said() {
        let bulkhead = stuck(r#"{"max_waiting": 1, "mode": "report"}"#);
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
