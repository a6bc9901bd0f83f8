//! What is said when a quota nears its end.

use crate::plan::{Outcome, Plan};

/// A caller has used 80 or 100 per cent of a quota. Said once per caller and period: on Redis by one of all instances,
/// over restarts too; in memory by each process for itself.
///
/// With `shared = "leased"` shares count as used when they are taken, so that it is said early by at most one lease per
/// instance. While Redis is away nothing is said; what was passed over is when it is back and the caller is counted
/// there. With a `quota_file`, what was counted after the last time it was written (5 s) may be said again if the
/// process is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaEvent {
    /// The limit's name.
    pub limit: String,
    /// The quota as it is written: `10000/day`.
    pub quota: String,
    /// Who: `principal=ada`, `ip=192.0.2.1`.
    pub caller: String,
    /// 80 or 100.
    pub percent: u8,
}

/// What is told of quotas that near their end.
pub(crate) type QuotaHook = Box<dyn Fn(&QuotaEvent) + Send + Sync>;

/// The share of a quota that `taken` has just reached, if any: 80 or 100 per cent.
fn reached(count: u64, before: u64, after: u64) -> Option<u8> {
    let crosses = |mark: u64| before < mark && after >= mark;
    if crosses(count) {
        Some(100)
    } else if crosses((count * 4).div_ceil(5)) {
        Some(80)
    } else {
        None
    }
}

impl Plan {
    /// The quotas that a request of this cost has brought to a mark.
    pub(crate) fn marks(&self, outcome: &Outcome, cost: u32) -> Vec<(usize, u8)> {
        let quotas =
            self.rules.iter().enumerate().zip(&outcome.told).filter(|((_, rule), _)| rule.is_quota());
        let marks = quotas.filter_map(|((i, rule), told)| {
            let after = rule.count - u64::from(told.remaining).min(rule.count);
            Some((i, reached(rule.count, after.saturating_sub(u64::from(cost)), after)?))
        });
        marks.collect()
    }

    /// The quotas that stand at a mark or beyond it.
    pub(crate) fn marks_at(&self, outcome: &Outcome) -> Vec<(usize, u8)> {
        let quotas =
            self.rules.iter().enumerate().zip(&outcome.told).filter(|((_, rule), _)| rule.is_quota());
        let marks = quotas.filter_map(|((i, rule), told)| {
            let used = rule.count - u64::from(told.remaining).min(rule.count);
            Some((i, reached(rule.count, 0, used)?))
        });
        marks.collect()
    }

    /// The quotas that taking has brought to a mark.
    pub(crate) fn marks_between(&self, before: &[u64], after: &[u64]) -> Vec<(usize, u8)> {
        let quotas = self.rules.iter().enumerate().filter(|(_, rule)| rule.is_quota());
        let marks =
            quotas.filter_map(|(i, rule)| Some((i, reached(rule.count, *before.get(i)?, *after.get(i)?)?)));
        marks.collect()
    }
}

pub(crate) fn say(event: &QuotaEvent, hook: Option<&QuotaHook>) {
    let QuotaEvent { limit, quota, caller, percent } = event;
    tracing::info!(target: "gateway::quota", limit, quota, caller, percent, "a quota is {percent} % used");
    if let Some(hook) = hook {
        hook(event);
    }
}
