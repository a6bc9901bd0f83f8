//! What a request passes before any endpoint is picked for it: the limit and the circuit of the whole service.

use crate::BulkheadSettings;
use crate::bulkhead::{Bulkhead, Change, Waiting};
use crate::circuit::Admission;
use crate::retry::Verdict;
use crate::set::{EndpointSet, Unavailable};
use gateway_core::{Mode, Priority};
use http::Extensions;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// A request that was let in, until its answer's body has ended.
#[derive(Debug)]
pub(crate) struct Entry {
    set: EndpointSet,
    admission: Admission,
    /// What would have refused it, if that were not only reported.
    reported: Option<&'static str>,
}

impl EndpointSet {
    /// Lets a request in; `None` where nothing is limited, so that there is nothing to keep.
    pub(crate) fn enter(&self, now: Instant) -> Result<Option<Entry>, Unavailable> {
        let gate = self.gate();
        if gate.most.is_none() && gate.breaker.is_none() {
            return Ok(None);
        }
        let before = gate.inside.fetch_add(1, Ordering::Relaxed);
        // Gives the place back if it is refused.
        let mut entry = Entry { set: self.clone(), admission: Admission::Free, reported: None };
        if gate.most.is_some_and(|most| before >= most) {
            if self.policy().limits.mode == Mode::Enforce {
                return Err(Unavailable::Overloaded);
            }
            self.count_refusal(Unavailable::Overloaded);
            entry.reported = Some("limits");
        }
        if let Some(breaker) = &gate.breaker {
            match breaker.admit(self.clock().at(now)) {
                Ok(admission) => entry.admission = admission,
                Err(wait) if breaker.only_reports() => {
                    self.count_refusal(Unavailable::CircuitOpen { wait });
                    entry.reported = Some("circuit");
                }
                Err(wait) => return Err(Unavailable::CircuitOpen { wait }),
            }
        }
        Ok(Some(entry))
    }
}

impl EndpointSet {
    /// Whether nothing is to be counted of who waits for an answer, and who has one.
    pub(crate) fn is_calm(&self) -> bool {
        self.gate().bulkhead.as_ref().is_none_or(Bulkhead::is_calm)
    }

    /// Lets a request wait for an answer.
    #[cold]
    pub(crate) fn wait_for_answer(
        &self,
        now: Instant,
        extensions: &Extensions,
    ) -> Result<Option<Waiting<'_>>, Unavailable> {
        let Some(bulkhead) = &self.gate().bulkhead else { return Ok(None) };
        let class = || extensions.get::<Priority>().copied().unwrap_or_default();
        let entered = bulkhead.enter(self.clock().at(now), class, |change| self.tell(change));
        let waiting = entered.map_err(|_| Unavailable::Stuck)?;
        if waiting.as_ref().is_some_and(|waiting| waiting.reported) {
            self.count_refusal(Unavailable::Stuck);
        }
        Ok(waiting)
    }

    /// Learns how a request ended that waited for one: where it was not calm, and of one that failed.
    #[cold]
    pub(crate) fn answered(&self, verdict: Verdict) {
        let Some(bulkhead) = &self.gate().bulkhead else { return };
        if let Some(change) = bulkhead.record(verdict, self.clock().at(Instant::now())) {
            self.tell(change);
        }
    }

    fn tell(&self, change: Change) {
        let (name, BulkheadSettings { max_waiting: most, mode }) = (self.name(), *self.policy().bulkhead);
        let or_not = if mode == Mode::Report { "would be" } else { "are" };
        match change {
            Change::Stuck => tracing::warn!(
                "{name}: half of the requests and more have no answer: of those who wait for one, all above {most} {or_not} refused"
            ),
            Change::Well => {
                tracing::info!("{name}: most requests have an answer again: any number may wait for one")
            }
        }
    }
}

impl Entry {
    /// What would have refused it, if that were not only reported.
    pub(crate) fn reported(&self) -> Option<&'static str> {
        self.reported
    }

    /// Learns how the request ended, retries included, and since when its service was waited for.
    pub(crate) fn record(&mut self, verdict: Verdict, since: Instant) {
        let Some(breaker) = &self.set.gate().breaker else { return };
        let change = breaker.learn(&mut self.admission, verdict, since, self.set.clock());
        change.log(format_args!("{}: the circuit", self.set.name()));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let gate = self.set.gate();
        gate.inside.fetch_sub(1, Ordering::Relaxed);
        if let (Admission::Probe, Some(breaker)) = (self.admission, &gate.breaker) {
            breaker.release();
        }
    }
}
