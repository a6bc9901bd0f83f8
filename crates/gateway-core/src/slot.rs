use std::sync::atomic::{AtomicUsize, Ordering};

/// A place among a bounded number, such as those who may wait for something, until it is dropped.
///
/// ```
/// use gateway_core::Place;
/// use std::sync::atomic::AtomicUsize;
///
/// let taken = AtomicUsize::new(0);
/// let first = Place::take(&taken, 1);
/// assert!(first.is_some() && Place::take(&taken, 1).is_none());
/// drop(first);
/// assert!(Place::take(&taken, 1).is_some());
/// assert_eq!(taken.into_inner(), 0);
/// ```
#[derive(Debug)]
pub struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    /// One more, unless `most` are taken.
    pub fn take(taken: &'a AtomicUsize, most: usize) -> Option<Self> {
        // Given back if there is none.
        let place = Self(taken);
        (taken.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
