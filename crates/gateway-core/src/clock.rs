//! The time as a thread last saw it, for all that may be off by what it has done since.
//!
//! A look at the clock takes some 25 ns on a virtual machine, and a request needs the time half a dozen times: to be
//! timed, to be limited, to take a connection and to give it back, for the connection that waits again. A thread that
//! tells when it has [`awoken`](awoke) looks once and keeps what it saw while it works, as nginx does.
//!
//! ```
//! use gateway_core::clock;
//! use std::time::Instant;
//!
//! // Whoever serves, on each of its threads.
//! let runtime = tokio::runtime::Builder::new_current_thread().on_thread_unpark(clock::awoke).build().unwrap();
//!
//! // Whoever needs the time.
//! let now = clock::recent().unwrap_or_else(Instant::now);
//! ```

use std::cell::Cell;
use std::time::{Duration, Instant};

#[derive(Clone, Copy)]
enum Seen {
    /// The thread does not tell when it waits.
    Never,
    Stale,
    /// When, and in which [`tick`].
    Recent(Instant, Duration),
}

thread_local! {
    static SEEN: Cell<Seen> = const { Cell::new(Seen::Never) };
}

/// When the system last counted on, which it does every millisecond to every ten: that takes an eighth of a look at the
/// clock. A thread may be busy for long without a wait, as when bodies come faster than it passes them on.
fn tick() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    return nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC_COARSE).ok().map(Duration::from);
    #[cfg(not(target_os = "linux"))]
    return None;
}

/// What was seen is stale: this thread has waited. To be called each time that it has, or not at all.
pub fn awoke() {
    SEEN.set(Seen::Stale);
}

/// The time, at most as old as what the thread has done since it last waited, and as some ten milliseconds; or nothing,
/// where it does not tell when it waits. Not for what is measured from beginning to end without a wait.
#[must_use]
pub fn recent() -> Option<Instant> {
    match SEEN.get() {
        Seen::Never => None,
        Seen::Recent(seen, at) if tick() == Some(at) => Some(seen),
        Seen::Stale | Seen::Recent(..) => Some(now()),
    }
}

/// The time now, which is the most recent for all that is done until the thread waits.
#[must_use]
pub fn now() -> Instant {
    if matches!(SEEN.get(), Seen::Never) {
        return Instant::now();
    }
    let (tick, now) = (tick(), Instant::now());
    SEEN.set(tick.map_or(Seen::Stale, |tick| Seen::Recent(now, tick)));
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_does_not_tell_when_it_waits_knows_no_recent_time() {
        assert_eq!(recent(), None);
        let _ = now();
        assert_eq!(recent(), None);
    }

    #[test]
    fn what_was_seen_is_kept_until_the_thread_waits_or_time_has_gone_on() {
        let before = Instant::now();
        awoke();
        let first = recent().unwrap();
        assert!(first >= before);
        // Within a tick, though one may end meanwhile.
        assert!((0..1000).any(|_| recent() == recent()));
        let second = now();
        assert!(second > first);
        assert!((0..1000).any(|_| now() == recent().unwrap()), "whoever looks does so for all");
        awoke();
        assert!(recent().unwrap() > second);
    }

    #[test]
    fn a_thread_that_never_waits_sees_time_go_on() {
        awoke();
        let first = recent().unwrap();
        while recent() == Some(first) {
            assert!(first.elapsed() < Duration::from_secs(5));
        }
    }
}
