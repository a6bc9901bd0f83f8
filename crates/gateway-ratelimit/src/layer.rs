use crate::facts::{Facts, Scope};
use crate::key::{KeyPart, readable};
use crate::limiter::Limiter;
use crate::service::RateLimit;
use crate::settings::{RateLimitSettings, Shared};
use crate::{Condition, QuotaEvent, RateLimitError};
use gateway_store::Store;
use http::Request;
use std::sync::Arc;
use std::time::SystemTime;
use tower::Layer;

/// Limits the requests of each caller; see the [crate's page](crate). Clones share their counts.
#[derive(Clone, Debug)]
pub struct RateLimitLayer {
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) scope: Arc<Scope>,
    pub(crate) store: Option<Store>,
}

impl RateLimitLayer {
    /// A limit; the name is shown to clients. Counts in this process until it is given [a store](Self::with_store).
    ///
    /// # Errors
    /// Settings that limit nothing or contradict each other.
    pub fn new(name: &str, settings: &RateLimitSettings) -> Result<Self, RateLimitError> {
        Self::new_with(name, settings, Vec::new())
    }

    /// A limit whose tiers are chosen by expressions, with what each of `tiers.by.expressions` means, in their order.
    ///
    /// ```
    /// use gateway_ratelimit::{Condition, RateLimitLayer, RateLimitSettings};
    ///
    /// let settings: RateLimitSettings = serde_json::from_value(serde_json::json!({
    ///     "limit": "60/min",
    ///     "tiers": {
    ///         "by": { "expressions": [{ "tier": "reads", "when": "request.method == 'GET'" }] },
    ///         "values": { "reads": "600/min" },
    ///     },
    /// }))?;
    /// let reads = Condition::new(|method, _, _, _| method == "GET");
    /// let limit = RateLimitLayer::new_with("api", &settings, vec![reads])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Settings that limit nothing or contradict each other, or as many conditions as there are not expressions.
    pub fn new_with(
        name: &str,
        settings: &RateLimitSettings,
        conditions: Vec<Condition>,
    ) -> Result<Self, RateLimitError> {
        let limiter = Arc::new(Limiter::new(name, settings, conditions)?);
        let scope = Scope { tally: limiter.tallies.of(""), ..Scope::default() };
        Ok(Self { limiter, scope: Arc::new(scope), store: None })
    }

    /// The same layer over a store: on Redis its counts are those of all instances, unless the settings say `local`.
    /// A thread with its own runtime wants a connection of its own ([`Store::per_worker`]).
    #[must_use]
    pub fn with_store(&self, store: Store) -> Self {
        let shares = store.is_shared() && self.limiter.shared.mode() != Shared::Local;
        Self { store: shares.then_some(store), ..self.clone() }
    }

    /// The same layer on a route, whose name `key = "route"` counts by, and whose requests [`counts`](Self::counts)
    /// tells apart.
    #[must_use]
    pub fn with_route(&self, name: &str) -> Self {
        let tally = self.limiter.tallies.of(name);
        let scope = Scope { route: Some(name.into()), tally, ..(*self.scope).clone() };
        Self { scope: Arc::new(scope), ..self.clone() }
    }

    /// The same layer, for which `key = "route"` counts under another key than the name of its route.
    #[must_use]
    pub fn counted_as(&self, key: &str) -> Self {
        let scope = Scope { route: Some(key.into()), ..(*self.scope).clone() };
        Self { scope: Arc::new(scope), ..self.clone() }
    }

    /// The same layer before a service, whose name `key = "service"` counts by.
    #[must_use]
    pub fn with_service(&self, name: &str) -> Self {
        let scope = Scope { service: Some(name.into()), ..(*self.scope).clone() };
        Self { scope: Arc::new(scope), ..self.clone() }
    }

    /// Calls this when a caller has used 80 and 100 per cent of a quota, from within the request; it must not block.
    /// Only the first one given is called.
    #[must_use]
    pub fn on_quota(self, hook: impl Fn(&QuotaEvent) + Send + Sync + 'static) -> Self {
        let _ = self.limiter.hook.set(Box::new(hook));
        self
    }

    /// The same layer at another time: the calendar of quotas begins here and goes on with tokio's clock. For tests;
    /// forgets all counts.
    #[must_use]
    pub fn starting_at(&self, now: SystemTime) -> Self {
        self.changed(|limiter| {
            limiter.clock = crate::clock::Clock::at(now);
            limiter.counts = Arc::new(crate::store::Counts::new(limiter.max_keys));
        })
    }

