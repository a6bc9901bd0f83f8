//! The rules that one request has to meet, all or nothing.

mod choice;

pub(crate) use choice::{Chosen, Plans};

use crate::RateLimitError;
use crate::algorithm::{Algorithm, Decision, Kind, Rule, State, decide, penalty, take};
use crate::headers::Names;
use std::fmt::Display;
use std::sync::OnceLock;

/// More limits than this for one request are a mistake, and would only cost time.
pub(crate) const MOST_RULES: usize = 6;

/// Some rules with what of their fields never changes.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) rules: Vec<Rule>,
    /// The same, divided among instances that cannot agree.
    pub(crate) shares: Vec<Rule>,
    pub(crate) names: Names,
    /// How much of it an instance takes at once with `leased`, and lets pass on credit at most.
    pub(crate) lease: u32,
    /// How each rule is written: `100/min`.
    pub(crate) texts: Vec<String>,
    /// Tells tiers apart in keys, and plans of which states do not mean the same: in this process.
    pub(crate) salt: u64,
    /// Tells tiers apart on a server.
    pub(crate) label: String,
    /// Tells tiers apart whatever their rules.
    tier: u64,
    /// What this process has counted by other rules of the same tier, the latest first.
    pub(crate) before: OnceLock<Vec<Before>>,
}

/// How the states of an earlier plan become those of another.
#[derive(Clone, Debug)]
pub(crate) struct Before {
    /// The earlier plan's.
    pub(crate) salt: u64,
    /// For each rule of now, which of the earlier ones it was, if it is not new.
    pub(crate) from: Vec<Option<usize>>,
}

/// More reloads than so many ago, what a caller had used and has not come back to is forgotten.
const MOST_BEFORE: usize = 4;

/// What remains of one rule, for the headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) remaining: u32,
    /// In whole seconds, rounded up: who comes back then finds what he was told.
    pub(crate) reset: u32,
}

/// What the rules of a plan say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// That of the tightest rule.
    pub(crate) decision: Decision,
    /// Which that is.
    pub(crate) tightest: u8,
    pub(crate) told: [Told; MOST_RULES],
}

impl Outcome {
    /// Joins what each rule says. Of refusals the one that lasts longest counts, then the longest delay, then the
    /// least remaining.
    pub(crate) fn join(decisions: impl Iterator<Item = (Decision, u32)>) -> Self {
        let nothing = Decision::Allow { remaining: u32::MAX, reset: std::time::Duration::ZERO };
        let mut outcome = Self { decision: nothing, tightest: 0, told: [Told::default(); MOST_RULES] };
        for (i, (decision, remaining)) in decisions.take(MOST_RULES).enumerate() {
            let until = match decision {
                Decision::Refuse { retry_after, .. } => retry_after,
                other => other.reset(),
            };
            outcome.told[i] = Told {
                remaining,
                reset: u32::try_from(crate::headers::whole_seconds(until)).unwrap_or(u32::MAX),
            };
            if i == 0 || is_tighter(&decision, &outcome.decision) {
                (outcome.decision, outcome.tightest) = (decision, i as u8);
            }
        }
        outcome
    }
}

