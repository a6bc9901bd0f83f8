//! Which limits a request has to meet: by the caller's kind, by a claim, by what the claim itself says.

use super::{MOST_RULES, Plan, Tier};
use crate::algorithm::Rule;
use crate::condition::Condition;
use crate::cost::Cost;
use crate::facts::Facts;
use crate::settings::{MetaSource, Per, Quotas, RateLimitSettings, TierExpression};
use crate::{Algorithm, Limit, RateLimitError};
use gateway_core::{AuthMethod, Principal};
use hashbrown::HashMap;
use serde_json::Value;
use std::fmt::Display;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

/// Texts of limits that were read from claims; when there are more, all are read anew.
const TEXTS: usize = 1024;

/// All limits of a layer.
#[derive(Debug)]
pub(crate) struct Plans {
    plans: Vec<Arc<Plan>>,
    /// By kind of caller: anonymous, authenticated, with an API key.
    kinds: [Option<usize>; 3],
    by: Option<By>,
    from: Option<From>,
    build: Build,
}

/// What chooses a tier, and the plan of those of none.
#[derive(Debug)]
struct By {
    tiers: Tiers,
    default: Option<usize>,
}

#[derive(Debug)]
enum Tiers {
    Claim(String, HashMap<String, usize>),
    Header(String, HashMap<String, usize>),
    /// The first that holds.
    Conditions(Vec<(Condition, usize)>),
}

#[derive(Debug)]
struct From {
    claim: String,
    per: Per,
    read: RwLock<HashMap<Box<str>, Option<Arc<Plan>>>>,
}

/// What plans are made of beside their limits.
#[derive(Debug)]
struct Build {
    name: String,
    algorithm: Algorithm,
    longest: std::time::Duration,
    quotas: Option<Quotas>,
    zone: crate::TimeZone,
    penalty: Option<Rule>,
    replicas: u32,
    lease: Option<u32>,
    /// What every request costs, if they all cost the same.
    cost: Option<u32>,
}

/// A plan of the layer, or one read from a claim.
pub(crate) enum Chosen<'a> {
    Own(&'a Arc<Plan>),
    Read(Arc<Plan>),
}

impl Deref for Chosen<'_> {
    type Target = Arc<Plan>;
    fn deref(&self) -> &Arc<Plan> {
        match self {
            Self::Own(plan) => plan,
            Self::Read(plan) => plan,
        }
    }
}

impl Build {
    fn plan(
        &self,
        tier: Tier<'_>,
        limits: &[Limit],
        quotas: Option<&Quotas>,
    ) -> Result<Arc<Plan>, RateLimitError> {
        let windowed = matches!(self.algorithm, Algorithm::FixedWindow | Algorithm::SlidingWindow);
        if let Some(limit) = limits.iter().find(|limit| windowed && limit.burst() != limit.count()) {
            return Err(RateLimitError::Burst(limit.to_string()));
        }
        let quotas = quotas.or(self.quotas.as_ref()).map(|quotas| &**quotas).unwrap_or_default();
        if limits.len() + quotas.len() > MOST_RULES {
            return Err(RateLimitError::TooMany(limits.len() + quotas.len()));
        }
        let limits = limits.iter().map(|limit| {
            let rule = Rule::new(limit, self.algorithm, self.longest);
            (rule, limit as &dyn Display, limit.per().into_owned())
        });
        let quotas = quotas.iter().map(|quota| {
            let rule = Rule::quota(quota.count(), quota.calendar(self.zone));
            (rule, quota as &dyn Display, quota.per().to_owned())
        });
        let rules: Vec<_> = limits.chain(quotas).collect();
        let lease = self.lease(rules.iter().map(|(rule, ..)| rule));
        Ok(Arc::new(Plan::new(&self.name, tier, rules, self.penalty, self.replicas, lease)))
    }

