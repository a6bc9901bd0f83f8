use crate::Mode;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many requests a policy refused, and how many it would have while it only reported.
#[derive(Debug, Default)]
pub struct Refusals {
    enforced: AtomicU64,
    reported: AtomicU64,
}

impl Refusals {
    fn in_mode(&self, mode: Mode) -> &AtomicU64 {
        match mode {
            Mode::Enforce => &self.enforced,
            Mode::Report => &self.reported,
        }
    }

    /// Counts a request.
    pub fn count(&self, mode: Mode) {
        self.in_mode(mode).fetch_add(1, Ordering::Relaxed);
    }

    /// How many were counted in this mode.
    #[must_use]
    pub fn of(&self, mode: Mode) -> u64 {
        self.in_mode(mode).load(Ordering::Relaxed)
    }

    /// Goes on counting where another has come to, in either mode, so that what is counted never goes back.
    pub fn count_on_from(&self, earlier: &Self) {
        for mode in [Mode::Enforce, Mode::Report] {
            self.in_mode(mode).fetch_add(earlier.of(mode), Ordering::Relaxed);
        }
    }
}
