use std::sync::atomic::{AtomicUsize, Ordering};

/// One of a bounded number, such as those who may wait for something, until it is dropped.
///
/// ```
/// use gateway_core::Slot;
/// use std::sync::atomic::AtomicUsize;
///
/// let taken = AtomicUsize::new(0);
/// let first = Slot::take(&taken, 1);
/// assert!(first.is_some() && Slot::take(&taken, 1).is_none());
/// drop(first);
/// assert!(Slot::take(&taken, 1).is_some());
/// assert_eq!(taken.into_inner(), 0);
/// ```
#[derive(Debug)]
pub struct Slot<'a>(&'a AtomicUsize);

impl<'a> Slot<'a> {
    /// One more, unless `most` are taken.
    pub fn take(taken: &'a AtomicUsize, most: usize) -> Option<Self> {
        // Given back if there is none.
        let slot = Self(taken);
        (taken.fetch_add(1, Ordering::Relaxed) < most).then_some(slot)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
