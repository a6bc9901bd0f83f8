use std::sync::atomic::{AtomicUsize, Ordering};

/// How many requests are in their first attempt and how many further attempts there are: those may not exceed a fifth,
/// so that a struggling service is not buried.
///
/// Envoy's `retry_budget` is 20 % of all that is on its way, retries included, with at least 3. Under a total outage that
/// makes 1.25 attempts for each request; to count only the first ones makes it 1.2, which is what operators expect of
/// 20 %.
#[derive(Debug, Default)]
pub(crate) struct RetryBudget {
    first: AtomicUsize,
    further: AtomicUsize,
}

const FLOOR: usize = 3;

impl RetryBudget {
    pub(crate) fn begin(&self) {
        self.first.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.first.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes the right to a further attempt in place of one that has ended, until the guard is dropped.
    pub(crate) fn retry(&self) -> Option<Further<'_>> {
        let further = self.take(Kind::Retry)?;
        self.first.fetch_sub(1, Ordering::Relaxed);
        Some(further)
    }

    /// Takes the right to a further attempt beside the first one, until the guard is dropped.
    pub(crate) fn hedge(&self) -> Option<Further<'_>> {
        self.take(Kind::Hedge)
    }

    fn take(&self, kind: Kind) -> Option<Further<'_>> {
        let allowed = (self.first.load(Ordering::Relaxed) / 5).max(FLOOR);
        if self.further.fetch_add(1, Ordering::Relaxed) < allowed {
            Some(Further { budget: self, kind })
        } else {
            self.further.fetch_sub(1, Ordering::Relaxed);
            None
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Retry,
    Hedge,
}

pub(crate) struct Further<'a> {
    budget: &'a RetryBudget,
    kind: Kind,
}

impl Drop for Further<'_> {
    fn drop(&mut self) {
        self.budget.further.fetch_sub(1, Ordering::Relaxed);
        if self.kind == Kind::Retry {
            self.budget.first.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_first_attempts_may_follow_and_never_fewer_than_three() {
        let budget = RetryBudget::default();
        (0..10).for_each(|_| budget.begin());
        let few: Vec<_> = std::iter::from_fn(|| budget.retry()).collect();
        assert_eq!(few.len(), 3);
        drop(few);
        (0..90).for_each(|_| budget.begin());
        let retries: Vec<_> = std::iter::from_fn(|| budget.retry()).collect();
        assert_eq!(retries.len(), 16, "for the 84 that are left");
        assert!(budget.hedge().is_none(), "both are of one budget");
        drop(retries);
        let hedges: Vec<_> = std::iter::from_fn(|| budget.hedge()).collect();
        assert_eq!(hedges.len(), 20, "for all 100, as they go on");
        drop(hedges);
        (0..90).for_each(|_| budget.end());
        let again: Vec<_> = std::iter::from_fn(|| budget.retry()).collect();
        assert_eq!(again.len(), 3, "what was taken was not given back");
    }
}
