//! One endpoint of a set and what is known of it, in atomics: requests read it without a lock.

use crate::circuit::{Breaker, CircuitState};
use crate::ewma::Ewma;
use crate::outlier::Streaks;
use crate::plan::View;
use crate::slow_start::FULL;
use crate::{PolicySettings, SlowStartSettings};
use gateway_core::Endpoint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Time as milliseconds since a set was made, plus one: it fits an atomic, and 0 is free for "never".
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn starting_now() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn at(self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.0)) + 1
    }
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2)
}

/// What every request to it reads or writes stands in the first cache line, in this order; that line is nobody else's.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Member {
    pub(crate) in_flight: AtomicUsize,
    pub(crate) breaker: Option<Arc<Breaker>>,
    pub(crate) ewma: Ewma,
    pub(crate) streaks: Streaks,
    /// Whether it passes its active health checks.
    passing: AtomicBool,
    /// Whether that was ever found out.
    checked: AtomicBool,
    /// Whether its return is still to be noticed.
    out: AtomicBool,
    /// Whether it would be ejected, were there anybody to ask in its place; until a request succeeds.
    failing: AtomicBool,
    /// Since when it passes, if it did not always.
    passing_since: AtomicU64,
    ejected_until: AtomicU64,
    ejections: AtomicU64,
    /// How often in a row, for the length of the next ejection.
    times: AtomicU32,
    /// Its priority, and within that whether it is of another zone.
    rank: u64,
    pub(crate) endpoint: Endpoint,
}

impl Member {
    pub(crate) fn new(endpoint: Endpoint, policy: &PolicySettings) -> Self {
        let elsewhere = policy.zone.is_some() && endpoint.zone() != policy.zone.as_deref();
        Self {
            rank: u64::from(endpoint.priority()) * 2 + u64::from(elsewhere),
            endpoint,
            in_flight: AtomicUsize::new(0),
            streaks: Streaks::default(),
            ewma: Ewma::new(&policy.ewma),
            breaker: Breaker::renewed(None, policy.endpoint_circuit.on()),
            passing: AtomicBool::new(true),
            checked: AtomicBool::new(false),
            passing_since: AtomicU64::new(0),
            ejected_until: AtomicU64::new(0),
            out: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            times: AtomicU32::new(0),
            ejections: AtomicU64::new(0),
        }
    }

    /// One that is new among others.
    pub(crate) fn joining(endpoint: Endpoint, policy: &PolicySettings, now: u64) -> Self {
        Self { passing_since: AtomicU64::new(now), ..Self::new(endpoint, policy) }
    }

