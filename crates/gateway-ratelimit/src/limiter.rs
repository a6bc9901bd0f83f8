//! What a layer and its clones share.

mod note;

use crate::algorithm::{Decision, Rule};
use crate::clock::Clock;
use crate::condition::Condition;
use crate::cost::{Cost, Settle};
use crate::events::{QuotaEvent, QuotaHook, say};
use crate::facts::Facts;
use crate::headers::whole_seconds;
use crate::key::{Key, KeyBy, KeyPart, OnMissing};
use crate::plan::{Before, Chosen, Outcome, Plan, Plans};
use crate::settings::{ExemptSettings, RateLimitSettings};
use crate::store::Counts;
use crate::tally::{Fate, Tallies, Tally};
use crate::{RateLimitError, shared};
use gateway_core::{Code, KeyedHash, Limited, Mode, Problem};
use http::header::{ACCEPT_ENCODING, RETRY_AFTER};
use http::{HeaderMap, HeaderValue};
pub(crate) use note::{Later, Note, Place, would};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

#[derive(Clone)]
pub(crate) struct Limiter {
    pub(crate) name: Arc<str>,
    pub(crate) plans: Arc<Plans>,
    pub(crate) by: KeyBy,
    on_missing: OnMissing,
    pub(crate) hash: KeyedHash,
    pub(crate) counts: Arc<Counts>,
    cost: Arc<Cost>,
    pub(crate) settle: Settle,
    /// What a request takes whose answer does not say it.
    pub(crate) missing: Option<u32>,
    exempt: Option<ExemptSettings>,
    pub(crate) standard: bool,
    pub(crate) legacy: bool,
    retry_after: bool,
    mode: Mode,
    pub(crate) max_keys: usize,
    pub(crate) clock: Clock,
    pub(crate) quota_file: Option<PathBuf>,
    pub(crate) hook: Arc<OnceLock<QuotaHook>>,
    pub(crate) shared: Arc<shared::State>,
    pub(crate) settlements: Arc<shared::Settlements>,
    pub(crate) tallies: Arc<Tallies>,
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
    Pass(Option<Later>),
    Wait(Duration, Option<Later>),
    Refuse(Box<Refusal>),
}

/// An answer in place of the service's.
pub(crate) struct Refusal {
    pub(crate) problem: Problem,
    pub(crate) headers: HeaderMap,
    pub(crate) decision: Option<Decision>,
    pub(crate) by: Limited,
}

/// What a limit says of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Standing {
    Found(Outcome, Place),
    /// The store is away, and nothing is limited meanwhile.
    Passed,
    /// The store is away, and all is refused meanwhile.
    Away,
}

