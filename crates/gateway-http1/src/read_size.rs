use std::sync::atomic::{AtomicUsize, Ordering};

/// What the first read of a message asks for at least: a head and a small body in one call.
pub const READ: usize = 4096;
/// The most that it asks for.
const MOST: usize = 64 * 1024;
/// What a head is taken to need beside the body.
const HEAD: usize = 1024;

/// How much the first read of a message should ask for, learned from the lengths of those before, so that one of 16 KiB
/// takes one read and small ones do not carry its buffer: from [`READ`] to 64 KiB.
///
/// Only a hint: concurrent messages may overwrite each other's lesson.
#[derive(Debug)]
pub struct ReadSize(AtomicUsize);

impl Default for ReadSize {
    fn default() -> Self {
        Self(AtomicUsize::new(READ))
    }
}

impl ReadSize {
    /// How much to ask for.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes note of a message whose body has this length.
    pub fn learn(&self, body: u64) {
        let now = self.get();
        let next = after(now, body);
        // Messages are mostly alike: usually nothing is written.
        if next != now {
            self.0.store(next, Ordering::Relaxed);
        }
    }
}

/// At once up to what a message took, back down by an eighth of the distance.
fn after(now: usize, body: u64) -> usize {
    let needed = usize::try_from(body).unwrap_or(MOST).saturating_add(HEAD).clamp(READ, MOST);
    if needed >= now { needed } else { now - (now - needed).div_ceil(8) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_grows_at_once_and_shrinks_slowly() {
        let size = ReadSize::default();
        size.learn(10);
        assert_eq!(size.get(), 4096);
        size.learn(16 * 1024);
        assert_eq!(size.get(), 17 * 1024);
        size.learn(10);
        assert_eq!(size.get(), 17 * 1024 - (13 * 1024 / 8));
        for _ in 0..100 {
            size.learn(10);
        }
        assert_eq!(size.get(), 4096);
        size.learn(u64::MAX);
        assert_eq!(size.get(), 65536);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(bodies in prop::collection::vec(any::<u64>(), 0..50)) {
            let last = bodies.iter().fold(READ, |now, body| after(now, *body));
            prop_assert!((READ..=MOST).contains(&last));
        }
    }
}
