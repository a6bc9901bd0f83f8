//! What a layer and its clones share.

use crate::algorithm::Decision;
use crate::clock::Clock;
use crate::cost::{Cost, Settle};
use crate::events::{QuotaEvent, QuotaHook, say};
use crate::facts::Facts;
use crate::headers::whole_seconds;
use crate::key::{Key, KeyBy, KeyHasher, KeyPart, OnMissing};
use crate::plan::{Chosen, Outcome, Plan, Plans};
use crate::settings::{ExemptSettings, Mode, RateLimitSettings};
use crate::store::Counts;
use crate::{RateLimitError, shared};
use gateway_core::{Code, Problem};
use http::HeaderMap;
use http::header::RETRY_AFTER;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

#[derive(Clone)]
pub(crate) struct Limiter {
    pub(crate) name: String,
    pub(crate) plans: Arc<Plans>,
    pub(crate) by: KeyBy,
    on_missing: OnMissing,
    pub(crate) hasher: KeyHasher,
    pub(crate) counts: Arc<Counts>,
    cost: Arc<Cost>,
    pub(crate) settle: Settle,
    exempt: Option<ExemptSettings>,
    standard: bool,
    legacy: bool,
    retry_after: bool,
    mode: Mode,
    pub(crate) max_keys: usize,
    pub(crate) clock: Clock,
    pub(crate) quota_file: Option<PathBuf>,
    pub(crate) hook: Arc<OnceLock<QuotaHook>>,
    pub(crate) shared: Arc<shared::State>,
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter").field("name", &self.name).field("by", &self.by).finish_non_exhaustive()
    }
}

/// A request that is to be limited.
pub(crate) struct Case<'a> {
    pub(crate) plan: Chosen<'a>,
    pub(crate) key: Key,
    pub(crate) cost: u32,
}

/// What becomes of a request.
pub(crate) enum Verdict {
    Pass(Option<Note>),
    Wait(Duration, Option<Note>),
    Refuse(Box<Refusal>),
}

/// An answer in place of the service's.
pub(crate) struct Refusal {
    pub(crate) problem: Problem,
    pub(crate) headers: HeaderMap,
    pub(crate) decision: Option<Decision>,
}

/// What is to be done when the answer comes.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) key: Key,
    pub(crate) cost: u32,
    pub(crate) outcome: Option<Outcome>,
    /// Who is counted, where others must be told later.
    pub(crate) caller: Option<Box<str>>,
    pub(crate) place: Place,
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