    /// Of each plan's own smallest limit: by that of others, callers with much would be told to wait for little.
    fn lease<'a>(&self, rules: impl Iterator<Item = &'a Rule>) -> u32 {
        let lease = self.lease.unwrap_or_else(|| {
            let smallest = rules.map(|rule| rule.burst.min(rule.count)).min().unwrap_or(1);
            u32::try_from(smallest / 20).unwrap_or(u32::MAX).max(self.cost.unwrap_or(1))
        });
        lease.max(1)
    }
}

impl Plans {
    pub(crate) fn new(
        name: &str,
        settings: &RateLimitSettings,
        conditions: Vec<Condition>,
    ) -> Result<Self, RateLimitError> {
        let build = Build {
            name: name.to_owned(),
            algorithm: settings.algorithm,
            longest: *settings.max_delay,
            quotas: settings.quota.clone(),
            zone: settings.timezone,
            penalty: settings.penalty.map(|time| Rule::penalty(*time)),
            replicas: settings.replicas,
            lease: settings.lease,
            cost: Cost::of_all(&settings.cost),
        };
        let mut plans = Vec::new();
        let mut add = |tier: Tier<'_>, limits: &[Limit], quotas: Option<&Quotas>| {
            plans.push(build.plan(tier, limits, quotas)?);
            Ok::<_, RateLimitError>(plans.len() - 1)
        };
        let tiers = [
            ("anonymous", &settings.anonymous),
            ("authenticated", &settings.authenticated),
            ("api_key", &settings.api_key),
        ];
        let mut kinds = [None; 3];
        if let Some(limits) = &settings.limit {
            if let Some((tier, _)) = tiers.iter().find(|(_, tier)| tier.is_some()) {
                return Err(RateLimitError::Both(tier));
            }
            kinds = [Some(add(Tier::All, limits, None)?); 3];
        } else {
            for (kind, (tier, limits)) in kinds.iter_mut().zip(tiers) {
                if let Some(limits) = limits {
                    *kind = Some(add(Tier::Kind(tier), limits, None)?);
                }
            }
        }
        if settings.quota.is_some() && kinds.iter().any(Option::is_none) {
            let only = add(Tier::All, &[], None)?;
            kinds = kinds.map(|kind| kind.or(Some(only)));
        }
        let mut by = None;
        if let Some(tiers) = &settings.tiers {
            let mut values = HashMap::new();
            for (tier, limits) in &tiers.values {
                values.insert(tier.clone(), add(Tier::Value(tier), limits, tiers.quotas.get(tier))?);
            }
            for (tier, quotas) in &tiers.quotas {
                if !tiers.values.contains_key(tier) {
                    values.insert(tier.clone(), add(Tier::Value(tier), &[], Some(quotas))?);
                }
            }
            let default = tiers.default.as_ref();
            let default = default.map(|limits| add(Tier::Default("default"), limits, None)).transpose()?;
            by = Some(By { tiers: Tiers::new(&tiers.by, values, conditions)?, default });
        }
        let from = settings.limit_from.as_ref().map(|from| From {
            claim: from.claim.clone(),
            per: from.per,
            read: RwLock::default(),
        });
        if plans.is_empty() && from.is_none() {
            return Err(RateLimitError::Empty);
        }
        Ok(Self { plans, kinds, by, from, build })
    }

    /// The limits that a request has to meet; `None` where there are none for it.
    pub(crate) fn choose(&self, facts: &Facts<'_>) -> Option<Chosen<'_>> {
        if let Some(plan) = self.from.as_ref().and_then(|from| from.read(facts, &self.build)) {
            return Some(Chosen::Read(plan));
        }
        let by = self.by.as_ref().and_then(|by| by.tiers.choose(facts).or(by.default));
        let kind = match facts.principal().map(Principal::method) {
            None => 0,
            Some(AuthMethod::ApiKey) => 2,
            Some(_) => 1,
        };
        by.or(self.kinds[kind]).map(|i| Chosen::Own(&self.plans[i]))
    }

    /// All plans but those read from claims.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Plan>> {
        self.plans.iter()
    }

    /// Goes on where the plans before a reload have come to. Says whether any state counted by those means something here.
    pub(crate) fn go_on_from(&self, earlier: &Self) -> bool {
        let mut any = self.from.is_some() && earlier.from.is_some();
        for own in &self.plans {
            for other in &earlier.plans {
                any |= own.goes_on_from(other);
            }
        }
        any
    }
}

