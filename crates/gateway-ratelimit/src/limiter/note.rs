//! What is to be done when the answer to a limited request comes.

use super::{Limiter, remote_key};
use crate::cost::Settle;
use crate::key::Key;
use crate::plan::{Outcome, Plan};
use crate::settle::Settlements;
use crate::tally::Tally;
use crate::together::Parts;
use gateway_core::Limited;
use http::Response;
use std::sync::Arc;

/// What is to be done when the answer comes: for one limit, or for several.
#[derive(Debug)]
pub(crate) enum Later {
    One(Note),
    Several(Parts),
    /// Only to say which limit would have refused, had it not been told to report: its store is away.
    Would(Arc<str>),
}

/// Says for the log which limit would have refused, if none has said so yet.
pub(crate) fn would<R>(name: &Arc<str>, response: &mut Response<R>) {
    let extensions = response.extensions_mut();
    if extensions.get::<Limited>().is_none() {
        extensions.insert(Limited::Would(name.clone()));
    }
}

/// What one limit has to do then.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) key: Key,
    pub(crate) cost: u32,
    pub(crate) outcome: Outcome,
    /// Who is counted, where others must be told later.
    pub(crate) caller: Option<Box<str>>,
    pub(crate) place: Place,
    /// Where it is counted that the answer does not say what the request took, if it should.
    pub(crate) unsettled: Option<Arc<Tally>>,
}

/// Where a request was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this process.
    Here,
    /// In this process while the store is away, by a share of the limit.
    Share,
    /// On a server.
    Server,
}

impl Later {
    pub(crate) fn answered<R>(self, response: &mut Response<R>) {
        match self {
            Self::One(note) => {
                note.limiter.tell(&note.plan, &note.outcome, response.headers_mut());
                note.settled(response);
            }
            Self::Several(parts) => parts.answered(response),
            Self::Would(name) => would(&name, response),
        }
    }

    /// The request was sent, and whoever asked has gone before its answer.
    pub(crate) fn broke_off(self) {
        match self {
            Self::One(note) => note.missing(),
            Self::Several(parts) => parts.broke_off(),
            Self::Would(_) => {}
        }
    }
}

impl Note {
    pub(super) fn settles(&self) -> bool {
        !matches!(self.limiter.settle, Settle::Never)
    }

    /// Settles what the answer's head says.
    pub(crate) fn settled<R>(self, response: &mut Response<R>) {
        if self.outcome.decision.is_refusal() {
            response.extensions_mut().insert(self.outcome.decision);
            would(&self.limiter.name, response);
            // In report mode: what was not taken is not settled.
            return;
        }
        match &self.limiter.settle {
            Settle::Never => {}
            Settle::Body(_) => Settlements::add(self, response),
            settle => match settle.difference(response.status(), response.headers(), self.cost) {
                Some(difference) => self.take(difference),
                None if response.status().is_success() => self.missing(),
                // A service that fails has done less than it should, if anything.
                None => {}
            },
        }
    }

    /// The answer does not say what the request took, or broke off before it did.
    pub(crate) fn missing(&self) {
        let Some(tally) = self.unsettled.as_ref().filter(|_| !self.outcome.decision.is_refusal()) else {
            return;
        };
        if let Some(missing) = self.limiter.missing {
            self.take(i64::from(missing) - i64::from(self.cost));
        }
        tally.count_unsettled();
    }

    /// Takes more than was, or gives back.
    pub(crate) fn take(&self, difference: i64) {
        if difference == 0 {
            return;
        }
        let limiter = &self.limiter;
        let rules = match self.place {
            Place::Here => &self.plan.rules,
            Place::Share => &self.plan.shares,
            Place::Server => {
                if let Some(caller) = &self.caller {
                    limiter.settle_later(self.key, remote_key(&self.plan, caller), &self.plan, difference);
                }
                return;
            }
        };
        let now = limiter.clock.now();
        let Some(caller) = self.caller.as_ref().filter(|_| self.plan.has_quota()) else {
            return limiter.counts.take(self.key, now, difference, rules);
        };
        let before = limiter.counts.used(self.key, now, rules).unwrap_or_default();
        limiter.counts.take(self.key, now, difference, rules);
        let after = limiter.counts.used(self.key, now, rules).unwrap_or_default();
        limiter.say(&self.plan, &self.plan.marks_between(&before, &after), caller);
    }
}
