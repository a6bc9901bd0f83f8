//! One limit at work on the requests of logs.

use super::key;
use super::report::{LimitReport, Peak, Refused, Worst};
use crate::config::{Origin, RoutePlan};
use crate::explain::{Logged, shown};
use gateway_ratelimit::{
    CountWhat, Decision, KeyPart, Limits, Mode, OnMissing, RateLimitSettings, Rule, State, decide, take,
};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

/// So many of the callers who were refused most are named.
const WORST: usize = 10;

pub(super) struct Limit<'a> {
    pub(super) name: &'a str,
    settings: &'a RateLimitSettings,
    parts: Vec<KeyPart>,
    tiers: Vec<Tier>,
    /// The tier of callers who are not authenticated, and of those who are.
    kinds: [Option<usize>; 2],
    /// By tier and key: their places among `callers`.
    known: HashMap<(usize, String), usize>,
    callers: Vec<Caller>,
    exempt: u64,
    first: Option<Refused>,
}

/// Rules that hold together for some callers.
struct Tier {
    name: Option<&'static str>,
    rules: Vec<Timed>,
}

struct Timed {
    text: String,
    rule: Rule,
    /// In microseconds.
    period: u64,
    /// By whom, when and how many most requests came in one period.
    peak: Option<(usize, u64, u64)>,
}

struct Caller {
    key: String,
    tier: usize,
    states: Vec<State>,
    /// For each rule, when the period under way began, and how many requests came in it.
    periods: Vec<(u64, u64)>,
    /// Until when it is refused by `penalty`.
    held: u64,
    requests: u64,
    refused: u64,
    delayed: u64,
    first_refused: Option<u64>,
}

impl Tier {
    fn new(name: Option<&'static str>, limits: &Limits, settings: &RateLimitSettings) -> Self {
        let timed = limits.iter().map(|limit| Timed {
            text: limit.to_string(),
            rule: Rule::new(limit, settings.algorithm, *settings.max_delay),
            period: u64::try_from(limit.period().as_micros()).unwrap_or(u64::MAX).max(1),
            peak: None,
        });
        Self { name, rules: timed.collect() }
    }
}

impl<'a> Limit<'a> {
    pub(super) fn new(name: &'a str, settings: &'a RateLimitSettings, origin: &Origin) -> Self {
        let (mut tiers, mut kinds) = (Vec::new(), [None; 2]);
        let default = settings.tiers.as_ref().and_then(|tiers| tiers.default.as_ref());
        if let Some(limits) = default.or(settings.limit.as_ref()) {
            tiers.push(Tier::new(default.map(|_| "default"), limits, settings));
            kinds = [Some(0); 2];
        } else {
            let named = [("anonymous", &settings.anonymous), ("authenticated", &settings.authenticated)];
            for (kind, (name, limits)) in kinds.iter_mut().zip(named) {
                if let Some(limits) = limits {
                    tiers.push(Tier::new(Some(name), limits, settings));
                    *kind = Some(tiers.len() - 1);
                }
            }
        }
        Self {
            name,
            settings,
            parts: key::parts(origin, name),
            tiers,
            kinds,
            known: HashMap::new(),
            callers: Vec::new(),
            exempt: 0,
            first: None,
        }
    }

    /// Whose request it is; `None` if it is not limited.
    pub(super) fn caller(&mut self, logged: &Logged, route: &RoutePlan) -> Option<usize> {
        let exempt = &self.settings.exempt;
        let of_network =
            logged.client.is_some_and(|ip| exempt.networks.iter().any(|network| network.contains(ip)));
        let is_exempt =
            of_network || logged.user.as_ref().is_some_and(|user| exempt.principals.contains(user));
        let tier = self.kinds[usize::from(logged.user.is_some())];
        let (key, whole) = key::key(&self.parts, logged, route);
        let skipped = !whole && self.settings.on_missing == OnMissing::Skip;
        let Some(tier) = tier.filter(|_| !is_exempt && !skipped) else {
            self.exempt += 1;
            return None;
        };
        let place = (tier, key);
        if let Some(known) = self.known.get(&place) {
            return Some(*known);
        }
        let rules = self.tiers[tier].rules.len();
        self.callers.push(Caller {
            key: place.1.clone(),
            tier,
            states: vec![State::default(); rules],
            periods: vec![(0, 0); rules],
            held: 0,
            requests: 0,
            refused: 0,
            delayed: 0,
            first_refused: None,
        });
        self.known.insert(place, self.callers.len() - 1);
        Some(self.callers.len() - 1)
    }

    /// Whether an answer of this status counts where only failures do.
    pub(super) fn is_failure(&self, status: u16) -> bool {
        self.settings.statuses.contains(&status)
    }

    /// Whether a request does not get past it.
    pub(super) fn stops(&self, caller: usize, now: u64) -> bool {
        let caller = &self.callers[caller];
        let cost = self.settings.cost.default;
        let mut rules = caller.states.iter().zip(&self.tiers[caller.tier].rules);
        self.settings.mode == Mode::Enforce
            && (now < caller.held
                || rules.any(|(state, timed)| decide(state, now, cost, &timed.rule).is_refusal()))
    }