/// For whom a plan is.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) enum Tier<'a> {
    /// Every caller.
    All,
    /// A kind of caller.
    Kind(&'a str),
    /// Callers of whom a claim or a header says so.
    Value(&'a str),
    /// Callers of whom it says nothing of the kind.
    Default(&'a str),
    /// Callers whose claim holds it.
    Claim,
}

/// The same for plans of which states mean the same: of the same callers, with the same kinds and periods of rules.
fn salt(tier: Tier<'_>, rules: &[Rule]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    tier.hash(&mut hasher);
    for rule in rules {
        let (kind, period, drain) = meaning(rule);
        (format!("{kind:?}"), period, drain).hash(&mut hasher);
    }
    hasher.finish()
}

/// What must be the same of two rules for their states to mean the same.
fn meaning(rule: &Rule) -> (Kind, u64, Option<u64>) {
    // How long a penalty lasts may change.
    let period = if rule.is_penalty() { 0 } else { rule.period };
    // A bucket of tokens counts in units of its own.
    let drain = (rule.kind == Kind::Counted(Algorithm::TokenBucket)).then_some(rule.drain);
    (rule.kind, period, drain)
}

/// Of refusals the one that lasts longest, then the longest delay, then the least remaining.
pub(crate) fn is_tighter(one: &Decision, other: &Decision) -> bool {
    use Decision::{Allow, Delay, Refuse};
    match (one, other) {
        (Refuse { retry_after: one, .. }, Refuse { retry_after: other, .. }) => one > other,
        (Refuse { .. }, _) => true,
        (_, Refuse { .. }) => false,
        (Delay { delay: one, .. }, Delay { delay: other, .. }) => one > other,
        (Delay { .. }, Allow { .. }) => true,
        (Allow { .. }, Delay { .. }) => false,
        (Allow { remaining: one, .. }, Allow { remaining: other, .. }) => one < other,
    }
}

/// Limits, and the penalty after them.
pub(crate) fn apart(rules: &[Rule]) -> (&[Rule], Option<&Rule>) {
    match rules.split_last() {
        Some((last, limits)) if last.is_penalty() => (limits, Some(last)),
        _ => (rules, None),
    }
}

/// Decides by all rules; takes from all if all have room, else from none, and then a penalty begins.
pub(crate) fn decide_all(states: &mut [State], now: u64, cost: u32, rules: &[Rule], taking: bool) -> Outcome {
    let (rules, penalty) = apart(rules);
    let (states, held) = states.split_at_mut(rules.len());
    let mut left = held.first().map_or(0, |state| penalty::left(state, now));
    let outcome = Outcome::join(states.iter().zip(rules).map(|(state, rule)| {
        let decision = decide(state, now, cost, rule);
        (decision, decision.remaining())
    }));
    if !outcome.decision.is_refusal() && left == 0 {
        if taking && cost > 0 {
            take_all(states, now, i64::from(cost), rules);
        }
        return outcome;
    }
    if let (Some(rule), [state, ..]) = (penalty, held) {
        *state = penalty::begin(state, now, rule);
        left = penalty::left(state, now);
    }
    // Nothing is taken, so that what remains is what was there.
    Outcome::join(states.iter().zip(rules).map(|(state, rule)| {
        let asked = decide(state, now, cost, rule);
        let there = decide(state, now, 0, rule);
        let decision = if asked.is_refusal() { asked } else { there };
        if left > 0 { (decision.held(left), 0) } else { (decision, there.remaining()) }
    }))
}

/// Takes from all rules, whether there is room or not.
pub(crate) fn take_all(states: &mut [State], now: u64, cost: i64, rules: &[Rule]) {
    for (state, rule) in states.iter_mut().zip(rules) {
        *state = take(state, now, cost, rule);
    }
}

impl Plan {
    /// `rules` with how each is written and in what time it is counted.
    pub(crate) fn new(
        name: &str,
        tier: Tier<'_>,
        rules: Vec<(Rule, &dyn Display, String)>,
        penalty: Option<Rule>,
        replicas: u32,
        lease: u32,
    ) -> Self {
        let label = match tier {
            Tier::All => name.to_owned(),
            Tier::Kind(tier) | Tier::Value(tier) | Tier::Default(tier) => format!("{name}.{tier}"),
            // Here too, counts of other limits would be taken for these, or be forgotten.
            Tier::Claim => {
                let periods: Vec<&str> = rules.iter().map(|(.., per)| per.as_str()).collect();
                format!("{name}.claim.{}", periods.join("+"))
            }
        };
        let names = Names::new(name, rules.iter().map(|(rule, _, per)| (rule, per.as_str())));
        let texts = rules.iter().map(|(_, text, _)| text.to_string()).collect();
        let rules: Vec<_> = rules.into_iter().map(|(rule, ..)| rule).chain(penalty).collect();
        let shares = rules.iter().map(|rule| rule.share(replicas)).collect();
        let (salt, tier) = (salt(tier, &rules), salt(tier, &[]));
        Self { rules, shares, names, lease, texts, salt, label, tier, before: OnceLock::new() }
    }

    /// Goes on where an earlier plan of the same tier has come to, as far as they have rules in common. Says whether any
    /// state of it means something here.
    fn goes_on_from(&self, earlier: &Self) -> bool {
        if self.tier != earlier.tier {
            return false;
        }
        let mut taken = vec![false; earlier.rules.len()];
        let from = self.rules.iter().map(|rule| {
            let same = |i: &usize| !taken[*i] && meaning(&earlier.rules[*i]) == meaning(rule);
            let found = (0..taken.len()).find(same)?;
            taken[found] = true;
            Some(found)
        });
        let from: Vec<Option<usize>> = from.collect();
        let known = earlier.before.get().into_iter().flatten();
        let further = known.map(|before| Before {
            salt: before.salt,
            from: from.iter().map(|i| before.from[(*i)?]).collect(),
        });
        let latest = Before { salt: earlier.salt, from: from.clone() };
        let all = std::iter::once(latest).chain(further);
        let all = all.filter(|before| before.salt != self.salt && before.from.iter().any(Option::is_some));
        let all: Vec<_> = all.take(MOST_BEFORE).collect();
        if !all.is_empty() {
            // Not set before: a plan is new once.
            let _ = self.before.set(all);
        }
        from.iter().any(Option::is_some)
    }

    /// Whether a request of this cost ever fits.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn has_room(&self, cost: u32) -> Result<(), RateLimitError> {
        let mut rules = self.rules.iter().zip(&self.texts);
        match rules.find(|(rule, _)| rule.burst < u64::from(cost)) {
            Some((rule, limit)) => Err(RateLimitError::Cost { cost, limit: limit.clone(), most: rule.burst }),
            None => Ok(()),
        }
    }

    pub(crate) fn has_quota(&self) -> bool {
        self.rules.iter().any(Rule::is_quota)
    }
}