    /// The same endpoint in a set that takes the place of another, whose clock it has: itself where nothing is said
    /// differently of it, so that requests on their way to it count on; else one that knows what is known of it.
    pub(crate) fn renewed(known: &Arc<Self>, endpoint: Endpoint, policy: &PolicySettings) -> Arc<Self> {
        let breaker = Breaker::renewed(known.breaker.as_ref(), policy.endpoint_circuit.on());
        let new = Self { breaker, ..Self::new(endpoint, policy) };
        let of = |member: &Self| member.breaker.as_ref().map(Arc::as_ptr);
        if new.endpoint == known.endpoint && new.rank == known.rank && of(&new) == of(known) {
            return known.clone();
        }
        new.ewma.learn_from(&known.ewma);
        for (new, known) in [
            (&new.passing, &known.passing),
            (&new.checked, &known.checked),
            (&new.out, &known.out),
            (&new.failing, &known.failing),
        ] {
            new.store(known.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        for (new, known) in [
            (&new.passing_since, &known.passing_since),
            (&new.ejected_until, &known.ejected_until),
            (&new.ejections, &known.ejections),
        ] {
            new.store(known.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        new.times.store(known.times.load(Ordering::Relaxed), Ordering::Relaxed);
        Arc::new(new)
    }

    /// What the last active checks came to, if there were any.
    pub(crate) fn checked(&self) -> Option<bool> {
        self.checked.load(Ordering::Relaxed).then(|| self.passes())
    }

    /// Nobody checks it any more. Returns whether it failed until now.
    pub(crate) fn end_checks(&self) -> bool {
        self.checked.store(false, Ordering::Relaxed);
        !self.passing.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn passes(&self) -> bool {
        self.passing.load(Ordering::Relaxed)
    }

    pub(crate) fn is_ejected(&self, now: u64) -> bool {
        self.ejected_until.load(Ordering::Relaxed) > now
    }

    pub(crate) fn is_available(&self, now: u64) -> bool {
        self.endpoint.weight() > 0 && self.passes() && !self.is_ejected(now) && !self.is_cut_off(now)
    }

    /// Whether its circuit keeps requests from it.
    pub(crate) fn is_cut_off(&self, now: u64) -> bool {
        self.breaker.as_ref().is_some_and(|breaker| breaker.refuses_until(now).is_some())
    }

    pub(crate) fn circuit(&self, now: u64) -> CircuitState {
        self.breaker.as_ref().map_or(CircuitState::Closed, |breaker| breaker.state(now))
    }

    pub(crate) fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    pub(crate) fn count_ejection(&self) {
        self.ejections.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it keeps failing and is asked all the same.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Returns whether that is news. Mostly it is not, and only read.
    pub(crate) fn set_failing(&self, failing: bool) -> bool {
        self.is_failing() != failing && self.failing.swap(failing, Ordering::Relaxed) != failing
    }

    /// Returns whether that is news.
    pub(crate) fn set_passing(&self, passing: bool, now: u64) -> bool {
        self.checked.store(true, Ordering::Relaxed);
        let news = self.passing.swap(passing, Ordering::Relaxed) != passing;
        if news && passing {
            self.passing_since.store(now, Ordering::Relaxed);
        }
        news
    }

    /// Ejects it. `length` says, from how often it was before and for how long it has been well, how often that
    /// now is and how long it takes.
    pub(crate) fn eject(&self, now: u64, length: impl FnOnce(u32, Duration) -> (u32, Duration)) -> Duration {
        let well_for = now.saturating_sub(self.ejected_until.load(Ordering::Relaxed));
        let (times, time) = length(self.times.load(Ordering::Relaxed), Duration::from_millis(well_for));
        self.times.store(times, Ordering::Relaxed);
        self.ejected_until.store(now.saturating_add(millis(time)), Ordering::Relaxed);
        self.out.store(true, Ordering::Relaxed);
        self.failing.store(false, Ordering::Relaxed);
        self.count_ejection();
        time
    }

    /// Whether an ejection has ended since this was last asked.
    pub(crate) fn returns(&self, now: u64) -> bool {
        let returns = !self.is_ejected(now) && self.out.swap(false, Ordering::Relaxed);
        if returns {
            // What was on its way while it was ejected is held against it no more.
            self.streaks.clear();
        }
        returns
    }

    /// What the plan needs to know, and when that changes by itself.
    pub(crate) fn view(&self, now: u64, slow_start: Option<&SlowStartSettings>) -> (View<'_>, u64) {
        let until = self.ejected_until.load(Ordering::Relaxed);
        let back = self.passing_since.load(Ordering::Relaxed).max(until);
        let elapsed = Duration::from_millis(now.saturating_sub(back));
        let (share, step) = match slow_start {
            Some(settings) if back > 0 => (settings.share(elapsed), millis(settings.step())),
            _ => (FULL, 0),
        };
        let open_until = self.breaker.as_ref().and_then(|breaker| breaker.refuses_until(now));
        let view = View {
            name: self.endpoint.name(),
            weight: self.endpoint.weight(),
            priority: self.rank,
            passes: self.passes(),
            ejected: until > now,
            broken: open_until.is_some(),
            share,
        };
        let changes = match (until > now, share < FULL) {
            (true, _) => until,
            (false, true) => now + step,
            (false, false) => u64::MAX,
        };
        (view, changes.min(open_until.unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn what_requests_look_at_is_in_one_cache_line() {
        for end in [offset_of!(Member, breaker), offset_of!(Member, ewma), offset_of!(Member, streaks) + 4] {
            assert!(end + 8 <= 64, "{end}");
        }
        assert!(offset_of!(Member, failing) < 64);
        assert_eq!(size_of::<Member>(), 128);
    }
}