impl Limiter {
    pub(crate) fn new(
        name: &str,
        settings: &RateLimitSettings,
        conditions: Vec<Condition>,
    ) -> Result<Self, RateLimitError> {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Err(RateLimitError::Name(name.to_owned()));
        }
        if settings.max_keys == 0 {
            return Err(RateLimitError::NoKeys);
        }
        if settings.penalty.is_some_and(|time| time.is_zero()) {
            return Err(RateLimitError::NoPenalty);
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
        let plans = Plans::new(name, settings, conditions)?;
        if let Some(cost) = Cost::of_all(&settings.cost) {
            plans.iter().try_for_each(|plan| plan.has_room(cost))?;
        }
        Ok(Self {
            name: name.into(),
            tallies: Arc::default(),
            settlements: Arc::default(),
            shared: Arc::new(shared::State::new(settings)?),
            plans: Arc::new(plans),
            by: settings.key.clone(),
            on_missing: settings.on_missing,
            hash: KeyedHash::default(),
            counts: Arc::new(Counts::new(settings.max_keys)),
            cost: Arc::new(Cost::new(&settings.cost)?),
            settle: Settle::new(settings)?,
            missing: settings.settle.as_ref().and_then(|settle| settle.missing),
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
        let (key, whole) = crate::key::key(&self.hash, &self.by, plan.salt, facts);
        if !whole && self.on_missing == OnMissing::Skip {
            return None;
        }
        if let Some(before) = plan.before.get() {
            self.carry_on(key, &plan.rules, before, facts);
        }
        Some(Case { key, cost: self.cost.of(facts), plan })
    }

    /// Moves to a new key what a caller had used up by the rules before a reload.
    fn carry_on(&self, key: Key, rules: &[Rule], before: &[Before], facts: &Facts<'_>) {
        if self.counts.knows(key) {
            return;
        }
        for Before { salt, from } in before {
            let (earlier, _) = crate::key::key(&self.hash, &self.by, *salt, facts);
            if self.counts.carry_on(earlier, key, self.clock.now(), rules, from) {
                return;
            }
        }
    }

    /// Failures are taken when they have happened.
    pub(crate) fn takes_at_once(&self) -> bool {
        !matches!(self.settle, Settle::Failures(_))
    }

    /// Asks for an answer that can be read: a client who asked for a compressed one would get away with the estimate.
    pub(crate) fn wants_plain(&self, headers: &mut HeaderMap) {
        if matches!(self.settle, Settle::Body(_)) {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
    }

    /// Decides in this process.
    pub(crate) fn decide(&self, case: &Case<'_>, taking: bool) -> Standing {
        let outcome = self.counts.decide(case.key, self.clock.now(), case.cost, &case.plan.rules, taking);
        Standing::Found(outcome, Place::Here)
    }

    /// Whether it refuses what it finds beyond it.
    pub(crate) fn enforces(&self) -> bool {
        self.mode == Mode::Enforce
    }

    /// Counts, for metrics, what becomes of a request of which this was found.
    pub(crate) fn count(&self, standing: &Standing, tally: &Tally) {
        let refused = matches!(standing, Standing::Found(outcome, _) if outcome.decision.is_refusal());
        tally.count(match (standing, self.mode) {
            (Standing::Away, Mode::Enforce) => Fate::Limited,
            (Standing::Away, Mode::Report) => Fate::WouldLimit,
            _ if !refused => Fate::Allowed,
            (_, Mode::Enforce) => Fate::Limited,
            (_, Mode::Report) => Fate::WouldLimit,
        });
        if !matches!(standing, Standing::Found(_, Place::Here | Place::Server)) {
            tally.count_without_store();
        }
    }

    /// What becomes of a request of which this was found.
    pub(crate) fn judge(
        self: &Arc<Self>,
        plan: &Arc<Plan>,
        (key, cost): (Key, u32),
        standing: Standing,
        caller: impl FnOnce() -> String,
        tally: &Arc<Tally>,
    ) -> Verdict {
        self.count(&standing, tally);
        let (outcome, place) = match standing {
            Standing::Found(outcome, place) => (outcome, place),
            Standing::Passed => return Verdict::Pass(None),
            Standing::Away if self.enforces() => return Verdict::Refuse(Box::new(self.unavailable())),
            Standing::Away => return Verdict::Pass(Some(Later::Would(self.name.clone()))),
        };
        let refused = outcome.decision.is_refusal();
        if refused && self.enforces() {
            let mut headers = HeaderMap::new();
            self.tell(plan, &outcome, &mut headers);
            return Verdict::Refuse(Box::new(self.refusal(plan, &outcome, headers)));
        }
        let note = self.note(plan, (key, cost), (outcome, place), caller, tally);
        let wanted = self.standard || self.legacy || note.settles() || refused;
        let note = wanted.then(|| Later::One(note));
        match outcome.decision {
            Decision::Delay { delay, .. } if self.enforces() => Verdict::Wait(delay, note),
            _ => Verdict::Pass(note),
        }
    }

    /// The quotas that a request of this cost has brought to a mark, where this process knows.
    pub(crate) fn marks(&self, plan: &Plan, outcome: &Outcome, place: Place, cost: u32) -> Vec<(usize, u8)> {
        // On a server others count too: there it is the server that knows.
        let counted = plan.has_quota()
            && place == Place::Here
            && !outcome.decision.is_refusal()
            && self.takes_at_once();
        if counted { plan.marks(outcome, cost) } else { Vec::new() }
    }

    /// Tells of quotas that the request has brought to a mark, and notes what is to be done when its answer comes.
    fn note(
        self: &Arc<Self>,
        plan: &Arc<Plan>,
        (key, cost): (Key, u32),
        (outcome, place): (Outcome, Place),
        caller: impl FnOnce() -> String,
        tally: &Arc<Tally>,
    ) -> Note {
        let marks = self.marks(plan, &outcome, place, cost);
        let settles = !matches!(self.settle, Settle::Never);
        let later = settles && (plan.has_quota() || place == Place::Server);
        let caller = (later || !marks.is_empty()).then(|| caller().into_boxed_str());
        if let Some(caller) = &caller {
            self.say(plan, &marks, caller);
        }
        let (limiter, plan) = (self.clone(), plan.clone());
        let unsettled = limiter.settle.is_by_answer().then(|| tally.clone());
        Note { limiter, plan, key, cost, outcome, caller, place, unsettled }
    }

    /// Tells who listens of quotas that have come to a mark.
    pub(crate) fn say(&self, plan: &Plan, marks: &[(usize, u8)], caller: &str) {
        for (index, percent) in marks {
            let quota = plan.texts.get(*index).cloned().unwrap_or_default();
            let (limit, caller) = (self.name.to_string(), caller.to_owned());
            let event = QuotaEvent { limit, quota, caller, percent: *percent };
            self.tallies.count_quota(*percent);
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

    /// The answer to whom the store would have to be asked about.
    pub(crate) fn unavailable(&self) -> Refusal {
        let problem = Problem::new(Code::StoreUnavailable).with_detail("the limit cannot be checked");
        let by = Limited::By(self.name.clone());
        Refusal { problem, headers: HeaderMap::new(), decision: None, by }
    }

    pub(crate) fn refusal(&self, plan: &Plan, outcome: &Outcome, headers: HeaderMap) -> Refusal {
        let by = Limited::By(self.name.clone());
        let Decision::Refuse { retry_after, .. } = outcome.decision else {
            return Refusal { problem: Problem::new(Code::InternalError), headers, decision: None, by };
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
        Refusal { problem, headers, decision: Some(outcome.decision), by }
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
