//! Rate limits and quotas.

use super::chore::Chore;
use super::planner::Planner;
use crate::config::load::{join, of_expression};
use gateway_core::units::Short;
use gateway_ratelimit::{Condition, CountWhat, MetaSource, RateLimitLayer, RateLimitSettings, TierSettings};
use gateway_routing::{CallerWhen, WhenMistakes};
use gateway_store::Store;
use std::collections::BTreeMap;

/// One limit.
#[derive(Clone)]
pub(crate) struct LimitPlan {
    pub(crate) layer: RateLimitLayer,
    /// Whether it counts answers that failed, also those of authentication: it stands outside of that.
    pub(crate) counts_failures: bool,
    pub(crate) chore: Option<Chore>,
}

impl LimitPlan {
    fn new(layer: RateLimitLayer, settings: &RateLimitSettings) -> Self {
        let working = layer.clone();
        let chore = layer.background().map(|_| {
            Chore::finishing(move |end| {
                let background = working.background();
                async move {
                    if let Some(background) = background {
                        // It ends as well if nobody is left to tell it.
                        background.run(async { drop(end.await) }).await;
                    }
                }
            })
        });
        Self { layer, counts_failures: settings.count == CountWhat::Failures, chore }
    }
}

impl Planner<'_> {
    pub(super) fn limits(&mut self, store: &Store) -> BTreeMap<String, LimitPlan> {
        let settings = self.settings;
        let limits = settings.rate_limits.iter().filter_map(|(name, limit)| {
            let (same, earlier) =
                self.kept(name, limit, |config| (&config.settings.rate_limits, &config.plan.limits));
            if let Some(same) = same {
                return Some((name.clone(), same));
            }
            let Short(limit) = limit;
            let key = join("rate_limits", name);
            let conditions = self.conditions(&key, limit)?;
            let layer = RateLimitLayer::new_with(name, limit, conditions);
            let layer = self.noted(&key, layer)?.with_store(store.clone());
            let layer = match earlier {
                Some(earlier) => layer.learn_from(&earlier.layer),
                None => {
                    let restored =
                        layer.restored().map_err(|error| format!("the quotas cannot be read: {error}"));
                    self.noted(format_args!("{key}.quota_file"), restored)?
                }
            };
            Some((name.clone(), LimitPlan::new(layer, limit)))
        });
        limits.collect()
    }

    /// What the expressions of a limit's tiers mean; `None` if not all of them mean something.
    fn conditions(&mut self, key: &str, limit: &RateLimitSettings) -> Option<Vec<Condition>> {
        let Some(TierSettings { by: MetaSource::Expressions(all), .. }) = &limit.tiers else {
            return Some(Vec::new());
        };
        let mut conditions = Vec::with_capacity(all.len());
        for (i, expression) in all.iter().enumerate() {
            match expression.when.parse::<CallerWhen>() {
                Ok(when) => conditions.push(Condition::new(move |method, uri, headers, extensions| {
                    when.holds(method, uri, headers, extensions)
                })),
                Err(found) => self.wrong_expression(
                    &format!("{key}.tiers.by.expressions[{i}].when"),
                    &expression.when,
                    &found,
                ),
            }
        }
        (conditions.len() == all.len()).then_some(conditions)
    }

    fn wrong_expression(&mut self, key: &str, text: &str, found: &WhenMistakes) {
        if !self.origin.is_known_wrong(key) {
            self.mistakes.extend(of_expression(key, text, found, self.origin));
        }
    }
}
