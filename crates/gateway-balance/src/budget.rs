use std::sync::atomic::{AtomicUsize, Ordering};

/// How many requests are on their way and how many of those are retries: retries may not exceed a fifth, so
/// that a struggling service is not buried (Envoy: `retry_budget`, 20 % with at least 3).
#[derive(Debug, Default)]
pub(crate) struct RetryBudget {
    active: AtomicUsize,
    retrying: AtomicUsize,
}

const FLOOR: usize = 3;

impl RetryBudget {
    pub(crate) fn begin(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes the right to retry, until the guard is dropped.
    pub(crate) fn retry(&self) -> Option<Retrying<'_>> {
        let allowed = (self.active.load(Ordering::Relaxed) / 5).max(FLOOR);
        if self.retrying.fetch_add(1, Ordering::Relaxed) < allowed {
            Some(Retrying(self))
        } else {
            self.retrying.fetch_sub(1, Ordering::Relaxed);
            None
        }
    }
}

pub(crate) struct Retrying<'a>(&'a RetryBudget);

impl Drop for Retrying<'_> {
    fn drop(&mut self) {
        self.0.retrying.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_active_requests_may_be_retries_and_never_fewer_than_three() {
        let budget = RetryBudget::default();
        let few: Vec<_> = std::iter::from_fn(|| budget.retry()).collect();
        assert_eq!(few.len(), 3);
        drop(few);
        (0..100).for_each(|_| budget.begin());
        let many: Vec<_> = std::iter::from_fn(|| budget.retry()).collect();
        assert_eq!(many.len(), 20);
        drop(many);
        (0..100).for_each(|_| budget.end());
        let again: Vec<_> = std::iter::from_fn(|| budget.retry()).collect();
        assert_eq!(again.len(), 3, "what was taken was not given back");
    }
}
