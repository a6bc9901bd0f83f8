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
use std::time::Instant;

/// How often what was seen is used before the next look, however long a thread is busy.
const USES: u8 = 32;

#[derive(Clone, Copy)]
enum Seen {
    /// The thread does not tell when it waits.
    Never,
    Stale,
    Recent(Instant, u8),
}

thread_local! {
    static SEEN: Cell<Seen> = const { Cell::new(Seen::Never) };
}

/// What was seen is stale: this thread has waited. To be called each time that it has, or not at all.
pub fn awoke() {
    SEEN.set(Seen::Stale);
}

/// The time, at most as old as what the thread has done since it last waited; or nothing, where it does not tell when that
/// was. Not for what is measured from beginning to end without a wait.
#[must_use]
pub fn recent() -> Option<Instant> {
    match SEEN.get() {
        Seen::Never => None,
        Seen::Recent(seen, left @ 1..) => {
            SEEN.set(Seen::Recent(seen, left - 1));
            Some(seen)
        }
        Seen::Stale | Seen::Recent(_, 0) => Some(now()),
    }
}

/// The time now, which is the most recent for all that is done until the thread waits.
#[must_use]
pub fn now() -> Instant {
    let now = Instant::now();
    if !matches!(SEEN.get(), Seen::Never) {
        SEEN.set(Seen::Recent(now, USES));
    }
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
    fn what_was_seen_is_kept_until_the_thread_waits_or_has_used_it_often() {
        let before = Instant::now();
        awoke();
        let first = recent().unwrap();
        assert!(first >= before);
        assert!((0..USES).all(|_| recent() == Some(first)));
        let second = recent().unwrap();
        assert!(second > first, "looked at anew");
        let third = now();
        assert!(third > second);
        assert_eq!(recent(), Some(third), "whoever looks does so for all");
        awoke();
        assert!(recent().unwrap() > third);
    }
}
