//! Rate limits and quotas.

use super::auth::key_of_name as name_key;
use super::chore::Chore;
use super::planner::Planner;
use super::route::Shared;
use crate::config::load::{join, of_expression};
use crate::config::settings::{Names, RouteSettings};
use gateway_core::units::Short;
use gateway_ratelimit::{Condition, CountWhat, MetaSource, RateLimitLayer, RateLimitSettings, TierSettings};
use gateway_routing::{CallerWhen, HostPattern, WhenMistakes};
use gateway_store::Store;
use std::collections::BTreeMap;
use std::fmt;

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

/// A limit on a route.
#[derive(Clone)]
pub(crate) struct RouteLimit {
    pub(crate) name: String,
    pub(crate) layer: RateLimitLayer,
    /// Whether it stands outside of authentication.
    pub(crate) counts_failures: bool,
}

impl Shared<'_> {
    /// What a limit with `key = "route"` counts a route's requests under. That of a route without a name says more than
    /// its path, which others may have as well.
    fn counted_as(&mut self, route: &RouteSettings) -> String {
        if let Some(name) = &route.name {
            return name.clone();
        }
        let hosts: Vec<String> = route.hosts.iter().map(HostPattern::to_string).collect();
        let methods = route.methods.join(",");
        let mut key = format!("{methods} {}{}", hosts.join(","), route.path.as_str()).trim_start().to_owned();
        let count = self.unnamed.entry(key.clone()).or_default();
        *count += 1;
        if *count > 1 {
            key.push_str(&format!("#{count}"));
        }
        key
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

    /// The limits that a route names.
    pub(super) fn limits_of(
        &mut self,
        key: &str,
        names: &Names,
        route: &RouteSettings,
        shared: &mut Shared<'_>,
    ) -> Vec<RouteLimit> {
        let mut found = Vec::new();
        let counted_as = shared.counted_as(route);
        for i in 0..names.all().len() {
            let Some(name) = self.limit_name(key, names, i) else { continue };
            // Missing only where it has a mistake itself.
            let Some(limit) = shared.limits.get(&name) else { continue };
            let mut layer = limit.layer.with_route(route.name()).counted_as(&counted_as);
            if let Some(service) = &route.service {
                layer = layer.with_service(service);
            }
            found.push(RouteLimit { name, layer, counts_failures: limit.counts_failures });
        }
        found
    }

    /// The limit that one of these names stands for.
    pub(super) fn limit_name(&mut self, key: &str, names: &Names, i: usize) -> Option<String> {
        let (before, name) = (&names.all()[..i], &names.all()[i]);
        let origin = self.origin;
        let key = fmt::from_fn(|f| f.write_str(&name_key(origin, key, i)));
        let wrong = if name == "none" && names.all().len() > 1 {
            Some("`none` stands alone: it is for no limit at all".to_owned())
        } else {
            before
                .contains(name)
                .then(|| format!("`{name}` is listed twice; it would count every request twice"))
        };
        if let Some(wrong) = wrong {
            self.mistakes.push(origin.mistake(&key.to_string(), wrong));
            return None;
        }
        self.reference(key, Some(name), "rate limit", "/rate_limits")
    }
}