impl Limiter {
    pub(crate) fn new(name: &str, settings: &RateLimitSettings) -> Result<Self, RateLimitError> {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Err(RateLimitError::Name(name.to_owned()));
        }
        if settings.max_keys == 0 {
            return Err(RateLimitError::NoKeys);
        }
        if settings.replicas == 0 {
            return Err(RateLimitError::Zero("replicas"));
        }
        let named = settings.key.parts().iter().filter_map(|part| match part {
            KeyPart::Header(name) => Some(name),
            _ => None,
        });
        for name in named {
            crate::cost::header(name)?;
        }
        let plans = Plans::new(name, settings)?;
        Ok(Self {
            name: name.to_owned(),
            shared: Arc::new(shared::State::new(settings, &plans)?),
            plans: Arc::new(plans),
            by: settings.key.clone(),
            on_missing: settings.on_missing,
            hasher: KeyHasher::default(),
            counts: Arc::new(Counts::new(settings.max_keys)),
            cost: Arc::new(Cost::new(&settings.cost)?),
            settle: Settle::new(settings)?,
            exempt: Some(&settings.exempt).filter(|exempt| !exempt.is_empty()).cloned(),
            standard: settings.headers,
            legacy: settings.legacy_headers,
            retry_after: settings.retry_after,
            mode: settings.mode,
            max_keys: settings.max_keys,
            clock: Clock::at(SystemTime::now()),
            quota_file: settings.quota_file.clone(),
            hook: Arc::default(),
        })
    }

    /// Whether and how a request is to be limited.
    pub(crate) fn case(&self, facts: &Facts<'_>) -> Option<Case<'_>> {
        if self.exempt.as_ref().is_some_and(|exempt| exempt.covers(facts)) {
            return None;
        }
        let plan = self.plans.choose(facts)?;
        let (key, whole) = self.hasher.key(&self.by, plan.salt, facts);
        if !whole && self.on_missing == OnMissing::Skip {
            return None;
        }
        Some(Case { key, cost: self.cost.of(facts), plan })
    }

    /// Failures are taken when they have happened.
    pub(crate) fn takes_at_once(&self) -> bool {
        !matches!(self.settle, Settle::Failures(_))
    }

    /// Decides in this process.
    pub(crate) fn decide(&self, case: &Case<'_>) -> Outcome {
        self.counts.decide(case.key, self.clock.now(), case.cost, &case.plan.rules, self.takes_at_once())
    }

    /// What becomes of a request of which this was found.
    pub(crate) fn judge(
        self: &Arc<Self>,
        plan: &Arc<Plan>,
        (key, cost): (Key, u32),
        outcome: Outcome,
        caller: impl FnOnce() -> String,
        place: Place,
    ) -> Verdict {
        let refused = outcome.decision.is_refusal();
        if refused && self.mode == Mode::Enforce {
            return Verdict::Refuse(Box::new(self.refusal(plan, &outcome)));
        }
        let settles = !matches!(self.settle, Settle::Never);
        let counted = plan.has_quota() && !refused && self.takes_at_once();
        let marks = if counted { plan.marks(&outcome, cost) } else { Vec::new() };
        let later = settles && (plan.has_quota() || place == Place::Server);
        let caller = (later || !marks.is_empty()).then(|| caller().into_boxed_str());
        if let Some(caller) = &caller {
            self.say(plan, &marks, caller);
        }
        let note = (self.standard || self.legacy || settles || refused).then(|| Note {
            limiter: self.clone(),
            plan: plan.clone(),
            key,
            cost,
            outcome: Some(outcome),
            caller,
            place,
        });
        match outcome.decision {
            Decision::Delay { delay, .. } if self.mode == Mode::Enforce => Verdict::Wait(delay, note),
            _ => Verdict::Pass(note),
        }
    }

    /// Tells who listens of quotas that have come to a mark.
    pub(crate) fn say(&self, plan: &Plan, marks: &[(usize, u8)], caller: &str) {
        for (index, percent) in marks {
            let quota = plan.texts.get(*index).cloned().unwrap_or_default();
            let event =
                QuotaEvent { limit: self.name.clone(), quota, caller: caller.to_owned(), percent: *percent };
            say(&event, self.hook.get());
        }
    }

    fn tell(&self, plan: &Plan, outcome: &Outcome, headers: &mut HeaderMap) {
        if self.standard {
            plan.names.standard(outcome, headers);
        }
        if self.legacy {
            plan.names.legacy(outcome, headers);
        }
    }

    fn refusal(&self, plan: &Plan, outcome: &Outcome) -> Refusal {
        let Decision::Refuse { retry_after, .. } = outcome.decision else {
            let problem = Problem::new(Code::InternalError);
            return Refusal { problem, headers: HeaderMap::new(), decision: None };
        };
        let seconds = whole_seconds(retry_after).max(1);
        let index = usize::from(outcome.tightest);
        let quota = plan.rules.get(index).is_some_and(crate::Rule::is_quota);
        let (name, text) =
            (plan.names.of(outcome.tightest), plan.texts.get(index).map_or("", String::as_str));
        let (code, what) =
            if quota { (Code::QuotaExceeded, "the quota") } else { (Code::RateLimited, "the limit") };
        let detail = format!("more than {text}, {what} `{name}`; try again in {seconds} s");
        let mut problem = Problem::new(code).with_detail(detail);
        if self.retry_after {
            problem = problem.with_header(RETRY_AFTER, seconds.into());
        }
        let mut headers = HeaderMap::new();
        self.tell(plan, outcome, &mut headers);
        Refusal { problem, headers, decision: Some(outcome.decision) }
    }
}

/// The name under which a caller is counted on a server (S4-21), its braces a hash tag.
pub(crate) fn remote_key(plan: &Plan, caller: &str) -> String {
    let mut key = String::with_capacity(caller.len() + plan.label.len() + 16);
    key.push_str("rate_limit:{");
    key.push_str(caller);
    key.push_str("}:");
    key.push_str(&plan.label);
    key
}

impl Note {
    /// Tells the client, and settles what the answer's head says.
    pub(crate) fn answered<R>(self, response: &mut http::Response<R>) {
        if let Some(outcome) = &self.outcome {
            self.limiter.tell(&self.plan, outcome, response.headers_mut());
            if outcome.decision.is_refusal() {
                response.extensions_mut().insert(outcome.decision);
                // In report mode: what was not taken is not settled.
                return;
            }
        }
        match &self.limiter.settle {
            Settle::Never => {}
            Settle::Body(_) => {
                response.extensions_mut().insert(crate::settle::Settlement::new(self));
            }
            settle => {
                if let Some(difference) = settle.difference(response.status(), response.headers(), self.cost)
                {
                    self.take(difference);
                }
            }
        }
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
                    limiter.shared.settle(self.key, remote_key(&self.plan, caller), &self.plan, difference);
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