impl Tiers {
    fn new(
        by: &MetaSource,
        values: HashMap<String, usize>,
        conditions: Vec<Condition>,
    ) -> Result<Self, RateLimitError> {
        Ok(match by {
            MetaSource::Claim(path) => Self::Claim(path.clone(), values),
            MetaSource::Header(name) => {
                crate::cost::header(name)?;
                Self::Header(name.clone(), values)
            }
            MetaSource::Expressions(expressions) if expressions.is_empty() => {
                return Err(RateLimitError::NoExpressions);
            }
            MetaSource::Expressions(expressions) => {
                let plans = expressions.iter().enumerate().map(|(i, TierExpression { tier, .. })| {
                    values.get(tier).copied().ok_or_else(|| RateLimitError::NoTier(i, tier.clone()))
                });
                let plans = plans.collect::<Result<Vec<_>, _>>()?;
                if plans.len() != conditions.len() {
                    return Err(RateLimitError::Unread(plans.len(), conditions.len()));
                }
                Self::Conditions(conditions.into_iter().zip(plans).collect())
            }
        })
    }

    fn choose(&self, facts: &Facts<'_>) -> Option<usize> {
        match self {
            Self::Claim(path, values) => tier_of(facts.claim(path)?, values),
            Self::Header(name, values) => values.get(str::from_utf8(facts.header(name)?).ok()?).copied(),
            Self::Conditions(all) => {
                all.iter().find(|(condition, _)| condition.holds(facts)).map(|(_, plan)| *plan)
            }
        }
    }
}

/// The tier that a claim names, as a text, a number or a switch; of a list, the first that is one.
fn tier_of(claim: &Value, tiers: &HashMap<String, usize>) -> Option<usize> {
    match claim {
        Value::String(text) => tiers.get(text.as_str()).copied(),
        Value::Number(_) | Value::Bool(_) => tiers.get(claim.to_string().as_str()).copied(),
        Value::Array(all) => all.iter().filter(|one| !one.is_array()).find_map(|one| tier_of(one, tiers)),
        Value::Null | Value::Object(_) => None,
    }
}

impl From {
    /// The limit that the caller's claim holds, if it is one.
    fn read(&self, facts: &Facts<'_>, build: &Build) -> Option<Arc<Plan>> {
        let mut number = itoa::Buffer::new();
        let text = match facts.claim(&self.claim)? {
            Value::String(text) => text.as_str(),
            Value::Number(n) => number.format(n.as_u64()?),
            _ => return None,
        };
        // A lock because claims come and go; it is only ever held for a look.
        if let Some(plan) = self.read.read().unwrap_or_else(PoisonError::into_inner).get(text) {
            return plan.clone();
        }
        let plan = self.parse(text, build);
        if plan.is_none() {
            tracing::warn!(
                claim = self.claim,
                value = text,
                "the claim holds no rate limit; it is passed over"
            );
        }
        let mut read = self.read.write().unwrap_or_else(PoisonError::into_inner);
        if read.len() >= TEXTS {
            read.clear();
        }
        read.insert(text.into(), plan.clone());
        plan
    }

    fn parse(&self, text: &str, build: &Build) -> Option<Arc<Plan>> {
        let limits = text.split(',').map(|limit| {
            let limit = limit.trim();
            if limit.bytes().all(|b| b.is_ascii_digit()) {
                format!("{limit}/{}", self.per.as_str()).parse()
            } else {
                limit.parse()
            }
        });
        let mut limits = limits.collect::<Result<Vec<Limit>, _>>().ok()?;
        // In another order they are the same limits.
        limits.sort_by_key(Limit::period);
        build.plan(Tier::Claim, &limits, None).ok()
    }
}
