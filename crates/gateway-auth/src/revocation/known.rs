//! The revocations that this process knows of.

use super::marks::{Mark, Marks};
use crate::jwt::cache::Cache;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// More would not be remembered beyond their tokens' life anyway.
const MAX_KNOWN: usize = 1_000_000;

/// A revocation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Revoked {
    /// Tokens issued before this count; all if infinite. In seconds since 1970.
    pub(crate) before: f64,
    /// When the last of them would have expired.
    pub(crate) end: f64,
}

impl Revoked {
    pub(crate) fn whole(end: f64) -> Self {
        Self { before: f64::INFINITY, end }
    }

    /// As it stands in the store: the end, and before when, or `*`.
    pub(crate) fn record(self) -> String {
        if self.before.is_infinite() {
            return format!("{:.3} *", self.end);
        }
        format!("{:.3} {:.3}", self.end, self.before)
    }

    pub(crate) fn read(record: &[u8]) -> Option<Self> {
        let (end, before) = std::str::from_utf8(record).ok()?.split_once(' ')?;
        let before = if before == "*" { f64::INFINITY } else { before.parse().ok()? };
        let end: f64 = end.parse().ok()?;
        (end.is_finite() && !before.is_nan()).then_some(Self { before, end })
    }

    /// Both together.
    fn with(self, other: Self) -> Self {
        Self { before: self.before.max(other.before), end: self.end.max(other.end) }
    }
}

#[derive(Debug)]
pub(crate) struct Known {
    revoked: Cache<Revoked>,
    /// How many revocations came so far: who was compared with that many need not be compared again.
    changes: AtomicU64,
    /// Whether there may be revocations in the store that we were not told.
    behind: AtomicBool,
    /// Whether the store may lack some that we know of.
    untold: AtomicBool,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            revoked: Cache::new(MAX_KNOWN),
            changes: AtomicU64::new(0),
            behind: AtomicBool::new(true),
            untold: AtomicBool::new(false),
        }
    }
}

impl Known {
    /// Whether one of these was revoked. Costs two loads where none was since the last time.
    pub(crate) fn is_revoked(&self, marks: &Marks, now: f64) -> bool {
        let changes = self.changes.load(Ordering::Acquire);
        if marks.is_compared(changes) {
            return false;
        }
        let hit = marks
            .all()
            .any(|mark| self.revoked.get(mark.0, now).is_some_and(|revoked| marks.is_meant(&revoked)));
        if !hit {
            marks.compared.store(changes, Ordering::Relaxed);
        }
        hit
    }

    /// Adds a revocation to what is known of this mark, and returns both together.
    pub(crate) fn revoke(&self, mark: Mark, revoked: Revoked, now: f64) -> Revoked {
        let both = self.revoked.get(mark.0, now).map_or(revoked, |known| known.with(revoked));
        self.revoked.insert(mark.0, both, both.end, now);
        self.changes.fetch_add(1, Ordering::Release);
        both
    }

    /// All that still count.
    pub(super) fn all(&self, now: f64) -> Vec<(Mark, Revoked)> {
        self.revoked.entries(now).into_iter().map(|(mark, revoked)| (Mark(mark), revoked)).collect()
    }

    pub(crate) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Acquire)
    }

    /// One could not be told: the store was away, or refused it.
    pub(super) fn set_untold(&self) {
        self.untold.store(true, Ordering::Release);
    }

    /// Whether there was such a one; from now on there is none.
    pub(super) fn take_untold(&self) -> bool {
        self.untold.swap(false, Ordering::AcqRel)
    }

    /// Returns whether that is news.
    pub(super) fn set_behind(&self, behind: bool) -> bool {
        self.behind.swap(behind, Ordering::AcqRel) != behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::settings::JwtSettings;
    use crate::revocation::marks::Group;
    use serde_json::{Value, json};

    fn marks(claims: &Value, issued: Option<f64>) -> Marks {
        Marks::new(&group(), "a.b.c", claims.as_object().unwrap(), issued)
    }

    fn group() -> Group {
        Group::of(&JwtSettings::default())
    }

    #[test]
    fn a_subject_is_revoked_up_to_a_time() {
        let known = Known::default();
        let ada = json!({ "sub": "ada" });
        let (old, new, unknown) = (marks(&ada, Some(99.0)), marks(&ada, Some(100.0)), marks(&ada, None));
        let bob = marks(&json!({ "sub": "bob" }), Some(99.0));
        assert!(!known.is_revoked(&old, 101.0));
        known.revoke(Mark::new(&group(), "sub", "ada"), Revoked { before: 100.0, end: 500.0 }, 101.0);
        for (what, marks, revoked) in [
            ("before", &old, true),
            ("at that time", &new, false),
            ("no time", &unknown, true),
            ("bob", &bob, false),
        ] {
            for _ in 0..2 {
                assert_eq!(known.is_revoked(marks, 101.0), revoked, "{what}");
            }
        }
        // An earlier time takes nothing back, and a later one counts.
        known.revoke(Mark::new(&group(), "sub", "ada"), Revoked { before: 50.0, end: 400.0 }, 101.0);
        assert!(known.is_revoked(&old, 450.0));
        known.revoke(Mark::new(&group(), "sub", "ada"), Revoked { before: 101.0, end: 500.0 }, 101.0);
        assert!(known.is_revoked(&new, 101.0));
        assert!(!known.is_revoked(&marks(&json!({ "sub": "ada" }), Some(99.0)), 500.0), "it has ended");
    }

    #[test]
    fn a_session_and_an_id_are_not_taken_for_each_other() {
        let known = Known::default();
        known.revoke(Mark::new(&group(), "sid", "x"), Revoked::whole(500.0), 0.0);
        assert!(known.is_revoked(&marks(&json!({ "sid": "x" }), None), 1.0));
        assert!(!known.is_revoked(&marks(&json!({ "jti": "x", "sub": "x" }), None), 1.0));
        let other = JwtSettings { revocation_group: Some("other".to_owned()), ..JwtSettings::default() };
        let claims = json!({ "sid": "x" });
        let elsewhere = Marks::new(&Group::of(&other), "a.b.c", claims.as_object().unwrap(), None);
        assert!(!known.is_revoked(&elsewhere, 1.0), "another group has other sessions");
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        for revoked in [Revoked::whole(1234.5), Revoked { before: 10.25, end: 99.0 }] {
            assert_eq!(Revoked::read(revoked.record().as_bytes()), Some(revoked));
        }
        for bad in ["", "x *", "1", "1 x", "inf *", "NaN *", "1 NaN"] {
            assert_eq!(Revoked::read(bad.as_bytes()), None, "{bad}");
        }
    }
}