    /// Decides about a request: by all rules of its tier, and takes from all or none, as live. From none as well where
    /// another limit of its route does not let it pass.
    pub(super) fn ask(&mut self, caller: usize, now: u64, failed: bool, passes: bool) {
        let index = caller;
        let caller = &mut self.callers[index];
        let rules = &mut self.tiers[caller.tier].rules;
        caller.requests += 1;
        for (timed, (start, count)) in rules.iter_mut().zip(&mut caller.periods) {
            let period = now / timed.period * timed.period;
            (*start, *count) = if period == *start { (period, *count + 1) } else { (period, 1) };
            if timed.peak.is_none_or(|(_, _, most)| *count > most) {
                timed.peak = Some((index, period, *count));
            }
        }
        let cost = self.settings.cost.default;
        let decisions =
            || caller.states.iter().zip(&*rules).map(|(state, timed)| decide(state, now, cost, &timed.rule));
        let held = now < caller.held;
        if held || decisions().any(|decision| decision.is_refusal()) {
            if let Some(penalty) = self.settings.penalty.filter(|_| !held) {
                caller.held = now + u64::try_from(penalty.as_micros()).unwrap_or(u64::MAX >> 1);
            }
            caller.refused += 1;
            caller.first_refused.get_or_insert(now);
            self.first.get_or_insert_with(|| Refused { key: caller.key.clone(), time: shown(now) });
            return;
        }
        if !passes {
            return;
        }
        let waits = decisions().filter_map(|decision| match decision {
            Decision::Delay { delay, .. } => Some(delay),
            _ => None,
        });
        caller.delayed += u64::from(waits.max().is_some_and(|delay| delay > Duration::ZERO));
        let taken = match self.settings.count {
            CountWhat::Requests => cost,
            CountWhat::Failures if failed => cost.max(1),
            CountWhat::Failures => 0,
        };
        for (state, timed) in caller.states.iter_mut().zip(&*rules).filter(|_| taken > 0) {
            *state = take(state, now, i64::from(taken), &timed.rule);
        }
    }

    /// What came of it.
    pub(super) fn report(self) -> LimitReport {
        let notes = self.notes();
        let sum = |of: fn(&Caller) -> u64| self.callers.iter().map(of).sum();
        let mut worst: Vec<&Caller> = self.callers.iter().filter(|caller| caller.refused > 0).collect();
        let refused_callers = worst.len();
        worst.sort_by_key(|caller| (Reverse(caller.refused), caller.first_refused));
        let named = |tier: &Tier, text: &str| match tier.name {
            Some(name) => format!("{name} {text}"),
            None => text.to_owned(),
        };
        let rules = self.tiers.iter().flat_map(|tier| tier.rules.iter().map(move |timed| (tier, timed)));
        LimitReport {
            name: self.name.to_owned(),
            limits: rules.clone().map(|(tier, timed)| named(tier, &timed.text)).collect(),
            requests: sum(|caller| caller.requests),
            refused: sum(|caller| caller.refused),
            delayed: sum(|caller| caller.delayed),
            exempt: self.exempt,
            callers: self.callers.len(),
            refused_callers,
            first: self.first,
            worst: worst
                .into_iter()
                .take(WORST)
                .map(|caller| Worst {
                    key: caller.key.clone(),
                    requests: caller.requests,
                    refused: caller.refused,
                    first: caller.first_refused.map(shown),
                })
                .collect(),
            peaks: rules
                .filter_map(|(tier, timed)| {
                    let (caller, from, requests) = timed.peak?;
                    let key = self.callers[caller].key.clone();
                    Some(Peak { limit: named(tier, &timed.text), requests, key, from: shown(from) })
                })
                .collect(),
            notes,
        }
    }

    /// What the simulation leaves out, or logs do not tell.
    fn notes(&self) -> Vec<String> {
        let settings = self.settings;
        let mut notes = Vec::new();
        let mut note = |on: bool, text: &str| notes.extend(on.then(|| text.to_owned()));
        for part in self.parts.iter().filter_map(key::untold) {
            let then = if settings.on_missing == OnMissing::Skip {
                "nobody is limited"
            } else {
                "all count together"
            };
            note(true, &format!("logs do not tell {part}, so {then}"));
        }
        note(settings.quota.is_some(), "`quota` is not simulated");
        note(settings.tiers.is_some(), "logs do not tell tiers, so all count as of none");
        note(settings.limit_from.is_some(), "logs do not tell claims, so `limit_from` is passed over");
        note(
            settings.api_key.is_some(),
            "logs do not tell API keys, so who has one counts as `authenticated`",
        );
        note(settings.cost.header.is_some(), "logs do not tell costs, so every request takes the default");
        note(
            settings.settle.is_some(),
            "`settle` is not simulated, so every request takes what it does at first",
        );
        let exempt = &settings.exempt;
        let untold = !(exempt.keys.is_empty() && exempt.claims.is_empty());
        note(untold, "logs do not tell API keys and claims, so nobody is exempt by them");
        note(settings.mode == Mode::Report, "its mode is `report`: live, it refuses nobody");
        notes
    }
}
