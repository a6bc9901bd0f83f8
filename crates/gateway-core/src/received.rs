use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Request extension: how many bytes of the request's body were read, where its client did not say how many there are.
///
/// Counted by the body, read by whoever writes the access log.
#[derive(Clone, Debug, Default)]
pub struct Received(Arc<AtomicU64>);

impl Received {
    /// So many more.
    pub fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How many by now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