    /// This layer with the counts of an earlier one, where they mean the same: after a reload that changed numbers, or
    /// added and removed limits, but not the key. Of a tier each limit or quota goes on that has the algorithm and the
    /// period of an earlier one; under `limit_from` only where all of them do. Both layers count together from then on.
    /// What is counted for metrics goes on in any case, and final costs of the earlier layer's requests are told by this
    /// one's [background](Self::background).
    #[must_use]
    pub fn learn_from(&self, earlier: &Self) -> Self {
        let other = &earlier.limiter;
        let tally = other.tallies.of(self.scope.route.as_deref().unwrap_or_default());
        let mut counting = self.changed(|limiter| {
            limiter.tallies = other.tallies.clone();
            limiter.settlements = other.settlements.clone();
        });
        counting.scope = Arc::new(Scope { tally, ..(*self.scope).clone() });
        let own = &counting.limiter;
        if own.by != other.by || !own.plans.go_on_from(&other.plans) {
            return counting;
        }
        other.counts.resize(own.max_keys);
        counting.changed(|limiter| {
            limiter.counts = other.counts.clone();
            limiter.hash = other.hash;
            limiter.clock = other.clock;
        })
    }

    /// Whether the final cost is read from answers' bodies, so that a [`SettleLayer`](crate::SettleLayer) has to stand
    /// around this layer.
    #[must_use]
    pub fn settles_bodies(&self) -> bool {
        matches!(self.limiter.settle, crate::cost::Settle::Body(_))
    }

    /// The parameters of routes that it counts by.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.limiter.by.parts().iter().filter_map(|part| match part {
            KeyPart::Capture(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// What it has made of the requests of [its route](Self::with_route) so far. Kept with relaxed atomics that the
    /// layer holds: reading is for metrics.
    #[must_use]
    pub fn counts(&self) -> crate::LimitCounts {
        self.scope.tally.read()
    }

    /// How many events it has told of quotas, on all routes; `None` where it has no quota.
    #[must_use]
    pub fn quota_counts(&self) -> Option<crate::QuotaCounts> {
        let has_quota = self.limiter.plans.iter().any(|plan| plan.has_quota());
        has_quota.then(|| self.limiter.tallies.quotas())
    }

    /// What a request would be counted under, the same in all instances: `principal=ada`, `ip=192.0.2.1|route=orders`.
    /// `None` if it is exempt, or not limited by this. Counts nothing: for whoever asks why.
    #[must_use]
    pub fn key_of<B>(&self, request: &Request<B>) -> Option<String> {
        let facts = Facts::of(request, &self.scope);
        self.limiter.case(&facts).map(|_| readable(&self.limiter.by, &facts))
    }

    /// The tier whose limits a request has to meet: `anonymous`, or one of `tiers`. `None` where all callers have the
    /// same, or the request is exempt or not limited by this. Counts nothing.
    #[must_use]
    pub fn tier_of<B>(&self, request: &Request<B>) -> Option<String> {
        let case = self.limiter.case(&Facts::of(request, &self.scope))?;
        let tier = case.plan.label.strip_prefix(&*self.limiter.name)?.strip_prefix('.')?;
        Some(tier.to_owned())
    }

    /// How much is left of what a request would be counted under, by the tightest of the limits. `None` if it is exempt
    /// or not limited by this, or is counted in a store. Counts nothing.
    #[must_use]
    pub fn left_to<B>(&self, request: &Request<B>) -> Option<u32> {
        let case = self.limiter.case(&Facts::of(request, &self.scope)).filter(|_| self.store.is_none())?;
        Some(self.limiter.counts.left(case.key, self.limiter.clock.now(), &case.plan.rules))
    }

    /// How many requests of [its route](Self::with_route) were answered without what they took, or not to the end;
    /// `None` where answers are not [asked](crate::SettleSettings) for it.
    #[must_use]
    pub fn unsettled(&self) -> Option<u64> {
        self.limiter.settle.is_by_answer().then(|| self.scope.tally.unsettled())
    }

    fn changed(&self, change: impl FnOnce(&mut Limiter)) -> Self {
        let mut limiter = (*self.limiter).clone();
        change(&mut limiter);
        Self { limiter: Arc::new(limiter), ..self.clone() }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit {
            inner,
            limiter: self.limiter.clone(),
            scope: self.scope.clone(),
            store: self.store.clone(),
        }
    }
}
